// Gated linear attention: S_t = a_t S_{t-1} + c_t k_t v_t^T, out_t = scale S_t^T q_t / d_t, as the
// recurrence itself. A block takes a slice of value channels of one row and head through all its
// time; the state stays in registers (matrix_tile.h), q, k, v of a few steps are staged in shared
// memory.
//
// Backward: states are made again a chunk at a time from those kept, and read back in reverse order
// from scratch, each thread its own numbers. dq, dk and the gradient of log a sum over all value
// channels: warps of a block through shared memory, slices in their order (add_slices_kernel, or
// one block that takes them in turn). Every sum's order depends on sizes alone.
//
// The recurrence spends 6 K V operations a token (backward 14) outside the tensor cores.
// Activations in bfloat16 and half go through the chunked form that uses them (chunk_attention.cu).
#include <rill/scan/cuda/launch.h>
#include <rill/scan/cuda/matrix_slices.h>

namespace rill {
namespace {

// Stages factors [rows, kPadded], or [rows] where they do not depend on the key.
template <class S, bool kPerKey>
RILL_DEVICE void stage_decay(Shared<Compute<S>> to, int padded, const LinearAttentionArgs& p,
                             std::int64_t token, std::int64_t head, int rows) {
  using C = Compute<S>;
  const int width = kPerKey ? padded : 1;
  for (int i = thread_index(); i < rows * width; i += block_threads()) {
    const std::int64_t at = (token + i / width) * p.decay_token + head * p.decay_head;
    C factor = C(1);
    if (kPerKey && i % width >= p.keys)
      factor = C(0);
    else if (p.decay)
      factor = load<S>(p.decay, at + i % width * p.decay_key);
    to[i] = factor;
  }
}

// c_t v_t of the block's columns.
template <class S>
RILL_DEVICE void stage_gained(Shared<Compute<S>> to, int columns, const LinearAttentionArgs& p,
                              std::int64_t token, std::int64_t head, std::int64_t column,
                              int rows) {
  using C = Compute<S>;
  for (int i = thread_index(); i < rows * columns; i += block_threads()) {
    const std::int64_t at = (token + i / columns) * p.heads + head, c = column + i % columns;
    C value = C(0);
    if (c < p.values) value = load<S>(p.v, at * p.values + c);
    to[i] = p.gain ? load<S>(p.gain, at) * value : value;
  }
}

// S = a S + k (c v)^T, with what is staged for the step.
template <class C, int kKeys, int kColumns, bool kPerKey>
RILL_DEVICE void update(MatrixTile<C, kKeys, kColumns>& state, Shared<C> k, Shared<C> decay,
                        Shared<C> gained) {
  C v[kColumns];
  RILL_UNROLL
  for (int j = 0; j < kColumns; ++j) v[j] = gained[j];
  RILL_UNROLL
  for (int e = 0; e < kKeys; ++e) {
    const int key = lane_index() + e * kWarpSize;
    const C k_e = k[key], a = decay[kPerKey ? key : 0];
    RILL_UNROLL
    for (int j = 0; j < kColumns; ++j)
      state.s[e][j] = fused_multiply_add(k_e, v[j], a * state.s[e][j]);
  }
}

template <class S, int kKeys, bool kPerKey>
RILL_KERNEL(ForwardShape<kKeys>::kThreads, 1)
void linear_attention_kernel(LinearAttentionArgs p) {
  using C = Compute<S>;
  using Shape = ForwardShape<kKeys>;
  constexpr int kPadded = Shape::kPadded, kSteps = Shape::kSteps, kColumns = Shape::kColumns;
  RILL_SHARED(C, q_rows, kSteps * kPadded);
  RILL_SHARED(C, k_rows, kSteps * kPadded);
  RILL_SHARED(C, decays, (kPerKey ? kSteps * kPadded : kSteps));
  RILL_SHARED(C, gained, kSteps * Shape::kBlockColumns);
  const std::int64_t task = block_index(), row = task / p.heads, head = task % p.heads;
  const std::int64_t size = p.keys * p.values, start = p.sequence.start[row];
  const std::int64_t length = p.sequence.length[row];
  const std::int64_t block_column = block_index_y() * Shape::kBlockColumns;
  const std::int64_t column = block_column + warp_index() * kColumns;
  const std::int64_t mine = column + owned_column<kColumns>(lane_index());
  MatrixTile<C, kKeys, kColumns> state;
  state.read(static_cast<const C*>(p.initial) + task * size, p.keys, p.values, column);
  for (std::int64_t step = 0; step < length; step += kSteps) {
    const int count = length - step < kSteps ? static_cast<int>(length - step) : kSteps;
    const std::int64_t token = start + step, first = (token * p.heads + head) * p.keys;
    if (p.kept && step % kMatrixChunk == 0) {
      const std::int64_t slot = matrix_slot(start, row) + step / kMatrixChunk;
      state.write(static_cast<C*>(p.kept) + (slot * p.heads + head) * size, p.keys, p.values,
                  column);
    }
    block_sync();  // the steps before are done with
    stage_rows<S>(Shared<C>(q_rows), kPadded, p.q, first, p.heads * p.keys, p.keys, count);
    stage_rows<S>(Shared<C>(k_rows), kPadded, p.k, first, p.heads * p.keys, p.keys, count);
    stage_decay<S, kPerKey>(Shared<C>(decays), kPadded, p, token, head, count);
    stage_gained<S>(Shared<C>(gained), Shape::kBlockColumns, p, token, head, block_column, count);
    block_sync();
    for (int s = 0; s < count; ++s) {
      const std::int64_t at = (token + s) * p.heads + head;
      if (fresh_at(p.sequence, token + s)) state.clear();
      update<C, kKeys, kColumns, kPerKey>(
          state, k_rows + s * kPadded, decays + s * (kPerKey ? kPadded : 1),
          gained + (s * Shape::kBlockColumns + warp_index() * kColumns));
      C out[kColumns] = {};
      RILL_UNROLL
      for (int e = 0; e < kKeys; ++e) {
        const C q_e = q_rows[s * kPadded + lane_index() + e * kWarpSize];
        RILL_UNROLL
        for (int j = 0; j < kColumns; ++j) out[j] = fused_multiply_add(q_e, state.s[e][j], out[j]);
      }
      C sum = sum_columns<kColumns>(out) * static_cast<C>(p.scale);
      if (p.divisor) sum /= load<S>(p.divisor, at);
      if (writes_column<kColumns>() && mine < p.values) store<S>(p.out, at * p.values + mine, sum);
    }
  }
  state.write(static_cast<C*>(p.final_state) + task * size, p.keys, p.values, column);
  const std::int64_t rest = p.values - block_column;
  clear_behind<S>(p.sequence, row, p.out, p.heads * p.values, head * p.values + block_column,
                  rest < Shape::kBlockColumns ? rest : Shape::kBlockColumns);
}

// ---- backward

template <class S, int kKeys, bool kPerKey>
struct AttentionBack {
  using C = Compute<S>;
  using Shape = BackwardShape<kKeys>;
  static constexpr int kPadded = Shape::kPadded, kColumns = Shape::kColumns;
  static constexpr int kBlockColumns = Shape::kBlockColumns, kWarps = Shape::kWarps;
  static constexpr int kGroup = Shape::kGroup;
  static constexpr int kDecayWidth = kPerKey ? kPadded : 1;
  // [kGroup, 3, kWarps, kPadded] sums over a warp's columns of dq, dk, dlog a; or the staging of
  // update(): k and factors [kSteps, kPadded], c v [kSteps, kBlockColumns].
  static constexpr int kPartsCount = kGroup * 3 * kWarps * kPadded;
  static_assert(kPartsCount >= Shape::kSteps * (2 * kPadded + kBlockColumns));

