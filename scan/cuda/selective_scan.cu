// The selective scan forward (scan/selective_scan.h): softplus, decay, input, output, D and gate in
// one pass; states stay in registers, and only every kSelectiveChunk-th is kept for the way back.
// The next tile of steps is on its way while one is computed.
#include <rill/scan/cuda/instantiate.h>
#include <rill/scan/cuda/selective.h>

namespace rill {
namespace {

constexpr int kItems = kTileItems;
constexpr int kTileElements = kSelectiveThreads * kItems;
constexpr int kMostSteps = 32;
constexpr int kAhead = 4;  // elements of B, and of C, that a thread loads ahead

template <class S>
RILL_KERNEL(256)
void prepare_kernel(SelectivePrepareArgs p) {
  using C = Compute<S>;
  for (std::int64_t i = grid_thread(); i < p.channels * p.states; i += grid_threads()) {
    const std::int64_t e = i / p.states, n = i % p.states;
    static_cast<C*>(p.a)[n * p.channels + e] = -exp(load<S>(p.a_log, i)) * log_scale<C>();
  }
}

/// A tile of steps on its way from memory to shared memory. Steps behind the last have delta = 0
/// and no input: they leave the state as it is.
template <class S>
struct SelectiveTile {
  using C = Compute<S>;
  const SelectiveScanArgs& p;
  const SelectivePlace& at;
  int lanes, steps, first_step, padded;  // padded: states
  std::int64_t channel;                  // of the elements that this thread makes ready
  bool here;
  C bias, d;
  C dt[kItems], x[kItems], b[kAhead], c[kAhead];  // of the tile that comes
  C held_x[kItems], held_z[kItems];               // of the tile that is there

  RILL_DEVICE SelectiveTile(const SelectiveScanArgs& args, const SelectivePlace& place,
                            const SelectiveCut& cut)
      : p(args), at(place), lanes(cut.lanes), steps(cut.tile_steps) {
    const int width = static_cast<int>(cut.channels);
    padded = cut.lanes * cut.per;
    first_step = thread_index() / width;
    channel = place.tile * width + thread_index() % width;
    here = channel < p.channels;
    bias = here && p.dt_bias ? load<C>(p.dt_bias, channel) : C(0);
    d = here && p.d ? load<C>(p.d, channel) : C(0);
  }
  RILL_DEVICE bool has(int k) const { return k * lanes < steps; }
  RILL_DEVICE std::int64_t step(std::int64_t tile, int k) const {
    return tile + first_step + k * lanes;
  }
  RILL_DEVICE std::int64_t element(std::int64_t step) const {
    return (at.start + step) * p.channels + channel;
  }

  RILL_DEVICE void fetch(std::int64_t tile) {
    RILL_UNROLL
    for (int k = 0; k < kItems; ++k) {
      const std::int64_t i = step(tile, k);
      const bool real = has(k) && here && i < at.last;
      dt[k] = real ? load<S>(p.dt, element(i)) : C(0);
      x[k] = real ? load<S>(p.x, element(i)) : C(0);
    }
    const std::int64_t from = (at.start + tile) * p.states, count = count_bc(tile);
    RILL_UNROLL
    for (int k = 0; k < kAhead; ++k) {
      const std::int64_t n = thread_index() + k * kSelectiveThreads;
      b[k] = n < count ? load<S>(p.b, from + n) : C(0);
      c[k] = n < count ? load<S>(p.c, from + n) : C(0);
    }
  }
  RILL_DEVICE std::int64_t count_bc(std::int64_t tile) const {
    const std::int64_t left = at.last - tile;
    return (left < steps ? left : steps) * p.states;
  }

