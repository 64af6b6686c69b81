// A block's product with a matrix that does not change from step to step: sums[g][n] = sum_k M[k, g
// N + n] x[k], n over N columns, g over kCols of them that belong together (the gates of a unit).
//
// Threads: kThreads = parts x columns. Thread (part, n) takes the keys k of its part, neighbours in
// n beside each other, so that loads coalesce. The first kHeld of its keys' weights stay in its
// registers for the whole call, the next `shared` in shared memory, each thread's own; the rest is
// read through L2 every step. Where there are more columns than threads (no parts), threads take
// several columns in turn and hold nothing. Parts are added in their order.
#pragma once

#include <rill/core/cuda/device.h>

namespace rill {

constexpr int kCellThreads = 512;

/// How the product is divided; a function of sizes alone.
struct MatrixSplit {
  std::int64_t keys = 0, columns = 0;
  int tile = 0;   // columns at once: a multiple of 32, or kCellThreads
  int parts = 1;  // of the keys
  int keys_a_part = 0;
  int shared_keys = 0;  // of a part, in shared memory
};

/// Length of the vector that is multiplied: its end is read up to whole parts.
inline std::int64_t padded_keys(const MatrixSplit& split, int held) {
  return std::int64_t{split.parts} * split.keys_a_part + held;
}

inline MatrixSplit split_matrix(std::int64_t keys, std::int64_t columns) {
  MatrixSplit split;
  split.keys = keys;
  split.columns = columns;
  const std::int64_t whole = (columns + kWarpSize - 1) / kWarpSize * kWarpSize;
  split.tile = static_cast<int>(whole < kCellThreads ? whole : kCellThreads);
  split.parts = kCellThreads / split.tile;
  split.keys_a_part = static_cast<int>((keys + split.parts - 1) / split.parts);
  return split;
}
/// Gives the weights behind the first `held` of each part as much of `room` bytes of shared memory
/// as they need; returns the bytes.
inline std::size_t place_in_shared(MatrixSplit& split, int held, int columns_a_key,
                                   std::size_t element_bytes, std::size_t room) {
  if (split.columns > split.tile || held == 0) return 0;
  const std::size_t a_key = static_cast<std::size_t>(columns_a_key) * kCellThreads * element_bytes;
  const std::size_t wanted =
      split.keys_a_part > held ? static_cast<std::size_t>(split.keys_a_part - held) : 0;
  const std::size_t fit = room / a_key;
  split.shared_keys = static_cast<int>(wanted < fit ? wanted : fit);
  return static_cast<std::size_t>(split.shared_keys) * a_key;
}

template <class S, int kCols, int kHeld>
struct HeldMatrix {
  using C = Compute<S>;
  const void* matrix;  // [keys, kCols * columns]
  MatrixSplit split;
  Shared<C> kept;  // [shared_keys, kCols, kCellThreads]
  C held[kHeld > 0 ? kHeld : 1][kCols];

  RILL_DEVICE int part() const { return thread_index() / split.tile; }
  RILL_DEVICE int column() const { return thread_index() % split.tile; }
  RILL_DEVICE std::int64_t first_key() const {
    return static_cast<std::int64_t>(part()) * split.keys_a_part;
  }
  /// Keys of this thread: fewer than keys_a_part in the last parts.
  RILL_DEVICE int key_count() const {
    const std::int64_t left = split.keys - first_key();
    if (part() >= split.parts || left < 0) return 0;
    return static_cast<int>(left < split.keys_a_part ? left : split.keys_a_part);
  }
  RILL_DEVICE C weight(std::int64_t key, int g, std::int64_t n) const {
    return load<S>(matrix, (key * kCols + g) * split.columns + n);
  }

  /// Reads what stays on the chip.
  RILL_DEVICE void hold() {
    const bool mine = column() < split.columns;
    const int count = mine ? key_count() : 0;
    const std::int64_t first = first_key();
    RILL_UNROLL
    for (int k = 0; k < kHeld; ++k) RILL_UNROLL
    for (int g = 0; g < kCols; ++g) held[k][g] = k < count ? weight(first + k, g, column()) : C(0);
    for (int k = 0; k < split.shared_keys; ++k)
      for (int g = 0; g < kCols; ++g)
        kept[(k * kCols + g) * kCellThreads + thread_index()] =
            kHeld + k < count ? weight(first + kHeld + k, g, column()) : C(0);
  }

  /// sums[g] += this thread's keys' part for column n; n = column() where anything is held. x is
  /// padded_keys() long, zeros behind `keys`.
  RILL_DEVICE void add(std::int64_t n, Shared<C> x, C (&sums)[kCols]) const {
    if (n >= split.columns) return;
    const int count = key_count();
    const std::int64_t first = first_key();
    RILL_UNROLL
    for (int k = 0; k < kHeld; ++k) {
      const C x_k = x[first + k];
      RILL_UNROLL
      for (int g = 0; g < kCols; ++g) sums[g] = fused_multiply_add(held[k][g], x_k, sums[g]);
    }
    const int last_shared = kHeld + split.shared_keys;
    for (int k = kHeld; k < last_shared && k < count; ++k) {
      const C x_k = x[first + k];
      RILL_UNROLL
      for (int g = 0; g < kCols; ++g)
        sums[g] = fused_multiply_add(
            static_cast<C>(kept[((k - kHeld) * kCols + g) * kCellThreads + thread_index()]), x_k,
            sums[g]);
    }
    for (int k = last_shared; k < count; ++k) {
      const C x_k = x[first + k];
      RILL_UNROLL
      for (int g = 0; g < kCols; ++g)
        sums[g] = fused_multiply_add(weight(first + k, g, n), x_k, sums[g]);
    }
  }
};

}  // namespace rill
