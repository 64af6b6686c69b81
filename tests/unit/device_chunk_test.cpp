// Linear attention in chunks, activations in bfloat16 and half, against the double loops in the
// execution model: lengths around the edges of chunks and of their blocks of 16 rows, packed rows,
// resets, decays of every kind, widths that are no multiple of a tile.
#include "device_chunk_support.h"

#include <cmath>
#include <vector>

namespace {

using namespace rill;
using namespace rill::device_test;

enum class Decays { kNone, kHead, kToken, kKey };

struct AttentionCase {
  std::vector<std::int64_t> lengths;
  std::int64_t heads, keys, values;
  Decays decay = Decays::kKey;
  bool padded = false, resets = false, scaled = false;  // scaled: gain and divisor
  bool gradients = true, keep = true, in_place = false;
  double slowest = 0.0, fastest = -0.7;  // log decays, or a tenth of them are -40 ...
  bool extreme = false;                  // ... and others 0
  std::size_t workspace = std::size_t{1} << 22;
};

Values draw_decays(const AttentionCase& c, std::int64_t count) {
  Values x = random_values(count, c.fastest, c.slowest, 4);
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (c.extreme && i % 10 == 3) x[i] = -40;
    if (c.extreme && i % 10 < 3) x[i] = 0;
    x[i] = std::exp(x[i]);
  }
  return x;
}

template <class S>
Results run_attention(const AttentionCase& c, By by) {
  const Rows rows(c.lengths, c.padded, c.resets);
  const std::int64_t tokens = rows.args.tokens, n = rows.args.rows, h = c.heads;
  const std::int64_t size = n * h * c.keys * c.values, slots = matrix_slots(tokens, n);
  const bool by_key = c.decay == Decays::kKey, scalar = c.decay == Decays::kHead;
  const auto activation = [&](std::int64_t count, double range, unsigned seed) {
    return Array<S>(by, true, random_values(count, -range, range, seed));
  };
  const auto number = [&](std::int64_t count, double low, double high, unsigned seed) {
    return Array<S>(by, false, random_values(count, low, high, seed));
  };
  const auto target = [&](bool is_activation, std::int64_t count) {
    return Array<S>(by, is_activation, unset<double>(count));
  };
  const double unit = 1.0 / std::sqrt(static_cast<double>(c.keys));
  const std::int64_t decay_count = tokens * h * (by_key ? c.keys : 1);
  auto q = activation(tokens * h * c.keys, 1, 1), k = activation(tokens * h * c.keys, unit, 2);
  auto v = activation(tokens * h * c.values, 1, 3), dout = activation(tokens * h * c.values, 1, 8);
  Array<S> decay(by, false, draw_decays(c, decay_count));
  auto gain = number(tokens * h, 0.1, 1, 5), divisor = number(tokens * h, 1, 2, 6);
  auto initial = number(size, -1, 1, 7), dfinal = number(size, -1, 1, 9);
  auto final_state = c.in_place ? initial : target(false, size);
  auto out = target(true, tokens * h * c.values),
       kept = target(false, slots * h * c.keys * c.values);
  const LinearAttentionArgs a{.sequence = rows.args,
                              .q = q.data(),
                              .k = k.data(),
                              .v = v.data(),
                              .decay = c.decay == Decays::kNone ? nullptr : decay.data(),
                              .gain = c.scaled ? gain.data() : nullptr,
                              .divisor = c.scaled ? divisor.data() : nullptr,
                              .initial = c.in_place ? final_state.data() : initial.data(),
                              .final_state = final_state.data(),
                              .out = out.data(),
                              .kept = c.keep ? kept.data() : nullptr,
                              .heads = h,
                              .keys = c.keys,
                              .values = c.values,
                              .decay_token = by_key   ? h * c.keys
                                             : scalar ? 0
                                                      : h,
                              .decay_head = by_key ? c.keys : 1,
                              .decay_key = by_key ? 1 : 0,
                              .scale = 0.7};
  auto dq = target(true, tokens * h * c.keys), dk = dq, dv = target(true, tokens * h * c.values);
  auto dinitial = target(false, size), dlog = target(false, decay_count);
  auto dgain = target(false, tokens * h);
  auto scratch = target(false, n * h * matrix_scratch(c.keys, c.values));
  const LinearAttentionBackwardArgs b{.forward = a,
                                      .dout = c.gradients ? dout.data() : nullptr,
                                      .dfinal = c.gradients ? dfinal.data() : nullptr,
                                      .dq = dq.data(),
                                      .dk = dk.data(),
                                      .dv = dv.data(),
                                      .dinitial = dinitial.data(),
                                      .dlog_decay = a.decay ? dlog.data() : nullptr,
                                      .dgain = c.scaled ? dgain.data() : nullptr,
                                      .scratch = scratch.data(),
                                      .lanes = n * h};
  std::vector<float> workspace(c.workspace / sizeof(float));
  const DeviceLaunch on{nullptr, workspace.data(), c.workspace};
  const auto& oracle = by == By::kDouble ? cpu_scan_kernels_f64() : cpu_scan_kernels_plain_f32();
  Results results;
  if (by == By::kKernel) {
    launched(launch_chunk_attention<kTypeOf<S>>(a, on));
    if (c.keep) launched(launch_chunk_attention_backward<kTypeOf<S>>(b, on));
  } else {
    oracle.linear_attention(a, {});
    if (c.keep) oracle.linear_attention_backward(b, {});
  }
  results.add("out", out.result());
  results.add("final_state", final_state.result());
  results.add("dq", dq.result());
  results.add("dk", dk.result());
  results.add("dv", dv.result());
  results.add("dinitial", dinitial.result());
  results.add("dlog_decay", dlog.result());
  results.add("dgain", dgain.result());
  return results;
}

