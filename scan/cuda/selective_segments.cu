// The selective scan where rows and channels are too few to fill the card: what comes into each
// segment of time. Every segment but the one that nobody follows is walked once from a zero state;
// its product of decays is exp(A sum delta); the states that come in follow in order. The same for
// the gradient of the state, from the last segment to the first.
#include <rill/scan/cuda/instantiate.h>
#include <rill/scan/cuda/selective.h>

namespace rill {
namespace {

constexpr int kSteps = 8;  // of a tile
constexpr int kElements = kSteps * kSelectiveThreads;

// kBack: h <- decay (h + ds C) from the last step to the first; else h <- decay h + delta x B. The
// last of the states + 1 places holds the sum of delta, or -1 where a reset cuts the segment. A
// step behind the last has delta = 0 and no input.
template <class S, bool kBack>
RILL_KERNEL(kSelectiveThreads)
void local_kernel(SelectiveScanBackwardArgs q, SelectiveCut cut, void* work) {
  using C = Compute<S>;
  const SelectiveScanArgs& p = q.forward;
  RILL_SHARED(C, deltas, kElements);
  RILL_SHARED(C, inputs, kElements);
  RILL_SHARED(C, vectors, kSteps * kMostStates);
  const auto at = SelectivePlace::of(p.sequence, cut);
  if (at.first >= at.length || (kBack ? at.segment == 0 : at.last >= at.length)) return;
  const auto lane = SelectiveLane::of(cut, at.tile, p.channels);
  const std::int64_t e = lane.channel;
  C a[kNarrow], h[kNarrow] = {}, sum = C(0);
  RILL_UNROLL
  for (int j = 0; j < kNarrow; ++j)
    a[j] = lane.first_state + j < p.states
               ? static_cast<const C*>(p.a)[(lane.first_state + j) * p.channels + e]
               : C(0);
  const int width = static_cast<int>(cut.channels), padded = cut.lanes * kNarrow;
  bool cut_off = false;
  for (std::int64_t from = 0; from < at.last - at.first; from += kSteps) {
    block_sync();
    for (int n = thread_index(); n < kSteps * width; n += kSelectiveThreads) {
      const std::int64_t i = from + n / width, channel = at.tile * width + n % width;
      const std::int64_t step = kBack ? at.last - 1 - i : at.first + i;
      C delta = C(0), input = C(0);
      if (channel < p.channels && i < at.last - at.first) {
        const std::int64_t element = (at.start + step) * p.channels + channel;
        delta =
            softplus_of(load<S>(p.dt, element) + (p.dt_bias ? load<C>(p.dt_bias, channel) : C(0)));
        if (!kBack) {
          input = delta * load<S>(p.x, element);
        } else if (q.dy) {
          input = load<S>(q.dy, element);
          if (p.z) {
            const C z = load<S>(p.z, element);
            input *= z * sigmoid_of(z);
          }
        }
      }
      deltas[n] = delta;
      inputs[n] = input;
    }
    for (int n = thread_index(); n < kSteps * padded; n += kSelectiveThreads) {
      const std::int64_t i = from + n / padded, step = kBack ? at.last - 1 - i : at.first + i;
      vectors[n] = i < at.last - at.first && n % padded < p.states
                       ? load<S>(kBack ? p.c : p.b, (at.start + step) * p.states + n % padded)
                       : C(0);
    }
    block_sync();
    RILL_UNROLL
    for (int i = 0; i < kSteps; ++i) {
      const std::int64_t step = kBack ? at.last - 1 - from - i : at.first + from + i;
      const bool fresh = from + i < at.last - at.first && reset_before(p.sequence, at.start + step);
      const C delta = deltas[i * width + lane.own], input = inputs[i * width + lane.own];
      sum += delta;
      cut_off = cut_off || fresh;
      RILL_UNROLL
      for (int j = 0; j < kNarrow; ++j) {
        const C decay = decay_of(delta * a[j], j);
        const C vector = vectors[i * padded + lane.first_state + j];
        if (kBack)
          h[j] = fresh ? C(0) : decay * fused_multiply_add(input, vector, h[j]);
        else
          h[j] = fused_multiply_add(decay, fresh ? C(0) : h[j], input * vector);
      }
    }
  }
  if (!lane.here) return;
  const std::int64_t place = (at.row * cut.segments + at.segment) * (p.states + 1);
  RILL_UNROLL
  for (int j = 0; j < kNarrow; ++j)
    if (lane.first_state + j < p.states)
      store<C>(work, (place + lane.first_state + j) * p.channels + e, h[j]);
  if (lane.first_state == 0)
    store<C>(work, (place + p.states) * p.channels + e, cut_off ? C(-1) : sum);
}

// A thread a state. `first` [rows, channels, states]: the state before the row or the gradient
// behind it; null: zero.
template <class S, bool kBack>
RILL_KERNEL(256)
void carry_kernel(SelectiveScanArgs p, SelectiveCut cut, const void* first, void* work) {
  using C = Compute<S>;
  const std::int64_t size = p.states * p.channels;
  for (std::int64_t i = grid_thread(); i < p.sequence.rows * size; i += grid_threads()) {
    const std::int64_t row = i / size, n = i % size / p.channels, e = i % p.channels;
    const C a = static_cast<const C*>(p.a)[n * p.channels + e];
    const std::int64_t length = p.sequence.length[row];
    const std::int64_t segments = length > 0 ? (length + cut.steps - 1) / cut.steps : 1;
    C h = first ? load<C>(first, (row * p.channels + e) * p.states + n) : C(0);
    for (std::int64_t s = 0; s < segments; ++s) {
      const std::int64_t segment = kBack ? segments - 1 - s : s;
      C* const place =
          static_cast<C*>(work) + (row * cut.segments + segment) * (p.states + 1) * p.channels + e;
      const C own = s + 1 < segments ? place[n * p.channels] : C(0);
      const C sum = s + 1 < segments ? place[p.states * p.channels] : C(0);
      place[n * p.channels] = h;
      h = sum < C(0) ? own : fused_multiply_add(decay_of(sum * a, 0), h, own);
    }
  }
}

template <class S, bool kBack>
DeviceStatus launch_carries(const SelectiveScanBackwardArgs& q, SelectiveCut cut, const void* first,
                            void* work, const DeviceLaunch& on) {
  const SelectiveScanArgs& p = q.forward;
  SelectiveCut narrow = cut;  // the first pass has a tiling of its own, the same segments
  narrow.per = kNarrow;
  narrow.lanes = selective_lanes(p.states, kNarrow);
  narrow.channels = kSelectiveThreads / narrow.lanes;
  narrow.tiles = (p.channels + narrow.channels - 1) / narrow.channels;
  RILL_LAUNCH_OR_RETURN((local_kernel<S, kBack>),
                        (Grid{p.sequence.rows * narrow.segments * narrow.tiles, 1, 1}),
                        kSelectiveThreads, 0, on.stream, q, narrow, work);
  return RILL_LAUNCH((carry_kernel<S, kBack>),
                     grid_for(p.sequence.rows * p.states * p.channels, 256), 256, 0, on.stream, p,
                     narrow, first, work);
}

}  // namespace

template <class S>
DeviceStatus launch_selective_carries(const SelectiveScanArgs& p, const SelectiveCut& cut,
                                      const DeviceLaunch& on) {
  SelectiveScanBackwardArgs q;
  q.forward = p;
  return launch_carries<S, false>(q, cut, p.initial, p.work, on);
}
template <class S>
DeviceStatus launch_selective_back_carries(const SelectiveScanBackwardArgs& q,
                                           const SelectiveCut& cut, const DeviceLaunch& on) {
  return launch_carries<S, true>(q, cut, q.dfinal, q.carries, on);
}

#define RILL_INSTANTIATE_CARRIES(S)                                                                \
  template DeviceStatus launch_selective_carries<S>(const SelectiveScanArgs&, const SelectiveCut&, \
                                                    const DeviceLaunch&);                          \
  template DeviceStatus launch_selective_back_carries<S>(                                          \
      const SelectiveScanBackwardArgs&, const SelectiveCut&, const DeviceLaunch&);
RILL_INSTANTIATE_CARRIES(float)
RILL_INSTANTIATE_CARRIES(BFloat16)
RILL_INSTANTIATE_CARRIES(Half)
#if !defined(__CUDACC__)
RILL_INSTANTIATE_CARRIES(double)
#endif

}  // namespace rill
