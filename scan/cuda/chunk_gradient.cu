// A chunk a block; where the decay is a key's, 64 keys of one.
#include <rill/scan/cuda/chunk_gradient.h>

namespace rill {
namespace {

template <class S, bool kPerKey>
RILL_KERNEL(kTileThreads, 2)
void chunk_gradient_kernel(ChunkGradientArgs p) {
  RILL_SHARED(S, pairs_memory, kTileSize);
  RILL_SHARED(S, left_memory, kTileSize);
  RILL_SHARED(S, right_memory, kTileSize);
  RILL_DYNAMIC_SHARED(float, floats);
  const std::int64_t task = p.window.first_task + block_index() / p.window.chunks;
  const std::int64_t place = block_index() % p.window.chunks;
  const std::int64_t row = task / p.heads, head = task % p.heads, keys = p.key.width;
  if (p.window.first_chunk + place == 0 && block_index_y() == 0) {
    const std::int64_t width = kPerKey ? keys : 1;
    clear_behind<S>(p.sequence, row, p.dq, p.heads * keys, head * keys, keys);
    clear_behind<S>(p.sequence, row, p.dk, p.heads * keys, head * keys, keys);
    clear_behind<float>(p.sequence, row, p.dlog_decay, p.heads * width, head * width, width);
  }
  const ChunkRows rows = ChunkRows::of(p.sequence, p.window, p.heads, task, place, false);
  if (rows.count == 0) return;
  const std::int64_t size = keys * p.value.width;
  const ChunkGradient<S, kPerKey> gradient{
      p,
      Shared<S>(pairs_memory),
      Shared<S>(left_memory),
      Shared<S>(right_memory),
      Shared<float>(floats),
      rows,
      chunk_state(p.states, p.sequence, p.window, task, p.heads, place, size),
      chunk_state(p.dstates, p.sequence, p.window, task, p.heads, place, size)};
  gradient.run();
}

template <class S, bool kPerKey>
DeviceStatus launch_gradient(const ChunkGradientArgs& p, const DeviceLaunch& on) {
  using Floats = GradientFloats<kPerKey>;
  const Grid grid{p.window.tasks * p.window.chunks, kPerKey ? chunk_slices(p.key.width) : 1, 1};
  const std::size_t bytes =
      sizeof(float) * static_cast<std::size_t>(p.dlog_decay ? Floats::kAll : Floats::kWithoutDecay);
  return RILL_LAUNCH((chunk_gradient_kernel<S, kPerKey>), grid, kTileThreads, bytes, on.stream, p);
}

}  // namespace

template <DType kType>
DeviceStatus launch_chunk_gradient(const ChunkGradientArgs& p, const DeviceLaunch& on) {
  using S = ChunkType<kType>;
  return p.decay.key ? launch_gradient<S, true>(p, on) : launch_gradient<S, false>(p, on);
}

RILL_INSTANTIATE_CHUNKED(launch_chunk_gradient, ChunkGradientArgs)

}  // namespace rill
