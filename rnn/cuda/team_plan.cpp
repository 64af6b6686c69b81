#include <rill/rnn/cuda/team_plan.h>

#include <algorithm>

namespace rill {
namespace {

// Fewer steps than this do not pay for reading the matrix into shared memory first.
constexpr std::int64_t kWorthHolding = 4;
// Weights of a block below which waiting for other blocks costs more than their help saves.
constexpr std::int64_t kWorkOfBlock = std::int64_t{1} << 14;
constexpr std::int64_t kSpareBytes = 1024;    // of shared memory that kernels declare themselves
constexpr std::int64_t kChunk = 512;          // a multiple of all parts of a sum: 8 x 16 keys
constexpr std::int64_t kAlignedKeys = 16;     // so that copies of an exchange begin at 16 bytes
constexpr std::int64_t kColumnsInSteps = 32;  // a warp's lanes

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
std::int64_t round_up(std::int64_t a, std::int64_t b) { return ceil_div(a, b) * b; }

class Shares {
 public:
  SharedPart take(std::int64_t count, std::int64_t element_bytes) {
    const SharedPart part{bytes_, count};
    bytes_ += round_up(count * element_bytes, 16);
    return part;
  }
  std::int64_t bytes() const { return bytes_; }

 private:
  std::int64_t bytes_ = 0;
};

// Shared memory of a block that has its units and outputs.
void place(TeamPlan& plan, const TeamSizes& s) {
  Shares shares;
  const std::int64_t slots = s.slots;
  const std::int64_t units_hh = s.backward && s.projected ? plan.outputs : plan.units;
  const std::int64_t columns = s.columns_a_unit() * units_hh;
  const std::int64_t columns_hr = s.backward ? plan.units : plan.outputs;
  const std::int64_t keys_hr = s.backward ? s.output : s.hidden;
  plan.keys = round_up(s.keys(), kAlignedKeys);
  plan.chunk = plan.mode == TeamMode::kSteps ? std::min(plan.keys, kChunk) : plan.keys;
  plan.x_chunk = std::min(s.input, kChunk);
  const std::int64_t copies = plan.mode == TeamMode::kAlone ? 2 : 1;
  plan.operand = shares.take(copies * plan.chunk * slots, s.element_bytes);
  plan.x_operand = shares.take(plan.x_chunk * slots, s.element_bytes);
  plan.matrix =
      shares.take(plan.held ? s.matrix_keys() * round_up(columns, 8) : 0, s.element_bytes);
  plan.projection = shares.take(plan.held && s.projected ? keys_hr * round_up(columns_hr, 8) : 0,
                                s.element_bytes);
  plan.parts = shares.take(std::int64_t{2} * kTeamThreads * slots, s.compute_bytes);
  plan.totals =
      shares.take(std::max(columns, s.projected ? columns_hr : 0) * slots, s.compute_bytes);
  plan.x_totals = shares.take(s.input > 0 ? columns * slots : 0, s.compute_bytes);
  plan.state = shares.take(plan.units * slots, s.compute_bytes);
  plan.passed = shares.take(s.backward ? plan.units * slots : 0, s.compute_bytes);
  plan.shared_bytes = shares.bytes();
}

// Cuts over `blocks` blocks, or fewer where none would be left for the last.
void cut(TeamPlan& plan, const TeamSizes& s, std::int64_t blocks) {
  plan.units = ceil_div(s.hidden, blocks);
  plan.outputs = s.projected ? ceil_div(s.output, blocks) : 0;
  std::int64_t needed = ceil_div(s.hidden, plan.units);
  if (s.projected) needed = std::max(needed, ceil_div(s.output, plan.outputs));
  plan.blocks = static_cast<int>(needed);
}

bool fits(const TeamPlan& plan, const TeamSizes& s, const DeviceLimits& limits,
          std::size_t workspace_bytes) {
  if (plan.shared_bytes + kSpareBytes > static_cast<std::int64_t>(limits.shared_bytes))
    return false;
  return plan.mode == TeamMode::kAlone ||
         team_workspace(plan, s) <= static_cast<std::int64_t>(workspace_bytes);
}

// The most teams that hold their matrix; false where even one cannot.
bool hold(TeamPlan& plan, const TeamSizes& s, const DeviceLimits& limits, std::int64_t wanted,
          std::size_t workspace_bytes) {
  plan.held = 1;
  const std::int64_t tiles = ceil_div(s.rows, s.slots);
  for (std::int64_t teams = std::min<std::int64_t>(tiles, limits.multiprocessors); teams >= 1;
       --teams) {
    const std::int64_t most = limits.multiprocessors / teams;
    for (const std::int64_t blocks : {std::min(wanted, most), most}) {
      cut(plan, s, blocks);
      plan.mode = plan.blocks == 1 ? TeamMode::kAlone : TeamMode::kTeam;
      if (plan.mode == TeamMode::kTeam && !limits.cooperative) continue;
      // A block alone waits for no other: there may be more of them than multiprocessors.
      plan.teams = plan.mode == TeamMode::kAlone ? tiles : teams;
      place(plan, s);
      if (fits(plan, s, limits, workspace_bytes)) return true;
    }
  }
  return false;
}

}  // namespace

std::int64_t team_flag_bytes(const TeamPlan& plan) {
  return round_up(plan.teams * plan.blocks * static_cast<std::int64_t>(sizeof(unsigned)), 256);
}

std::int64_t team_workspace(const TeamPlan& plan, const TeamSizes& s) {
  return team_flag_bytes(plan) + plan.teams * 2 * plan.keys * s.slots * s.element_bytes;
}

TeamPlan plan_team(const TeamSizes& s, const DeviceLimits& limits, std::size_t workspace_bytes) {
  TeamPlan plan;
  const std::int64_t weights = s.gates * s.hidden * s.output;
  const std::int64_t wanted =
      std::clamp<std::int64_t>(ceil_div(weights, kWorkOfBlock), 1, limits.multiprocessors);
  const bool holds =
      s.max_length >= kWorthHolding && hold(plan, s, limits, wanted, workspace_bytes);
  if (!holds) {
    plan = {};
    plan.teams = ceil_div(s.rows, s.slots);
    cut(plan, s, 1);
    place(plan, s);
    if (wanted > 1 || !fits(plan, s, limits, workspace_bytes)) {
      plan.mode = TeamMode::kSteps;
      cut(plan, s, ceil_div(s.units(), kColumnsInSteps / s.columns_a_unit()));
      place(plan, s);
      while (plan.teams > 1 && !fits(plan, s, limits, workspace_bytes)) --plan.teams;
    }
  }
  plan.stride = plan.mode == TeamMode::kSteps ? s.rows : plan.teams * s.slots;
  return plan;
}

}  // namespace rill
