// Device code's view of the rows of a sequence (core/seq_args.h).
#pragma once

#include <rill/core/cuda/launch.h>
#include <rill/core/seq_args.h>

namespace rill {

/// True where a fresh state comes before token t.
RILL_DEVICE bool reset_before(const SeqArgs& sequence, std::int64_t t) {
  return sequence.reset != nullptr && sequence.reset[t] != 0;
}

/// The tokens of a row in the order of a scan, and where a fresh state comes between them (the
/// rules of scan/cpu/rows.h).
struct DeviceRow {
  std::int64_t start, length;
  bool reverse;
  const std::uint8_t* reset;

  RILL_DEVICE static DeviceRow of(const SeqArgs& sequence, std::int64_t row, bool reverse) {
    return {sequence.start[row], sequence.length[row], reverse, sequence.reset};
  }
  RILL_DEVICE std::int64_t token(std::int64_t i) const {
    return reverse ? start + length - 1 - i : start + i;
  }
  RILL_DEVICE bool fresh(std::int64_t i) const {
    if (!reset) return false;
    return reverse ? i > 0 && reset[token(i) + 1] != 0 : reset[token(i)] != 0;
  }
  RILL_DEVICE bool cut_out() const { return reverse && reset && length > 0 && reset[start] != 0; }
};

/// Where some tokens belong to no row, all of y [tokens, width] becomes 0; rows are written after.
template <class S>
DeviceStatus zero_gaps(const SeqArgs& sequence, void* y, std::int64_t width,
                       const DeviceLaunch& on) {
  return sequence.padded ? launch_zero<S>(y, sequence.tokens * width, on) : 0;
}

}  // namespace rill
