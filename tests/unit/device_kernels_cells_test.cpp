// The device's recurrent cells against the CPU's plain loops, in the execution model: every case in
// double and in float, some in other orders of threads.
#include "device_support.h"

#include <rill/core/kernels.h>
#include <rill/rnn/cuda/launch.h>
#include <rill/rnn/kernels.h>

#include <cmath>
#include <vector>

namespace {

using namespace rill;
using namespace rill::device_test;

struct CellCase {
  std::vector<std::int64_t> lengths;
  std::int64_t input, hidden, output;
  bool gru = false, projected = false, in_step = false;  // in_step: the forward makes W x itself
  bool padded = false, resets = false, gradients = true, biases = true, in_place = false;
};

// What an array for core's linear holds: the CPU's own layout.
template <class T>
std::vector<T> packed_for_linear(const std::vector<T>& w, std::int64_t n, std::int64_t k,
                                 bool transposed) {
  const CoreKernels& core = sizeof(T) == 8 ? cpu_core_kernels_f64() : cpu_core_kernels_plain_f32();
  const auto dtype = sizeof(T) == 8 ? DType::kFloat64 : DType::kFloat32;
  std::vector<T> packed(static_cast<std::size_t>(core.packed_bytes(n, k, dtype)) / sizeof(T));
  core.pack({.w = w.data(),
             .packed = packed.data(),
             .n = n,
             .k = k,
             .stride = transposed ? n : k,
             .transposed = transposed ? 1 : 0,
             .dtype = static_cast<std::int64_t>(dtype)},
            {});
  return packed;
}

template <class T>
const RnnKernels& cell_oracle() {
  return sizeof(T) == 8 ? cpu_rnn_kernels_f64() : cpu_rnn_kernels_plain_f32();
}

template <class T>
std::vector<T> packed_for_step(const std::vector<T>& w, const CellCase& c, std::int64_t width,
                               bool on_device) {
  const std::int64_t gates = c.gru ? 3 : 4;
  std::vector<T> packed(
      static_cast<std::size_t>(on_device ? device_packed_count(c.hidden, gates, width)
                                         : cell_oracle<T>().packed_count(c.hidden, gates, width)));
  const PackRecurrentArgs args{w.data(), packed.data(), c.hidden, gates, width};
  if (on_device)
    launched(launch_pack_recurrent<T>(args, {}));
  else
    cell_oracle<T>().pack(args, {});
  return packed;
}

template <class T>
void run_kernels(const CellCase& c, const RecurrentArgs& a, const RecurrentBackwardArgs* b,
                 bool on_device) {
  if (!on_device) {
    const PlainKernels plain;
    const RnnKernels& kernels = cell_oracle<T>();
    if (b)
      (c.gru ? kernels.gru_backward : kernels.lstm_backward)(*b, {});
    else
      (c.gru ? kernels.gru : kernels.lstm)(a, {});
  } else if (b) {
    launched(c.gru ? launch_gru_backward<T>(*b, {}) : launch_lstm_backward<T>(*b, {}));
  } else {
    launched(c.gru ? launch_gru<T>(a, {}) : launch_lstm<T>(a, {}));
  }
}

template <class T>
Results run_cell(const CellCase& c, bool on_device) {
  const Rows rows(c.lengths, c.padded, c.resets);
  const std::int64_t tokens = rows.args.tokens, n = rows.args.rows, gates = c.gru ? 3 : 4;
  const std::int64_t h = c.hidden, p = c.output, all = gates * h;
  const double unit = 1.0 / std::sqrt(static_cast<double>(h));
  const auto made = as<T>(random_values(tokens * all, -1, 1, 1));
  const auto x = as<T>(random_values(tokens * c.input, -1, 1, 2));
  const auto w_ih = as<T>(random_values(all * c.input, -1, 1, 3));
  const auto w_hh = as<T>(random_values(all * p, -unit, unit, 4));
  const auto w_hr = as<T>(random_values(p * h, -unit, unit, 5));
  const auto bias_ih = as<T>(random_values(all, -1, 1, 6));
  const auto bias_hh = as<T>(random_values(all, -1, 1, 7));
  const auto h0 = as<T>(random_values(n * p, -1, 1, 8)), c0 = as<T>(random_values(n * h, -1, 1, 9));
  const auto zeros = as<T>(Values(static_cast<std::size_t>(p), 0.0));
  const auto packed_ih = packed_for_step(w_ih, c, c.input, on_device);
  const auto packed_hh = packed_for_step(w_hh, c, p, on_device);
  const auto linear_hr = on_device ? w_hr : packed_for_linear(w_hr, p, h, false);
  const auto back_hh = on_device ? w_hh : packed_for_linear(w_hh, p, all, true);
  const auto back_hr = on_device ? w_hr : packed_for_linear(w_hr, h, p, true);
  auto values = made, final_h = c.in_place ? h0 : unset<T>(n * p);
  auto final_c = c.in_place ? c0 : unset<T>(n * h);
  auto y = unset<T>(tokens * p), kept = unset<T>(tokens * h), scratch = unset<T>(n * (h + p));
  const RecurrentArgs a{.sequence = rows.args,
                        .gates = c.in_step ? nullptr : values.data(),
                        .x = c.in_step ? x.data() : nullptr,
                        .weight_ih = c.in_step ? packed_ih.data() : nullptr,
                        .bias_ih = c.in_step && c.biases ? bias_ih.data() : nullptr,
                        .weight_hh = packed_hh.data(),
                        .bias_hh = c.biases ? bias_hh.data() : nullptr,
                        .weight_hr = c.projected ? linear_hr.data() : nullptr,
                        .h0 = c.in_place ? final_h.data() : h0.data(),
                        .c0 = c.gru        ? nullptr
                              : c.in_place ? final_c.data()
                                           : c0.data(),
                        .h = final_h.data(),
                        .c = c.gru ? nullptr : final_c.data(),
                        .y = y.data(),
                        .kept = c.in_step ? nullptr : kept.data(),
                        .zeros = zeros.data(),
                        .scratch = c.projected ? scratch.data() : nullptr,
                        .input = c.input,
                        .hidden = h,
                        .output = p};
  run_kernels<T>(c, a, nullptr, on_device);
  Results results;
  results.add("y", y);
  results.add("h", final_h);
  if (!c.gru) results.add("c", final_c);
  if (c.in_step) return results;
  results.add("gates", values);
  results.add("kept", kept);
  const auto dy = as<T>(random_values(tokens * p, -1, 1, 10));
  const auto dh_final = as<T>(random_values(n * p, -1, 1, 11));
  const auto dc_final = as<T>(random_values(n * h, -1, 1, 12));
  auto dh = unset<T>(n * p), dc = unset<T>(n * h), h_previous = unset<T>(tokens * p);
  auto dh_tokens = unset<T>(tokens * p), projected = unset<T>(tokens * h);
  auto back_scratch = unset<T>(n * ((gates + 1) * h + 2 * p));
  const RecurrentBackwardArgs b{.sequence = rows.args,
                                .gates = values.data(),
                                .kept = kept.data(),
                                .y = y.data(),
                                .h0 = h0.data(),
                                .c0 = c.gru ? nullptr : c0.data(),
                                .dy = c.gradients ? dy.data() : nullptr,
                                .dh_final = c.gradients ? dh_final.data() : nullptr,
                                .dc_final = c.gradients && !c.gru ? dc_final.data() : nullptr,
                                .weight_hh = back_hh.data(),
                                .weight_hr = c.projected ? back_hr.data() : nullptr,
                                .dh = dh.data(),
                                .dc = c.gru ? nullptr : dc.data(),
                                .h_previous = h_previous.data(),
                                .dh_tokens = c.projected ? dh_tokens.data() : nullptr,
                                .projected = c.projected ? projected.data() : nullptr,
                                .scratch = back_scratch.data(),
                                .hidden = h,
                                .output = p};
  run_kernels<T>(c, a, &b, on_device);
  results.add("dgates", values);
  results.add("dkept", kept);
  results.add("dh", dh);
  results.add("dc", dc);
  results.add("h_previous", h_previous);
  results.add("dh_tokens", dh_tokens);
  results.add("projected", projected);
  return results;
}

void check_cell(CellCase c, std::uint64_t schedule = 0) {
  for (const bool gru : {false, true}) {
    if (gru && c.projected) continue;
    c.gru = gru;
    INFO((gru ? "GRU" : "LSTM") << " H " << c.hidden << " P " << c.output << " schedule "
                                << schedule);
    compare([&](auto zero, bool device) { return run_cell<decltype(zero)>(c, device); }, schedule);
  }
}

}  // namespace

