// y[m, n] (+)= sum_k x[m, k] W[n, k] + bias[n] for any strides of x and W. Few rows (decoding): a
// warp an output column, lanes over k, so that every weight is read once, in order. Otherwise tiles
// of kTile x kTile outputs through shared memory. Sums are in Compute<S>, in a fixed order that
// depends on sizes alone. Large products of one type are a library's (blas.h).
#include <rill/core/cuda/blas.h>
#include <rill/core/cuda/launch.h>

#include <type_traits>

namespace rill {
namespace {

constexpr int kThreads = 256;
constexpr int kFewRows = 8;
constexpr int kTile = 64, kDepth = 16;
constexpr int kEdge = kTile / 16;  // a thread's outputs: kEdge x kEdge

template <class S, class W>
RILL_KERNEL(kThreads)
void few_rows_kernel(LinearArgs p) {
  using C = Compute<S>;
  const std::int64_t columns_a_block = kThreads / kWarpSize;
  for (std::int64_t n = block_index() * columns_a_block + warp_index(); n < p.n;
       n += block_count() * columns_a_block) {
    C sum[kFewRows] = {};
    for (std::int64_t k = lane_index(); k < p.k; k += kWarpSize) {
      const C w = static_cast<C>(load<W>(p.packed, n * p.weight_row + k * p.weight_col));
      RILL_UNROLL
      for (int m = 0; m < kFewRows; ++m)
        if (m < p.m) sum[m] += load<S>(p.x, m * p.x_row + k * p.x_col) * w;
    }
    RILL_UNROLL
    for (int m = 0; m < kFewRows; ++m) {
      if (m >= p.m) break;
      C total = warp_sum(sum[m]);
      if (lane_index() != 0) continue;
      const std::int64_t at = m * p.y_row + n;
      if (p.accumulate) total += load<S>(p.y, at);
      if (p.bias) total += load<S>(p.bias, n);
      store<S>(p.y, at, total);
    }
  }
}

// Block (x, y): outputs [64 y, 64 y + 64) x [64 x, 64 x + 64); threads 16 x 16.
template <class S, class W>
RILL_KERNEL(kThreads)
void tile_kernel(LinearArgs p) {
  using C = Compute<S>;
  RILL_SHARED(C, x_tile, kDepth * kTile);  // [k, m]
  RILL_SHARED(C, w_tile, kDepth * kTile);  // [k, n]
  const int row = thread_index() / 16, column = thread_index() % 16;
  const std::int64_t n0 = block_index() * kTile;
  for (std::int64_t m0 = block_index_y() * kTile; m0 < p.m; m0 += 65535 * kTile) {
    C sum[kEdge][kEdge] = {};
    for (std::int64_t k0 = 0; k0 < p.k; k0 += kDepth) {
      for (int i = thread_index(); i < kDepth * kTile; i += kThreads) {
        // Neighbouring threads read neighbouring addresses of whichever axis is contiguous.
        const int km = p.x_col == 1 ? i % kDepth : i / kTile,
                  m = p.x_col == 1 ? i / kDepth : i % kTile;
        const int kn = p.weight_col == 1 ? i % kDepth : i / kTile;
        const int n = p.weight_col == 1 ? i / kDepth : i % kTile;
        x_tile[km * kTile + m] = m0 + m < p.m && k0 + km < p.k
                                     ? load<S>(p.x, (m0 + m) * p.x_row + (k0 + km) * p.x_col)
                                     : C(0);
        w_tile[kn * kTile + n] =
            n0 + n < p.n && k0 + kn < p.k
                ? static_cast<C>(
                      load<W>(p.packed, (n0 + n) * p.weight_row + (k0 + kn) * p.weight_col))
                : C(0);
      }
      block_sync();
      for (int k = 0; k < kDepth; ++k) {
        C x[kEdge], w[kEdge];
        RILL_UNROLL
        for (int e = 0; e < kEdge; ++e) {
          x[e] = x_tile[k * kTile + row + e * 16];
          w[e] = w_tile[k * kTile + column + e * 16];
        }
        RILL_UNROLL
        for (int i = 0; i < kEdge; ++i) RILL_UNROLL
        for (int j = 0; j < kEdge; ++j) sum[i][j] = fused_multiply_add(x[i], w[j], sum[i][j]);
      }
      block_sync();
    }
    for (int i = 0; i < kEdge; ++i)
      for (int j = 0; j < kEdge; ++j) {
        const std::int64_t m = m0 + row + i * 16, n = n0 + column + j * 16;
        if (m >= p.m || n >= p.n) continue;
        C total = sum[i][j];
        if (p.accumulate) total += load<S>(p.y, m * p.y_row + n);
        if (p.bias) total += load<S>(p.bias, n);
        store<S>(p.y, m * p.y_row + n, total);
      }
  }
}

template <class S>
constexpr DType dtype_of() {
  if (sizeof(S) == 8) return DType::kFloat64;
  if (sizeof(S) == 4) return DType::kFloat32;
  return std::is_same_v<S, BFloat16> ? DType::kBFloat16 : DType::kFloat16;
}

/// y^T = W x^T, each array seen column by column. False where an array has no leading dimension.
template <class S>
bool as_matrix_product(const LinearArgs& p, MatrixProduct& product) {
  product = {.a = p.packed,
             .b = p.x,
             .bias = p.bias,
             .d = p.y,
             .m = p.n,
             .n = p.m,
             .k = p.k,
             .lda = p.weight_col == 1 ? p.weight_row : p.weight_col,
             .ldb = p.x_col == 1 ? p.x_row : p.x_col,
             .ldd = p.y_row,
             .transpose_a = p.weight_col == 1,
             .transpose_b = p.x_col != 1,
             .accumulate = p.accumulate != 0,
             .input = dtype_of<S>(),
             .output = dtype_of<S>()};
  return (p.weight_col == 1 || p.weight_row == 1) && (p.x_col == 1 || p.x_row == 1) &&
         product.lda >= (product.transpose_a ? p.k : p.n) &&
         product.ldb >= (product.transpose_b ? p.m : p.k) && product.ldd >= p.n;
}

template <class S, class W>
DeviceStatus launch_typed(const LinearArgs& p, const DeviceLaunch& on) {
  if constexpr (std::is_same_v<S, W>) {
    MatrixProduct product;
    if (p.k > 0 && prefers_library(p.m, p.n, p.k) && as_matrix_product<S>(p, product)) {
      const DeviceStatus status = matrix_product(product, on);
      if (status != kNoProductLibrary) return status;
    }
  }
  if (p.m <= kFewRows)
    return RILL_LAUNCH((few_rows_kernel<S, W>), grid_for(p.n, kThreads / kWarpSize), kThreads, 0,
                       on.stream, p);
  const std::int64_t rows = (p.m + kTile - 1) / kTile;
  return RILL_LAUNCH((tile_kernel<S, W>),
                     (Grid{(p.n + kTile - 1) / kTile, rows > 65535 ? 65535 : rows, 1}), kThreads, 0,
                     on.stream, p);
}

}  // namespace

template <class S>
DeviceStatus launch_linear(const LinearArgs& p, const DeviceLaunch& on) {
  if (p.m * p.n == 0) return 0;
  switch (static_cast<DType>(p.weight_dtype)) {
    case DType::kBFloat16:
      return launch_typed<S, BFloat16>(p, on);
    case DType::kFloat16:
      return launch_typed<S, Half>(p, on);
    default:
      return launch_typed<S, S>(p, on);
  }
}

RILL_INSTANTIATE(launch_linear, LinearArgs)

}  // namespace rill
