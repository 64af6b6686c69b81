// Device code's view of the rows of a sequence (core/seq_args.h).
#pragma once

#include <rill/core/cuda/launch.h>
#include <rill/core/cuda/rows.h>
#include <rill/core/seq_args.h>

namespace rill {

/// True where a fresh state comes before token t.
RILL_DEVICE bool reset_before(const SeqArgs& sequence, std::int64_t t) {
  return fresh_at(sequence, t);
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

/// y [tokens, width] becomes 0 behind each row, where tokens belong to none. Grid: y rows.
template <class S>
RILL_KERNEL(256)
void gaps_kernel(SeqArgs sequence, void* y, std::int64_t width) {
  for (std::int64_t row = block_index_y(); row < sequence.rows; row += 65535) {
    const TokenRange gap = padding_behind(sequence, row);
    const std::int64_t count = (gap.last - gap.first) * width;
    for (std::int64_t i = grid_thread(); i < count; i += grid_threads())
      store<S>(y, gap.first * width + i, Compute<S>(0));
  }
}
template <class S>
DeviceStatus zero_gaps(const SeqArgs& sequence, void* y, std::int64_t width,
                       const DeviceLaunch& on) {
  if (!sequence.padded || !y || sequence.rows == 0 || width == 0) return 0;
  Grid grid = grid_for(sequence.tokens * width / sequence.rows, 256);
  grid.y = sequence.rows > 65535 ? 65535 : sequence.rows;
  return RILL_LAUNCH(gaps_kernel<S>, grid, 256, 0, on.stream, sequence, y, width);
}

}  // namespace rill
