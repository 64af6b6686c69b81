// The states that chunks start from (chunk.h: ChunkStatesArgs). A block takes 64 by 64 numbers of a
// state, which depend on no others, through the window's chunks one after the other; each chunk is
// one product on the tensor cores, of keys and values rounded to S, added in float. This is the one
// pass that is sequential: everything else runs a chunk a block. It reads key and value once for
// 64 values or keys, and writes K V floats a chunk.
#include <rill/scan/cuda/chunk_tile.h>
#include <rill/scan/cuda/chunk_types.h>

namespace rill {
namespace {

template <class S, bool kPerKey>
RILL_KERNEL(kTileThreads, 2)
void chunk_states_kernel(ChunkStatesArgs p) {
  using Decay = DecayShape<kPerKey>;
  RILL_SHARED(S, key_memory, kTileSize);
  RILL_SHARED(S, value_memory, kTileSize);
  RILL_SHARED(float, h_memory, Decay::kSize);
  RILL_SHARED(float, total_memory, Decay::kWidth);
  RILL_SHARED(float, weight_memory, kTile);
  const Shared<S> keys(key_memory), values(value_memory);
  const Shared<float> h(h_memory), total(total_memory), weights(weight_memory);
  const std::int64_t task = p.window.first_task + block_index();
  const std::int64_t width = p.value.width, size = p.key.width * width;
  const std::int64_t slices = (width + kTile - 1) / kTile;
  const std::int64_t key = block_index_y() / slices * kTile;
  const std::int64_t column = block_index_y() % slices * kTile;
  RowTiles state;
  read_state(state, p.initial ? p.initial + task * size : nullptr, p.key.width, width, key, column);
  for (std::int64_t i = 0; i < p.window.chunks; ++i) {
    const std::int64_t place = p.reverse ? p.window.chunks - 1 - i : i;
    const ChunkRows rows =
        ChunkRows::of(p.sequence, p.window, p.heads, task, place, p.reverse != 0);
    if (rows.count == 0) continue;
    write_state(state, chunk_state(p.states, p.sequence, p.window, task, p.heads, place, size),
                p.key.width, width, key, column);
    block_sync();  // the chunk before is done with
    stage_weights(weights, p.weight, rows);
    stage_decays<kPerKey>(h, total, p.decay, p.sequence, rows, key);
    stage_tile<S>(values, p.value, rows, column);
    stage_tile<S>(keys, p.key, rows, key, [&](Eight<S>& eight, int r, int c) {
      scale_eight<S>(eight, r, c, [&](int t, int k) {
        const int d = kPerKey ? k : 0;
        return weights[t] * fast_exp2(total[d] - h[t * Decay::kStride + d]);
      });
    });
    block_sync();
    state.for_each([&](int r, int, float& x) { x *= fast_exp2(total[kPerKey ? r : 0]); });
    multiply_transposed<S>(state, keys, values);
  }
  write_state(state, p.last + task * size, p.key.width, width, key, column);
}

}  // namespace

template <DType kType>
DeviceStatus launch_chunk_states(const ChunkStatesArgs& p, const DeviceLaunch& on) {
  using S = ChunkType<kType>;
  const std::int64_t slices = chunk_slices(p.key.width) * chunk_slices(p.value.width);
  const Grid grid{p.window.tasks, slices, 1};
  if (p.decay.key)
    return RILL_LAUNCH((chunk_states_kernel<S, true>), grid, kTileThreads, 0, on.stream, p);
  return RILL_LAUNCH((chunk_states_kernel<S, false>), grid, kTileThreads, 0, on.stream, p);
}

RILL_INSTANTIATE_CHUNKED(launch_chunk_states, ChunkStatesArgs)

}  // namespace rill
