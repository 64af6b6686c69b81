#if defined(__GNUC__) && !defined(__clang__)
// Eigen's products on buffers that it fills itself look uninitialised to g++ 12.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <cmath>
#include <limits>

#include <Eigen/Eigenvalues>
#include <Eigen/LU>
#include <unsupported/Eigen/MatrixFunctions>

#include <rill/core/check.h>
#include <rill/hippo/linear_algebra.h>

namespace rill::hippo {
namespace {

template <class T>
using EigenMatrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

template <class T>
Eigen::Map<const EigenMatrix<T>> view(const BasicMatrix<T>& a) {
  return {a.data().data(), a.rows(), a.cols()};
}

template <class T, class Expression>
BasicMatrix<T> to_matrix(const Expression& e) {
  BasicMatrix<T> result(e.rows(), e.cols());
  Eigen::Map<EigenMatrix<T>>(result.data().data(), e.rows(), e.cols()) = e;
  return result;
}

template <class T>
BasicMatrix<T> lu_solve(const BasicMatrix<T>& a, const BasicMatrix<T>& b, std::string_view what) {
  if (a.rows() == 0) return b;
  const EigenMatrix<T> dense = view(a);
  const Eigen::PartialPivLU<EigenMatrix<T>> lu(dense);
  // A pivot that is a rounding of its column says that the column depends on those before it. Not
  // the condition number: rows of very different size are no harm.
  const double rounding = static_cast<double>(a.rows()) * std::numeric_limits<double>::epsilon();
  for (Eigen::Index i = 0; i < dense.rows(); ++i) {
    const double pivot = std::abs(lu.matrixLU()(i, i));
    check(pivot > rounding * dense.col(i).cwiseAbs().maxCoeff() && std::isfinite(pivot),
          ErrorCode::kValue,
          "hippo: {} [{}, {}] must be finite and invertible, but column {} depends on those before "
          "it.",
          what, a.rows(), a.cols(), i);
  }
  return to_matrix<T>(EigenMatrix<T>(lu.solve(view(b))));
}

}  // namespace

Matrix matrix_exponential(const Matrix& a) {
  const Eigen::MatrixXd exponential = Eigen::MatrixXd(view(a)).exp();
  return to_matrix<double>(exponential);
}

Matrix solve(const Matrix& a, const Matrix& b, std::string_view what) {
  return lu_solve(a, b, what);
}

ComplexMatrix solve(const ComplexMatrix& a, const ComplexMatrix& b, std::string_view what) {
  return lu_solve(a, b, what);
}

HermitianEigen hermitian_eigen(const ComplexMatrix& a) {
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXcd> solver{Eigen::MatrixXcd(view(a))};
  check(solver.info() == Eigen::Success, ErrorCode::kValue,
        "hippo: the eigenvalues of a Hermitian matrix [{}, {}] did not converge; its entries must "
        "be finite.",
        a.rows(), a.cols());
  HermitianEigen result;
  const Eigen::VectorXd& values = solver.eigenvalues();
  result.values.assign(values.data(), values.data() + values.size());
  result.vectors = to_matrix<std::complex<double>>(solver.eigenvectors());
  return result;
}

}  // namespace rill::hippo