  const LinearAttentionBackwardArgs& b;
  const LinearAttentionArgs& a;
  SliceSums sums;
  Shared<C> parts, scalars;            // scalars [kGroup, 2, kWarps]: dlog a, dgain
  Shared<C> q_rows, k_rows, decays;    // [kGroup, kPadded], decays [kGroup, kDecayWidth]
  Shared<C> v_rows, dout_rows, gains;  // [kGroup, kBlockColumns], [kGroup]
  std::int64_t row, head, block_column, column;
  C* states;  // of this task: behind step i of the chunk at i * K * V

  RILL_DEVICE std::int64_t size() const { return a.keys * a.values; }

  // Runs the chunk forward; `state` ends behind its last step.
  RILL_DEVICE void make_states(std::int64_t first, int count,
                               MatrixTile<C, kKeys, kColumns>& state) const {
    constexpr int kSteps = Shape::kSteps;
    const Shared<C> factors = parts + kSteps * kPadded, gained = parts + 2 * kSteps * kPadded;
    for (int done = 0; done < count; done += kSteps) {
      const int now = count - done < kSteps ? count - done : kSteps;
      const std::int64_t token = first + done;
      block_sync();
      stage_rows<S>(parts, kPadded, a.k, (token * a.heads + head) * a.keys, a.heads * a.keys,
                    a.keys, now);
      stage_decay<S, kPerKey>(factors, kPadded, a, token, head, now);
      stage_gained<S>(gained, kBlockColumns, a, token, head, block_column, now);
      block_sync();
      for (int s = 0; s < now; ++s) {
        if (fresh_at(a.sequence, token + s)) state.clear();
        update<C, kKeys, kColumns, kPerKey>(state, parts + s * kPadded, factors + s * kDecayWidth,
                                            gained + (s * kBlockColumns + warp_index() * kColumns));
        if (done + s + 1 < count)
          state.write(states + (done + s) * size(), a.keys, a.values, column);
      }
    }
  }

