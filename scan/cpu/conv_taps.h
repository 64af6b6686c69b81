// Private: which inputs the taps of a causal convolution see, for a row that walks forward in time.
#pragma once

#include <cstdint>

#include <rill/scan/cpu/rows.h>

namespace rill {

/// Inputs of one row: step j >= 0 is a token, j < 0 lies in the state; what lies before a reset is
/// zero.
class ConvRow {
 public:
  ConvRow(const SeqArgs& sequence, std::int64_t row, std::int64_t width)
      : sequence_(sequence),
        start_(sequence.start[row]),
        length_(sequence.length[row]),
        row_(row),
        width_(width) {}

  std::int64_t start() const { return start_; }
  std::int64_t length() const { return length_; }

  /// To be called for every step i in order, before source() of that step.
  void enter(std::int64_t i) {
    if (!is_reset(sequence_, start_ + i)) return;
    first_ = i;
    from_state_ = false;
  }
  /// Where input j of a token's `channels` numbers lies; null: zeros.
  template <class T>
  const T* source(const T* x, const T* state, std::int64_t channels, std::int64_t j) const {
    if (j >= first_) return x + (start_ + j) * channels;
    if (!from_state_ || j >= 0) return nullptr;
    return state + (row_ * (width_ - 1) + j + width_ - 1) * channels;
  }

 private:
  const SeqArgs& sequence_;
  std::int64_t start_, length_, row_, width_;
  std::int64_t first_ = 0;  // the step of the last reset
  bool from_state_ = true;  // no reset yet
};

}  // namespace rill
