// Private: what the kernels with matrix states share besides arithmetic.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include <rill/core/kernel.h>
#include <rill/scan/matrix_kernels.h>

namespace rill::matrix {

/// Calls clear(first, last) for the tokens behind row `row` that belong to no row.
template <class Clear>
inline void for_padding(const SeqArgs& s, std::int64_t row, const Clear& clear) {
  if (!s.padded) return;
  const std::int64_t first = s.start[row] + s.length[row];
  const std::int64_t last = row + 1 < s.rows ? s.start[row + 1] : s.tokens;
  if (first < last) clear(first, last);
}

/// Zeroes columns [column, column + count) of the tokens behind row `row` that belong to no row.
template <class T>
inline void clear_padding(const SeqArgs& s, std::int64_t row, void* array, std::int64_t channels,
                          std::int64_t column, std::int64_t count) {
  if (!array) return;
  for_padding(s, row, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t t = first; t < last; ++t)
      std::memset(static_cast<T*>(array) + t * channels + column, 0,
                  static_cast<std::size_t>(count) * sizeof(T));
  });
}

inline bool fresh_before(const SeqArgs& s, std::int64_t token) { return s.reset && s.reset[token]; }

/// How many value channels one task takes: whole heads, or parts of them where heads are few. It
/// depends on sizes alone; columns of the state are independent, so it touches no bits.
inline std::int64_t value_tile(std::int64_t rows, std::int64_t heads, std::int64_t values) {
  std::int64_t tile = 128;
  while (tile > 32 && rows * heads * ((values + tile - 1) / tile) < 8) tile /= 2;
  return tile;
}

/// Runs `task(i, lane)` for i in [0, count) on `lanes` lanes that each own a part of the scratch.
template <class Task>
inline void for_lanes(const KernelContext& context, std::int64_t count, std::int64_t lanes,
                      const Task& task) {
  context.parallel_for(lanes, [&](std::int64_t lane) {
    for (std::int64_t i = lane; i < count; i += lanes) task(i, lane);
  });
}

/// The factor a_t of LinearAttentionArgs.
template <class T>
struct Decay {
  const T* base = nullptr;
  std::int64_t token = 0, key = 0;

  Decay(const LinearAttentionArgs& a, std::int64_t head)
      : base(static_cast<const T*>(a.decay)), token(a.decay_token), key(a.decay_key) {
    if (base) base += head * a.decay_head;
  }
  const T* at(std::int64_t t) const { return base + t * token; }
};

}  // namespace rill::matrix
