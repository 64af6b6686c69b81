// The scalars and the normaliser of the mLSTM (scan/matrix_kernels.h).
//
// Forward: a warp a row and head. The stabiliser m is a chain of one addition and one maximum a
// step; 32 steps are read at once, a lane a step, the chain runs through shuffles and every lane
// then takes the exponentials of its own step. n [K] stays in registers, 32 lanes of kKeys.
//
// Backward: a block a row and head; all its warps form what does not wait for a step before (the
// products over K x V of the final and initial states, <dout, out> of a chunk's steps), its first
// warp goes back through time. n of a chunk is made again in scratch, each lane its own keys.
#include <rill/core/cuda/launch.h>
#include <rill/scan/cuda/instantiate.h>
#include <rill/scan/cuda/launch.h>
#include <rill/scan/cuda/matrix_tile.h>

namespace rill {
namespace {

constexpr int kForwardWarps = 4;  // rows and heads of a block
constexpr int kBackThreads = 128;

// The plain loops' smallest divisor: a token that reads nothing must give 0, not 0 / 0.
template <class C>
RILL_DEVICE C smallest_normal() {
  return sizeof(C) == 4 ? C(1.17549435e-38f) : C(2.2250738585072014e-308);
}

template <class C>
RILL_DEVICE C larger(C a, C b) {
  return a < b ? b : a;
}

template <class S, int kKeys>
RILL_KERNEL(kForwardWarps* kWarpSize, 1)
void mlstm_gates_kernel(MlstmGatesArgs p) {
  using C = Compute<S>;
  const std::int64_t task = block_index() * kForwardWarps + warp_index();
  if (task >= p.sequence.rows * p.heads) return;
  const std::int64_t row = task / p.heads, h = task % p.heads;
  const std::int64_t start = p.sequence.start[row], length = p.sequence.length[row];
  const int lane = lane_index();
  C n[kKeys];
  RILL_UNROLL
  for (int e = 0; e < kKeys; ++e) {
    const std::int64_t i = lane + e * kWarpSize;
    n[e] = i < p.keys ? static_cast<const C*>(p.initial_n)[task * p.keys + i] : C(0);
  }
  C m = static_cast<const C*>(p.initial_m)[task];
  for (std::int64_t step = 0; step < length; step += kWarpSize) {
    static_assert(kMatrixChunk == kWarpSize, "a chunk is a warp's steps");
    const int count = length - step < kWarpSize ? static_cast<int>(length - step) : kWarpSize;
    if (p.kept) {
      const std::int64_t slot = matrix_slot(start, row) + step / kMatrixChunk;
      C* kept = static_cast<C*>(p.kept) + (slot * p.heads + h) * p.keys;
      RILL_UNROLL
      for (int e = 0; e < kKeys; ++e)
        if (lane + e * kWarpSize < p.keys) kept[lane + e * kWarpSize] = n[e];
    }
    const std::int64_t own = (start + step + lane) * p.heads + h;
    const bool has_step = lane < count;
    const C my_input = has_step ? load<S>(p.input, own) : C(0);
    const C my_log_forget = has_step ? load<C>(p.log_forget, own) : C(0);
    const unsigned fresh = ballot(has_step && fresh_at(p.sequence, start + step + lane));
    C my_forget = C(0), my_m = C(0);  // log f + m before, m behind the lane's step
    for (int s = 0; s < count; ++s) {
      const C input = shuffle(my_input, s);
      C forget = shuffle(my_log_forget, s) + m;
      if (fresh >> s & 1u) forget = -C(INFINITY);
      m = forget >= input ? forget : input;
      if (lane == s) {
        my_forget = forget;
        my_m = m;
      }
    }
    const C my_decay = exp(my_forget - my_m);
    const C my_gain = exp(my_input - my_m) * static_cast<C>(p.key_scale);
    C my_dot = C(0);
    for (int s = 0; s < count; ++s) {
      const std::int64_t first = ((start + step + s) * p.heads + h) * p.keys;
      const C decay = shuffle(my_decay, s), gain = shuffle(my_gain, s);
      const bool clear = (fresh >> s & 1u) != 0;
      C dot = C(0);
      RILL_UNROLL
      for (int e = 0; e < kKeys; ++e) {
        const std::int64_t i = lane + e * kWarpSize;
        if (i >= p.keys) continue;
        const C old = clear ? C(0) : n[e];
        n[e] = gain * load<S>(p.k, first + i) + decay * old;
        dot += n[e] * load<S>(p.q, first + i);
      }
      dot = warp_sum(dot);
      if (lane == s) my_dot = dot;
    }
    if (!has_step) continue;
    store<C>(p.decay, own, my_decay);
    store<C>(p.gain, own, my_gain);
    store<C>(p.divisor, own, larger(larger(fabs(my_dot), exp(-my_m)), smallest_normal<C>()));
    if (p.dot) store<C>(p.dot, own, my_dot);
    if (p.chose_input) store<C>(p.chose_input, own, my_forget >= my_input ? C(0) : C(1));
  }
  RILL_UNROLL
  for (int e = 0; e < kKeys; ++e) {
    const std::int64_t i = lane + e * kWarpSize;
    if (i < p.keys) static_cast<C*>(p.final_n)[task * p.keys + i] = n[e];
  }
  if (lane == 0) static_cast<C*>(p.final_m)[task] = m;
}

// ---- backward

// <a, b> over `count` numbers of the states at `offset`, by the whole block.
template <class C>
RILL_DEVICE C block_dot(const void* a, const void* b, std::int64_t offset, std::int64_t count,
                        Shared<C> parts) {
  C sum = C(0);
  for (std::int64_t i = thread_index(); i < count; i += kBackThreads)
    sum += static_cast<const C*>(a)[offset + i] * static_cast<const C*>(b)[offset + i];
  return block_sum<kBackThreads>(sum, parts);
}

template <class S, int kKeys>
struct GatesBack {
  using C = Compute<S>;
  const MlstmGatesBackwardArgs& b;
  const MlstmGatesArgs& a;
  std::int64_t row, h;
  C* states;  // n behind step i of the chunk at i * K
  C dn[kKeys];
  C gauge;