  /// deltas, inputs [step, channel], fresh [step], bc [B | C, step, state].
  RILL_DEVICE void put(std::int64_t tile, Shared<C> deltas, Shared<C> inputs, Shared<int> fresh,
                       Shared<C> bc) {
    RILL_UNROLL
    for (int k = 0; k < kItems; ++k) {
      if (!has(k)) continue;
      const std::int64_t i = step(tile, k);
      const bool real = here && i < at.last;
      const C delta = real ? softplus_of(dt[k] + bias) : C(0);
      deltas[thread_index() + k * kSelectiveThreads] = delta;
      inputs[thread_index() + k * kSelectiveThreads] = delta * x[k];
      held_x[k] = x[k];
      held_z[k] = real && p.z ? load<S>(p.z, element(i)) : C(0);
    }
    if (p.sequence.reset && thread_index() < steps) {
      const std::int64_t i = tile + thread_index();
      fresh[thread_index()] = i < at.last && reset_before(p.sequence, at.start + i) ? 1 : 0;
    }
    const std::int64_t from = (at.start + tile) * p.states, count = count_bc(tile);
    RILL_UNROLL
    for (int k = 0; k < kAhead; ++k)
      put_bc(thread_index() + k * kSelectiveThreads, count, b[k], c[k], bc);
    for (std::int64_t n = thread_index() + kAhead * kSelectiveThreads; n < count;
         n += kSelectiveThreads)
      put_bc(static_cast<int>(n), count, load<S>(p.b, from + n), load<S>(p.c, from + n), bc);
  }
  RILL_DEVICE void put_bc(int n, std::int64_t count, C of_b, C of_c, Shared<C> bc) const {
    if (n >= count) return;
    const int states = static_cast<int>(p.states), place = n / states * padded + n % states;
    bc[place] = of_b;
    bc[steps * padded + place] = of_c;
  }

  RILL_DEVICE void write(std::int64_t tile, Shared<C> sums) const {
    RILL_UNROLL
    for (int k = 0; k < kItems; ++k) {
      const std::int64_t i = step(tile, k);
      if (!has(k) || !here || i >= at.last) continue;
      C y = sums[thread_index() + k * kSelectiveThreads] + d * held_x[k];
      if (p.z) y *= held_z[k] * sigmoid_of(held_z[k]);
      store<S>(p.y, element(i), y);
    }
  }
};

/// A thread's states.
template <class C, int kPer>
struct SelectiveStates {
  C a[kPer], h[kPer];