  RILL_DEVICE void stage_group(std::int64_t token, int count) const {
    const std::int64_t first = (token * a.heads + head) * a.keys, stride = a.heads * a.keys;
    stage_rows<S>(q_rows, kPadded, a.q, first, stride, a.keys, count);
    stage_rows<S>(k_rows, kPadded, a.k, first, stride, a.keys, count);
    stage_decay<S, kPerKey>(decays, kPadded, a, token, head, count);
    for (int i = thread_index(); i < count * kBlockColumns; i += block_threads()) {
      const std::int64_t at = (token + i / kBlockColumns) * a.heads + head;
      const std::int64_t c = block_column + i % kBlockColumns;
      const bool inside = c < a.values;
      C scale = static_cast<C>(a.scale);
      if (a.divisor) scale /= load<S>(a.divisor, at);
      v_rows[i] = inside ? load<S>(a.v, at * a.values + c) : C(0);
      dout_rows[i] = inside && b.dout ? scale * load<S>(b.dout, at * a.values + c) : C(0);
      if (i % kBlockColumns == 0) gains[i / kBlockColumns] = a.gain ? load<S>(a.gain, at) : C(1);
    }
  }

  // One step; `g` is its place in the group. `after` becomes the state before the step.
  RILL_DEVICE void step(std::int64_t token, int g, const C* state_before,
                        MatrixTile<C, kKeys, kColumns>& after,
                        MatrixTile<C, kKeys, kColumns>& ds) const {
    MatrixTile<C, kKeys, kColumns> before;
    before.read(state_before, a.keys, a.values, column);
    const bool fresh = fresh_at(a.sequence, token);
    const C gain = gains[g];
    const int own = g * kBlockColumns + warp_index() * kColumns;
    C dj[kColumns], gained[kColumns], dv[kColumns] = {};
    RILL_UNROLL
    for (int j = 0; j < kColumns; ++j) {
      dj[j] = dout_rows[own + j];
      gained[j] = gain * v_rows[own + j];
    }
    C decay_sum = C(0);
    RILL_UNROLL
    for (int e = 0; e < kKeys; ++e) {
      const int key = lane_index() + e * kWarpSize;
      const C q_e = q_rows[g * kPadded + key], k_e = k_rows[g * kPadded + key];
      const C factor = fresh ? C(0) : static_cast<C>(decays[g * kDecayWidth + (kPerKey ? key : 0)]);
      C dq = C(0), dk = C(0), df = C(0);
      RILL_UNROLL
      for (int j = 0; j < kColumns; ++j) {
        C d = ds.s[e][j];
        dq = fused_multiply_add(dj[j], after.s[e][j], dq);
        d = fused_multiply_add(dj[j], q_e, d);
        dk = fused_multiply_add(d, gained[j], dk);
        dv[j] = fused_multiply_add(d, k_e, dv[j]);
        df = fused_multiply_add(d, before.s[e][j], df);
        ds.s[e][j] = d * factor;
        after.s[e][j] = before.s[e][j];
      }
      df = fresh ? C(0) : factor * df;
      parts[((g * 3 + 0) * kWarps + warp_index()) * kPadded + key] = dq;
      parts[((g * 3 + 1) * kWarps + warp_index()) * kPadded + key] = dk;
      if (kPerKey) parts[((g * 3 + 2) * kWarps + warp_index()) * kPadded + key] = df;
      decay_sum += df;
    }
    const int c = owned_column<kColumns>(lane_index());
    const C dv_mine = sum_columns<kColumns>(dv);
    if (writes_column<kColumns>() && column + c < a.values)
      store<S>(b.dv, (token * a.heads + head) * a.values + column + c, dv_mine * gain);
    if (!kPerKey && b.dlog_decay) {
      decay_sum = warp_sum(decay_sum);
      if (lane_index() == 0) scalars[(g * 2 + 0) * kWarps + warp_index()] = decay_sum;
    }
    if (b.dgain) {
      const C gain_sum = sum_over_columns<kColumns>(dv_mine * v_rows[own + c]);
      if (lane_index() == 0) scalars[(g * 2 + 1) * kWarps + warp_index()] = gain_sum;
    }
  }