  // n of a chunk's steps again.
  RILL_DEVICE void make_states(std::int64_t first, int count, const C* kept) {
    C n[kKeys];
    RILL_UNROLL
    for (int e = 0; e < kKeys; ++e) {
      const std::int64_t i = lane_index() + e * kWarpSize;
      n[e] = i < a.keys ? kept[i] : C(0);
    }
    for (int s = 0; s < count; ++s) {
      const std::int64_t at = (first + s) * a.heads + h;
      const C decay = load<C>(a.decay, at), gain = load<C>(a.gain, at);
      const bool fresh = fresh_at(a.sequence, first + s);
      RILL_UNROLL
      for (int e = 0; e < kKeys; ++e) {
        const std::int64_t i = lane_index() + e * kWarpSize;
        if (i >= a.keys) continue;
        const C old = fresh ? C(0) : n[e];
        n[e] = gain * load<S>(a.k, at * a.keys + i) + decay * old;
        states[s * a.keys + i] = n[e];
      }
    }
  }

  // One step; `before` and `after` are n around it, `dout_out` its <dout, out>.
  RILL_DEVICE void step(std::int64_t t, const C* before, const C* after, C dout_out) {
    const std::int64_t at = t * a.heads + h;
    const C decay = load<C>(a.decay, at), gain = load<C>(a.gain, at), dot = load<C>(a.dot, at);
    const bool fresh = fresh_at(a.sequence, t);
    const C ddot = b.dout && fabs(dot) >= load<C>(a.divisor, at) ? -dout_out / dot : C(0);
    C dn_k = C(0), dn_n = C(0);
    RILL_UNROLL
    for (int e = 0; e < kKeys; ++e) {
      const std::int64_t i = lane_index() + e * kWarpSize, c = at * a.keys + i;
      if (i >= a.keys) continue;
      dn[e] += ddot * load<S>(a.q, c);
      store<S>(b.dq, c, load<S>(b.dq, c) + ddot * after[i]);
      store<S>(b.dk, c, load<S>(b.dk, c) + gain * dn[e]);
      dn_k += dn[e] * load<S>(a.k, c);
      if (!fresh) dn_n += dn[e] * before[i];
      dn[e] = fresh ? C(0) : decay * dn[e];
    }
    dn_k = warp_sum(dn_k);
    dn_n = warp_sum(dn_n);
    C dinput = gain * (load<C>(b.dgain, at) + dn_k);
    C dforget = load<C>(b.dlog_decay, at) + decay * dn_n;
    if (load<C>(a.chose_input, at) != C(0)) {
      dinput += gauge;
      gauge = C(0);
    } else {
      dforget += gauge;
    }
    if (lane_index() != 0) return;
    store<S>(b.dinput, at, dinput);
    store<C>(b.dlog_forget, at, dforget);
  }
};

template <class S, int kKeys>
RILL_KERNEL(kBackThreads, 1)
void mlstm_gates_backward_kernel(MlstmGatesBackwardArgs b) {
  using C = Compute<S>;
  RILL_SHARED(C, parts, kBackThreads / kWarpSize);
  RILL_SHARED(C, dout_out, kMatrixChunk);
  const MlstmGatesArgs& a = b.forward;
  const std::int64_t task = block_index(), row = task / a.heads, h = task % a.heads;
  const std::int64_t start = a.sequence.start[row], length = a.sequence.length[row];
  const std::int64_t size = a.keys * b.values;
  GatesBack<S, kKeys> back{
      b, a, row, h, static_cast<C*>(b.scratch) + task * (kMatrixChunk + 2) * a.keys, {}, C(0)};
  const C dm = b.dfinal_m ? static_cast<const C*>(b.dfinal_m)[task] : C(0);
  const C along_initial =
      block_dot<C>(b.dinitial_c, b.initial_c, task * size, size, Shared<C>(parts));
  back.gauge = dm;
  if (b.dfinal_c)
    back.gauge -= block_dot<C>(b.dfinal_c, b.final_c, task * size, size, Shared<C>(parts));
  if (b.dfinal_n)
    back.gauge -= block_dot<C>(b.dfinal_n, a.final_n, task * a.keys, a.keys, Shared<C>(parts));
  RILL_UNROLL
  for (int e = 0; e < kKeys; ++e) {
    const std::int64_t i = lane_index() + e * kWarpSize;
    if (b.dfinal_n && i < a.keys) back.dn[e] = static_cast<const C*>(b.dfinal_n)[task * a.keys + i];
  }
  for (std::int64_t chunk = (length + kMatrixChunk - 1) / kMatrixChunk - 1; chunk >= 0; --chunk) {
    const std::int64_t first = start + chunk * kMatrixChunk, left = start + length - first;
    const int count = static_cast<int>(left < kMatrixChunk ? left : kMatrixChunk);
    block_sync();
    for (int s = warp_index(); b.dout && s < count; s += kBackThreads / kWarpSize) {
      const std::int64_t at = ((first + s) * a.heads + h) * b.values;
      C sum = C(0);
      for (std::int64_t j = lane_index(); j < b.values; j += kWarpSize)
        sum += load<S>(b.dout, at + j) * load<S>(b.out, at + j);
      sum = warp_sum(sum);
      if (lane_index() == 0) dout_out[s] = sum;
    }
    block_sync();
    if (warp_index() != 0) continue;
    const std::int64_t slot = matrix_slot(start, row) + chunk;
    const C* kept = static_cast<const C*>(a.kept) + (slot * a.heads + h) * a.keys;
    back.make_states(first, count, kept);
    for (int s = count - 1; s >= 0; --s)
      back.step(first + s, s > 0 ? back.states + (s - 1) * a.keys : kept, back.states + s * a.keys,
                b.dout ? static_cast<C>(dout_out[s]) : C(0));
  }
  if (warp_index() == 0) {
    C along_n = C(0);
    RILL_UNROLL
    for (int e = 0; e < kKeys; ++e) {
      const std::int64_t i = lane_index() + e * kWarpSize;
      if (i >= a.keys) continue;
      static_cast<C*>(b.dinitial_n)[task * a.keys + i] = back.dn[e];
      along_n += back.dn[e] * static_cast<const C*>(a.initial_n)[task * a.keys + i];
    }
    along_n = warp_sum(along_n);
    if (lane_index() == 0)
      static_cast<C*>(b.dinitial_m)[task] = length > 0 ? back.gauge + along_n + along_initial : dm;
  }
  clear_behind<S>(a.sequence, row, b.dinput, a.heads, h, 1);
  clear_behind<C>(a.sequence, row, b.dlog_forget, a.heads, h, 1);
}

template <class S>
struct LaunchForward {
  const MlstmGatesArgs& p;
  const DeviceLaunch& on;

