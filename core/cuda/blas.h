// Private: the matrix products that core/cuda/linear.cu hands to a library: cuBLASLt (blas.cpp),
// and in the execution model plain loops with the same contract (model/blas.cpp).
#pragma once

#include <cstdint>

#include <rill/core/device_launch.h>
#include <rill/core/dtype.h>

namespace rill {

/// D (+)= op(A) op(B) + bias, all column by column (the element i, j of A is a[i + j lda]): op(A)
/// [m, k], op(B) [k, n], D [m, n], bias [m] for every column, or null. A and B are of one type, D
/// and bias of one; sums are float. Where the launch says tf32, float inputs may be rounded to
/// TF32. The result repeats bit for bit for the same sizes on the same card; an element's bits
/// depend on m and n, too (law 4 stands on Rill's own kernels).
struct MatrixProduct {
  const void *a = nullptr, *b = nullptr, *bias = nullptr;
  void* d = nullptr;
  std::int64_t m = 0, n = 0, k = 0;  // at least 1
  std::int64_t lda = 0, ldb = 0, ldd = 0;
  bool transpose_a = false, transpose_b = false, accumulate = false;
  DType input = DType::kFloat32, output = DType::kFloat32;
};

/// kNoProductLibrary where there is no library, or it has no way for such a product: nothing was
/// done then.
DeviceStatus matrix_product(const MatrixProduct& product, const DeviceLaunch& on);

/// Whether a product of so many rows, columns and terms goes to the library: a rule on sizes alone.
/// Few rows (decoding) and small products stay with Rill's own kernels, whose row's bits do not
/// depend on the other rows. The limits wait for a measurement on a card.
constexpr bool prefers_library(std::int64_t m, std::int64_t n, std::int64_t k) {
  constexpr std::int64_t kRows = 64, kTerms = std::int64_t{1} << 24;
  return m >= kRows && n >= kRows && m * n >= kTerms / k;
}

}  // namespace rill