TEST_CASE("device cells agree with the plain loops over lengths") {
  for (const std::int64_t length : {0, 1, 2, 31, 32, 33, 70})
    check_cell({.lengths = {length, 3}, .input = 1, .hidden = 5, .output = 5, .padded = true});
}

// 32 to 100: registers; 160: shared memory too; 200: L2 too; 520: several units a thread.
TEST_CASE("device cells agree with the plain loops over sizes") {
  for (const std::int64_t hidden : {1, 32, 33, 100, 160, 200, 520})
    check_cell({.lengths = {6, 2},
                .input = 1,
                .hidden = hidden,
                .output = hidden,
                .resets = hidden % 2 == 1,
                .biases = hidden % 2 == 1,
                .in_place = hidden % 3 == 0});
}

TEST_CASE("device LSTM projects its outputs as the plain loops do") {
  check_cell({.lengths = {9, 1, 0},
              .input = 1,
              .hidden = 7,
              .output = 3,
              .projected = true,
              .padded = true,
              .resets = true});
  check_cell({.lengths = {5}, .input = 1, .hidden = 70, .output = 130, .projected = true});
  check_cell({.lengths = {2}, .input = 1, .hidden = 3, .output = 3, .projected = true});
}

TEST_CASE("device cells make W x in the step, long calls and single steps") {
  for (const std::int64_t length : {1, 20})
    for (const std::int64_t hidden : {4, 70, 530})
      check_cell({.lengths = {length, 2},
                  .input = hidden / 2 + 1,
                  .hidden = hidden,
                  .output = hidden,
                  .in_step = true,
                  .resets = length > 1,
                  .biases = length > 1});
}

TEST_CASE("device cells in other orders of threads, and without gradients") {
  for (const std::uint64_t schedule : {0, 1, 2}) {
    check_cell({.lengths = {9, 0, 4},
                .input = 3,
                .hidden = 40,
                .output = 40,
                .padded = true,
                .resets = true,
                .gradients = false},
               schedule);
    check_cell({.lengths = {7, 2},
                .input = 3,
                .hidden = 40,
                .output = 10,
                .projected = true,
                .padded = true,
                .resets = true},
               schedule);
  }
}
