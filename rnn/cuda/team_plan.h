// How a cell's units are cut over blocks. A team is the blocks that share one recurrent matrix:
// each holds the columns of its own units in shared memory and passes what it made of a step to the
// others. A team has kSlots places; a place walks some rows, one after another, each at its own
// pace, so that packed rows of unlike lengths keep all places busy.
//
// Three modes. Alone: a team is one block, nothing is passed on. Team: blocks wait for one
// another's flags, and all of them run at once. Steps: a launch a phase of a step, the matrix read
// through L2; for calls too short to pay for holding it, and for matrices that do not fit. No bit
// of a result depends on the mode or on the sizes of teams: a sum is cut by the number of its keys
// alone (part_count).
#pragma once

#include <cstddef>
#include <cstdint>

#include <rill/core/device_launch.h>

namespace rill {

constexpr int kTeamThreads = 256;

enum class TeamMode : int { kAlone, kTeam, kSteps };

/// A part of a block's shared memory.
struct SharedPart {
  std::int64_t first_byte = 0, count = 0;
};

struct TeamPlan {
  TeamMode mode = TeamMode::kAlone;
  int blocks = 1;                          // of a team
  int held = 0;                            // 1: the matrices lie in shared memory
  std::int64_t teams = 1;                  // of this launch
  std::int64_t units = 0, outputs = 0;     // of a block: of H; of P, where that is cut apart
  std::int64_t first_row = 0, stride = 0;  // place i walks rows first_row + i, + stride, ...
  std::int64_t phase = 0;                  // of a launch in steps; -1: what comes before them
  std::int64_t keys = 0;                   // most that a phase passes on, rounded up
  std::int64_t chunk = 0, x_chunk = 0;     // keys in shared memory at once
  // In steps and teams: what is passed on, [teams, 2, keys, slots] S; flags [teams, blocks].
  void* exchange = nullptr;
  unsigned* flags = nullptr;
  SharedPart operand, x_operand, matrix, projection, parts, totals, x_totals, state, passed;
  std::int64_t shared_bytes = 0;
};

/// What a plan depends on.
struct TeamSizes {
  std::int64_t rows = 0, max_length = 0;
  std::int64_t hidden = 0, output = 0, gates = 0, input = 0;
  bool projected = false, backward = false;
  int slots = 1;
  std::int64_t element_bytes = 4, compute_bytes = 4;

  std::int64_t columns_a_unit() const { return backward ? 1 : gates; }
  /// Units whose columns of W_hh a block holds: of P backward, of H forward.
  std::int64_t units() const { return backward ? output : hidden; }
  std::int64_t matrix_keys() const { return backward ? gates * hidden : output; }
  std::int64_t keys() const {
    if (backward) return gates * hidden > output ? gates * hidden : output;
    return projected && hidden > output ? hidden : output;
  }
};

/// The plan of a call; its `mode` says how it is to be launched.
TeamPlan plan_team(const TeamSizes& sizes, const DeviceLimits& limits, std::size_t workspace_bytes);
/// Bytes of a plan's flags in the workspace; the exchange lies behind them.
std::int64_t team_flag_bytes(const TeamPlan& plan);
/// Bytes of the workspace that both take.
std::int64_t team_workspace(const TeamPlan& plan, const TeamSizes& sizes);

}  // namespace rill
