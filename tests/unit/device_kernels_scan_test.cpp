// The device's selective scan against the CPU's plain loops, in the execution model: in double, in
// float and in 16 bits, over cuts of time and channels and in other orders of threads.
#include "device_support.h"

#include <rill/scan/cuda/launch_scan.h>
#include <rill/scan/cuda/selective.h>

#include <cmath>
#include <limits>
#include <vector>

namespace {

using namespace rill;
using namespace rill::device_test;

struct SelectiveCase {
  std::vector<std::int64_t> lengths;
  std::int64_t channels, states;
  bool padded = false, resets = false, in_place = false;
  bool optional = true;   // dt_bias, D, z and all incoming gradients are there
  double slowest = -4.0;  // of log A: decays up to exp(-softplus(dt) exp(slowest))
};

/// Arrays of one case; `S` is the type of activations, `C` of the rest.
template <class S>
Results run_selective(const SelectiveCase& c, bool on_device, const Rounding& rounding) {
  using C = ComputeType<S>;
  const Rows rows(c.lengths, c.padded, c.resets);
  const std::int64_t tokens = rows.args.tokens, n = rows.args.rows, e = c.channels, m = c.states;
  const auto activations = [&](std::int64_t count, double low, double high, unsigned seed) {
    return as<S>(rounding(random_values(count, low, high, seed)));
  };
  const auto x = activations(tokens * e, -1, 1, 1), dt = activations(tokens * e, -4, 1, 2);
  const auto b = activations(tokens * m, -1, 1, 3), cc = activations(tokens * m, -1, 1, 4);
  const auto z = activations(tokens * e, -2, 2, 5), dy = activations(tokens * e, -1, 1, 6);
  const auto a_log = as<C>(random_values(e * m, c.slowest, 2, 7));
  const auto d = as<C>(random_values(e, -1, 1, 8)), bias = as<C>(random_values(e, -1, 1, 9));
  const auto initial = as<C>(random_values(n * e * m, -1, 1, 10));
  const auto dfinal = as<C>(random_values(n * e * m, -1, 1, 11));
  const SelectivePlan plan =
      on_device ? selective_plan(n, e, m, rows.args.max_length) : SelectivePlan{};
  auto final_state = c.in_place ? initial : unset<C>(n * e * m);
  auto a = unset<C>(e * m), work = unset<C>(n * plan.segments * (m + 1) * e);
  auto checkpoints = unset<C>((tokens / kSelectiveChunk + n) * m * e);
  auto y = unset<S>(tokens * e);
  SelectiveScanArgs p{.sequence = rows.args,
                      .x = x.data(),
                      .dt = dt.data(),
                      .dt_bias = c.optional ? bias.data() : nullptr,
                      .a = a.data(),
                      .b = b.data(),
                      .c = cc.data(),
                      .d = c.optional ? d.data() : nullptr,
                      .z = c.optional ? z.data() : nullptr,
                      .initial = c.in_place ? final_state.data() : initial.data(),
                      .final_state = final_state.data(),
                      .work = work.data(),
                      .y = y.data(),
                      .checkpoints = checkpoints.data(),
                      .channels = e,
                      .states = m};
  auto dx = unset<S>(tokens * e), ddt = dx, dz = dx;
  auto db = unset<S>(tokens * m), dc = db;
  auto dinitial = unset<C>(n * e * m);
  auto da_log = as<C>(random_values(e * m, -1, 1, 12)), dd = as<C>(random_values(e, -1, 1, 13));
  auto dbias = as<C>(random_values(e, -1, 1, 14));
  const std::int64_t tiles = (e + plan.tile - 1) / plan.tile, stretches = n * plan.back_segments;
  auto parts_bc = unset<C>(tiles * 2 * tokens * m), parts_a = unset<C>(stretches * m * e);
  auto parts_d = unset<C>(stretches * 2 * e), carries = unset<C>(stretches * (m + 1) * e);
  const SelectivePrepareArgs prepare{a_log.data(), a.data(), e, m};
  const auto backward = [&] {
    return SelectiveScanBackwardArgs{.forward = p,
                                     .dy = c.optional ? dy.data() : nullptr,
                                     .dfinal = c.optional ? dfinal.data() : nullptr,
                                     .dx = dx.data(),
                                     .ddt = ddt.data(),
                                     .dz = c.optional ? dz.data() : nullptr,
                                     .db = db.data(),
                                     .dc = dc.data(),
                                     .dinitial = dinitial.data(),
                                     .da_log = da_log.data(),
                                     .dd = c.optional ? dd.data() : nullptr,
                                     .dbias = c.optional ? dbias.data() : nullptr,
                                     .parts_bc = parts_bc.data(),
                                     .parts_a = parts_a.data(),
                                     .parts_d = parts_d.data(),
                                     .carries = carries.data()};
  };
  if (on_device) {
    launched(launch_selective_prepare<C>(prepare, {}));
    launched(launch_selective_scan<S>(p, {}));
    launched(launch_selective_scan_backward<S>(backward(), {}));
  } else if constexpr (sizeof(S) != 2) {
    scan_oracle<S>().selective_prepare(prepare, {});
    scan_oracle<S>().selective_scan(p, {});
    scan_oracle<S>().selective_scan_backward(backward(), {});
  }
  Results results;
  results.add_activation("y", y);
  results.add("final_state", final_state);
  results.add_activation("dx", dx);
  results.add_activation("ddt", ddt);
  results.add_activation("dz", dz);
  results.add_activation("db", db);
  results.add_activation("dc", dc);
  results.add("dinitial", dinitial);
  results.add("da_log", da_log);
  results.add("dd", dd);
  results.add("dbias", dbias);
  return results;
}

void check_selective(const SelectiveCase& c, std::uint64_t schedule = 0) {
  INFO("E " << c.channels << " N " << c.states << " T " << c.lengths[0] << " schedule "
            << schedule);
  const auto run = [&](auto zero, bool device, const Rounding& rounding = {}) {
    return run_selective<decltype(zero)>(c, device, rounding);
  };
  compare(run, schedule);
  compare_in_16_bits(run, schedule);
}

}  // namespace