  // Adds up the warps' sums of a group's steps and puts them where they belong.
  RILL_DEVICE void put_group(std::int64_t token, int count, std::int64_t slice) const {
    const int keys = static_cast<int>(a.keys), kinds = kPerKey && b.dlog_decay ? 3 : 2;
    void* const targets[3] = {b.dq, b.dk, b.dlog_decay};
    for (int i = thread_index(); i < count * kinds * keys; i += block_threads()) {
      const int key = i % keys, kind = i / keys % kinds, g = i / keys / kinds;
      const Shared<C> from = parts + (g * 3 + kind) * kWarps * kPadded;
      C sum = from[key];
      for (int w = 1; w < kWarps; ++w) sum += from[w * kPadded + key];
      void* const target = kind == 0 ? targets[0] : kind == 1 ? targets[1] : targets[2];
      sums.put<S>(target, kind, slice, ((token + g) * a.heads + head) * a.keys + key, sum);
    }
    if (thread_index() >= count * 2) return;
    const int g = thread_index() / 2, kind = thread_index() % 2;
    void* const target = kind == 0 ? (kPerKey ? nullptr : b.dlog_decay) : b.dgain;
    if (!target) return;
    const Shared<C> from = scalars + (g * 2 + kind) * kWarps;
    C sum = from[0];
    for (int w = 1; w < kWarps; ++w) sum += from[w];
    sums.put<S>(target, 2 + kind, slice, (token + g) * a.heads + head, sum);
  }

  RILL_DEVICE void run(std::int64_t slice) const {
    const SeqArgs& s = a.sequence;
    const std::int64_t task = row * a.heads + head, start = s.start[row], length = s.length[row];
    MatrixTile<C, kKeys, kColumns> ds, state;
    ds.clear();
    if (b.dfinal)
      ds.read(static_cast<const C*>(b.dfinal) + task * size(), a.keys, a.values, column);
    for (std::int64_t chunk = (length + kMatrixChunk - 1) / kMatrixChunk - 1; chunk >= 0; --chunk) {
      const std::int64_t first = start + chunk * kMatrixChunk, left = start + length - first;
      const int count = static_cast<int>(left < kMatrixChunk ? left : kMatrixChunk);
      const std::int64_t slot = matrix_slot(start, row) + chunk;
      const C* kept = static_cast<const C*>(a.kept) + (slot * a.heads + head) * size();
      state.read(kept, a.keys, a.values, column);
      make_states(first, count, state);
      for (int last = count; last > 0; last -= kGroup) {
        const int low = last > kGroup ? last - kGroup : 0;
        block_sync();
        stage_group(first + low, last - low);
        block_sync();
        for (int i = last - 1; i >= low; --i)
          step(first + i, i - low, i > 0 ? states + (i - 1) * size() : kept, state, ds);
        block_sync();
        put_group(first + low, last - low, slice);
      }
    }
    ds.write(static_cast<C*>(b.dinitial) + task * size(), a.keys, a.values, column);
  }

