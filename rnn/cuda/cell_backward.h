// The recurrence backward, from each row's last step to its first. A phase multiplies dgates of the
// step behind with the block's columns of W_hh, which gives dh of its units, takes the units' step
// back and passes its dgates on. With a projection that is two phases: dh of the block's outputs,
// then, with its columns of W_hr, the units' step.
#pragma once

#include <rill/core/cuda/launch.h>
#include <rill/rnn/cuda/cell_math.h>
#include <rill/rnn/cuda/team.h>

namespace rill {

template <class S, class Cell, int kSlots, bool kHeld>
struct BackwardTeam {
  using C = Compute<S>;
  static constexpr int kGates = Cell::kGates;
  static constexpr bool kLstm = kGates == 4;
  const RecurrentBackwardArgs& a;
  const TeamPlan& plan;
  Exchange<S, kSlots> exchange;
  OwnColumns<S> hh, hr;  // columns: of h; of units
  Shared<S> matrix, projection;
  Shared<C> parts, totals, state, passed;  // state: dc of the LSTM
  RowCursor<true> walk, was;               // this step; the one that was taken before it

  RILL_DEVICE int slot() const { return thread_index() % kSlots; }
  RILL_DEVICE bool in_steps() const { return plan.mode == TeamMode::kSteps; }
  RILL_DEVICE std::int64_t first_unit() const { return a.weight_hr ? hr.first : hh.first; }
  RILL_DEVICE std::int64_t units() const { return a.weight_hr ? hr.units : hh.units; }

  /// Rows without steps: gradients of their states go through.
  RILL_DEVICE void begin(std::int64_t first_row) const {
    const SeqArgs& s = a.sequence;
    for (std::int64_t row = first_row; row < s.rows; row += plan.stride) {
      if (s.length[row] != 0) continue;
      for (std::int64_t i = thread_index() / kSlots; i < hh.units; i += kTeamThreads / kSlots)
        pass(a.dh, a.dh_final, row * a.output + hh.first + i);
      for (std::int64_t i = thread_index() / kSlots; a.dc && i < units();
           i += kTeamThreads / kSlots)
        pass(a.dc, a.dc_final, row * a.hidden + first_unit() + i);
    }
  }
  RILL_DEVICE static void pass(void* to, const void* from, std::int64_t i) {
    static_cast<C*>(to)[i] = final_or_zero(from, i);
  }
  RILL_DEVICE static C final_or_zero(const void* from, std::int64_t i) {
    return from ? static_cast<const C*>(from)[i] : C(0);
  }

  /// The h that this step read, which is kept.
  RILL_DEVICE C previous_h(std::int64_t q) const {
    C before = C(0);
    if (!walk.fresh())
      before = walk.t == 0 ? static_cast<const C*>(a.h0)[walk.row * a.output + q]
                           : load<S>(a.y, (walk.token() - 1) * a.output + q);
    store<S>(a.h_previous, walk.token() * a.output + q, before);
    return before;
  }

  /// The gradient of this step's h of the block's output i; `product` is W_hh^T dgates of the step
  /// that was taken before. That step's dh leaves where it was its row's first.
  RILL_DEVICE C output_gradient(std::int64_t i, C product) const {
    const std::int64_t q = hh.first + i;
    C dh = C(0);
    if (was.active()) {
      if (!was.fresh()) {
        dh = product;
        if (!kLstm)
          dh += in_steps() ? static_cast<const C*>(a.dh)[was.row * a.output + q]
                           : static_cast<C>(passed[i * kSlots + slot()]);
      }
      if (was.last()) static_cast<C*>(a.dh)[was.row * a.output + q] = dh;
    }
    if (!walk.active()) return C(0);
    if (walk.first()) dh = final_or_zero(a.dh_final, walk.row * a.output + q);
    if (a.dy) dh += load<S>(a.dy, walk.token() * a.output + q);
    return dh;
  }

  /// Takes unit `i` back, given the gradient of its output.
  RILL_DEVICE void unit(std::int64_t phase, std::int64_t i, C dout, C before) {
    const std::int64_t j = first_unit() + i, at = i * kSlots + slot();
    const std::int64_t token = walk.token(), row_unit = walk.row * a.hidden + j;
    typename Cell::Saved saved;
    RILL_UNROLL
    for (int g = 0; g < kGates; ++g)
      saved.gates[g] = load<S>(a.gates, (token * kGates + g) * a.hidden + j);
    saved.kept = load<typename Cell::Kept>(a.kept, token * a.hidden + j);
    C dc = C(0);
    if (kLstm) {
      before = C(0);
      if (!walk.fresh())
        before = walk.t == 0 ? static_cast<const C*>(a.c0)[row_unit]
                             : load<C>(a.kept, (token - 1) * a.hidden + j);
      dc = walk.first() ? final_or_zero(a.dc_final, row_unit)
           : in_steps() ? static_cast<const C*>(a.dc)[row_unit]
                        : static_cast<C>(state[at]);
    }
    C d[kGates];
    const C by_h = Cell::backward(a, token, j, saved, dout, before, dc, d);
    if (kLstm) {
      dc = walk.fresh() ? C(0) : dc;
      state[at] = dc;
      if (walk.last() || in_steps()) static_cast<C*>(a.dc)[row_unit] = dc;
    } else {
      passed[at] = by_h;
      if (in_steps()) static_cast<C*>(a.dh)[walk.row * a.output + j] = by_h;
    }
    RILL_UNROLL
    for (int g = 0; g < kGates; ++g) exchange.put(phase + 1, g * a.hidden + j, slot(), d[g]);
  }

