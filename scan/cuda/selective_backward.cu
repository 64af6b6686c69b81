// The selective scan's way back. States are computed again from those that the forward kept: within
// a chunk of kSelectiveChunk steps, first the states before every kSub-th step, then, from the last
// stretch of kSub steps to the first, the states of its steps, all in registers. Sums over channels
// (dB, dC) are made inside a warp, then over the block's warps in shared memory, and left as one
// part a block; sums over rows as one part a row; the last kernel adds the parts in order.
#include <rill/scan/cuda/selective.h>

namespace rill {
namespace {

constexpr int kSub = 8;
constexpr int kSubs = static_cast<int>(kSelectiveChunk) / kSub;
constexpr int kWarps = kSelectiveThreads / kWarpSize;

/// One step of a thread's states.
template <class S>
struct Step {
  using C = Compute<S>;
  const SelectiveScanArgs& p;
  std::int64_t e, first_state;
  const C* a;
  C bias;

  RILL_DEVICE C raw(std::int64_t t) const { return load<S>(p.dt, t * p.channels + e) + bias; }
  RILL_DEVICE C b(std::int64_t t, int j) const {
    return first_state + j < p.states ? load<S>(p.b, t * p.states + first_state + j) : C(0);
  }
  RILL_DEVICE C c(std::int64_t t, int j) const {
    return first_state + j < p.states ? load<S>(p.c, t * p.states + first_state + j) : C(0);
  }
  RILL_DEVICE void advance(std::int64_t t, C* h) const {
    const C delta = softplus_of(raw(t)), u = delta * load<S>(p.x, t * p.channels + e);
    const bool fresh = reset_before(p.sequence, t);
    RILL_UNROLL
    for (int j = 0; j < kPer; ++j) {
      const C input = u * b(t, j);
      h[j] = fresh ? input : fused_multiply_add(decay_of(delta * a[j]), h[j], input);
    }
  }
};

// Grid: x channel tiles, y rows (one row a block, so that its parts have one writer).
template <class S>
RILL_KERNEL(kSelectiveThreads)
void selective_backward_kernel(SelectiveScanBackwardArgs q, int lanes, std::int64_t row0) {
  using C = Compute<S>;
  const SelectiveScanArgs& p = q.forward;
  RILL_SHARED(C, sums, kSub * kWarps * 2 * kWarpSize * kPer);  // [step, warp, dB | dC, state]
  const auto lane = SelectiveLane::of(lanes, block_index(), p.channels);
  const std::int64_t e = lane.channel, row = row0 + block_index_y();
  const int row_of_states = lanes * kPer;
  C a[kPer], carry[kPer], da[kPer] = {}, dd = C(0), dbias = C(0);
  RILL_UNROLL
  for (int j = 0; j < kPer; ++j) {
    const std::int64_t n = lane.first_state + j;
    a[j] = n < p.states ? static_cast<const C*>(p.a)[n * p.channels + e] : C(0);
    carry[j] =
        n < p.states && q.dfinal ? load<C>(q.dfinal, (row * p.channels + e) * p.states + n) : C(0);
  }
  const C d = p.d ? load<S>(p.d, e) : C(0);
  const Step<S> step{p, e, lane.first_state, a, p.dt_bias ? load<S>(p.dt_bias, e) : C(0)};
  const std::int64_t start = p.sequence.start[row], length = p.sequence.length[row];
  for (std::int64_t chunk = (length + kSelectiveChunk - 1) / kSelectiveChunk - 1; chunk >= 0;
       --chunk) {
    const std::int64_t keep = (start / kSelectiveChunk + row + chunk) * p.states;
    const std::int64_t first = chunk * kSelectiveChunk;
    C before[kSubs][kPer], h[kPer];
    RILL_UNROLL
    for (int j = 0; j < kPer; ++j)
      h[j] = lane.first_state + j < p.states
                 ? load<C>(p.checkpoints, (keep + lane.first_state + j) * p.channels + e)
                 : C(0);
    RILL_UNROLL
    for (int s = 0; s < kSubs; ++s) {
      RILL_UNROLL
      for (int j = 0; j < kPer; ++j) before[s][j] = h[j];
      for (int i = 0; i < kSub && s + 1 < kSubs; ++i)
        if (first + s * kSub + i < length) step.advance(start + first + s * kSub + i, h);
    }
    RILL_UNROLL
    for (int s = kSubs - 1; s >= 0; --s) {
      const std::int64_t from = first + s * kSub;
      if (from >= length) continue;
      C after[kSub][kPer];
      RILL_UNROLL
      for (int j = 0; j < kPer; ++j) h[j] = before[s][j];
      RILL_UNROLL
      for (int i = 0; i < kSub; ++i) {
        if (from + i < length) step.advance(start + from + i, h);
        RILL_UNROLL
        for (int j = 0; j < kPer; ++j) after[i][j] = h[j];
      }
      RILL_UNROLL
      for (int i = kSub - 1; i >= 0; --i) {
        const bool real = from + i < length;
        const std::int64_t t = start + (real ? from + i : length - 1), at = t * p.channels + e;
        const bool fresh = reset_before(p.sequence, t);
        const C raw = step.raw(t), delta = softplus_of(raw), x = load<S>(p.x, at), u = delta * x;
        C ds = real && q.dy ? load<S>(q.dy, at) : C(0);
        if (p.z) {
          C y = C(0);
          RILL_UNROLL
          for (int j = 0; j < kPer; ++j) y = fused_multiply_add(after[i][j], step.c(t, j), y);
          y = sum_over_states(y, lanes) + d * x;
          const C z = load<S>(p.z, at), gate = sigmoid_of(z);
          if (real && lane.here && lane.first_state == 0)
            store<S>(q.dz, at, ds * y * (gate * (C(1) + z * (C(1) - gate))));
          ds *= z * gate;
        }
        C du = C(0), ddelta = C(0);
        RILL_UNROLL
        for (int j = 0; j < kPer; ++j) {
          const C decay = decay_of(delta * a[j]);
          const C g = carry[j] + ds * step.c(t, j);
          C to_b = real && lane.here ? g * u : C(0);
          C to_c = real && lane.here ? ds * after[i][j] : C(0);
          for (int mask = lanes; mask < kWarpSize; mask *= 2) {
            to_b += shuffle_xor(to_b, mask);
            to_c += shuffle_xor(to_c, mask);
          }
          if (lane_index() < lanes) {
            const int place = ((i * kWarps + warp_index()) * 2) * kWarpSize * kPer;
            sums[place + static_cast<int>(lane.first_state) + j] = to_b;
            sums[place + kWarpSize * kPer + static_cast<int>(lane.first_state) + j] = to_c;
          }
          if (!real) continue;
          du = fused_multiply_add(g, step.b(t, j), du);
          carry[j] = fresh ? C(0) : g * decay;
          const C h_before = i > 0 ? after[i - 1][j] : before[s][j];
          const C dlog = fresh ? C(0) : carry[j] * h_before;
          ddelta = fused_multiply_add(dlog, a[j], ddelta);
          da[j] = fused_multiply_add(dlog * delta, a[j], da[j]);
        }
        du = sum_over_states(du, lanes);
        ddelta = sum_over_states(ddelta, lanes) / log_scale<C>();
        if (!real) continue;
        const C draw = (ddelta + du * x) * sigmoid_of(raw);
        dbias += draw;
        dd = fused_multiply_add(ds, x, dd);
        if (!lane.here || lane.first_state != 0) continue;
        store<S>(q.dx, at, du * delta + ds * d);
        store<S>(q.ddt, at, draw);
      }
      block_sync();
      // The block's part: [tile, dB | dC, token, state].
      for (int n = thread_index(); n < kSub * 2 * row_of_states; n += kSelectiveThreads) {
        const int i = n / (2 * row_of_states), side = n / row_of_states % 2,
                  state = n % row_of_states;
        if (from + i >= length || state >= p.states) continue;
        C sum = C(0);
        for (int w = 0; w < kWarps; ++w)
          sum += sums[((i * kWarps + w) * 2 + side) * kWarpSize * kPer + state];
        static_cast<C*>(
            q.parts_bc)[((block_index() * 2 + side) * p.sequence.tokens + start + from + i) *
                            p.states +
                        state] = sum;
      }
      block_sync();
    }
  }
  if (!lane.here) return;
  RILL_UNROLL
  for (int j = 0; j < kPer; ++j) {
    const std::int64_t n = lane.first_state + j;
    if (n >= p.states) break;
    store<C>(q.dinitial, (row * p.channels + e) * p.states + n, carry[j]);
    static_cast<C*>(q.parts_a)[(row * p.states + n) * p.channels + e] = da[j] / log_scale<C>();
  }
  if (lane.first_state != 0) return;
  static_cast<C*>(q.parts_d)[(row * 2) * p.channels + e] = dd;
  static_cast<C*>(q.parts_d)[(row * 2 + 1) * p.channels + e] = dbias;
}

// dB, dC [tokens, states] from the blocks' parts; tokens of no row get 0.
template <class S>
RILL_KERNEL(256)
void add_bc_kernel(SelectiveScanBackwardArgs q, std::int64_t tiles) {
  using C = Compute<S>;
  const SeqArgs& sequence = q.forward.sequence;
  const std::int64_t size = sequence.tokens * q.forward.states;
  for (std::int64_t row = block_index_y(); row < sequence.rows; row += 65535) {
    const std::int64_t first = sequence.start[row] * q.forward.states;
    const std::int64_t count = sequence.length[row] * q.forward.states;
    for (std::int64_t n = grid_thread(); n < 2 * count; n += grid_threads()) {
      const std::int64_t side = n / count, at = first + n % count;
      C sum = C(0);
      for (std::int64_t tile = 0; tile < tiles; ++tile)
        sum += static_cast<const C*>(q.parts_bc)[(tile * 2 + side) * size + at];
      store<S>(side ? q.dc : q.db, at, sum);
    }
  }
}

template <class S>
RILL_KERNEL(256)
void add_rows_kernel(SelectiveScanBackwardArgs q) {
  using C = Compute<S>;
  const SelectiveScanArgs& p = q.forward;
  const std::int64_t size = p.channels * p.states, rows = p.sequence.rows;
  for (std::int64_t n = grid_thread(); n < size + 2 * p.channels; n += grid_threads()) {
    C sum = C(0);
    if (n < size) {
      const std::int64_t e = n / p.states, state = n % p.states;
      for (std::int64_t row = 0; row < rows; ++row)
        sum += static_cast<const C*>(q.parts_a)[(row * p.states + state) * p.channels + e];
      store<S>(q.da_log, n, load<S>(q.da_log, n) + sum);
      continue;
    }
    const std::int64_t side = (n - size) / p.channels, e = (n - size) % p.channels;
    void* const out = side ? q.dbias : q.dd;
    if (!out) continue;
    for (std::int64_t row = 0; row < rows; ++row)
      sum += static_cast<const C*>(q.parts_d)[(row * 2 + side) * p.channels + e];
    store<S>(out, e, load<S>(out, e) + sum);
  }
}

}  // namespace

template <class S>
DeviceStatus launch_selective_scan_backward(const SelectiveScanBackwardArgs& q,
                                            const DeviceLaunch& on) {
  const SelectiveScanArgs& p = q.forward;
  const int lanes = selective_lanes(p.states);
  if (lanes == 0) return kSizeNotSupported;
  for (void* out : {q.dx, q.ddt, q.dz})
    if (const DeviceStatus status = zero_gaps<S>(p.sequence, out, p.channels, on)) return status;
  for (void* out : {q.db, q.dc})
    if (const DeviceStatus status = zero_gaps<S>(p.sequence, out, p.states, on)) return status;
  if (p.sequence.rows == 0 || p.channels == 0) return 0;
  const std::int64_t tile = kSelectiveThreads / lanes, tiles = (p.channels + tile - 1) / tile;
  for (std::int64_t row = 0; row < p.sequence.rows; row += 65535) {
    const std::int64_t rest = p.sequence.rows - row;
    RILL_LAUNCH_OR_RETURN(selective_backward_kernel<S>,
                          (Grid{tiles, rest > 65535 ? 65535 : rest, 1}), kSelectiveThreads, 0,
                          on.stream, q, lanes, row);
  }
  if (p.sequence.max_length > 0) {
    Grid grid = grid_for(2 * p.sequence.max_length * p.states, 256);
    grid.y = p.sequence.rows > 65535 ? 65535 : p.sequence.rows;
    RILL_LAUNCH_OR_RETURN(add_bc_kernel<S>, grid, 256, 0, on.stream, q, tiles);
  }
  return RILL_LAUNCH(add_rows_kernel<S>, grid_for(p.channels * (p.states + 2), 256), 256, 0,
                     on.stream, q);
}

RILL_INSTANTIATE(launch_selective_scan_backward, SelectiveScanBackwardArgs)

}  // namespace rill
