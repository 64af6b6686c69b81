// The delta rule: S_t = S_{t-1} + k_t w_t^T, w_t = beta_t (v_t - S_{t-1}^T k_t), out_t = scale
// S_t^T q_t, as the recurrence itself. Columns of S are independent of each other, so the division
// of work is that of linear_attention.cu: a block a slice of value channels, the state in
// registers, steps staged in shared memory; backward a chunk's states are made again and read back
// from scratch, its errors v - S^T k stay in shared memory. Within a step the sum S^T k must be
// known before the state changes: one chain of shuffles a step, which sum_columns keeps at 5.
//
// The chunked (WY) form on tensor cores is another kernel.
#include <rill/scan/cuda/launch.h>
#include <rill/scan/cuda/matrix_slices.h>

namespace rill {
namespace {

// S = S + k (beta error)^T with what is staged for the step; returns the error of the lane's own
// column.
template <class C, int kKeys, int kColumns>
RILL_DEVICE C update(MatrixTile<C, kKeys, kColumns>& state, Shared<C> k, Shared<C> v, C beta) {
  C w[kColumns] = {};
  RILL_UNROLL
  for (int e = 0; e < kKeys; ++e) {
    const C k_e = k[lane_index() + e * kWarpSize];
    RILL_UNROLL
    for (int j = 0; j < kColumns; ++j) w[j] = fused_multiply_add(k_e, state.s[e][j], w[j]);
  }
  const C error = v[owned_column<kColumns>(lane_index())] - sum_columns<kColumns>(w);
  share_columns<kColumns>(beta * error, w);
  RILL_UNROLL
  for (int e = 0; e < kKeys; ++e) {
    const C k_e = k[lane_index() + e * kWarpSize];
    RILL_UNROLL
    for (int j = 0; j < kColumns; ++j) state.s[e][j] = fused_multiply_add(k_e, w[j], state.s[e][j]);
  }
  return error;
}

// v of the block's columns, [rows, columns].
template <class S>
RILL_DEVICE void stage_columns(Shared<Compute<S>> to, int columns, const void* from,
                               const DeltaRuleArgs& p, std::int64_t token, std::int64_t head,
                               std::int64_t column, int rows) {
  const std::int64_t rest = p.values - column;
  stage_rows<S>(to, columns, from, (token * p.heads + head) * p.values + column, p.heads * p.values,
                rest < columns ? rest : columns, rows);
}

template <class S, int kKeys>
RILL_KERNEL(ForwardShape<kKeys>::kThreads, 1)
void delta_rule_kernel(DeltaRuleArgs p) {
  using C = Compute<S>;
  using Shape = ForwardShape<kKeys>;
  constexpr int kPadded = Shape::kPadded, kSteps = Shape::kSteps, kColumns = Shape::kColumns;
  RILL_SHARED(C, q_rows, kSteps * kPadded);
  RILL_SHARED(C, k_rows, kSteps * kPadded);
  RILL_SHARED(C, v_rows, kSteps * Shape::kBlockColumns);
  RILL_SHARED(C, betas, kSteps);
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
    stage_rows<S>(Shared<C>(betas), 1, p.beta, token * p.heads + head, p.heads, 1, count);
    stage_columns<S>(Shared<C>(v_rows), Shape::kBlockColumns, p.v, p, token, head, block_column,
                     count);
    block_sync();
    for (int s = 0; s < count; ++s) {
      if (fresh_at(p.sequence, token + s)) state.clear();
      const C beta = betas[s];
      update<C, kKeys, kColumns>(state, k_rows + s * kPadded,
                                 v_rows + (s * Shape::kBlockColumns + warp_index() * kColumns),
                                 beta);
      C out[kColumns] = {};
      RILL_UNROLL
      for (int e = 0; e < kKeys; ++e) {
        const C q_e = q_rows[s * kPadded + lane_index() + e * kWarpSize];
        RILL_UNROLL
        for (int j = 0; j < kColumns; ++j) out[j] = fused_multiply_add(q_e, state.s[e][j], out[j]);
      }
      const C sum = sum_columns<kColumns>(out) * static_cast<C>(p.scale);
      if (writes_column<kColumns>() && mine < p.values)
        store<S>(p.out, ((token + s) * p.heads + head) * p.values + mine, sum);
    }
  }
  state.write(static_cast<C*>(p.final_state) + task * size, p.keys, p.values, column);
  const std::int64_t rest = p.values - block_column;
  clear_behind<S>(p.sequence, row, p.out, p.heads * p.values, head * p.values + block_column,
                  rest < Shape::kBlockColumns ? rest : Shape::kBlockColumns);
}

// ---- backward

template <class S, int kKeys>
struct DeltaBack {
  using C = Compute<S>;
  using Shape = BackwardShape<kKeys>;
  using Tile = MatrixTile<C, kKeys, Shape::kColumns>;
  static constexpr int kPadded = Shape::kPadded, kColumns = Shape::kColumns;
  static constexpr int kBlockColumns = Shape::kBlockColumns, kWarps = Shape::kWarps;
  static constexpr int kGroup = Shape::kGroup;
  // [kGroup, 2, kWarps, kPadded] sums over a warp's columns of dq, dk; or the staging of update():
  // k [kSteps, kPadded], v [kSteps, kBlockColumns], beta [kSteps].
  static constexpr int kPartsCount = kGroup * 2 * kWarps * kPadded;
  static_assert(kPartsCount >= Shape::kSteps * (kPadded + kBlockColumns + 1));

