// The delta rule from chunk to chunk (chunk_delta.h): w and the states, or, against time, z and the
// state's gradient; the same steps in the same order, with other factors:
//   y = K state;   x_j = base_j scaled + factor_j y_j;   w = T x, or T^T x;
//   state = e^{total} state + K^T (coefficient w) [+ Q^T (scale e^H dout)].
// A block takes 64 values of a state through the window's chunks; the state stays in registers in
// float, rounded to S where it is multiplied. All K keys lie in one block: x is a sum over them.
#include <rill/scan/cuda/chunk_delta.h>

namespace rill {
namespace {

/// Tiles of S in dynamic shared memory: the state's, the keys', x, T.
template <int kKeys>
constexpr int kDeltaTiles = 2 * kKeys + 2;

template <class S, int kKeys, bool kReverse>
struct DeltaStates {
  const DeltaStatesArgs& p;
  Shared<S> tiles;
  Shared<float> h, total, beta;
  std::int64_t task, column;

  RILL_DEVICE Shared<S> state_tile(int k) const { return tiles + k * kTileSize; }
  RILL_DEVICE Shared<S> key_tile(int k) const { return tiles + (kKeys + k) * kTileSize; }
  RILL_DEVICE Shared<S> x_tile() const { return tiles + 2 * kKeys * kTileSize; }
  RILL_DEVICE Shared<S> t_tile() const { return tiles + (2 * kKeys + 1) * kTileSize; }

  RILL_DEVICE void read(RowTiles (&state)[kKeys], const float* from) const {
    RILL_UNROLL
    for (int k = 0; k < kKeys; ++k)
      read_state(state[k], from, p.key.width, p.base.width, k * kTile, column);
  }
  RILL_DEVICE void write(RowTiles (&state)[kKeys], float* to) const {
    RILL_UNROLL
    for (int k = 0; k < kKeys; ++k)
      write_state(state[k], to, p.key.width, p.base.width, k * kTile, column);
  }

  RILL_DEVICE void stage(RowTiles (&state)[kKeys], const ChunkRows& rows) const {
    block_sync();  // the chunk before is done with
    stage_beta<S>(beta, p.beta, rows);
    RILL_UNROLL
    for (int k = 0; k < kKeys; ++k)
      state[k].for_each(
          [&](int r, int c, float& x) { state_tile(k)[r * kTileStride + c] = from_compute<S>(x); });
    RILL_ROLL
    for (int k = 0; k < kKeys; ++k) stage_tile<S>(key_tile(k), p.key, rows, k * kTile);
    stage_tile<S>(x_tile(), p.base, rows, column);
    const S* const inverse = static_cast<const S*>(p.inverse) + rows.unit * kTile * kTile;
    for (int i = thread_index(); i < kTile * kTile / 8; i += kTileThreads)
      store_eight<S>(t_tile() + (i / 8 * kTileStride + i % 8 * 8),
                     load_vector<Eight<S>>(inverse + i * 8));
    stage_decays<false>(h, total, {}, p.sequence, rows, 0);  // ends at a barrier
  }

  // w of the warp's rows, which goes to `out`, and to the tile of x with its coefficient.
  RILL_DEVICE void make_written(const ChunkRows& rows) const {
    const Shared<S> x_rows = x_tile();
    RowTiles y;
    y.clear();
    RILL_ROLL
    for (int k = 0; k < kKeys; ++k) multiply_tiles<false>(y, key_tile(k), state_tile(k));
    y.for_each([&](int j, int c, float& x) {
      const float base = to_compute(S(x_rows[j * kTileStride + c]));
      x = kReverse ? fused_multiply_add(fast_exp2(total[0] - h[j]), x, base)
                   : beta[j] * (base - fast_exp2(h[j]) * x);
      x_rows[j * kTileStride + c] = from_compute<S>(x);
    });
    block_sync();
    RowTiles written;
    written.clear();
    if (kReverse)
      multiply_transposed<S>(written, t_tile(), x_rows);
    else
      multiply_tiles<false>(written, t_tile(), x_rows);
    store_rows<S>(written, p.out, rows, column);
    block_sync();
    written.for_each([&](int j, int c, float& x) {
      const float coefficient = kReverse ? -beta[j] * fast_exp2(h[j]) : fast_exp2(total[0] - h[j]);
      x_rows[j * kTileStride + c] = from_compute<S>(coefficient * x);
    });
    block_sync();
  }

