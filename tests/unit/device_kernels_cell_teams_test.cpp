// The recurrent cells' kernels cut over several blocks: the same bits however the units are cut,
// and whether blocks hold the matrix or read it step by step; a flag that is missing is noticed.
#include "device_cells_support.h"

#include <rill/rnn/cuda/team.h>
#include <rill/rnn/cuda/team_plan.h>

#include <array>
#include <cstring>

namespace {

using namespace rill;
using namespace rill::device_test;

// While alive, launches see this card and threads take turns in this order.
class OnCard {
 public:
  OnCard(const device_model::Card& card, std::uint64_t schedule) {
    device_model::set_card(card);
    device_model::set_schedule(schedule);
  }
  ~OnCard() {
    device_model::set_card({});
    device_model::set_schedule(0);
  }
  OnCard(const OnCard&) = delete;
  OnCard& operator=(const OnCard&) = delete;
};

constexpr device_model::Card kCannotWait{.multiprocessors = 4, .cooperative = false};

template <class Name>
TeamPlan plan_of(const CellCase& c, bool backward, const device_model::Card& card) {
  std::int64_t longest = 0;
  for (const std::int64_t length : c.lengths) longest = std::max(longest, length);
  const TeamSizes sizes{.rows = static_cast<std::int64_t>(c.lengths.size()),
                        .max_length = longest,
                        .hidden = c.hidden,
                        .output = c.output,
                        .gates = c.gru ? 3 : 4,
                        .projected = c.projected,
                        .backward = backward,
                        .slots = c.lengths.size() == 1 ? 1 : 8,
                        .element_bytes = sizeof(typename CellTypes<Name>::Stored),
                        .compute_bytes = sizeof(typename CellTypes<Name>::State)};
  return plan_team(sizes, {card.multiprocessors, card.shared_bytes, card.cooperative},
                   std::size_t{1} << 22);
}

template <class Name>
Results run_on(const CellCase& c, const device_model::Card& card, std::uint64_t schedule = 0) {
  const OnCard on(card, schedule);
  return run_cell<Name>(c, true);
}

bool same_bits(const Results& x, const Results& y) {
  if (x.arrays.size() != y.arrays.size()) return false;
  for (std::size_t i = 0; i < x.arrays.size(); ++i) {
    const Values &a = x.arrays[i].second, &b = y.arrays[i].second;
    if (a.size() != b.size() ||
        (!a.empty() && std::memcmp(a.data(), b.data(), a.size() * sizeof(double)) != 0)) {
      UNSCOPED_INFO(x.arrays[i].first << " differs");
      return false;
    }
  }
  return true;
}

// A team of two blocks whose second one may keep what it made to itself.
struct TwoBlocks {
  TeamPlan plan;
  float* y;
  std::int64_t silent;  // the block that sets no flag, or -1
};
RILL_KERNEL(kTeamThreads) void two_blocks_kernel(TwoBlocks p) {
  RILL_SHARED(float, operand, 2);
  const Exchange<float, 1> exchange{p.plan, 0, static_cast<int>(block_index()), operand};
  if (thread_index() == 0)
    exchange.put(0, block_index(), 0, static_cast<float>(10 * (block_index() + 1)));
  if (block_index() != p.silent) exchange.arrive(0);
  exchange.await(0);
  if (thread_index() < 2)
    p.y[block_index() * 2 + thread_index()] = exchange.copy_of(0)[thread_index()];
}

}  // namespace

