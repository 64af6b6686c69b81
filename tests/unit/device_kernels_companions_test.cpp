// Device kernels beside those of matrix states (the mLSTM's scalars, rotation, block-diagonal
// products) against the CPU's plain loops, in the execution model: every case in double, in float
// and in 16 bits, some in other orders of threads.
#include "device_support.h"

#include <rill/scan/cuda/launch.h>
#include <rill/scan/kernels.h>

#include <vector>

namespace {

using namespace rill;
using namespace rill::device_test;

// ---- the mLSTM's scalars

struct GatesCase {
  std::vector<std::int64_t> lengths;
  std::int64_t heads, keys, values;
  bool padded = false, resets = false, gradients = true, in_place = false;
};

template <class T>
Results run_gates(const GatesCase& c, bool on_device, const Rounding& rounding) {
  using C = ComputeType<T>;
  const Rows rows(c.lengths, c.padded, c.resets);
  const std::int64_t tokens = rows.args.tokens, n = rows.args.rows, h = c.heads;
  const std::int64_t slots = matrix_slots(tokens, n), size = n * h * c.keys * c.values;
  const auto q = as<T>(rounding(random_values(tokens * h * c.keys, -1, 1, 1)));
  const auto k = as<T>(rounding(random_values(tokens * h * c.keys, -1, 1, 2)));
  const auto input = as<T>(rounding(random_values(tokens * h, -2, 3, 3)));
  const auto log_forget = as<C>(random_values(tokens * h, -2, 0, 4));
  const auto initial_n = as<C>(random_values(n * h * c.keys, -1, 1, 5));
  const auto initial_m = as<C>(random_values(n * h, -1, 2, 6));
  auto final_n = c.in_place ? initial_n : unset<C>(n * h * c.keys);
  auto final_m = c.in_place ? initial_m : unset<C>(n * h);
  auto decay = unset<C>(tokens * h), gain = decay, divisor = decay, dot = decay, chose = decay;
  auto kept = unset<C>(slots * h * c.keys);
  const MlstmGatesArgs a{.sequence = rows.args,
                         .q = q.data(),
                         .k = k.data(),
                         .input = input.data(),
                         .log_forget = log_forget.data(),
                         .initial_n = c.in_place ? final_n.data() : initial_n.data(),
                         .initial_m = c.in_place ? final_m.data() : initial_m.data(),
                         .final_n = final_n.data(),
                         .final_m = final_m.data(),
                         .decay = decay.data(),
                         .gain = gain.data(),
                         .divisor = divisor.data(),
                         .dot = dot.data(),
                         .kept = kept.data(),
                         .chose_input = chose.data(),
                         .heads = h,
                         .keys = c.keys,
                         .key_scale = 0.4};
  const auto out = as<T>(rounding(random_values(tokens * h * c.values, -1, 1, 7)));
  const auto dout = as<T>(rounding(random_values(tokens * h * c.values, -1, 1, 8)));
  const auto dlog_decay = as<C>(random_values(tokens * h, -1, 1, 9));
  const auto dgain = as<C>(random_values(tokens * h, -1, 1, 10));
  const auto dfinal_n = as<C>(random_values(n * h * c.keys, -1, 1, 11));
  const auto dfinal_m = as<C>(random_values(n * h, -1, 1, 12));
  const auto final_c = as<C>(random_values(size, -1, 1, 13));
  const auto dfinal_c = as<C>(random_values(size, -1, 1, 14));
  const auto initial_c = as<C>(random_values(size, -1, 1, 15));
  const auto dinitial_c = as<C>(random_values(size, -1, 1, 16));
  auto dq = as<T>(rounding(random_values(tokens * h * c.keys, -1, 1, 17))), dk = dq;
  auto dinput = unset<T>(tokens * h);
  auto dlog_forget = unset<C>(tokens * h);
  auto dinitial_n = unset<C>(n * h * c.keys), dinitial_m = unset<C>(n * h);
  auto scratch = unset<C>(n * h * (kMatrixChunk + 2) * c.keys);
  const MlstmGatesBackwardArgs b{.forward = a,
                                 .out = out.data(),
                                 .dout = c.gradients ? dout.data() : nullptr,
                                 .dlog_decay = dlog_decay.data(),
                                 .dgain = dgain.data(),
                                 .dfinal_n = c.gradients ? dfinal_n.data() : nullptr,
                                 .dfinal_m = c.gradients ? dfinal_m.data() : nullptr,
                                 .final_c = final_c.data(),
                                 .dfinal_c = c.gradients ? dfinal_c.data() : nullptr,
                                 .initial_c = initial_c.data(),
                                 .dinitial_c = dinitial_c.data(),
                                 .dq = dq.data(),
                                 .dk = dk.data(),
                                 .dinput = dinput.data(),
                                 .dlog_forget = dlog_forget.data(),
                                 .dinitial_n = dinitial_n.data(),
                                 .dinitial_m = dinitial_m.data(),
                                 .scratch = scratch.data(),
                                 .values = c.values,
                                 .lanes = n * h};
  if (on_device) {
    launched(launch_mlstm_gates<T>(a, {}));
    launched(launch_mlstm_gates_backward<T>(b, {}));
  } else if constexpr (sizeof(T) != 2) {
    scan_oracle<T>().mlstm_gates(a, {});
    scan_oracle<T>().mlstm_gates_backward(b, {});
  }
  Results results;
  results.add("final_n", final_n);
  results.add("final_m", final_m);
  results.add("decay", decay);
  results.add("gain", gain);
  results.add("divisor", divisor);
  results.add("dot", dot);
  results.add("kept", kept);
  results.add("chose_input", chose);
  results.add_activation("dq", dq);
  results.add_activation("dk", dk);
  results.add_activation("dinput", dinput);
  results.add("dlog_forget", dlog_forget);
  results.add("dinitial_n", dinitial_n);
  results.add("dinitial_m", dinitial_m);
  return results;
}

void check_gates(const GatesCase& c, std::uint64_t schedule = 0) {
  INFO("K " << c.keys << " V " << c.values << " schedule " << schedule);
  const auto run = [&](auto zero, bool device, const Rounding& rounding = {}) {
    return run_gates<decltype(zero)>(c, device, rounding);
  };
  compare(run, schedule);
  compare_in_16_bits(run, schedule);
}

// ---- rotation, block-diagonal products

template <class T>
Results run_rotary(const Rows& rows, std::int64_t heads, std::int64_t keys, std::int64_t pairs,
                   std::int64_t inverse, bool on_device, const Rounding& rounding) {
  const auto x = as<T>(rounding(random_values(rows.args.tokens * heads * keys, -1, 1, 1)));
  const Values theta = random_values(keys / 2, 0, 1, 2);
  const std::vector<std::int64_t> position = {1000000, 7, 0};
  std::vector<std::int64_t> final_position = position;
  auto y = unset<T>(rows.args.tokens * heads * keys);
  const RotaryArgs a{.sequence = rows.args,
                     .x = x.data(),
                     .theta = theta.data(),
                     .position = position.data(),
                     .y = y.data(),
                     .heads = heads,
                     .keys = keys,
                     .pairs = pairs,
                     .inverse = inverse};
  const AdvanceArgs in_place{rows.args, final_position.data(), final_position.data()};
  if (on_device) {
    launched(launch_rotary<T>(a, {}));
    launched(launch_advance(in_place, {}));
  } else if constexpr (sizeof(T) != 2) {
    scan_oracle<T>().rotary(a, {});
    scan_oracle<T>().advance(in_place, {});
  }
  Results results;
  results.add_activation("y", y);
  results.add("final_position", final_position);
  return results;
}

template <class T>
Results run_block_linear(std::int64_t tokens, std::int64_t groups, std::int64_t inputs,
                         std::int64_t outputs, bool with_workspace, bool on_device,
                         const Rounding& rounding) {
  using C = ComputeType<T>;
  const auto weight = as<C>(random_values(groups * outputs * inputs, -1, 1, 1));
  const auto x = as<T>(rounding(random_values(tokens * groups * inputs, -1, 1, 2)));
  const auto dy = as<T>(rounding(random_values(tokens * groups * outputs, -1, 1, 3)));
  auto packed = unset<C>(groups * outputs * inputs), transposed = packed;
  auto y = unset<T>(tokens * groups * outputs);
  auto dweight = as<C>(random_values(groups * outputs * inputs, -1, 1, 4));
  auto workspace = unset<C>(with_workspace ? 1 << 16 : 0);
  const BlockPackArgs pack{weight.data(), packed.data(), groups, inputs, outputs, 0};
  const BlockPackArgs back{weight.data(), transposed.data(), groups, inputs, outputs, 1};
  const BlockLinearArgs product{x.data(), packed.data(), y.data(), tokens, groups, inputs, outputs};
  const BlockLinearWeightArgs gradient{x.data(), dy.data(), dweight.data(), tokens,
                                       groups,   inputs,    outputs};
  if (on_device) {
    const DeviceLaunch on{.workspace = workspace.data(),
                          .workspace_bytes = workspace.size() * sizeof(C)};
    launched(launch_block_pack<C>(pack, on));
    launched(launch_block_pack<C>(back, on));
    launched(launch_block_linear<T>(product, on));
    launched(launch_block_linear_weight<T>(gradient, on));
  } else if constexpr (sizeof(T) != 2) {
    scan_oracle<T>().block_pack(pack, {});
    scan_oracle<T>().block_pack(back, {});
    scan_oracle<T>().block_linear(product, {});
    scan_oracle<T>().block_linear_weight(gradient, {});
  }
  Results results;
  results.add("packed", packed);
  results.add("transposed", transposed);
  results.add_activation("y", y);
  results.add("dweight", dweight);
  return results;
}

}  // namespace

