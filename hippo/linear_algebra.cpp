#if defined(__GNUC__) && !defined(__clang__)
// Eigen's products on buffers that it fills itself look uninitialised to g++ 12.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

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

}  // namespace

Matrix matrix_exponential(const Matrix& a) {
  const Eigen::MatrixXd exponential = Eigen::MatrixXd(view(a)).exp();
  return to_matrix<double>(exponential);
}

Matrix solve(const Matrix& a, const Matrix& b) {
  if (a.rows() == 0) return b;
  const Eigen::MatrixXd x = Eigen::MatrixXd(view(a)).partialPivLu().solve(view(b));
  return to_matrix<double>(x);
}

ComplexMatrix solve(const ComplexMatrix& a, const ComplexMatrix& b) {
  if (a.rows() == 0) return b;
  const Eigen::MatrixXcd x = Eigen::MatrixXcd(view(a)).partialPivLu().solve(view(b));
  return to_matrix<std::complex<double>>(x);
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
