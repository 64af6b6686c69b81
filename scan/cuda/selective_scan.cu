// The selective scan forward (scan/selective_scan.h): softplus, decay, input, output, D and gate in
// one pass; states stay in registers, and only every kSelectiveChunk-th is kept for the way back.
#include <rill/scan/cuda/selective.h>

namespace rill {
namespace {

template <class S>
RILL_KERNEL(256)
void prepare_kernel(SelectivePrepareArgs p) {
  using C = Compute<S>;
  for (std::int64_t i = grid_thread(); i < p.channels * p.states; i += grid_threads()) {
    const std::int64_t e = i / p.states, n = i % p.states;
    static_cast<C*>(p.a)[n * p.channels + e] = -exp(load<S>(p.a_log, i)) * log_scale<C>();
  }
}

// Grid: x channel tiles, y rows.
template <class S>
RILL_KERNEL(kSelectiveThreads)
void selective_kernel(SelectiveScanArgs p, int lanes) {
  using C = Compute<S>;
  const auto lane = SelectiveLane::of(lanes, block_index(), p.channels);
  const std::int64_t e = lane.channel;
  C a[kPer], h[kPer];
  RILL_UNROLL
  for (int j = 0; j < kPer; ++j) {
    const std::int64_t n = lane.first_state + j;
    a[j] = n < p.states ? static_cast<const C*>(p.a)[n * p.channels + e] : C(0);
  }
  const C d = p.d ? load<S>(p.d, e) : C(0), bias = p.dt_bias ? load<S>(p.dt_bias, e) : C(0);
  for (std::int64_t row = block_index_y(); row < p.sequence.rows; row += 65535) {
    const std::int64_t start = p.sequence.start[row], length = p.sequence.length[row];
    const std::int64_t state = (row * p.channels + e) * p.states + lane.first_state;
    RILL_UNROLL
    for (int j = 0; j < kPer; ++j)
      h[j] = lane.first_state + j < p.states ? load<C>(p.initial, state + j) : C(0);
    for (std::int64_t i = 0; i < length; ++i) {
      const std::int64_t t = start + i, at = t * p.channels + e;
      if (p.checkpoints && i % kSelectiveChunk == 0 && lane.here) {
        const std::int64_t keep = (start / kSelectiveChunk + row + i / kSelectiveChunk) * p.states;
        for (int j = 0; j < kPer; ++j)
          if (lane.first_state + j < p.states)
            store<C>(p.checkpoints, (keep + lane.first_state + j) * p.channels + e, h[j]);
      }
      const C x = load<S>(p.x, at), delta = softplus_of(load<S>(p.dt, at) + bias), u = delta * x;
      const bool fresh = reset_before(p.sequence, t);
      C y = C(0);
      RILL_UNROLL
      for (int j = 0; j < kPer; ++j) {
        const std::int64_t n = lane.first_state + j;
        if (n >= p.states) break;
        const C input = u * load<S>(p.b, t * p.states + n);
        h[j] = fresh ? input : fused_multiply_add(decay_of(delta * a[j]), h[j], input);
        y = fused_multiply_add(h[j], load<S>(p.c, t * p.states + n), y);
      }
      y = sum_over_states(y, lanes) + d * x;
      if (p.z) {
        const C z = load<S>(p.z, at);
        y *= z * sigmoid_of(z);
      }
      if (lane.here && lane.first_state == 0) store<S>(p.y, at, y);
    }
    if (!lane.here) continue;
    RILL_UNROLL
    for (int j = 0; j < kPer; ++j)
      if (lane.first_state + j < p.states) store<C>(p.final_state, state + j, h[j]);
  }
}

}  // namespace

template <class S>
DeviceStatus launch_selective_prepare(const SelectivePrepareArgs& p, const DeviceLaunch& on) {
  if (p.channels * p.states == 0) return 0;
  return RILL_LAUNCH(prepare_kernel<S>, grid_for(p.channels * p.states, 256), 256, 0, on.stream, p);
}

template <class S>
DeviceStatus launch_selective_scan(const SelectiveScanArgs& p, const DeviceLaunch& on) {
  if (const DeviceStatus status = zero_gaps<S>(p.sequence, p.y, p.channels, on)) return status;
  if (p.sequence.rows * p.channels == 0) return 0;
  const int lanes = selective_lanes(p.states);
  if (lanes == 0) return kSizeNotSupported;
  const std::int64_t tile = kSelectiveThreads / lanes;
  return RILL_LAUNCH(
      selective_kernel<S>,
      (Grid{(p.channels + tile - 1) / tile, p.sequence.rows > 65535 ? 65535 : p.sequence.rows, 1}),
      kSelectiveThreads, 0, on.stream, p, lanes);
}

RILL_INSTANTIATE(launch_selective_prepare, SelectivePrepareArgs)
RILL_INSTANTIATE(launch_selective_scan, SelectiveScanArgs)

}  // namespace rill