TEST_CASE("device mLSTM gates agree with the plain loops over lengths and sizes") {
  for (const std::int64_t length : {0, 1, 2, 31, 32, 33, 70})
    check_gates({.lengths = {length, 3}, .heads = 2, .keys = 5, .values = 7, .padded = true});
  for (const std::int64_t keys : {1, 32, 33, 100, 130, 300, 1000})
    check_gates({.lengths = {9, 2},
                 .heads = 3,
                 .keys = keys,
                 .values = 3,
                 .resets = keys % 2 == 1,
                 .in_place = keys % 2 == 1});
  check_gates({.lengths = {40}, .heads = 1, .keys = 4, .values = 4, .gradients = false});
}

TEST_CASE("device mLSTM gates in other orders of threads") {
  for (const std::uint64_t schedule : {0, 1, 2})
    check_gates({.lengths = {66, 0, 5},
                 .heads = 2,
                 .keys = 34,
                 .values = 40,
                 .padded = true,
                 .resets = true},
                schedule);
}

TEST_CASE("device rotation agrees with the plain loops, far positions and resets too") {
  for (const std::int64_t keys : {1, 2, 7, 64})
    for (const int form : {0, 1, 2, 3}) {
      const Rows rows({70, 0, 130}, form % 2 == 0, form > 1);
      const auto run = [&](auto zero, bool device, const Rounding& rounding = {}) {
        return run_rotary<decltype(zero)>(rows, 2, keys, form % 2, form / 2, device, rounding);
      };
      compare(run);
      compare_in_16_bits(run);
    }
  const Rows rows({3, 70, 65}, true, true);
  for (const std::uint64_t schedule : {1, 2})
    compare([&](auto zero,
                bool device) { return run_rotary<decltype(zero)>(rows, 1, 6, 1, 0, device, {}); },
            schedule);
}

TEST_CASE("device block-diagonal products agree with the plain loops") {
  struct Size {
    std::int64_t tokens, groups, inputs, outputs;
  };
  for (const Size& z : {Size{1, 1, 1, 1}, Size{70, 5, 4, 4}, Size{33, 3, 9, 2}, Size{600, 2, 3, 5}})
    for (const bool workspace : {false, true}) {
      const auto run = [&](auto zero, bool device, const Rounding& rounding = {}) {
        return run_block_linear<decltype(zero)>(z.tokens, z.groups, z.inputs, z.outputs, workspace,
                                                device, rounding);
      };
      compare(run, workspace ? 2 : 0);
      compare_in_16_bits(run);
    }
}