  const DeltaRuleBackwardArgs& b;
  const DeltaRuleArgs& a;
  SliceSums sums;
  Shared<C> parts, dbetas;     // dbetas [kGroup, kWarps]
  Shared<C> errors;            // [kMatrixChunk, kBlockColumns]
  Shared<C> q_rows, k_rows;    // [kGroup, kPadded]
  Shared<C> dout_rows, betas;  // [kGroup, kBlockColumns], [kGroup]
  std::int64_t row, head, block_column, column;
  C* states;  // of this task: behind step i of the chunk at i * K * V

  RILL_DEVICE std::int64_t size() const { return a.keys * a.values; }

  // Runs the chunk forward; `state` ends behind its last step.
  RILL_DEVICE void make_states(std::int64_t first, int count, Tile& state) const {
    constexpr int kSteps = Shape::kSteps;
    const Shared<C> v = parts + kSteps * kPadded, beta = v + kSteps * kBlockColumns;
    for (int done = 0; done < count; done += kSteps) {
      const int now = count - done < kSteps ? count - done : kSteps;
      const std::int64_t token = first + done, at = token * a.heads + head;
      block_sync();
      stage_rows<S>(parts, kPadded, a.k, at * a.keys, a.heads * a.keys, a.keys, now);
      stage_columns<S>(v, kBlockColumns, a.v, a, token, head, block_column, now);
      stage_rows<S>(beta, 1, a.beta, at, a.heads, 1, now);
      block_sync();
      for (int s = 0; s < now; ++s) {
        if (fresh_at(a.sequence, token + s)) state.clear();
        const C beta_s = beta[s];
        const C error = update<C, kKeys, kColumns>(
            state, parts + s * kPadded, v + (s * kBlockColumns + warp_index() * kColumns), beta_s);
        if (writes_column<kColumns>())
          errors[(done + s) * kBlockColumns + warp_index() * kColumns +
                 owned_column<kColumns>(lane_index())] = error;
        if (done + s + 1 < count)
          state.write(states + (done + s) * size(), a.keys, a.values, column);
      }
    }
  }

  RILL_DEVICE void stage_group(std::int64_t token, int count) const {
    const std::int64_t at = token * a.heads + head, stride = a.heads * a.keys;
    stage_rows<S>(q_rows, kPadded, a.q, at * a.keys, stride, a.keys, count);
    stage_rows<S>(k_rows, kPadded, a.k, at * a.keys, stride, a.keys, count);
    stage_rows<S>(betas, 1, a.beta, at, a.heads, 1, count);
    stage_columns<S>(dout_rows, kBlockColumns, b.dout, a, token, head, block_column, count);
  }

