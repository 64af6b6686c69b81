// What the selective scan's kernels share. A channel's states lie in registers of `lanes`
// neighbouring threads (a power of two; 16 states: one thread or 4 lanes of 4), and time runs
// inside the thread. What a step has of its own for every channel (softplus, delta x, the gate) is
// made once, by a thread an element, and handed over in shared memory beside the step's B and C. In
// float, A is kept times log2(e), and decays are exp2.
#pragma once

#include <cstring>

#include <rill/core/cuda/activation.h>
#include <rill/scan/cuda/launch_scan.h>
#include <rill/scan/cuda/row_walk.h>
#include <rill/scan/cuda/selective_plan.h>

namespace rill {

/// 2^x, x <= 0, without the special function unit: x = n + f with |f| <= 1/2, a polynomial of f
/// (2 ulp), n added to the exponent. Below the normal numbers: about 2^-126, as good as 0 beside
/// any sum that it meets.
RILL_DEVICE float exp2_by_fma(float x) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
  x = x < -126.0f ? -126.0f : x;
  const float shifted = x + kRound, f = x - (shifted - kRound);
  float y = 1.535336188319500e-4f;
  y = fused_multiply_add(y, f, 1.339887440266574e-3f);
  y = fused_multiply_add(y, f, 9.618437357674640e-3f);
  y = fused_multiply_add(y, f, 5.550332471162809e-2f);
  y = fused_multiply_add(y, f, 2.402264791363012e-1f);
  y = fused_multiply_add(y, f, 6.931472028550421e-1f);
  y = fused_multiply_add(y, f, 1.0f);
  std::uint32_t bits = 0, whole = 0;
  memcpy(&bits, &y, sizeof(bits));
  memcpy(&whole, &shifted, sizeof(whole));
  bits += whole << 23;
  memcpy(&y, &bits, sizeof(y));
  return y;
}

/// Of 16 decays, how many are made by exp2_by_fma. A multiprocessor issues 128 lanes of any
/// instruction a cycle and makes 16 special functions. A state and step of the forward needs 5
/// instructions, 1/2 for B and C, and about 4 for its share of softplus, gate and addresses: 9.5 /
/// 128 cycles; its special function 1 / 16 = 8 / 128. Issue is what limits it already, and
/// exp2_by_fma is 11 instructions more: by this prediction, which no card has confirmed, none is
/// worth it. It pays where the other instructions of a state and step are fewer than 7.
constexpr int kDecaysByFma = 0;

/// exp(delta A) of a thread's state number j.
template <class C>
RILL_DEVICE C decay_of(C delta_a, int) {
  return exp(delta_a);
}
template <>
RILL_DEVICE float decay_of(float delta_a, int j) {
  constexpr int kShare = kDecaysByFma;
  return j % 16 * kShare % 16 + kShare > 15 ? exp2_by_fma(delta_a) : fast_exp2(delta_a);
}
/// What prepared A is A times.
template <class C>
RILL_DEVICE C log_scale() {
  return sizeof(C) == 4 ? C(1.44269504088896340736) : C(1);
}

/// Where a block works: some channels, a segment of a row's time.
struct SelectivePlace {
  std::int64_t tile, segment, row, start, length;
  std::int64_t first, last;  // steps of the row

  RILL_DEVICE static SelectivePlace of(const SeqArgs& sequence, const SelectiveCut& cut) {
    const std::int64_t block = block_index();
    SelectivePlace at;
    at.tile = block % cut.tiles;
    at.segment = block / cut.tiles % cut.segments;
    at.row = block / cut.tiles / cut.segments;
    at.start = sequence.start[at.row];
    at.length = sequence.length[at.row];
    at.first = at.segment * cut.steps;
    at.last = at.first + cut.steps < at.length ? at.first + cut.steps : at.length;
    return at;
  }
};

/// Which channel and states a thread owns.
struct SelectiveLane {
  std::int64_t channel;  // one that is there, whether `here` or not
  int own, first_state;  // own: the channel's number in its group
  bool here;

  RILL_DEVICE static SelectiveLane of(const SelectiveCut& cut, std::int64_t group,
                                      std::int64_t channels) {
    const int own = thread_index() / cut.lanes;
    const std::int64_t channel = group * cut.channels + own;
    return {channel < channels ? channel : channels - 1, own, thread_index() % cut.lanes * cut.per,
            channel < channels};
  }
};

template <class T>
RILL_DEVICE T sum_over_states(T value, int lanes) {
  for (int mask = 1; mask < lanes; mask *= 2) value += shuffle_xor(value, mask);
  return value;
}

/// Between segments: what each makes of a zero state and how long its decay is, then the state
/// that comes into each, in order. `work` [rows, segments, states + 1, channels]: afterwards the
/// states before each segment, or, going back, the gradients of those behind it.
template <class S>
DeviceStatus launch_selective_carries(const SelectiveScanArgs&, const SelectiveCut&,
                                      const DeviceLaunch&);
template <class S>
DeviceStatus launch_selective_back_carries(const SelectiveScanBackwardArgs&, const SelectiveCut&,
                                           const DeviceLaunch&);

}  // namespace rill
