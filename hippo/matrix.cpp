#include <rill/core/check.h>
#include <rill/hippo/matrix.h>

namespace rill::hippo {
namespace {

template <class T>
BasicMatrix<T> product(const BasicMatrix<T>& a, const BasicMatrix<T>& b) {
  check(a.cols() == b.rows(), ErrorCode::kShape,
        "hippo::multiply: the columns of a must match the rows of b, but a is [{}, {}] and b is "
        "[{}, {}].",
        a.rows(), a.cols(), b.rows(), b.cols());
  BasicMatrix<T> result(a.rows(), b.cols());
  for (std::int64_t i = 0; i < a.rows(); ++i) {
    for (std::int64_t k = 0; k < a.cols(); ++k) {
      const T factor = a(i, k);
      for (std::int64_t j = 0; j < b.cols(); ++j) result(i, j) += factor * b(k, j);
    }
  }
  return result;
}

template <class T>
std::vector<T> product(const BasicMatrix<T>& a, std::span<const T> x) {
  check(a.cols() == static_cast<std::int64_t>(x.size()), ErrorCode::kShape,
        "hippo::multiply: x must have one entry for each column of a [{}, {}], but has {}.",
        a.rows(), a.cols(), x.size());
  std::vector<T> result(static_cast<std::size_t>(a.rows()));
  for (std::int64_t i = 0; i < a.rows(); ++i) {
    T sum{};
    const std::span<const T> row = a.row(i);
    for (std::size_t j = 0; j < row.size(); ++j) sum += row[j] * x[j];
    result[static_cast<std::size_t>(i)] = sum;
  }
  return result;
}

}  // namespace

Matrix multiply(const Matrix& a, const Matrix& b) { return product(a, b); }
ComplexMatrix multiply(const ComplexMatrix& a, const ComplexMatrix& b) { return product(a, b); }
Vector multiply(const Matrix& a, std::span<const double> x) { return product(a, x); }
ComplexVector multiply(const ComplexMatrix& a, std::span<const std::complex<double>> x) {
  return product(a, x);
}

Matrix transpose(const Matrix& a) {
  Matrix result(a.cols(), a.rows());
  for (std::int64_t i = 0; i < a.rows(); ++i)
    for (std::int64_t j = 0; j < a.cols(); ++j) result(j, i) = a(i, j);
  return result;
}

ComplexMatrix adjoint(const ComplexMatrix& a) {
  ComplexMatrix result(a.cols(), a.rows());
  for (std::int64_t i = 0; i < a.rows(); ++i)
    for (std::int64_t j = 0; j < a.cols(); ++j) result(j, i) = std::conj(a(i, j));
  return result;
}

}  // namespace rill::hippo
