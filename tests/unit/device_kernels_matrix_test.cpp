// Device kernels with matrix states against the CPU's plain loops, in the execution model: every
// case in double and in float, some in other orders of threads.
#include "device_support.h"

#include <rill/scan/cuda/launch.h>
#include <rill/scan/cuda/matrix_tile.h>
#include <rill/scan/kernels.h>

#include <cmath>
#include <utility>
#include <vector>

namespace {

using namespace rill;
using namespace rill::device_test;

// ---- linear attention

struct AttentionCase {
  std::vector<std::int64_t> lengths;
  std::int64_t heads, keys, values;
  int decay = 2;  // 0 none, 1 one number a head for all tokens, 2 a token, 3 a key
  bool padded = false, resets = false, scaled = false;  // scaled: gain and divisor
  bool gradients = true;                                // dout, dfinal come
  bool in_place = false, workspace = false;
};

template <class T>
Results run_attention(const AttentionCase& c, bool on_device) {
  const Rows rows(c.lengths, c.padded, c.resets);
  const std::int64_t tokens = rows.args.tokens, n = rows.args.rows, h = c.heads;
  const std::int64_t state_size = n * h * c.keys * c.values, slots = matrix_slots(tokens, n);
  const double unit = 1.0 / std::sqrt(static_cast<double>(c.keys));
  const auto q = as<T>(random_values(tokens * h * c.keys, -1, 1, 1));
  const auto k = as<T>(random_values(tokens * h * c.keys, -unit, unit, 2));
  const auto v = as<T>(random_values(tokens * h * c.values, -1, 1, 3));
  const auto decay = as<T>(random_values(tokens * h * c.keys, 0.5, 1, 4));
  const auto gain = as<T>(random_values(tokens * h, 0.1, 1, 5));
  const auto divisor = as<T>(random_values(tokens * h, 1, 2, 6));
  const auto initial = as<T>(random_values(state_size, -1, 1, 7));
  const auto dout = as<T>(random_values(tokens * h * c.values, -1, 1, 8));
  const auto dfinal = as<T>(random_values(state_size, -1, 1, 9));
  auto final_state = c.in_place ? initial : unset<T>(state_size);
  auto out = unset<T>(tokens * h * c.values), kept = unset<T>(slots * h * c.keys * c.values);
  const LinearAttentionArgs a{.sequence = rows.args,
                              .q = q.data(),
                              .k = k.data(),
                              .v = v.data(),
                              .decay = c.decay ? decay.data() : nullptr,
                              .gain = c.scaled ? gain.data() : nullptr,
                              .divisor = c.scaled ? divisor.data() : nullptr,
                              .initial = c.in_place ? final_state.data() : initial.data(),
                              .final_state = final_state.data(),
                              .out = out.data(),
                              .kept = kept.data(),
                              .heads = h,
                              .keys = c.keys,
                              .values = c.values,
                              .decay_token = c.decay == 3   ? h * c.keys
                                             : c.decay == 2 ? h
                                                            : 0,
                              .decay_head = c.decay == 3 ? c.keys : 1,
                              .decay_key = c.decay == 3 ? 1 : 0,
                              .scale = 0.7};
  const std::int64_t decay_count = tokens * h * (c.decay == 3 ? c.keys : 1);
  auto dq = unset<T>(tokens * h * c.keys), dk = dq, dv = unset<T>(tokens * h * c.values);
  auto dinitial = unset<T>(state_size), dlog = unset<T>(decay_count), dgain = unset<T>(tokens * h);
  auto scratch = unset<T>(n * h * matrix_scratch(c.keys, c.values));
  auto workspace = unset<T>(c.workspace ? 1 << 20 : 0);
  const LinearAttentionBackwardArgs b{.forward = a,
                                      .dout = c.gradients ? dout.data() : nullptr,
                                      .dfinal = c.gradients ? dfinal.data() : nullptr,
                                      .dq = dq.data(),
                                      .dk = dk.data(),
                                      .dv = dv.data(),
                                      .dinitial = dinitial.data(),
                                      .dlog_decay = c.decay ? dlog.data() : nullptr,
                                      .dgain = c.scaled ? dgain.data() : nullptr,
                                      .scratch = scratch.data(),
                                      .lanes = n * h};
  if (on_device) {
    const DeviceLaunch on{.workspace = workspace.data(),
                          .workspace_bytes = workspace.size() * sizeof(T)};
    launched(launch_linear_attention<T>(a, on));
    launched(launch_linear_attention_backward<T>(b, on));
  } else {
    scan_oracle<T>().linear_attention(a, {});
    scan_oracle<T>().linear_attention_backward(b, {});
  }
  Results results;
  results.add("out", out);
  results.add("final_state", final_state);
  results.add("kept", kept);
  results.add("dq", dq);
  results.add("dk", dk);
  results.add("dv", dv);
  results.add("dinitial", dinitial);
  results.add("dlog_decay", dlog);
  results.add("dgain", dgain);
  return results;
}

void check_attention(const AttentionCase& c, std::uint64_t schedule = 0) {
  INFO("K " << c.keys << " V " << c.values << " decay " << c.decay << " schedule " << schedule);
  compare([&](auto zero, bool device) { return run_attention<decltype(zero)>(c, device); },
          schedule);
}

// ---- delta rule

struct DeltaCase {
  std::vector<std::int64_t> lengths;
  std::int64_t heads, keys, values;
  bool padded = false, resets = false, gradients = true, in_place = false, workspace = false;
};

template <class T>
Results run_delta(const DeltaCase& c, bool on_device) {
  const Rows rows(c.lengths, c.padded, c.resets);
  const std::int64_t tokens = rows.args.tokens, n = rows.args.rows, h = c.heads;
  const std::int64_t state_size = n * h * c.keys * c.values, slots = matrix_slots(tokens, n);
  const double unit = 1.0 / std::sqrt(static_cast<double>(c.keys));
  const auto q = as<T>(random_values(tokens * h * c.keys, -1, 1, 1));
  const auto k = as<T>(random_values(tokens * h * c.keys, -unit, unit, 2));
  const auto v = as<T>(random_values(tokens * h * c.values, -1, 1, 3));
  const auto beta = as<T>(random_values(tokens * h, 0, 1, 4));
  const auto initial = as<T>(random_values(state_size, -1, 1, 7));
  const auto dout = as<T>(random_values(tokens * h * c.values, -1, 1, 8));
  const auto dfinal = as<T>(random_values(state_size, -1, 1, 9));
  auto final_state = c.in_place ? initial : unset<T>(state_size);
  auto out = unset<T>(tokens * h * c.values), kept = unset<T>(slots * h * c.keys * c.values);
  const DeltaRuleArgs a{.sequence = rows.args,
                        .q = q.data(),
                        .k = k.data(),
                        .v = v.data(),
                        .beta = beta.data(),
                        .initial = c.in_place ? final_state.data() : initial.data(),
                        .final_state = final_state.data(),
                        .out = out.data(),
                        .kept = kept.data(),
                        .heads = h,
                        .keys = c.keys,
                        .values = c.values,
                        .scale = 0.7};
  auto dq = unset<T>(tokens * h * c.keys), dk = dq, dv = unset<T>(tokens * h * c.values);
  auto dinitial = unset<T>(state_size), dbeta = unset<T>(tokens * h);
  auto scratch = unset<T>(n * h * matrix_scratch(c.keys, c.values));
  auto workspace = unset<T>(c.workspace ? 1 << 20 : 0);
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
  if (on_device) {
    const DeviceLaunch on{.workspace = workspace.data(),
                          .workspace_bytes = workspace.size() * sizeof(T)};
    launched(launch_delta_rule<T>(a, on));
    launched(launch_delta_rule_backward<T>(b, on));
  } else {
    scan_oracle<T>().delta_rule(a, {});
    scan_oracle<T>().delta_rule_backward(b, {});
  }
  Results results;
  results.add("out", out);
  results.add("final_state", final_state);
  results.add("kept", kept);
  results.add("dq", dq);
  results.add("dk", dk);
  results.add("dv", dv);
  results.add("dbeta", dbeta);
  results.add("dinitial", dinitial);
  return results;
}

void check_delta(const DeltaCase& c, std::uint64_t schedule = 0) {
  INFO("K " << c.keys << " V " << c.values << " schedule " << schedule);
  compare([&](auto zero, bool device) { return run_delta<decltype(zero)>(c, device); }, schedule);
}

}  // namespace

