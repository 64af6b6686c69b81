// The delta rule in chunks, activations in bfloat16 and half, against the double loops in the
// execution model.
#include "device_chunk_support.h"

#include <cmath>
#include <vector>

namespace {

using namespace rill;
using namespace rill::device_test;

struct DeltaCase {
  std::vector<std::int64_t> lengths;
  std::int64_t heads, keys, values;
  bool padded = false, resets = false, gradients = true, keep = true, in_place = false;
  double beta = 1;        // the largest
  bool repeated = false;  // all keys the same: T is as far from I as it gets
  std::size_t workspace = std::size_t{1} << 22;
};

Values draw_keys(const DeltaCase& c, std::int64_t count) {
  Values k = random_values(count, -1, 1, 2);
  const auto width = static_cast<std::size_t>(c.keys);
  for (std::size_t row = 0; row + width <= k.size(); row += width) {
    if (c.repeated) std::copy_n(k.begin(), width, k.begin() + static_cast<std::ptrdiff_t>(row));
    double norm = 0;
    for (std::size_t i = 0; i < width; ++i) norm += k[row + i] * k[row + i];
    for (std::size_t i = 0; i < width; ++i) k[row + i] /= std::sqrt(norm);
  }
  return k;
}

template <class S>
Results run_delta(const DeltaCase& c, By by) {
  const Rows rows(c.lengths, c.padded, c.resets);
  const std::int64_t tokens = rows.args.tokens, n = rows.args.rows, h = c.heads;
  const std::int64_t size = n * h * c.keys * c.values, slots = matrix_slots(tokens, n);
  const auto activation = [&](std::int64_t count, double low, double high, unsigned seed) {
    return Array<S>(by, true, random_values(count, low, high, seed));
  };
  const auto target = [&](bool is_activation, std::int64_t count) {
    return Array<S>(by, is_activation, unset<double>(count));
  };
  auto q = activation(tokens * h * c.keys, -1, 1, 1);
  Array<S> k(by, true, draw_keys(c, tokens * h * c.keys));
  auto v = activation(tokens * h * c.values, -1, 1, 3);
  auto beta = activation(tokens * h, 0, c.beta, 4);
  auto dout = activation(tokens * h * c.values, -1, 1, 8);
  Array<S> initial(by, false, random_values(size, -1, 1, 7));
  Array<S> dfinal(by, false, random_values(size, -1, 1, 9));
  auto final_state = c.in_place ? initial : target(false, size);
  auto out = target(true, tokens * h * c.values);
  auto kept = target(false, slots * h * c.keys * c.values);
  const DeltaRuleArgs a{.sequence = rows.args,
                        .q = q.data(),
                        .k = k.data(),
                        .v = v.data(),
                        .beta = beta.data(),
                        .initial = c.in_place ? final_state.data() : initial.data(),
                        .final_state = final_state.data(),
                        .out = out.data(),
                        .kept = c.keep ? kept.data() : nullptr,
                        .heads = h,
                        .keys = c.keys,
                        .values = c.values,
                        .scale = 0.7};
  auto dq = target(true, tokens * h * c.keys), dk = dq, dv = target(true, tokens * h * c.values);
  auto dinitial = target(false, size), dbeta = target(true, tokens * h);
  auto scratch = target(false, n * h * matrix_scratch(c.keys, c.values));
  const DeltaRuleBackwardArgs b{.forward = a,
                                .dout = c.gradients ? dout.data() : nullptr,
                                .dfinal = c.gradients ? dfinal.data() : nullptr,
                                .dq = dq.data(),
                                .dk = dk.data(),
                                .dv = dv.data(),
                                .dbeta = dbeta.data(),
                                .dinitial = dinitial.data(),
                                .scratch = scratch.data(),
                                .lanes = n * h};
  std::vector<float> workspace(c.workspace / sizeof(float));
  const DeviceLaunch on{nullptr, workspace.data(), c.workspace};
  const auto& oracle = by == By::kDouble ? cpu_scan_kernels_f64() : cpu_scan_kernels_plain_f32();
  Results results;
  if (by == By::kKernel) {
    launched(launch_chunk_delta<kTypeOf<S>>(a, on));
    if (c.keep) launched(launch_chunk_delta_backward<kTypeOf<S>>(b, on));
  } else {
    oracle.delta_rule(a, {});
    if (c.keep) oracle.delta_rule_backward(b, {});
  }
  results.add("out", out.result());
  results.add("final_state", final_state.result());
  results.add("dq", dq.result());
  results.add("dk", dk.result());
  results.add("dv", dv.result());
  results.add("dbeta", dbeta.result());
  results.add("dinitial", dinitial.result());
  return results;
}

// T, x, the state and w are rounded to S one after the other, each 1/4 eps as an RMS: 1 eps. The
// gradient of the initial state is a difference of numbers of size 1, whose errors stay where it is
// next to nothing itself: the norm counts as 1/100 at least.
constexpr Bound kDeltaBound{1, 0.01};
// Where keys are all alike, or have one channel, errors of one step go through all later ones: the
// design's 8 eps; and one number alone may be small beside the 70 terms of size 1 that it sums up.
constexpr Bound kHardBound{8, 0.2};

template <class S>
void check_delta(const DeltaCase& c, std::uint64_t schedule = 0, const Bound& bound = kDeltaBound) {
  INFO("K " << c.keys << " V " << c.values << " length " << c.lengths[0] << " schedule "
            << schedule);
  device_model::set_schedule(schedule);
  compare_rounded<S>([&](By by) { return run_delta<S>(c, by); }, bound);
  device_model::set_schedule(0);
}

}  // namespace

