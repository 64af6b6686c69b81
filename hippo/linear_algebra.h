// Private: the decompositions that hippo/ needs. The one file that includes Eigen is
// linear_algebra.cpp.
#pragma once

#include <string_view>

#include <rill/hippo/matrix.h>

namespace rill::hippo {

/// e^a for a [n, n], by scaling, squaring and Pade approximation.
Matrix matrix_exponential(const Matrix& a);

/// The solution x [n, m] of a x = b, a [n, n], by LU with partial pivoting. Throws Error (kValue)
/// for an a that is singular to rounding or not finite; `what` names it in the sentence.
Matrix solve(const Matrix& a, const Matrix& b, std::string_view what);
ComplexMatrix solve(const ComplexMatrix& a, const ComplexMatrix& b, std::string_view what);

struct HermitianEigen {
  Vector values;          // [n], ascending
  ComplexMatrix vectors;  // [n, n], one column a value, unitary
};

/// Eigenvalues and orthonormal eigenvectors of a Hermitian matrix [n, n].
HermitianEigen hermitian_eigen(const ComplexMatrix& a);

}  // namespace rill::hippo