TEST_CASE("device linear attention agrees with the plain loops over lengths") {
  for (const std::int64_t length : {0, 1, 2, 31, 32, 33, 70})
    for (const int decay : {2, 3})
      check_attention({.lengths = {length, 3},
                       .heads = 2,
                       .keys = 5,
                       .values = 7,
                       .decay = decay,
                       .padded = true,
                       .scaled = true});
}

TEST_CASE("device linear attention agrees with the plain loops over sizes") {
  const std::pair<std::int64_t, std::int64_t> sizes[] = {{1, 1},   {1, 9},    {33, 1},  {32, 64},
                                                         {65, 70}, {130, 33}, {257, 3}, {600, 5}};
  for (const auto& [keys, values] : sizes)
    for (const int decay : {1, 3})
      check_attention({.lengths = {9, 2},
                       .heads = 1,
                       .keys = keys,
                       .values = values,
                       .decay = decay,
                       .resets = decay == 3,
                       .in_place = decay == 3});
}

TEST_CASE("device linear attention in other orders of threads, with slices side by side") {
  for (const std::uint64_t schedule : {0, 1, 2})
    for (const bool workspace : {false, true})
      check_attention({.lengths = {33, 0, 5},
                       .heads = 2,
                       .keys = 34,
                       .values = 66,
                       .decay = workspace ? 3 : 2,
                       .padded = true,
                       .resets = true,
                       .scaled = true,
                       .workspace = workspace},
                      schedule);
}

