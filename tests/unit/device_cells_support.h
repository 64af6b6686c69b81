// What the tests of the recurrent cells' kernels share: a case, and both back ends run on it, in
// double, float, bfloat16 or half.
#pragma once

#include "device_support.h"

#include <rill/core/half.h>
#include <rill/core/kernels.h>
#include <rill/rnn/cuda/launch.h>
#include <rill/rnn/kernels.h>

#include <cmath>
#include <cstddef>
#include <cstring>
#include <type_traits>
#include <vector>

namespace rill::device_test {

struct CellCase {
  std::vector<std::int64_t> lengths;
  std::int64_t input, hidden, output;
  bool gru = false, projected = false, in_step = false;  // in_step: the forward makes W x itself
  bool padded = false, resets = false, gradients = true, biases = true, in_place = false;
  DType rounded = DType::kFloat32;  // activations and weights are values of this type
};

// What the kernels that a name stands for store and compute in.
template <class Name>
struct CellTypes {
  using Stored = Name;
  using State = Name;
};
template <>
struct CellTypes<BFloat16> {
  using Stored = BFloat16;
  using State = float;
};
template <>
struct CellTypes<Half> {
  using Stored = Half;
  using State = float;
};

inline double rounded_to(DType type, double v) {
  if (type == DType::kBFloat16) return BFloat16::from_float(static_cast<float>(v));
  if (type == DType::kFloat16) return Half::from_float(static_cast<float>(v));
  return v;
}

template <class T>
std::vector<T> stored(const Values& x) {
  std::vector<T> y;
  for (const double v : x) {
    if constexpr (sizeof(T) == 2)
      y.push_back(T::from_float(static_cast<float>(v)));
    else
      y.push_back(static_cast<T>(v));
  }
  return y;
}
template <class T>
std::vector<T> not_set(std::int64_t count) {
  return stored<T>(Values(static_cast<std::size_t>(count), std::nan("")));
}

// A launch with a workspace full of NaN.
inline DeviceLaunch cell_launch() {
  static std::vector<std::max_align_t> memory((std::size_t{1} << 22) / sizeof(std::max_align_t));
  std::memset(memory.data(), 0xff, memory.size() * sizeof(std::max_align_t));
  return {nullptr, memory.data(), memory.size() * sizeof(std::max_align_t)};
}

// What an array for core's linear holds: the CPU's own layout.
template <class T>
std::vector<T> packed_for_linear(const std::vector<T>& w, std::int64_t n, std::int64_t k,
                                 bool transposed) {
  if constexpr (sizeof(T) == 2) {
    return w;  // no CPU kernels read it
  } else {
    const CoreKernels& core =
        sizeof(T) == 8 ? cpu_core_kernels_f64() : cpu_core_kernels_plain_f32();
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
}

template <class T>
const RnnKernels& cell_oracle() {
  return sizeof(T) == 8 ? cpu_rnn_kernels_f64() : cpu_rnn_kernels_plain_f32();
}

template <class Name, class T>
std::vector<T> packed_for_step(const std::vector<T>& w, const CellCase& c, std::int64_t width,
                               bool on_device) {
  const std::int64_t gates = c.gru ? 3 : 4;
  std::vector<T> packed(
      static_cast<std::size_t>(on_device ? device_packed_count(c.hidden, gates, width)
                                         : cell_oracle<T>().packed_count(c.hidden, gates, width)));
  const PackRecurrentArgs args{
      w.data(), packed.data(),
      c.hidden, gates,
      width,    static_cast<std::int64_t>(sizeof(T) == 2 ? DType::kBFloat16 : DType::kFloat32)};
  if (on_device)
    launched(launch_pack_recurrent<Name>(args, {}));
  else if constexpr (sizeof(T) > 2)
    cell_oracle<T>().pack(args, {});
  return packed;
}

template <class Name>
void run_kernels(const CellCase& c, const RecurrentArgs& a, const RecurrentBackwardArgs* b,
                 bool on_device) {
  using S = typename CellTypes<Name>::Stored;
  if (on_device) {
    if (b)
      return launched(c.gru ? launch_gru_backward<Name>(*b, cell_launch())
                            : launch_lstm_backward<Name>(*b, cell_launch()));
    return launched(c.gru ? launch_gru<Name>(a, cell_launch())
                          : launch_lstm<Name>(a, cell_launch()));
  }
  if constexpr (sizeof(S) > 2) {
    const PlainKernels plain;
    const RnnKernels& kernels = cell_oracle<S>();
    if (b)
      (c.gru ? kernels.gru_backward : kernels.lstm_backward)(*b, {});
    else
      (c.gru ? kernels.gru : kernels.lstm)(a, {});
  }
}

template <class Name>
Results run_cell(const CellCase& c, bool on_device) {
  using S = typename CellTypes<Name>::Stored;  // of activations and weights
  using C = typename CellTypes<Name>::State;
  const Rows rows(c.lengths, c.padded, c.resets);
  const std::int64_t tokens = rows.args.tokens, n = rows.args.rows, gates = c.gru ? 3 : 4;
  const std::int64_t h = c.hidden, p = c.output, all = gates * h;
  const double unit = 1.0 / std::sqrt(static_cast<double>(h));
  const auto values_of = [&](std::int64_t count, double high, unsigned seed) {
    Values x = random_values(count, -high, high, seed);
    for (double& v : x) v = rounded_to(c.rounded, v);
    return x;
  };
  const auto made = stored<S>(values_of(tokens * all, 1, 1));
  const auto x = stored<S>(values_of(tokens * c.input, 1, 2));
  const auto w_ih = stored<S>(values_of(all * c.input, 1, 3));
  const auto w_hh = stored<S>(values_of(all * p, unit, 4));
  const auto w_hr = stored<S>(values_of(p * h, unit, 5));
  const auto bias_ih = stored<C>(values_of(all, 1, 6)), bias_hh = stored<C>(values_of(all, 1, 7));
  const auto h0 = stored<C>(values_of(n * p, 1, 8)), c0 = stored<C>(values_of(n * h, 1, 9));
  const auto zeros = stored<S>(Values(static_cast<std::size_t>(p), 0.0));
  const auto packed_ih = packed_for_step<Name>(w_ih, c, c.input, on_device);
  const auto packed_hh = packed_for_step<Name>(w_hh, c, p, on_device);
  const auto linear_hr = on_device ? w_hr : packed_for_linear(w_hr, p, h, false);
  const auto back_hh = on_device ? w_hh : packed_for_linear(w_hh, p, all, true);
  const auto back_hr = on_device ? w_hr : packed_for_linear(w_hr, h, p, true);
  constexpr auto kWeights =
      static_cast<std::int64_t>(sizeof(S) == 2 ? DType::kBFloat16 : DType::kFloat32);
  auto values = made;
  auto final_h = c.in_place ? h0 : not_set<C>(n * p), final_c = c.in_place ? c0 : not_set<C>(n * h);
  auto y = not_set<S>(tokens * p), scratch = not_set<S>(n * (h + p));
  auto kept = not_set<S>(tokens * h);
  auto kept_c = not_set<C>(tokens * h);
  void* const kept_data = c.gru ? static_cast<void*>(kept.data()) : kept_c.data();
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
                        .kept = c.in_step ? nullptr : kept_data,
                        .zeros = zeros.data(),
                        .scratch = c.projected ? scratch.data() : nullptr,
                        .input = c.input,
                        .hidden = h,
                        .output = p,
                        .weight_hr_dtype = kWeights};
  run_kernels<Name>(c, a, nullptr, on_device);
  Results results;
  results.add("y", y);
  results.add("h", final_h);
  if (!c.gru) results.add("c", final_c);
  if (c.in_step) return results;
  results.add("gates", values);
  const auto add_kept = [&](const char* name) {
    if (c.gru)
      results.add(name, kept);
    else
      results.add(name, kept_c);
  };
  add_kept("kept");
  const auto dy = stored<S>(values_of(tokens * p, 1, 10));
  const auto dh_final = stored<C>(values_of(n * p, 1, 11));
  const auto dc_final = stored<C>(values_of(n * h, 1, 12));
  auto dh = not_set<C>(n * p), dc = not_set<C>(n * h);
  auto h_previous = not_set<S>(tokens * p), dh_tokens = not_set<S>(tokens * p);
  auto projected = not_set<S>(tokens * h);
  auto back_scratch = not_set<S>(n * ((gates + 1) * h + 2 * p));
  const RecurrentBackwardArgs b{.sequence = rows.args,
                                .gates = values.data(),
                                .kept = kept_data,
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
                                .output = p,
                                .weight_hh_dtype = kWeights,
                                .weight_hr_dtype = kWeights};
  run_kernels<Name>(c, a, &b, on_device);
  results.add("dgates", values);
  if (c.gru) add_kept("dkept");
  results.add("dh", dh);
  results.add("dc", dc);
  results.add("h_previous", h_previous);
  results.add("dh_tokens", dh_tokens);
  results.add("projected", projected);
  return results;
}

}  // namespace rill::device_test