TEST_CASE("the chunked delta rule agrees with the double loops over lengths") {
  for (const std::int64_t length : {0, 1, 15, 16, 17, 63, 64, 65, 127, 129})
    check_delta<BFloat16>({.lengths = {length}, .heads = 1, .keys = 16, .values = 8});
}

TEST_CASE("the chunked delta rule agrees with the double loops over widths") {
  const std::pair<std::int64_t, std::int64_t> widths[] = {{8, 16},   {20, 7},   {64, 64},
                                                          {72, 128}, {128, 72}, {130, 8}};
  for (const auto& [keys, values] : widths)
    check_delta<Half>({.lengths = {70}, .heads = 1, .keys = keys, .values = values});
  check_delta<Half>({.lengths = {70}, .heads = 1, .keys = 1, .values = 1}, 0, kHardBound);
}

TEST_CASE("the chunked delta rule takes packed rows and resets in every order of threads") {
  for (const bool resets : {false, true})
    for (const std::uint64_t schedule : {0, 1, 7})
      check_delta<BFloat16>({.lengths = {70, 0, 1, 33},
                             .heads = 2,
                             .keys = 12,
                             .values = 20,
                             .padded = true,
                             .resets = resets,
                             .in_place = schedule == 7},
                            schedule);
}

TEST_CASE("the chunked delta rule agrees where keys repeat and beta is past 1") {
  for (const bool repeated : {false, true}) {
    const DeltaCase c{
        .lengths = {200}, .heads = 1, .keys = 16, .values = 16, .beta = 1.9, .repeated = repeated};
    check_delta<Half>(c, 0, kHardBound);
    check_delta<BFloat16>(c, 0, kHardBound);
  }
}

TEST_CASE("the chunked delta rule goes back without gradients of output or state") {
  check_delta<BFloat16>(
      {.lengths = {66, 3}, .heads = 1, .keys = 9, .values = 5, .gradients = false});
}

TEST_CASE("the chunked delta rule gives the same bits in windows of any size and any order") {
  for (const bool keep : {false, true}) {
    DeltaCase c{.lengths = {260, 70}, .heads = 2, .keys = 16, .values = 24, .keep = keep};
    const Results whole = run_delta<BFloat16>(c, By::kKernel);
    for (const std::size_t chunks : {1, 5}) {
      c.workspace = chunks * (16 * 24 * sizeof(float) + 64 * 64 * 2);
      device_model::set_schedule(chunks);
      const Results parts = run_delta<BFloat16>(c, By::kKernel);
      device_model::set_schedule(0);
      for (std::size_t i = 0; i < whole.arrays.size(); ++i)
        CHECK(largest_error(parts.arrays[i].second, whole.arrays[i].second) == 0.0);
    }
  }
}

TEST_CASE("the chunked delta rule refuses more keys than it holds and too little memory") {
  const std::int64_t zero = 0, one = 1;
  const SeqArgs row{.rows = 1, .tokens = 1, .start = &zero, .length = &one, .max_length = 1};
  std::vector<float> workspace(1 << 18);
  const DeviceLaunch on{nullptr, workspace.data(), workspace.size() * sizeof(float)};
  DeltaRuleArgs a{.sequence = row, .heads = 1, .keys = 16, .values = 1};
  CHECK(launch_chunk_delta<DType::kBFloat16>(a, {}) == kWorkspaceTooSmall);
  a.keys = 257;
  CHECK(launch_chunk_delta<DType::kBFloat16>(a, on) == kSizeNotSupported);
}
