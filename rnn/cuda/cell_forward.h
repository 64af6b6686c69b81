// The recurrence forward: a phase multiplies the h that it reads with the block's columns of W_hh,
// takes its units one step on and passes their h on; with a projection a second phase multiplies
// what the units made with the block's rows of W_hr. A team's places walk rows of their own.
#pragma once

#include <rill/core/cuda/launch.h>
#include <rill/rnn/cuda/cell_math.h>
#include <rill/rnn/cuda/team.h>

namespace rill {

template <class S, class Cell, int kSlots, bool kHeld>
struct ForwardTeam {
  using C = Compute<S>;
  static constexpr int kGates = Cell::kGates;
  static constexpr bool kLstm = kGates == 4;
  const RecurrentArgs& a;
  const TeamPlan& plan;
  Exchange<S, kSlots> exchange;
  OwnColumns<S> hh, ih, hr;
  Shared<S> matrix, projection, x_operand;
  Shared<C> parts, totals, x_totals, state;
  RowCursor<false> walk;

  RILL_DEVICE int slot() const { return thread_index() % kSlots; }
  RILL_DEVICE std::int64_t token_or_none() const { return walk.active() ? walk.token() : -1; }

  /// The state that a row begins with, or that the launch before left (in steps).
  RILL_DEVICE C begins_with(std::int64_t j) const {
    if (kLstm) return static_cast<const C*>(walk.t == 0 ? a.c0 : a.c)[walk.row * a.hidden + j];
    return static_cast<const C*>(walk.t == 0 ? a.h0 : a.h)[walk.row * a.output + j];
  }

  /// What the step of `reader` reads as h of output q, where its row begins.
  RILL_DEVICE C first_read(const RowCursor<false>& reader, std::int64_t q) const {
    if (!reader.active() || reader.fresh()) return C(0);
    return static_cast<const C*>(a.h0)[reader.row * a.output + q];
  }
  /// What the step after this one reads, given that this one's h of output q is `value`.
  RILL_DEVICE C next_read(const RowCursor<false>& next, std::int64_t q, C value) const {
    if (next.row != walk.row) return first_read(next, q);
    return next.active() && !next.fresh() ? value : C(0);
  }

  /// Outputs of this block: its units, or rows of W_hr.
  RILL_DEVICE std::int64_t first_output() const { return a.weight_hr ? hr.first : hh.first; }
  RILL_DEVICE std::int64_t outputs() const { return a.weight_hr ? hr.units : hh.units; }

  /// Before the first phase: what it reads; and rows without steps, whose states go through.
  RILL_DEVICE void begin(std::int64_t first_row) const {
    for (std::int64_t i = thread_index(); i < outputs() * kSlots; i += kTeamThreads) {
      const std::int64_t q = first_output() + i / kSlots;
      exchange.put(0, q, slot(), first_read(walk, q));
    }
    const SeqArgs& s = a.sequence;
    for (std::int64_t row = first_row; row < s.rows; row += plan.stride) {
      if (s.length[row] != 0) continue;
      for (std::int64_t i = thread_index() / kSlots; i < outputs(); i += kTeamThreads / kSlots)
        pass(a.h, a.h0, row * a.output + first_output() + i);
      for (std::int64_t i = thread_index() / kSlots; a.c && i < hh.units;
           i += kTeamThreads / kSlots)
        pass(a.c, a.c0, row * a.hidden + hh.first + i);
    }
    exchange.arrive(0);
  }
  RILL_DEVICE static void pass(void* to, const void* from, std::int64_t i) {
    static_cast<C*>(to)[i] = static_cast<const C*>(from)[i];
  }

  RILL_DEVICE void input_sums(std::int64_t j, C (&w)[kGates]) const {
    RILL_UNROLL
    for (int g = 0; g < kGates; ++g) {
      const std::int64_t i = g * a.hidden + j;
      w[g] = a.gates     ? load<S>(a.gates, walk.token() * kGates * a.hidden + i)
             : a.bias_ih ? load<C>(a.bias_ih, i)
                         : C(0);
    }
  }

  RILL_DEVICE void cell_phase(std::int64_t phase) {
    // The first unit's inputs are on their way while the block waits.
    C ahead[kGates] = {};
    const std::int64_t mine = thread_index() / kSlots;
    if (walk.active() && mine < hh.units) input_sums(hh.first + mine, ahead);
    exchange.await(phase);
    multiply<S, kSlots, kHeld>(hh, matrix, PassedOn<S, kSlots>{exchange, phase}, parts, totals);
    if (a.x)
      multiply<S, kSlots, false>(
          ih, matrix, TokensRead<S, kSlots>{a.x, a.input, plan.x_chunk, token_or_none(), x_operand},
          parts, x_totals);
    block_sync();
    RowCursor<false> next = walk;
    next.advance();
    for (std::int64_t u = mine; u < hh.units; u += kTeamThreads / kSlots) {
      if (u != mine && walk.active()) input_sums(hh.first + u, ahead);
      unit(phase, u, next, ahead);
    }
    exchange.arrive(phase + 1);
  }

