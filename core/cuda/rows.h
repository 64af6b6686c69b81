// What kernels over time share: resets, and tokens that belong to no row (core/seq_args.h).
#pragma once

#include <rill/core/cuda/device.h>
#include <rill/core/seq_args.h>

namespace rill {

RILL_DEVICE bool fresh_at(const SeqArgs& s, std::int64_t token) {
  return s.reset != nullptr && s.reset[token] != 0;
}

/// The tokens [first, last) behind row `row` that belong to no row.
struct TokenRange {
  std::int64_t first, last;
};
RILL_DEVICE TokenRange padding_behind(const SeqArgs& s, std::int64_t row) {
  if (!s.padded) return {0, 0};
  return {s.start[row] + s.length[row], row + 1 < s.rows ? s.start[row + 1] : s.tokens};
}

/// Zeroes columns [column, column + count) of `array` [tokens, channels] for the tokens behind a
/// row; all threads of the block take part. Null: nothing.
template <class S>
RILL_DEVICE void clear_behind(const SeqArgs& s, std::int64_t row, void* array,
                              std::int64_t channels, std::int64_t column, std::int64_t count) {
  if (!array || count <= 0) return;
  const TokenRange tokens = padding_behind(s, row);
  for (std::int64_t i = thread_index(); i < (tokens.last - tokens.first) * count;
       i += block_threads())
    store<S>(array, (tokens.first + i / count) * channels + column + i % count, Compute<S>(0));
}

}  // namespace rill