  RILL_DEVICE void advance(RowTiles (&state)[kKeys], const ChunkRows& rows) const {
    RILL_UNROLL
    for (int k = 0; k < kKeys; ++k) {
      state[k].for_each([&](int, int, float& x) { x *= fast_exp2(total[0]); });
      multiply_transposed<S>(state[k], key_tile(k), x_tile());
    }
    if (!kReverse) return;
    block_sync();
    stage_tile<S>(t_tile(), p.dout, rows, column, [&](Eight<S>& eight, int r, int c) {
      scale_eight<S>(eight, r, c, [&](int i, int) { return p.scale * fast_exp2(h[i]); });
    });
    RILL_ROLL
    for (int k = 0; k < kKeys; ++k) stage_tile<S>(key_tile(k), p.query, rows, k * kTile);
    block_sync();
    RILL_UNROLL
    for (int k = 0; k < kKeys; ++k) multiply_transposed<S>(state[k], key_tile(k), t_tile());
  }

  RILL_DEVICE ChunkRows rows_of(std::int64_t chunk) const {
    return ChunkRows::of(p.sequence, p.window, p.heads, task, chunk, false);
  }
  RILL_DEVICE float* chunk_start(std::int64_t chunk) const {
    return chunk_state(p.states, p.sequence, p.window, task, p.heads, chunk,
                       p.key.width * p.base.width);
  }

  RILL_DEVICE void run() const {
    const std::int64_t size = p.key.width * p.base.width;
    RowTiles state[kKeys];
    read(state, p.initial ? p.initial + task * size : nullptr);
    for (std::int64_t i = 0; i < p.window.chunks; ++i) {
      const std::int64_t chunk = kReverse ? p.window.chunks - 1 - i : i;
      const ChunkRows rows = rows_of(chunk);
      if (rows.count == 0) continue;
      write(state, chunk_start(chunk));
      stage(state, rows);
      make_written(rows);
      advance(state, rows);
    }
    write(state, p.last + task * size);
  }
  RILL_DEVICE void run_apart(std::int64_t chunk) const {
    const ChunkRows rows = rows_of(chunk);
    if (rows.count == 0) return;
    RowTiles state[kKeys];
    read(state, chunk_start(chunk));
    stage(state, rows);
    make_written(rows);
  }
};

template <class S, int kKeys, bool kReverse>
RILL_KERNEL(kTileThreads, 1)
void delta_states_kernel(DeltaStatesArgs p) {
  RILL_DYNAMIC_SHARED(S, tiles);
  RILL_SHARED(float, h, kTile);
  RILL_SHARED(float, total, 1);
  RILL_SHARED(float, beta, kTile);
  const std::int64_t unit = block_index(), chunks = p.apart ? p.window.chunks : 1;
  const DeltaStates<S, kKeys, kReverse> states{p,
                                               Shared<S>(tiles),
                                               Shared<float>(h),
                                               Shared<float>(total),
                                               Shared<float>(beta),
                                               p.window.first_task + unit / chunks,
                                               block_index_y() * kTile};
  if (p.apart)
    states.run_apart(unit % chunks);
  else
    states.run();
}

template <class S, int kKeys>
DeviceStatus launch_keys(const DeltaStatesArgs& p, const DeviceLaunch& on) {
  const Grid grid{p.window.tasks * (p.apart ? p.window.chunks : 1), chunk_slices(p.base.width), 1};
  constexpr std::size_t kBytes = sizeof(S) * kDeltaTiles<kKeys> * kTileSize;
  if (p.reverse)
    return RILL_LAUNCH((delta_states_kernel<S, kKeys, true>), grid, kTileThreads, kBytes, on.stream,
                       p);
  return RILL_LAUNCH((delta_states_kernel<S, kKeys, false>), grid, kTileThreads, kBytes, on.stream,
                     p);
}

}  // namespace

template <DType kType>
DeviceStatus launch_delta_states(const DeltaStatesArgs& p, const DeviceLaunch& on) {
  using S = ChunkType<kType>;
  if (p.key.width <= kTile) return launch_keys<S, 1>(p, on);
  if (p.key.width <= 2 * kTile) return launch_keys<S, 2>(p, on);
  if (p.key.width <= kMaxDeltaKeys) return launch_keys<S, 4>(p, on);
  return kSizeNotSupported;
}

RILL_INSTANTIATE_CHUNKED(launch_delta_states, DeltaStatesArgs)

}  // namespace rill