  RILL_DEVICE void unit(std::int64_t phase, std::int64_t u, const RowCursor<false>& next,
                        C (&w)[kGates]) {
    const std::int64_t j = hh.first + u;
    if (!walk.active()) return exchange.put(phase + 1, j, slot(), C(0));
    C sums[kGates];
    RILL_UNROLL
    for (int g = 0; g < kGates; ++g) {
      const std::int64_t at = (g * hh.units + u) * kSlots + slot();
      sums[g] = totals[at];
      if (a.bias_hh) sums[g] += load<C>(a.bias_hh, g * a.hidden + j);
      if (a.x) w[g] += static_cast<C>(x_totals[at]);
    }
    const auto running = state[u * kSlots + slot()];
    C value_state =
        walk.t == 0 || plan.mode == TeamMode::kSteps ? begins_with(j) : static_cast<C>(running);
    if (walk.fresh()) value_state = C(0);
    const C value = Cell::forward(a, walk.token(), j, w, sums, value_state);
    state[u * kSlots + slot()] = value_state;
    const bool leaves = walk.last() || plan.mode == TeamMode::kSteps;
    if (kLstm && leaves) static_cast<C*>(a.c)[walk.row * a.hidden + j] = value_state;
    if (a.weight_hr) return exchange.put(phase + 1, j, slot(), value);
    output(phase, j, next, value, leaves);
  }

  RILL_DEVICE void output(std::int64_t phase, std::int64_t q, const RowCursor<false>& next, C value,
                          bool leaves) const {
    store<S>(a.y, walk.token() * a.output + q, value);
    exchange.put(phase + 1, q, slot(), next_read(next, q, value));
    if (leaves) static_cast<C*>(a.h)[walk.row * a.output + q] = value;
  }

  RILL_DEVICE void project_phase(std::int64_t phase) {
    exchange.await(phase);
    multiply<S, kSlots, kHeld>(hr, projection, PassedOn<S, kSlots>{exchange, phase}, parts, totals);
    block_sync();
    RowCursor<false> next = walk;
    next.advance();
    for (std::int64_t i = thread_index() / kSlots; i < hr.units; i += kTeamThreads / kSlots) {
      const std::int64_t q = hr.first + i;
      if (walk.active())
        output(phase, q, next, totals[i * kSlots + slot()], walk.last());
      else
        exchange.put(phase + 1, q, slot(), C(0));
    }
    exchange.arrive(phase + 1);
  }
};

template <class S, class Cell, int kSlots, bool kHeld>
RILL_KERNEL(kTeamThreads, 1)
void cell_kernel(RecurrentArgs a, TeamPlan p) {
  using C = Compute<S>;
  RILL_SHARED_PART(S, operand, p.operand.first_byte, p.operand.count);
  RILL_SHARED_PART(S, x_operand, p.x_operand.first_byte, p.x_operand.count);
  RILL_SHARED_PART(S, matrix, p.matrix.first_byte, p.matrix.count);
  RILL_SHARED_PART(S, projection, p.projection.first_byte, p.projection.count);
  RILL_SHARED_PART(C, parts, p.parts.first_byte, p.parts.count);
  RILL_SHARED_PART(C, totals, p.totals.first_byte, p.totals.count);
  RILL_SHARED_PART(C, x_totals, p.x_totals.first_byte, p.x_totals.count);
  RILL_SHARED_PART(C, state, p.state.first_byte, p.state.count);
  constexpr int kGates = Cell::kGates;
  const std::int64_t team = block_index() / p.blocks;
  const int me = static_cast<int>(block_index() % p.blocks);
  const std::int64_t first_row = p.first_row + team * kSlots + thread_index() % kSlots;
  // What was packed (team.h reads it by keys) is S already.
  constexpr std::int64_t kPacked = -1;
  ForwardTeam<S, Cell, kSlots, kHeld> t{
      a,
      p,
      {p, team, me, operand},
      OwnColumns<S>::of(a.weight_hh, a.output, a.hidden, kGates, p.units, me, kPacked),
      OwnColumns<S>::of(a.weight_ih, a.input, a.hidden, kGates, p.units, me, kPacked),
      OwnColumns<S>::of(a.weight_hr, a.hidden, a.output, 1, p.outputs, me, a.weight_hr_dtype)
          .by_column(),
      matrix,
      projection,
      x_operand,
      parts,
      totals,
      x_totals,
      state,
      RowCursor<false>(a.sequence, first_row, p.stride)};
  const std::int64_t phases = a.weight_hr ? 2 : 1;
  if (p.mode == TeamMode::kSteps) {
    if (p.phase < 0) return t.begin(first_row);
    t.walk.skip(p.phase / phases);
    return p.phase % phases == 0 ? t.cell_phase(p.phase) : t.project_phase(p.phase);
  }
  if (kHeld) {
    t.hh.hold(matrix);
    if (a.weight_hr) t.hr.hold(projection);
  }
  t.begin(first_row);
  const std::int64_t steps = longest_walk<kSlots>(t.walk);
  for (std::int64_t step = 0; step < steps; ++step) {
    t.cell_phase(step * phases);
    if (a.weight_hr) t.project_phase(step * phases + 1);
    t.walk.advance();
  }
}

}  // namespace rill
