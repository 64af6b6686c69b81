// The selective scan on vectors of float, forward (selective_lanes-inl.h has the recurrence). A
// task is one row and one tile of channels; it walks time in blocks, each vector of channels
// through a block in turn.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "rill/scan/cpu/selective_simd.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <rill/scan/cpu/selective_lanes-inl.h>

#include <algorithm>

HWY_BEFORE_NAMESPACE();
namespace rill {
namespace HWY_NAMESPACE {
namespace selective {

// The most channels of a tile: rows of 2 KiB, long enough for the hardware's own look-ahead.
constexpr std::int64_t kLargestTile = 512;
using Blocks = TileBlocks<kLargestTile>;

// Channels of a tile: as many as leave every thread three tasks. No result depends on it.
std::int64_t TileOf(const SelectiveScanArgs& args, const KernelContext& context) {
  const std::int64_t tasks = context.pool ? 3 * (context.pool->threads() - 1) + 1 : 1;
  std::int64_t tile = kLargestTile;
  while (tile > 64 && args.sequence.rows * ((args.channels + tile - 1) / tile) < tasks) tile /= 2;
  return tile;
}

// y = sums, gated.
HWY_INLINE void Write(D d, const View& in, const Blocks& blocks, std::int64_t t, std::int64_t steps,
                      std::int64_t first, std::int64_t count, float* HWY_RESTRICT y) {
  for (std::int64_t i = 0; i < steps; ++i) {
    const std::int64_t row = (t + i) * in.channels + first;
    for (std::int64_t c = 0; c < count; c += kLanes) {
      V sum = hn::Load(d, blocks.y + c * kSteps + i * kLanes);
      if (in.z) sum = hn::Mul(sum, Silu(d, LoadN(d, in.z + row + c, count - c)));
      StoreN(d, sum, y + row + c, count - c);
    }
  }
}

void ScanTile(const SelectiveScanArgs& args, std::int64_t row, std::int64_t first,
              std::int64_t count) {
  const D d;
  const View in(args);
  const std::int64_t start = args.sequence.start[row], length = args.sequence.length[row];
  const std::int64_t size = in.channels * in.states;
  float* h = static_cast<float*>(args.work) + row * size + first;
  StatesFirst(static_cast<const float*>(args.initial) + row * size + first * in.states, h, count,
              in.states, in.channels);
  float* keep = nullptr;
  if (args.checkpoints)
    keep = static_cast<float*>(args.checkpoints) + selective_checkpoint(args.sequence, row) * size +
           first;
  Blocks blocks;
  for (std::int64_t i = 0; i < length; i += kSteps) {
    for (std::int64_t n = 0; keep && n < in.states; ++n)
      std::copy_n(h + n * in.channels, count, keep + n * in.channels);
    if (keep) keep += size;
    const std::int64_t t = start + i, steps = std::min(kSteps, length - i);
    blocks.Prepare(d, in, t, steps, first, count);
    for (std::int64_t c = 0; c < count; c += kLanes)
      Run(d, in, blocks.At(d, in, t, steps, first, count, c), h + c, in.channels, KeepNone());
    Write(d, in, blocks, t, steps, first, count, static_cast<float*>(args.y));
  }
  ChannelsFirst(h, static_cast<float*>(args.final_state) + row * size + first * in.states, count,
                in.states, in.channels);
}

}  // namespace selective

void SelectivePrepare(const SelectivePrepareArgs& args, const KernelContext&) {
  const selective::D d;
  const float* a_log = static_cast<const float*>(args.a_log);
  float* a = static_cast<float*>(args.a);
  selective::StatesFirst(a_log, a, args.channels, args.states, args.channels);
  const std::int64_t size = args.channels * args.states;
  for (std::int64_t i = 0; i < size; i += selective::kLanes) {
    const auto exponential = Exp(d, LoadN(d, a + i, size - i));
    StoreN(d, hn::Mul(hn::Set(d, -1.44269504f), exponential), a + i, size - i);
  }
}

void SelectiveScan(const SelectiveScanArgs& args, const KernelContext& context) {
  zero_outside(args.sequence, static_cast<float*>(args.y), args.channels);
  const std::int64_t tile = selective::TileOf(args, context);
  const std::int64_t tiles = (args.channels + tile - 1) / tile;
  context.parallel_for(args.sequence.rows * tiles, [&](std::int64_t task) {
    const std::int64_t first = task % tiles * tile;
    selective::ScanTile(args, task / tiles, first, std::min(tile, args.channels - first));
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace rill
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <rill/scan/cpu/families.h>
#include <rill/scan/cpu/selective_plain-inl.h>

namespace rill {
HWY_EXPORT(SelectivePrepare);
HWY_EXPORT(SelectiveScan);

void fill_selective_scan(ScanKernels& f32, ScanKernels& f64) {
  f32.selective_prepare = [](const SelectivePrepareArgs& args, const KernelContext& context) {
    HWY_DYNAMIC_DISPATCH(SelectivePrepare)(args, context);
  };
  f32.selective_scan = [](const SelectiveScanArgs& args, const KernelContext& context) {
    HWY_DYNAMIC_DISPATCH(SelectiveScan)(args, context);
  };
  f64.selective_prepare = plain::selective_prepare<double>;
  f64.selective_scan = plain::selective_scan<double>;
  f64.selective_scan_backward = plain::selective_scan_backward<double>;
}

}  // namespace rill
#endif  // HWY_ONCE