TEST_CASE("device cells give the same bits in teams of 1, 2 and 4 blocks and step by step") {
  for (const bool gru : {false, true}) {
    const CellCase c{.lengths = {7},
                     .input = 1,
                     .hidden = gru ? 130 : 112,
                     .output = gru ? 130 : 112,
                     .gru = gru,
                     .resets = true};
    INFO((gru ? "GRU" : "LSTM"));
    const Results alone = run_on<float>(c, {.multiprocessors = 1});
    for (const int blocks : {1, 2, 4}) {
      const device_model::Card card{.multiprocessors = blocks};
      for (const bool backward : {false, true}) {
        const TeamPlan plan = plan_of<float>(c, backward, card);
        CHECK(plan.blocks == blocks);
        CHECK(plan.mode == (blocks == 1 ? TeamMode::kAlone : TeamMode::kTeam));
      }
      for (const std::uint64_t schedule : {0, 1, 2, 3})
        CHECK(same_bits(run_on<float>(c, card, schedule), alone));
    }
    CHECK(plan_of<float>(c, false, kCannotWait).mode == TeamMode::kSteps);
    CHECK(same_bits(run_on<float>(c, kCannotWait), alone));
  }
}

TEST_CASE("a row of the device cells has the same bits alone and among others") {
  const std::vector<std::int64_t> lengths{5, 0, 3, 1, 4, 2, 5, 1, 4, 0, 6, 2, 5, 3, 1, 4, 2, 6, 3};
  for (const bool gru : {false, true}) {
    const CellCase all{.lengths = lengths,
                       .input = 1,
                       .hidden = gru ? 140 : 112,
                       .output = gru ? 140 : 112,
                       .gru = gru,
                       .padded = true,
                       .resets = true};
    // 19 rows in two teams of two blocks: places walk several rows.
    const TeamPlan plan = plan_of<float>(all, false, {});
    CHECK(plan.mode == TeamMode::kTeam);
    CHECK(plan.stride < static_cast<std::int64_t>(lengths.size()));
    const Results teams = run_on<float>(all, {});
    CHECK(same_bits(run_on<float>(all, {}, 2), teams));
    CHECK(same_bits(run_on<float>(all, kCannotWait), teams));
  }
}

TEST_CASE("device LSTM with a projection gives the same bits in teams and step by step") {
  for (const std::int64_t output : {20, 61, 150}) {
    const CellCase c{.lengths = {6, 4, 1},
                     .input = 1,
                     .hidden = 130,
                     .output = output,
                     .projected = true,
                     .resets = true};
    const Results teams = run_on<float>(c, {});
    for (const int blocks : {1, 2, 3})
      CHECK(same_bits(run_on<float>(c, {.multiprocessors = blocks}, 2), teams));
    CHECK(same_bits(run_on<float>(c, kCannotWait), teams));
  }
}

TEST_CASE("the model notices blocks of a team that set no flag, and teams that cannot all run") {
  std::vector<unsigned> flags(2, 0);
  std::vector<float> memory(4, 0.0f), y(4, 0.0f);
  TeamPlan plan{.mode = TeamMode::kTeam, .blocks = 2, .keys = 2};
  plan.exchange = memory.data();
  plan.flags = flags.data();
  const auto run = [&](std::int64_t silent, std::uint64_t schedule) {
    flags.assign(2, 0);
    const OnCard on({}, schedule);
    const TwoBlocks args{plan, y.data(), silent};
    return RILL_LAUNCH_COOPERATIVE(two_blocks_kernel, Grid{2}, kTeamThreads, 0, nullptr, args);
  };
  for (const std::uint64_t schedule : {0, 1, 2}) {
    CHECK(run(-1, schedule) == 0);
    CHECK(y == std::vector<float>{10, 20, 10, 20});
    CHECK(run(1, schedule) != 0);
    CHECK(device_model::last_error().find("wait for a flag that nobody sets") != std::string::npos);
  }
  const OnCard small({.multiprocessors = 1}, 0);
  const TwoBlocks args{plan, y.data(), -1};
  CHECK(RILL_LAUNCH_COOPERATIVE(two_blocks_kernel, Grid{2}, kTeamThreads, 0, nullptr, args) != 0);
  CHECK(device_model::last_error().find("cooperative launch of 2 blocks") != std::string::npos);
}