TEST_CASE("device linear attention without decay, gradients or anything else that may be null") {
  check_attention(
      {.lengths = {40}, .heads = 1, .keys = 4, .values = 4, .decay = 0, .gradients = false});
}

TEST_CASE("the device delta rule agrees with the plain loops over lengths and sizes") {
  for (const std::int64_t length : {0, 1, 2, 31, 32, 33, 70})
    check_delta({.lengths = {length, 3}, .heads = 2, .keys = 5, .values = 7, .padded = true});
  const std::pair<std::int64_t, std::int64_t> sizes[] = {{1, 1},   {1, 9},    {33, 1},  {32, 64},
                                                         {65, 70}, {130, 33}, {257, 3}, {600, 5}};
  for (const auto& [keys, values] : sizes)
    check_delta({.lengths = {9, 2},
                 .heads = 1,
                 .keys = keys,
                 .values = values,
                 .resets = values % 2 == 1,
                 .in_place = values % 2 == 1});
  check_delta({.lengths = {40}, .heads = 1, .keys = 4, .values = 4, .gradients = false});
}

TEST_CASE("the device delta rule in other orders of threads, with slices side by side") {
  for (const std::uint64_t schedule : {0, 1, 2})
    for (const bool workspace : {false, true})
      check_delta({.lengths = {33, 0, 5},
                   .heads = 2,
                   .keys = 34,
                   .values = 66,
                   .padded = true,
                   .resets = true,
                   .workspace = workspace},
                  schedule);
}

TEST_CASE("device slices side by side, in turn and in any order of threads give the same bits") {
  AttentionCase attention{.lengths = {33, 5}, .heads = 2, .keys = 34, .values = 130, .decay = 3};
  DeltaCase delta{.lengths = {33, 5}, .heads = 2, .keys = 34, .values = 130};
  const Results first = run_attention<float>(attention, true),
                second = run_delta<float>(delta, true);
  attention.workspace = delta.workspace = true;
  for (const std::uint64_t schedule : {0, 3}) {
    device_model::set_schedule(schedule);
    const Results third = run_attention<float>(attention, true);
    const Results fourth = run_delta<float>(delta, true);
    device_model::set_schedule(0);
    for (std::size_t i = 0; i < first.arrays.size(); ++i) {
      INFO(first.arrays[i].first);
      CHECK(largest_error(third.arrays[i].second, first.arrays[i].second) == 0.0);
    }
    for (std::size_t i = 0; i < second.arrays.size(); ++i) {
      INFO(second.arrays[i].first);
      CHECK(largest_error(fourth.arrays[i].second, second.arrays[i].second) == 0.0);
    }
  }
}

TEST_CASE("device kernels refuse more keys than they hold") {
  const std::int64_t one = 1;
  const SeqArgs row{.rows = 1, .tokens = 1, .start = &one, .length = &one, .max_length = 1};
  const LinearAttentionArgs attention{
      .sequence = row, .heads = 1, .keys = kMaxDeviceKeys + 1, .values = 1};
  const DeltaRuleArgs delta{.sequence = row, .heads = 1, .keys = kMaxDeviceKeys + 1, .values = 1};
  const MlstmGatesArgs gates{.sequence = row, .heads = 1, .keys = kMaxDeviceKeys + 1};
  CHECK(launch_linear_attention<float>(attention, {}) == kInvalidValue);
  CHECK(launch_delta_rule<float>(delta, {}) == kInvalidValue);
  CHECK(launch_mlstm_gates<float>(gates, {}) == kInvalidValue);
}