TEST_CASE("exp2 by multiplications is as good as the special function unit's") {
  for (double x = 0; x > -126; x = x * 1.001 - 1e-4) {
    const auto single = static_cast<float>(x);
    const double expected = std::exp2(static_cast<double>(single));
    INFO("x " << single);
    // 2 ulp, as ex2.approx promises.
    REQUIRE(std::abs(exp2_by_fma(single) - expected) <= expected * 0x1p-22);
  }
  CHECK(exp2_by_fma(0.0f) == 1.0f);
  for (const float x : {-127.0f, -1e6f, -std::numeric_limits<float>::infinity()})
    CHECK(exp2_by_fma(x) <= 0x1p-126f);
}

TEST_CASE("the device's selective scan is cut by sizes alone") {
  // Enough blocks of wide threads: no cut of time.
  CHECK(selective_cut(16, 4096, 16, 4096).per == kWide);
  CHECK(selective_cut(16, 4096, 16, 4096).segments == 1);
  // One row of as many channels: narrow threads fill the card.
  CHECK(selective_cut(1, 4096, 16, 65536).per == kNarrow);
  CHECK(selective_cut(1, 4096, 16, 65536).segments == 1);
  CHECK(selective_cut(1, 768, 16, 65536).segments == 11);
  CHECK(selective_back_cut(1, 4096, 16, 65536).segments == 17);
  // A part of dB and dC for 256 channels: 134 MB for 65,536 tokens of 4096 channels.
  CHECK(selective_plan(16, 4096, 16, 4096).tile == 256);
  for (const std::int64_t length : {0, 1, 63, 64, 127, 128, 1000, 65537}) {
    const SelectiveCut cut = selective_cut(1, 5, 16, length);
    CHECK(cut.segments >= 1);
    CHECK(cut.segments * cut.steps >= length);
    CHECK((cut.segments - 1) * cut.steps <= length);
    CHECK(cut.steps % kSelectiveChunk == 0);
    if (length < 2 * kShortestSegment) CHECK(cut.segments == 1);
  }
}

TEST_CASE("the device's selective scan agrees with the plain loops over lengths") {
  for (const std::int64_t length : {0, 1, 2, 7, 8, 9, 31, 32, 33, 70})
    check_selective({.lengths = {length, 3}, .channels = 5, .states = 16, .padded = true});
}

TEST_CASE("the device's selective scan agrees with the plain loops over cuts of time") {
  for (const std::int64_t length : {127, 128, 129, 160, 161, 193})
    for (const bool resets : {false, true})
      check_selective({.lengths = {length},
                       .channels = 3,
                       .states = 5,
                       .resets = resets,
                       .in_place = length % 2 == 1,
                       .slowest = -8});
}

TEST_CASE("the device's selective scan agrees with the plain loops over sizes") {
  for (const std::int64_t states : {1, 2, 4, 7, 17, 64, 65, 128})
    check_selective({.lengths = {9, 2},
                     .channels = states == 4 ? 530 : 7,
                     .states = states,
                     .resets = states % 2 == 1,
                     .in_place = states % 2 == 1});
  check_selective({.lengths = {40}, .channels = 4, .states = 4, .optional = false});
}

TEST_CASE("the device's selective scan with a channel a thread agrees with the plain loops") {
  // 264 rows: wide threads without lanes, then with two.
  for (const std::int64_t states : {16, 20})
    check_selective({.lengths = std::vector<std::int64_t>(264, 9),
                     .channels = 3,
                     .states = states,
                     .resets = states == 20});
}

TEST_CASE("the device's selective scan in other orders of threads, rows packed and cut") {
  for (const std::uint64_t schedule : {1, 2, 3})
    check_selective({.lengths = {130, 0, 65, 200},
                     .channels = 70,
                     .states = 16,
                     .padded = schedule != 1,
                     .resets = true},
                    schedule);
}
