// Dense row-major matrices in double precision: what the functions of hippo/ take and return.
#pragma once

#include <complex>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace rill::hippo {

using Vector = std::vector<double>;
using ComplexVector = std::vector<std::complex<double>>;

/// A dense matrix [rows, cols], row-major, a value (copying copies).
template <class T>
class BasicMatrix {
 public:
  BasicMatrix() = default;
  BasicMatrix(std::int64_t rows, std::int64_t cols, T value = T{})
      : rows_(rows), cols_(cols), data_(static_cast<std::size_t>(rows * cols), value) {}

  static BasicMatrix identity(std::int64_t size) {
    BasicMatrix result(size, size);
    for (std::int64_t i = 0; i < size; ++i) result(i, i) = T{1};
    return result;
  }
  static BasicMatrix diagonal(std::span<const T> entries) {
    const auto size = static_cast<std::int64_t>(entries.size());
    BasicMatrix result(size, size);
    for (std::int64_t i = 0; i < size; ++i) result(i, i) = entries[static_cast<std::size_t>(i)];
    return result;
  }

  std::int64_t rows() const noexcept { return rows_; }
  std::int64_t cols() const noexcept { return cols_; }
  T& operator()(std::int64_t i, std::int64_t j) noexcept { return data_[index(i, j)]; }
  const T& operator()(std::int64_t i, std::int64_t j) const noexcept { return data_[index(i, j)]; }
  std::span<T> row(std::int64_t i) noexcept { return {data_.data() + index(i, 0), width()}; }
  std::span<const T> row(std::int64_t i) const noexcept {
    return {data_.data() + index(i, 0), width()};
  }
  std::span<T> data() noexcept { return data_; }
  std::span<const T> data() const noexcept { return data_; }

  friend bool operator==(const BasicMatrix&, const BasicMatrix&) = default;

 private:
  std::size_t index(std::int64_t i, std::int64_t j) const noexcept {
    return static_cast<std::size_t>(i * cols_ + j);
  }
  std::size_t width() const noexcept { return static_cast<std::size_t>(cols_); }

  std::int64_t rows_ = 0;
  std::int64_t cols_ = 0;
  std::vector<T> data_;
};

using Matrix = BasicMatrix<double>;
using ComplexMatrix = BasicMatrix<std::complex<double>>;

/// Product a [m, k] times b [k, n] -> [m, n]. Throws Error (kShape) where the inner sizes differ.
Matrix multiply(const Matrix& a, const Matrix& b);
ComplexMatrix multiply(const ComplexMatrix& a, const ComplexMatrix& b);

/// Product a [m, k] times x [k] -> [m]. Throws Error (kShape) where the sizes differ.
Vector multiply(const Matrix& a, std::span<const double> x);
ComplexVector multiply(const ComplexMatrix& a, std::span<const std::complex<double>> x);

/// The transpose of a [m, n] -> [n, m]; of a complex matrix the conjugate transpose.
Matrix transpose(const Matrix& a);
ComplexMatrix adjoint(const ComplexMatrix& a);

}  // namespace rill::hippo
