// Private: helpers of CPU kernels for walking the rows of a sequence.
#pragma once

#include <algorithm>
#include <cstdint>

#include <rill/core/sequence.h>

namespace rill {

/// Writes zeros at tokens that belong to no row (rows ascend in start). `width`: elements a token.
template <class T>
void zero_outside(const SeqArgs& sequence, T* out, std::int64_t width) {
  if (!sequence.padded || !out) return;
  std::int64_t end = 0;
  for (std::int64_t r = 0; r < sequence.rows; ++r) {
    std::fill(out + end * width, out + sequence.start[r] * width, T(0));
    end = sequence.start[r] + sequence.length[r];
  }
  std::fill(out + end * width, out + sequence.tokens * width, T(0));
}

/// True where a fresh state comes before token t.
inline bool is_reset(const SeqArgs& sequence, std::int64_t t) {
  return sequence.reset != nullptr && sequence.reset[t] != 0;
}

/// The tokens of a row in the order of a scan, and where a fresh state comes between them.
struct RowWalk {
  std::int64_t start, length;
  bool reverse;
  const std::uint8_t* reset;

  RowWalk(const SeqArgs& sequence, std::int64_t row, bool backwards)
      : start(sequence.start[row]),
        length(sequence.length[row]),
        reverse(backwards),
        reset(sequence.reset) {}
  std::int64_t token(std::int64_t i) const { return reverse ? start + length - 1 - i : start + i; }
  /// A fresh state comes before the i-th token of the walk. From the right the cut is that on the
  /// token's right side; the last one of a row belongs to its right neighbour, whose carry out it
  /// has cut already.
  bool fresh(std::int64_t i) const {
    if (!reset) return false;
    return reverse ? i > 0 && reset[token(i) + 1] != 0 : reset[token(i)] != 0;
  }
  /// The walk's carry out is cut: a reverse walk whose first token has a reset before it.
  bool cut_out() const { return reverse && reset && length > 0 && reset[start] != 0; }
};

}  // namespace rill