  template <int kKeys>
  DeviceStatus run() const {
    const Grid grid{(p.sequence.rows * p.heads + kForwardWarps - 1) / kForwardWarps};
    return RILL_LAUNCH((mlstm_gates_kernel<S, kKeys>), grid, kForwardWarps * kWarpSize, 0,
                       on.stream, p);
  }
};

template <class S>
struct LaunchBackward {
  const MlstmGatesBackwardArgs& b;
  const DeviceLaunch& on;

  template <int kKeys>
  DeviceStatus run() const {
    return RILL_LAUNCH((mlstm_gates_backward_kernel<S, kKeys>),
                       (Grid{b.forward.sequence.rows * b.forward.heads}), kBackThreads, 0,
                       on.stream, b);
  }
};

}  // namespace

template <class S>
DeviceStatus launch_mlstm_gates(const MlstmGatesArgs& p, const DeviceLaunch& on) {
  if (p.sequence.rows * p.heads * p.keys == 0) return 0;
  return with_keys(p.keys, LaunchForward<S>{p, on});
}

template <class S>
DeviceStatus launch_mlstm_gates_backward(const MlstmGatesBackwardArgs& b, const DeviceLaunch& on) {
  if (b.forward.sequence.rows * b.forward.heads * b.forward.keys == 0) return 0;
  return with_keys(b.forward.keys, LaunchBackward<S>{b, on});
}

RILL_INSTANTIATE_ACTIVATIONS(launch_mlstm_gates, MlstmGatesArgs)
RILL_INSTANTIATE_ACTIVATIONS(launch_mlstm_gates_backward, MlstmGatesBackwardArgs)

}  // namespace rill