  RILL_DEVICE void multiply_dgates(std::int64_t phase) const {
    if (phase > 0) {
      exchange.await(phase);
      multiply<S, kSlots, kHeld>(hh, matrix, PassedOn<S, kSlots>{exchange, phase}, parts, totals);
    }
    block_sync();
  }

  RILL_DEVICE void cell_phase(std::int64_t phase) {
    multiply_dgates(phase);
    for (std::int64_t i = thread_index() / kSlots; i < hh.units; i += kTeamThreads / kSlots) {
      const C product = phase > 0 ? static_cast<C>(totals[i * kSlots + slot()]) : C(0);
      const C dout = output_gradient(i, product);
      if (walk.active()) {
        unit(phase, i, dout, previous_h(hh.first + i));
        continue;
      }
      for (int g = 0; g < kGates; ++g)
        exchange.put(phase + 1, g * a.hidden + hh.first + i, slot(), C(0));
    }
    exchange.arrive(phase + 1);
  }

  RILL_DEVICE void output_phase(std::int64_t phase) const {
    multiply_dgates(phase);
    for (std::int64_t i = thread_index() / kSlots; i < hh.units; i += kTeamThreads / kSlots) {
      const std::int64_t q = hh.first + i;
      const C product = phase > 0 ? static_cast<C>(totals[i * kSlots + slot()]) : C(0);
      const C total = output_gradient(i, product);
      exchange.put(phase + 1, q, slot(), total);
      if (!walk.active()) continue;
      previous_h(q);
      store<S>(a.dh_tokens, walk.token() * a.output + q, total);
    }
    exchange.arrive(phase + 1);
  }

  RILL_DEVICE void projected_phase(std::int64_t phase) {
    exchange.await(phase);
    multiply<S, kSlots, kHeld>(hr, projection, PassedOn<S, kSlots>{exchange, phase}, parts, totals);
    block_sync();
    for (std::int64_t i = thread_index() / kSlots; i < hr.units; i += kTeamThreads / kSlots) {
      if (walk.active()) {
        unit(phase, i, totals[i * kSlots + slot()], C(0));
        continue;
      }
      for (int g = 0; g < kGates; ++g)
        exchange.put(phase + 1, g * a.hidden + hr.first + i, slot(), C(0));
    }
    exchange.arrive(phase + 1);
  }

  RILL_DEVICE void next_step() {
    was = walk;
    walk.advance();
  }
};

template <class S, class Cell, int kSlots, bool kHeld>
RILL_KERNEL(kTeamThreads, 1)
void cell_backward_kernel(RecurrentBackwardArgs a, TeamPlan p) {
  using C = Compute<S>;
  RILL_SHARED_PART(S, operand, p.operand.first_byte, p.operand.count);
  RILL_SHARED_PART(S, matrix, p.matrix.first_byte, p.matrix.count);
  RILL_SHARED_PART(S, projection, p.projection.first_byte, p.projection.count);
  RILL_SHARED_PART(C, parts, p.parts.first_byte, p.parts.count);
  RILL_SHARED_PART(C, totals, p.totals.first_byte, p.totals.count);
  RILL_SHARED_PART(C, state, p.state.first_byte, p.state.count);
  RILL_SHARED_PART(C, passed, p.passed.first_byte, p.passed.count);
  const std::int64_t team = block_index() / p.blocks;
  const int me = static_cast<int>(block_index() % p.blocks);
  const std::int64_t first_row = p.first_row + team * kSlots + thread_index() % kSlots;
  const RowCursor<true> start(a.sequence, first_row, p.stride),
      none(a.sequence, a.sequence.rows, 1);
  BackwardTeam<S, Cell, kSlots, kHeld> t{
      a,
      p,
      {p, team, me, operand},
      OwnColumns<S>::of(a.weight_hh, Cell::kGates * a.hidden, a.output, 1,
                        a.weight_hr ? p.outputs : p.units, me, a.weight_hh_dtype),
      OwnColumns<S>::of(a.weight_hr, a.output, a.hidden, 1, p.units, me, a.weight_hr_dtype),
      matrix,
      projection,
      parts,
      totals,
      state,
      passed,
      start,
      none};
  const bool projected = a.weight_hr != nullptr;
  const std::int64_t phases = projected ? 2 : 1;
  if (p.mode == TeamMode::kSteps) {
    if (p.phase == 0) t.begin(first_row);
    t.walk.skip(p.phase / phases);
    if (p.phase % phases != 0) return t.projected_phase(p.phase);
    if (p.phase > 0) {
      t.was = start;
      t.was.skip(p.phase / phases - 1);
    }
    return projected ? t.output_phase(p.phase) : t.cell_phase(p.phase);
  }
  if (kHeld) {
    t.hh.hold(matrix);
    if (projected) t.hr.hold(projection);
  }
  t.begin(first_row);
  const std::int64_t steps = longest_walk<kSlots>(t.walk);
  // The last phase makes dh of the first steps alone.
  for (std::int64_t step = 0; step <= steps; ++step) {
    if (projected) {
      t.output_phase(step * phases);
      if (step < steps) t.projected_phase(step * phases + 1);
    } else {
      t.cell_phase(step);
    }
    t.next_step();
  }
}

}  // namespace rill
