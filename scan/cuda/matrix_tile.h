// What the kernels share whose state is a matrix S [K, V] a row and head.
//
// A warp holds kColumns value channels of S in registers: lane l has keys l, l + 32, ..., kKeys of
// them. Then sums over values (dq, dk) meet no shuffle inside a warp, and the sums over keys of all
// the columns take 2 log2(32) - log2(kColumns) shuffles a step at most (sum_columns). A warp's row
// of a state in memory is a whole 32-byte sector where there are 8 columns. Keys and values past
// the end are zeros: neither changes a sum.
#pragma once

#include <rill/core/cuda/rows.h>
#include <rill/scan/matrix_kernels.h>

namespace rill {

/// Largest K of the kernels in this room: 32 lanes of 32 keys.
constexpr std::int64_t kMaxDeviceKeys = 1024;
/// cudaErrorInvalidValue.
constexpr DeviceStatus kInvalidValue = 1;

/// Rows of `width` numbers from memory, `stride` apart, to shared memory, `padded` apart and filled
/// up with zeros; all threads of the block take part. Null gives `otherwise`.
template <class S>
RILL_DEVICE void stage_rows(Shared<Compute<S>> to, int padded, const void* from, std::int64_t first,
                            std::int64_t stride, std::int64_t width, int rows,
                            Compute<S> otherwise = Compute<S>(0)) {
  using C = Compute<S>;
  for (int i = thread_index(); i < rows * padded; i += block_threads()) {
    const int r = i / padded, c = i % padded;
    to[i] = c >= width ? C(0) : from ? load<S>(from, first + r * stride + c) : otherwise;
  }
}

/// One warp's columns of a state.
template <class C, int kKeys, int kColumns>
struct MatrixTile {
  C s[kKeys][kColumns];

  RILL_DEVICE void clear() {
    RILL_UNROLL
    for (int e = 0; e < kKeys; ++e) RILL_UNROLL
    for (int j = 0; j < kColumns; ++j) s[e][j] = C(0);
  }
  /// From [keys, values] at `from`; `column` is the warp's first.
  RILL_DEVICE void read(const C* from, std::int64_t keys, std::int64_t values,
                        std::int64_t column) {
    RILL_UNROLL
    for (int e = 0; e < kKeys; ++e) {
      const std::int64_t i = lane_index() + e * kWarpSize;
      RILL_UNROLL
      for (int j = 0; j < kColumns; ++j)
        s[e][j] = i < keys && column + j < values ? from[i * values + column + j] : C(0);
    }
  }
  RILL_DEVICE void write(C* to, std::int64_t keys, std::int64_t values, std::int64_t column) const {
    RILL_UNROLL
    for (int e = 0; e < kKeys; ++e) {
      const std::int64_t i = lane_index() + e * kWarpSize;
      RILL_UNROLL
      for (int j = 0; j < kColumns; ++j)
        if (i < keys && column + j < values) to[i * values + column + j] = s[e][j];
    }
  }
};

/// Sums every x[j] over the 32 lanes in a fixed order; lane l gets that of column owned_column(l).
/// x is used up.
template <int kColumns, class C>
RILL_DEVICE C sum_columns(C (&x)[kColumns]) {
  int mask = kWarpSize / 2;
  RILL_UNROLL
  for (int half = kColumns / 2; half > 0; half /= 2) {
    const bool upper = (lane_index() & mask) != 0;
    RILL_UNROLL
    for (int j = 0; j < half; ++j) {
      const C sent = upper ? x[j] : x[j + half];
      const C kept = upper ? x[j + half] : x[j];
      x[j] = kept + shuffle_xor(sent, mask);
    }
    mask /= 2;
  }
  for (; mask > 0; mask /= 2) x[0] += shuffle_xor(x[0], mask);
  return x[0];
}
template <int kColumns>
RILL_DEVICE int owned_column(int lane) {
  return lane / (kWarpSize / kColumns);
}
/// True for the one lane that writes its column.
template <int kColumns>
RILL_DEVICE bool writes_column() {
  return lane_index() % (kWarpSize / kColumns) == 0;
}
/// The column sums of sum_columns to every lane.
template <int kColumns, class C>
RILL_DEVICE void share_columns(C mine, C (&x)[kColumns]) {
  RILL_UNROLL
  for (int j = 0; j < kColumns; ++j) x[j] = shuffle(mine, j * (kWarpSize / kColumns));
}
/// Sum of a number that each column's lanes hold over the warp's columns.
template <int kColumns, class C>
RILL_DEVICE C sum_over_columns(C value) {
  for (int mask = kWarpSize / 2; mask >= kWarpSize / kColumns; mask /= 2)
    value += shuffle_xor(value, mask);
  return value;
}

/// Sizes of a kernel for K <= 32 kKeys. Forward: at most 64 numbers of a state a thread, and 24 KB
/// of shared memory for the steps that are staged at once; their number divides kMatrixChunk.
template <int kKeys>
struct ForwardShape {
  static constexpr int kPadded = kKeys * kWarpSize;
  static constexpr int kColumns = kKeys <= 8 ? 8 : 64 / kKeys;
  static constexpr int kWarps = 4;
  static constexpr int kThreads = kWarps * kWarpSize;
  static constexpr int kBlockColumns = kWarps * kColumns;
  static constexpr int kSteps = kKeys <= 4 ? 16 : 64 / kKeys;
};
/// Backward: state and gradient are both held. kGroup steps' sums over values meet in shared memory
/// at once.
template <int kKeys>
struct BackwardShape {
  static constexpr int kPadded = kKeys * kWarpSize;
  static constexpr int kColumns = kKeys <= 4 ? 8 : 32 / kKeys;
  static constexpr int kWarps = kKeys <= 8 ? 8 : 64 / kKeys;
  static constexpr int kThreads = kWarps * kWarpSize;
  static constexpr int kBlockColumns = kWarps * kColumns;
  static constexpr int kGroup = kKeys <= 8 ? 8 / kKeys : 1;
  static constexpr int kSteps = kKeys <= 4 ? 16 : 64 / kKeys;  // staged to make states again
};

/// Calls launch.template run<kKeys>() for the smallest kKeys that holds `keys`.
template <class Launch>
DeviceStatus with_keys(std::int64_t keys, const Launch& launch) {
  if (keys <= 32) return launch.template run<1>();
  if (keys <= 64) return launch.template run<2>();
  if (keys <= 128) return launch.template run<4>();
  if (keys <= 256) return launch.template run<8>();
  if (keys <= 512) return launch.template run<16>();
  if (keys <= kMaxDeviceKeys) return launch.template run<32>();
  return kInvalidValue;
}

}  // namespace rill