template <class S>
void check_attention(const AttentionCase& c, std::uint64_t schedule = 0) {
  INFO("K " << c.keys << " V " << c.values << " decay " << static_cast<int>(c.decay) << " length "
            << c.lengths[0] << " schedule " << schedule);
  device_model::set_schedule(schedule);
  compare_rounded<S>([&](By by) { return run_attention<S>(c, by); });
  device_model::set_schedule(0);
}

}  // namespace

TEST_CASE("chunked linear attention agrees with the double loops over lengths") {
  for (const std::int64_t length : {0, 1, 15, 16, 17, 63, 64, 65, 127, 129})
    for (const Decays decay : {Decays::kToken, Decays::kKey})
      check_attention<BFloat16>(
          {.lengths = {length}, .heads = 1, .keys = 16, .values = 8, .decay = decay});
}

TEST_CASE("chunked linear attention agrees with the double loops over widths") {
  const std::pair<std::int64_t, std::int64_t> widths[] = {{1, 1},   {8, 16},   {20, 7},
                                                          {64, 64}, {72, 128}, {128, 72}};
  for (const auto& [keys, values] : widths)
    for (const Decays decay : {Decays::kToken, Decays::kKey})
      check_attention<Half>({.lengths = {70},
                             .heads = 1,
                             .keys = keys,
                             .values = values,
                             .decay = decay,
                             .scaled = true});
}

TEST_CASE("chunked linear attention takes packed rows, resets and every kind of decay") {
  for (const Decays decay : {Decays::kNone, Decays::kHead, Decays::kToken, Decays::kKey})
    for (const bool resets : {false, true})
      for (const std::uint64_t schedule : {0, 1, 7})
        check_attention<BFloat16>({.lengths = {70, 0, 1, 33},
                                   .heads = 2,
                                   .keys = 12,
                                   .values = 20,
                                   .decay = decay,
                                   .padded = true,
                                   .resets = resets,
                                   .scaled = schedule == 1,
                                   .in_place = schedule == 7},
                                  schedule);
}

TEST_CASE("chunked linear attention agrees where decays are 1 or next to nothing") {
  for (const Decays decay : {Decays::kToken, Decays::kKey}) {
    check_attention<Half>(
        {.lengths = {150}, .heads = 1, .keys = 16, .values = 16, .decay = decay, .extreme = true});
    check_attention<Half>({.lengths = {130},
                           .heads = 1,
                           .keys = 16,
                           .values = 16,
                           .decay = decay,
                           .slowest = -3,
                           .fastest = -120});  // some factors are 0 in float
    check_attention<BFloat16>({.lengths = {200},
                               .heads = 1,
                               .keys = 16,
                               .values = 16,
                               .decay = decay,
                               .slowest = 0,
                               .fastest = -1e-4});
  }
}

TEST_CASE("chunked linear attention goes back without gradients of output or state") {
  for (const Decays decay : {Decays::kToken, Decays::kKey})
    check_attention<BFloat16>({.lengths = {66, 3},
                               .heads = 1,
                               .keys = 9,
                               .values = 5,
                               .decay = decay,
                               .gradients = false});
}

TEST_CASE("chunked linear attention gives the same bits in windows of any size and any order") {
  for (const Decays decay : {Decays::kToken, Decays::kKey}) {
    AttentionCase c{
        .lengths = {300, 70}, .heads = 2, .keys = 16, .values = 24, .decay = decay, .keep = false};
    const Results whole = run_attention<BFloat16>(c, By::kKernel);
    for (const std::size_t states : {1, 3, 9}) {
      c.workspace = states * 16 * 24 * sizeof(float);
      device_model::set_schedule(states);
      const Results parts = run_attention<BFloat16>(c, By::kKernel);
      device_model::set_schedule(0);
      for (std::size_t i = 0; i < whole.arrays.size(); ++i)
        CHECK(largest_error(parts.arrays[i].second, whole.arrays[i].second) == 0.0);
    }
  }
}

// 36 chunks, of which the scratch holds 34 at most.
TEST_CASE("chunked linear attention goes back over more chunks than its scratch holds") {
  AttentionCase c{
      .lengths = {36 * 64}, .heads = 1, .keys = 64, .values = 64, .decay = Decays::kToken};
  c.workspace = 0;
  const Results parts = run_attention<BFloat16>(c, By::kKernel);
  c.workspace = std::size_t{1} << 22;
  const Results whole = run_attention<BFloat16>(c, By::kKernel);
  for (std::size_t i = 0; i < whole.arrays.size(); ++i)
    CHECK(largest_error(parts.arrays[i].second, whole.arrays[i].second) == 0.0);
}