  // One step; `g` is its place in the group, `i` in the chunk. `after` becomes the state before the
  // step.
  RILL_DEVICE void step(std::int64_t token, int g, int i, const C* state_before, Tile& after,
                        Tile& ds) const {
    Tile before;
    before.read(state_before, a.keys, a.values, column);
    const bool fresh = fresh_at(a.sequence, token);
    const C beta = betas[g], scale = static_cast<C>(a.scale);
    const int own = warp_index() * kColumns, c = owned_column<kColumns>(lane_index());
    C dj[kColumns], w[kColumns], dw[kColumns] = {}, dk[kKeys];
    RILL_UNROLL
    for (int j = 0; j < kColumns; ++j) {
      dj[j] = scale * dout_rows[g * kBlockColumns + own + j];
      w[j] = beta * errors[i * kBlockColumns + own + j];
    }
    RILL_UNROLL
    for (int e = 0; e < kKeys; ++e) {
      const int key = lane_index() + e * kWarpSize;
      const C q_e = q_rows[g * kPadded + key], k_e = k_rows[g * kPadded + key];
      C dq = C(0);
      dk[e] = C(0);
      RILL_UNROLL
      for (int j = 0; j < kColumns; ++j) {
        dq = fused_multiply_add(dj[j], after.s[e][j], dq);
        const C d = fused_multiply_add(dj[j], q_e, ds.s[e][j]);
        dk[e] = fused_multiply_add(d, w[j], dk[e]);
        dw[j] = fused_multiply_add(d, k_e, dw[j]);
        ds.s[e][j] = d;
      }
      parts[((g * 2 + 0) * kWarps + warp_index()) * kPadded + key] = dq;
    }
    const C dw_mine = sum_columns<kColumns>(dw), dv_mine = beta * dw_mine;
    if (writes_column<kColumns>() && column + c < a.values)
      store<S>(b.dv, (token * a.heads + head) * a.values + column + c, dv_mine);
    const C dbeta = sum_over_columns<kColumns>(dw_mine * errors[i * kBlockColumns + own + c]);
    if (lane_index() == 0) dbetas[g * kWarps + warp_index()] = dbeta;
    share_columns<kColumns>(dv_mine, dw);  // dv from here on
    RILL_UNROLL
    for (int e = 0; e < kKeys; ++e) {
      const int key = lane_index() + e * kWarpSize;
      const C k_e = k_rows[g * kPadded + key];
      C through_error = C(0);
      RILL_UNROLL
      for (int j = 0; j < kColumns; ++j) {
        through_error = fused_multiply_add(before.s[e][j], dw[j], through_error);
        ds.s[e][j] = fresh ? C(0) : fused_multiply_add(-k_e, dw[j], ds.s[e][j]);
        after.s[e][j] = before.s[e][j];
      }
      parts[((g * 2 + 1) * kWarps + warp_index()) * kPadded + key] =
          fresh ? dk[e] : dk[e] - through_error;
    }
  }

  // Adds up the warps' sums of a group's steps and puts them where they belong.
  RILL_DEVICE void put_group(std::int64_t token, int count, std::int64_t slice) const {
    const int keys = static_cast<int>(a.keys);
    for (int i = thread_index(); i < count * 2 * keys; i += block_threads()) {
      const int key = i % keys, kind = i / keys % 2, g = i / keys / 2;
      const Shared<C> from = parts + (g * 2 + kind) * kWarps * kPadded;
      C sum = from[key];
      for (int w = 1; w < kWarps; ++w) sum += from[w * kPadded + key];
      sums.put<S>(kind == 0 ? b.dq : b.dk, kind, slice,
                  ((token + g) * a.heads + head) * a.keys + key, sum);
    }
    if (thread_index() >= count) return;
    const Shared<C> from = dbetas + thread_index() * kWarps;
    C sum = from[0];
    for (int w = 1; w < kWarps; ++w) sum += from[w];
    sums.put<S>(b.dbeta, 2, slice, (token + thread_index()) * a.heads + head, sum);
  }