  RILL_DEVICE void clear(std::int64_t slice) const {
    const SeqArgs& s = a.sequence;
    const std::int64_t width = kPerKey ? a.keys : 1, rest = a.values - block_column;
    sums.clear<S>(s, row, b.dq, 0, slice, a.heads * a.keys, head * a.keys, a.keys);
    sums.clear<S>(s, row, b.dk, 1, slice, a.heads * a.keys, head * a.keys, a.keys);
    sums.clear<S>(s, row, b.dlog_decay, 2, slice, a.heads * width, head * width, width);
    sums.clear<S>(s, row, b.dgain, 3, slice, a.heads, head, 1);
    clear_behind<S>(s, row, b.dv, a.heads * a.values, head * a.values + block_column,
                    rest < kBlockColumns ? rest : kBlockColumns);
  }
};

template <class S, int kKeys, bool kPerKey>
RILL_KERNEL(BackwardShape<kKeys>::kThreads, 1)
void linear_attention_backward_kernel(LinearAttentionBackwardArgs b, SliceSums sums) {
  using C = Compute<S>;
  using Back = AttentionBack<S, kKeys, kPerKey>;
  constexpr int kGroup = Back::kGroup;
  RILL_SHARED(C, parts, Back::kPartsCount);
  RILL_SHARED(C, scalars, kGroup * 2 * Back::kWarps);
  RILL_SHARED(C, q_rows, kGroup * Back::kPadded);
  RILL_SHARED(C, k_rows, kGroup * Back::kPadded);
  RILL_SHARED(C, decays, kGroup * Back::kDecayWidth);
  RILL_SHARED(C, v_rows, kGroup * Back::kBlockColumns);
  RILL_SHARED(C, dout_rows, kGroup * Back::kBlockColumns);
  RILL_SHARED(C, gains, kGroup);
  const LinearAttentionArgs& a = b.forward;
  const std::int64_t task = block_index();
  C* const states = static_cast<C*>(b.scratch) + task * matrix_scratch(a.keys, a.values);
  const std::int64_t first = sums.apart ? block_index_y() : 0;
  const std::int64_t last = sums.apart ? first + 1 : sums.slices;
  for (std::int64_t slice = first; slice < last; ++slice) {
    const std::int64_t block_column = slice * Back::kBlockColumns;
    const Back back{b,
                    a,
                    sums,
                    Shared<C>(parts),
                    Shared<C>(scalars),
                    Shared<C>(q_rows),
                    Shared<C>(k_rows),
                    Shared<C>(decays),
                    Shared<C>(v_rows),
                    Shared<C>(dout_rows),
                    Shared<C>(gains),
                    task / a.heads,
                    task % a.heads,
                    block_column,
                    block_column + warp_index() * Back::kColumns,
                    states};
    back.run(slice);
    back.clear(slice);
    block_sync();
  }
}

template <class S>
struct LaunchForward {
  const LinearAttentionArgs& p;
  const DeviceLaunch& on;

  template <int kKeys>
  DeviceStatus run() const {
    constexpr int kColumns = ForwardShape<kKeys>::kBlockColumns;
    const Grid grid{p.sequence.rows * p.heads, (p.values + kColumns - 1) / kColumns, 1};
    constexpr int kThreads = ForwardShape<kKeys>::kThreads;
    if (p.decay_key)
      return RILL_LAUNCH((linear_attention_kernel<S, kKeys, true>), grid, kThreads, 0, on.stream,
                         p);
    return RILL_LAUNCH((linear_attention_kernel<S, kKeys, false>), grid, kThreads, 0, on.stream, p);
  }
};

template <class S>
struct LaunchBackward {
  const LinearAttentionBackwardArgs& b;
  const DeviceLaunch& on;

  template <int kKeys>
  DeviceStatus run() const {
    using Shape = BackwardShape<kKeys>;
    const LinearAttentionArgs& a = b.forward;
    const bool per_key = a.decay_key != 0;
    const std::int64_t heads = a.sequence.tokens * a.heads, whole = heads * a.keys;
    const SliceSums sums = plan_slices<S>(
        a.values, Shape::kBlockColumns, on,
        {whole, whole, b.dlog_decay ? (per_key ? whole : heads) : 0, b.dgain ? heads : 0});
    const Grid grid{a.sequence.rows * a.heads, sums.apart ? sums.slices : 1, 1};
    if (per_key)
      RILL_LAUNCH_OR_RETURN((linear_attention_backward_kernel<S, kKeys, true>), grid,
                            Shape::kThreads, 0, on.stream, b, sums);
    else
      RILL_LAUNCH_OR_RETURN((linear_attention_backward_kernel<S, kKeys, false>), grid,
                            Shape::kThreads, 0, on.stream, b, sums);
    return add_slices<S>(sums, {b.dq, b.dk, b.dlog_decay, b.dgain}, on);
  }
};

}  // namespace

template <class S>
DeviceStatus launch_linear_attention(const LinearAttentionArgs& p, const DeviceLaunch& on) {
  if (p.sequence.rows * p.heads * p.keys * p.values == 0) return 0;
  return with_keys(p.keys, LaunchForward<S>{p, on});
}

template <class S>
DeviceStatus launch_linear_attention_backward(const LinearAttentionBackwardArgs& b,
                                              const DeviceLaunch& on) {
  const LinearAttentionArgs& a = b.forward;
  if (a.sequence.rows * a.heads * a.keys * a.values == 0) return 0;
  return with_keys(a.keys, LaunchBackward<S>{b, on});
}

RILL_INSTANTIATE(launch_linear_attention, LinearAttentionArgs)
RILL_INSTANTIATE(launch_linear_attention_backward, LinearAttentionBackwardArgs)

}  // namespace rill
