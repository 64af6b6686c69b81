// Launches of the recurrent cells' kernels, for one storage type a file (cells_*.cu).
#pragma once

#include <rill/rnn/cuda/cell_backward.h>
#include <rill/rnn/cuda/cell_forward.h>
#include <rill/rnn/cuda/launch.h>

namespace rill {

/// Arrays [tokens, width] of which the tokens that belong to no row are to be 0; null: none.
struct GapArrays {
  void* data[4];
  std::int64_t width[4];
};

template <class S>
RILL_KERNEL(256)
void clear_gaps_kernel(SeqArgs s, GapArrays arrays) {
  const std::int64_t row = block_index();
  for (int i = 0; i < 4; ++i) {
    clear_behind<S>(s, row, arrays.data[i], arrays.width[i], 0, arrays.width[i]);
    if (row != 0 || !arrays.data[i]) continue;  // tokens before the first row
    for (std::int64_t k = thread_index(); k < s.start[0] * arrays.width[i]; k += block_threads())
      store<S>(arrays.data[i], k, Compute<S>(0));
  }
}

template <class S>
DeviceStatus clear_gaps(const SeqArgs& s, const GapArrays& arrays, const DeviceLaunch& on) {
  if (!s.padded) return 0;
  return RILL_LAUNCH(clear_gaps_kernel<S>, Grid{s.rows}, 256, 0, on.stream, s, arrays);
}

template <int kThreads>
RILL_KERNEL(kThreads)
void clear_flags_kernel(unsigned* flags, std::int64_t count) {
  for (std::int64_t i = grid_thread(); i < count; i += grid_threads()) flags[i] = 0;
}

/// Runs a plan with a kernel that holds its matrices and one that does not. A call in steps has
/// phases [first, end).
template <class Args>
DeviceStatus run_plan(TeamPlan plan, const TeamSizes& sizes, void (*holding_cell)(Args, TeamPlan),
                      void (*reading_cell)(Args, TeamPlan), const Args& a, std::int64_t first,
                      std::int64_t end, const DeviceLaunch& on) {
  const Grid grid{plan.teams * plan.blocks};
  const auto bytes = static_cast<std::size_t>(plan.shared_bytes);
  if (plan.mode == TeamMode::kAlone) {
    if (plan.held) return RILL_LAUNCH(holding_cell, grid, kTeamThreads, bytes, on.stream, a, plan);
    return RILL_LAUNCH(reading_cell, grid, kTeamThreads, bytes, on.stream, a, plan);
  }
  if (team_workspace(plan, sizes) > static_cast<std::int64_t>(on.workspace_bytes))
    return kWorkspaceTooSmall;
  plan.flags = static_cast<unsigned*>(on.workspace);
  plan.exchange = static_cast<char*>(on.workspace) + team_flag_bytes(plan);
  if (plan.mode == TeamMode::kTeam) {
    RILL_LAUNCH_OR_RETURN(clear_flags_kernel<256>, grid_for(grid.x, 256), 256, 0, on.stream,
                          plan.flags, grid.x);
    return RILL_LAUNCH_COOPERATIVE(holding_cell, grid, kTeamThreads, bytes, on.stream, a, plan);
  }
  for (; plan.first_row < sizes.rows; plan.first_row += plan.teams * sizes.slots)
    for (plan.phase = first; plan.phase < end; ++plan.phase)
      RILL_LAUNCH_OR_RETURN(reading_cell, grid, kTeamThreads, bytes, on.stream, a, plan);
  return 0;
}

template <class S, class Cell, int kSlots, class Args>
TeamSizes team_sizes(const Args& a) {
  return {.rows = a.sequence.rows,
          .max_length = a.sequence.max_length,
          .hidden = a.hidden,
          .output = a.output,
          .gates = Cell::kGates,
          .projected = a.weight_hr != nullptr,
          .slots = kSlots,
          .element_bytes = sizeof(S),
          .compute_bytes = sizeof(Compute<S>)};
}

template <class S, class Cell, int kSlots>
DeviceStatus launch_cell(const RecurrentArgs& a, const DeviceLaunch& on) {
  TeamSizes sizes = team_sizes<S, Cell, kSlots>(a);
  sizes.input = a.x ? a.input : 0;
  return run_plan(plan_team(sizes, device_limits(), on.workspace_bytes), sizes,
                  cell_kernel<S, Cell, kSlots, true>, cell_kernel<S, Cell, kSlots, false>, a, -1,
                  a.sequence.max_length * (sizes.projected ? 2 : 1), on);
}

template <class S, class Cell, int kSlots>
DeviceStatus launch_cell_backward(const RecurrentBackwardArgs& a, const DeviceLaunch& on) {
  TeamSizes sizes = team_sizes<S, Cell, kSlots>(a);
  sizes.backward = true;
  return run_plan(plan_team(sizes, device_limits(), on.workspace_bytes), sizes,
                  cell_backward_kernel<S, Cell, kSlots, true>,
                  cell_backward_kernel<S, Cell, kSlots, false>, a, 0,
                  a.sequence.max_length * (sizes.projected ? 2 : 1) + 1, on);
}

/// One row has a kernel of its own in float: sums of places that nobody takes are not made. In 16
/// bits all 8 are the width of a tensor-core tile.
template <class S>
constexpr int kSlotsOfOneRow = sizeof(S) == 2 ? 8 : 1;
constexpr int kSlotsOfRows = 8;

template <class S, class Cell>
DeviceStatus launch_cell_for_rows(const RecurrentArgs& a, const DeviceLaunch& on) {
  if (a.sequence.rows * a.hidden * a.output == 0) return 0;
  if (const DeviceStatus status = clear_gaps<S>(a.sequence, {{a.y}, {a.output}}, on)) return status;
  return a.sequence.rows == 1 ? launch_cell<S, Cell, kSlotsOfOneRow<S>>(a, on)
                              : launch_cell<S, Cell, kSlotsOfRows>(a, on);
}

template <class S, class Cell>
DeviceStatus launch_cell_backward_for_rows(const RecurrentBackwardArgs& a, const DeviceLaunch& on) {
  if (a.sequence.rows * a.hidden * a.output == 0) return 0;
  const std::int64_t all = Cell::kGates * a.hidden;
  const GapArrays arrays{{a.gates, a.h_previous, a.dh_tokens, a.projected},
                         {all, a.output, a.output, a.hidden}};
  if (const DeviceStatus status = clear_gaps<S>(a.sequence, arrays, on)) return status;
  using Kept = typename Cell::Kept;
  if (const DeviceStatus status = clear_gaps<Kept>(a.sequence, {{a.kept}, {a.hidden}}, on))
    return status;
  return a.sequence.rows == 1 ? launch_cell_backward<S, Cell, kSlotsOfOneRow<S>>(a, on)
                              : launch_cell_backward<S, Cell, kSlotsOfRows>(a, on);
}

/// The four launchers of launch.h for one storage type.
#define RILL_INSTANTIATE_CELLS(Name)                                                               \
  template <>                                                                                      \
  DeviceStatus launch_lstm<Name>(const RecurrentArgs& a, const DeviceLaunch& on) {                 \
    return launch_cell_for_rows<Name, LstmCell<Name>>(a, on);                                      \
  }                                                                                                \
  template <>                                                                                      \
  DeviceStatus launch_lstm_backward<Name>(const RecurrentBackwardArgs& a,                          \
                                          const DeviceLaunch& on) {                                \
    return launch_cell_backward_for_rows<Name, LstmCell<Name>>(a, on);                             \
  }                                                                                                \
  template <>                                                                                      \
  DeviceStatus launch_gru<Name>(const RecurrentArgs& a, const DeviceLaunch& on) {                  \
    return launch_cell_for_rows<Name, GruCell<Name>>(a, on);                                       \
  }                                                                                                \
  template <>                                                                                      \
  DeviceStatus launch_gru_backward<Name>(const RecurrentBackwardArgs& a, const DeviceLaunch& on) { \
    return launch_cell_backward_for_rows<Name, GruCell<Name>>(a, on);                              \
  }

}  // namespace rill
