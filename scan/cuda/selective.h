// What the selective scan's kernels share. A channel's states lie in kPer registers of `lanes`
// neighbouring threads (a power of two; 16 states: 4 lanes of 4), so that a warp owns 32 / lanes
// channels and time runs inside the thread. In float, A is kept times log2(e), and decays are exp2.
#pragma once

#include <rill/core/cuda/activation.h>
#include <rill/scan/cuda/launch_scan.h>
#include <rill/scan/cuda/row_walk.h>
#include <rill/scan/cuda/selective_tile.h>

namespace rill {

constexpr int kPer = kSelectiveStates;

template <class C>
RILL_DEVICE C decay_of(C delta_a);
template <>
RILL_DEVICE float decay_of(float delta_a) {
  return fast_exp2(delta_a);
}
template <>
RILL_DEVICE double decay_of(double delta_a) {
  return exp(delta_a);
}
/// What prepared A is A times.
template <class C>
RILL_DEVICE C log_scale() {
  return sizeof(C) == 4 ? C(1.44269504088896340736) : C(1);
}

/// Which channel and states a thread owns.
struct SelectiveLane {
  std::int64_t channel, first_state;
  bool here;

  RILL_DEVICE static SelectiveLane of(int lanes, std::int64_t tile, std::int64_t channels) {
    const std::int64_t channel = tile * (kSelectiveThreads / lanes) + thread_index() / lanes;
    return {channel < channels ? channel : channels - 1, thread_index() % lanes * kPer,
            channel < channels};
  }
};

template <class T>
RILL_DEVICE T sum_over_states(T value, int lanes) {
  for (int mask = 1; mask < lanes; mask *= 2) value += shuffle_xor(value, mask);
  return value;
}

}  // namespace rill