  RILL_DEVICE void run(std::int64_t slice) const {
    const SeqArgs& s = a.sequence;
    const std::int64_t task = row * a.heads + head, start = s.start[row], length = s.length[row];
    Tile ds, state;
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
          step(first + i, i - low, i, i > 0 ? states + (i - 1) * size() : kept, state, ds);
        block_sync();
        put_group(first + low, last - low, slice);
      }
    }
    ds.write(static_cast<C*>(b.dinitial) + task * size(), a.keys, a.values, column);
  }

  RILL_DEVICE void clear(std::int64_t slice) const {
    const SeqArgs& s = a.sequence;
    const std::int64_t rest = a.values - block_column;
    sums.clear<S>(s, row, b.dq, 0, slice, a.heads * a.keys, head * a.keys, a.keys);
    sums.clear<S>(s, row, b.dk, 1, slice, a.heads * a.keys, head * a.keys, a.keys);
    sums.clear<S>(s, row, b.dbeta, 2, slice, a.heads, head, 1);
    clear_behind<S>(s, row, b.dv, a.heads * a.values, head * a.values + block_column,
                    rest < kBlockColumns ? rest : kBlockColumns);
  }
};

template <class S, int kKeys>
RILL_KERNEL(BackwardShape<kKeys>::kThreads, 1)
void delta_rule_backward_kernel(DeltaRuleBackwardArgs b, SliceSums sums) {
  using C = Compute<S>;
  using Back = DeltaBack<S, kKeys>;
  constexpr int kGroup = Back::kGroup;
  RILL_SHARED(C, parts, Back::kPartsCount);
  RILL_SHARED(C, dbetas, kGroup * Back::kWarps);
  RILL_SHARED(C, errors, kMatrixChunk * Back::kBlockColumns);
  RILL_SHARED(C, q_rows, kGroup * Back::kPadded);
  RILL_SHARED(C, k_rows, kGroup * Back::kPadded);
  RILL_SHARED(C, dout_rows, kGroup * Back::kBlockColumns);
  RILL_SHARED(C, betas, kGroup);
  const DeltaRuleArgs& a = b.forward;
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
                    Shared<C>(dbetas),
                    Shared<C>(errors),
                    Shared<C>(q_rows),
                    Shared<C>(k_rows),
                    Shared<C>(dout_rows),
                    Shared<C>(betas),
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
  const DeltaRuleArgs& p;
  const DeviceLaunch& on;

  template <int kKeys>
  DeviceStatus run() const {
    constexpr int kColumns = ForwardShape<kKeys>::kBlockColumns;
    const Grid grid{p.sequence.rows * p.heads, (p.values + kColumns - 1) / kColumns, 1};
    return RILL_LAUNCH((delta_rule_kernel<S, kKeys>), grid, ForwardShape<kKeys>::kThreads, 0,
                       on.stream, p);
  }
};

template <class S>
struct LaunchBackward {
  const DeltaRuleBackwardArgs& b;
  const DeviceLaunch& on;

  template <int kKeys>
  DeviceStatus run() const {
    using Shape = BackwardShape<kKeys>;
    const DeltaRuleArgs& a = b.forward;
    const std::int64_t heads = a.sequence.tokens * a.heads, whole = heads * a.keys;
    const SliceSums sums =
        plan_slices<S>(a.values, Shape::kBlockColumns, on, {whole, whole, heads, 0});
    const Grid grid{a.sequence.rows * a.heads, sums.apart ? sums.slices : 1, 1};
    RILL_LAUNCH_OR_RETURN((delta_rule_backward_kernel<S, kKeys>), grid, Shape::kThreads, 0,
                          on.stream, b, sums);
    return add_slices<S>(sums, {b.dq, b.dk, b.dbeta, nullptr}, on);
  }
};

}  // namespace

template <class S>
DeviceStatus launch_delta_rule(const DeltaRuleArgs& p, const DeviceLaunch& on) {
  if (p.sequence.rows * p.heads * p.keys * p.values == 0) return 0;
  return with_keys(p.keys, LaunchForward<S>{p, on});
}

template <class S>
DeviceStatus launch_delta_rule_backward(const DeltaRuleBackwardArgs& b, const DeviceLaunch& on) {
  const DeltaRuleArgs& a = b.forward;
  if (a.sequence.rows * a.heads * a.keys * a.values == 0) return 0;
  return with_keys(a.keys, LaunchBackward<S>{b, on});
}

RILL_INSTANTIATE(launch_delta_rule, DeltaRuleArgs)
RILL_INSTANTIATE(launch_delta_rule_backward, DeltaRuleBackwardArgs)

}  // namespace rill