  /// One step, whose B and C begin at bc[b] and bc[c]; returns this thread's part of C . h.
  RILL_DEVICE C advance(C delta, C input, Shared<C> bc, int b, int c) {
    C y = C(0);
    RILL_UNROLL
    for (int first = 0; first < kPer; first += kNarrow) {
      C of_b[kNarrow], of_c[kNarrow];
      load_shared<kNarrow>(bc, b + first, of_b);
      load_shared<kNarrow>(bc, c + first, of_c);
      RILL_UNROLL
      for (int k = 0; k < kNarrow; ++k) {
        const int j = first + k;
        h[j] = fused_multiply_add(decay_of(delta * a[j], j), h[j], input * of_b[k]);
        y = fused_multiply_add(h[j], of_c[k], y);
      }
    }
    return y;
  }
};

// One block a tile of channels, segment and row.
template <class S, int kPer>
RILL_KERNEL(kSelectiveThreads, 4)
void selective_kernel(SelectiveScanArgs p, SelectiveCut cut) {
  using C = Compute<S>;
  constexpr int kGroup = kWide / kPer;  // steps in flight, to the same number of decays
  RILL_SHARED(C, deltas, kTileElements);
  RILL_SHARED(C, inputs, kTileElements);  // delta x, then C . h
  RILL_SHARED(int, fresh, kMostSteps);
  RILL_DYNAMIC_SHARED(C, bc);
  const auto at = SelectivePlace::of(p.sequence, cut);
  if (at.segment > 0 && at.first >= at.length) return;
  const auto lane = SelectiveLane::of(cut, at.tile, p.channels);
  const std::int64_t e = lane.channel, state = (at.row * p.channels + e) * p.states;
  SelectiveStates<C, kPer> own;
  RILL_UNROLL
  for (int j = 0; j < kPer; ++j) {
    const std::int64_t n = lane.first_state + j;
    own.a[j] = n < p.states ? static_cast<const C*>(p.a)[n * p.channels + e] : C(0);
    if (n >= p.states)
      own.h[j] = C(0);
    else if (cut.segments > 1)
      own.h[j] = load<C>(
          p.work, ((at.row * cut.segments + at.segment) * (p.states + 1) + n) * p.channels + e);
    else
      own.h[j] = load<C>(p.initial, state + n);
  }
  SelectiveTile<S> tile(p, at, cut);
  const int width = static_cast<int>(cut.channels);
  // What no step fills: states behind the last are read as 0 times something.
  for (int n = thread_index(); n < 2 * tile.steps * tile.padded; n += kSelectiveThreads)
    bc[n] = C(0);
  block_sync();
  if (at.first < at.last) tile.fetch(at.first);
  for (std::int64_t from = at.first; from < at.last; from += tile.steps) {
    tile.put(from, Shared<C>(deltas), Shared<C>(inputs), Shared<int>(fresh), Shared<C>(bc));
    block_sync();
    if (from + tile.steps < at.last) tile.fetch(from + tile.steps);
    if (p.checkpoints && from % kSelectiveChunk == 0 && lane.here) {
      const std::int64_t keep =
          (at.start / kSelectiveChunk + at.row + from / kSelectiveChunk) * p.states;
      RILL_UNROLL
      for (int j = 0; j < kPer; ++j)
        if (lane.first_state + j < p.states)
          store<C>(p.checkpoints, (keep + lane.first_state + j) * p.channels + e, own.h[j]);
    }
    const int count = static_cast<int>(at.last - from < tile.steps ? at.last - from : tile.steps);
    for (int first = 0; first < count; first += kGroup) {
      RILL_UNROLL
      for (int i = first; i < first + kGroup; ++i) {
        if (p.sequence.reset && fresh[i] != 0) {
          RILL_UNROLL
          for (int j = 0; j < kPer; ++j) own.h[j] = C(0);
        }
        const int element = i * width + lane.own,
                  row_of_states = i * tile.padded + lane.first_state;
        const C y =
            sum_over_states(own.advance(deltas[element], inputs[element], Shared<C>(bc),
                                        row_of_states, tile.steps * tile.padded + row_of_states),
                            cut.lanes);
        if (lane.first_state == 0) inputs[element] = y;
      }
    }
    block_sync();
    tile.write(from, Shared<C>(inputs));
  }
  if (!lane.here || at.last < at.length) return;
  RILL_UNROLL
  for (int j = 0; j < kPer; ++j)
    if (lane.first_state + j < p.states)
      store<C>(p.final_state, state + lane.first_state + j, own.h[j]);
}

}  // namespace

template <class S>
DeviceStatus launch_selective_prepare(const SelectivePrepareArgs& p, const DeviceLaunch& on) {
  if (p.channels * p.states == 0) return 0;
  return RILL_LAUNCH(prepare_kernel<S>, grid_for(p.channels * p.states, 256), 256, 0, on.stream, p);
}

template <class S>
DeviceStatus launch_selective_scan(const SelectiveScanArgs& p, const DeviceLaunch& on) {
  using C = Compute<S>;
  if (const DeviceStatus status = zero_gaps<S>(p.sequence, p.y, p.channels, on)) return status;
  if (p.sequence.rows * p.channels == 0) return 0;
  if (p.states > kMostStates) return kSizeNotSupported;
  const SelectiveCut cut =
      selective_cut(p.sequence.rows, p.channels, p.states, p.sequence.max_length);
  if (cut.segments > 1)
    if (const DeviceStatus status = launch_selective_carries<S>(p, cut, on)) return status;
  const Grid grid{p.sequence.rows * cut.segments * cut.tiles, 1, 1};
  const auto shared =
      static_cast<std::size_t>(2 * cut.tile_steps * cut.lanes * cut.per) * sizeof(C);
  if (cut.per == kWide)
    return RILL_LAUNCH((selective_kernel<S, kWide>), grid, kSelectiveThreads, shared, on.stream, p,
                       cut);
  return RILL_LAUNCH((selective_kernel<S, kNarrow>), grid, kSelectiveThreads, shared, on.stream, p,
                     cut);
}

RILL_INSTANTIATE(launch_selective_prepare, SelectivePrepareArgs)
RILL_INSTANTIATE_ACTIVATIONS(launch_selective_scan, SelectiveScanArgs)

}  // namespace rill
