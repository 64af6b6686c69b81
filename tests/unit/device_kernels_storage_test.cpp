// The device's convolution, affine scan and diagonal layer against the CPU's plain loops, in the
// execution model: in double, in float and with activations of 16 bits.
#include "device_support.h"

#include <rill/scan/cuda/launch_diagonal.h>
#include <rill/scan/cuda/launch_scan.h>

#include <algorithm>
#include <vector>

namespace {

using namespace rill;
using namespace rill::device_test;

/// Random arrays of a case: activations of type S, rounded first, and others.
template <class S>
struct Arrays {
  using C = ComputeType<S>;
  const Rounding& rounding;

  std::vector<S> activations(std::int64_t count, unsigned seed) const {
    return as<S>(rounding(random_values(count, -1, 1, seed)));
  }
  std::vector<C> others(std::int64_t count, unsigned seed, double low = -1, double high = 1) const {
    return as<C>(random_values(count, low, high, seed));
  }
};

template <class C>
DeviceLaunch launch_with(std::vector<C>& workspace) {
  return {nullptr, workspace.data(), workspace.size() * sizeof(C)};
}

template <class Case, class Run>
void check_storage(const Case& c, const Run& kernel, std::uint64_t schedule = 0) {
  const auto run = [&](auto zero, bool device, const Rounding& rounding = {}) {
    return kernel(zero, c, device, rounding);
  };
  compare(run, schedule);
  compare_in_16_bits(run, schedule);
}

// ---- the causal convolution

struct ConvCase {
  std::vector<std::int64_t> lengths;
  std::int64_t channels, width;
  bool padded = false, resets = false, silu = true;
};

template <class S>
Results run_conv(S, const ConvCase& c, bool on_device, const Rounding& rounding) {
  using C = ComputeType<S>;
  const Rows rows(c.lengths, c.padded, c.resets);
  const std::int64_t count = rows.args.tokens * c.channels;
  const std::int64_t state = rows.args.rows * (c.width - 1) * c.channels;
  const Arrays<S> make{rounding};
  const auto x = make.activations(count, 1), dy = make.activations(count, 2);
  const auto weight = make.others(c.width * c.channels, 3), bias = make.others(c.channels, 4);
  const auto initial = make.others(state, 5), dfinal = make.others(state, 6);
  auto final_state = unset<C>(state), dinitial = final_state, dpre = unset<C>(count);
  auto dweight = unset<C>(c.width * c.channels), dbias = make.others(c.channels, 7);
  auto y = unset<S>(count), dx = y;
  auto workspace = unset<C>(1 << 14);
  const CausalConvArgs p{.sequence = rows.args,
                         .x = x.data(),
                         .weight = weight.data(),
                         .bias = bias.data(),
                         .initial = initial.data(),
                         .final_state = final_state.data(),
                         .y = y.data(),
                         .channels = c.channels,
                         .width = c.width,
                         .silu = c.silu};
  const CausalConvBackwardArgs q{.sequence = rows.args,
                                 .x = x.data(),
                                 .weight = weight.data(),
                                 .bias = bias.data(),
                                 .initial = initial.data(),
                                 .dy = dy.data(),
                                 .dfinal = dfinal.data(),
                                 .dpre = dpre.data(),
                                 .dx = dx.data(),
                                 .dinitial = dinitial.data(),
                                 .dweight = dweight.data(),
                                 .dbias = dbias.data(),
                                 .channels = c.channels,
                                 .width = c.width,
                                 .silu = c.silu};
  if (on_device) {
    launched(launch_causal_conv<S>(p, launch_with(workspace)));
    launched(launch_causal_conv_backward<S>(q, launch_with(workspace)));
  } else if constexpr (sizeof(S) != 2) {
    scan_oracle<S>().causal_conv(p, {});
    scan_oracle<S>().causal_conv_backward(q, {});
  }
  Results results;
  results.add_activation("y", y);
  results.add("final_state", final_state);
  results.add_activation("dx", dx);
  results.add("dinitial", dinitial);
  results.add("dweight", dweight);
  results.add("dbias", dbias);
  return results;
}

// ---- the affine scan

struct AffineCase {
  std::vector<std::int64_t> lengths;
  std::int64_t channels;
  bool padded = false, resets = false, complex = false, reverse = false, log_space = false;
};

/// B is the type of b and h: S, but in log space, where they are logarithms.
template <class S, class B>
Results run_affine_as(const AffineCase& c, bool on_device, const Rounding& rounding) {
  using C = ComputeType<S>;
  const Rows rows(c.lengths, c.padded, c.resets);
  const std::int64_t width = c.channels * (c.complex ? 2 : 1);
  const std::int64_t count = rows.args.tokens * width, state = rows.args.rows * width;
  const Arrays<B> make{rounding};
  const auto a = c.log_space ? make.others(count, 1, -3, 0) : make.others(count, 1, -0.7, 0.7);
  const auto b = make.activations(count, 2), dh = make.activations(count, 3);
  const auto initial = make.others(state, 4), dfinal = make.others(state, 5);
  auto final_state = unset<C>(state), dinitial = final_state, da = unset<C>(count);
  auto h = unset<B>(count), db = h;
  auto workspace = unset<C>(1 << 14);
  const AffineScanArgs p{.sequence = rows.args,
                         .a = a.data(),
                         .b = b.data(),
                         .initial = initial.data(),
                         .final_state = final_state.data(),
                         .h = h.data(),
                         .channels = c.channels,
                         .complex = c.complex,
                         .reverse = c.reverse,
                         .log_space = c.log_space};
  const AffineScanBackwardArgs q{.sequence = rows.args,
                                 .a = a.data(),
                                 .b = c.log_space ? b.data() : nullptr,
                                 .h = h.data(),
                                 .initial = initial.data(),
                                 .dh = dh.data(),
                                 .dfinal = dfinal.data(),
                                 .da = da.data(),
                                 .db = db.data(),
                                 .dinitial = dinitial.data(),
                                 .channels = c.channels,
                                 .complex = c.complex,
                                 .reverse = c.reverse,
                                 .log_space = c.log_space};
  if (on_device) {
    launched(launch_affine_scan<S>(p, launch_with(workspace)));
    launched(launch_affine_scan_backward<S>(q, launch_with(workspace)));
  } else if constexpr (sizeof(S) != 2) {
    scan_oracle<S>().affine_scan(p, {});
    const auto stored = as<B>(rounding(Values(h.begin(), h.end())));
    std::copy(stored.begin(), stored.end(), h.begin());  // what the way back reads
    scan_oracle<S>().affine_scan_backward(q, {});
  }
  Results results;
  results.add_activation("h", h);
  results.add("final_state", final_state);
  results.add("da", da);
  results.add_activation("db", db);
  results.add("dinitial", dinitial);
  return results;
}
template <class S>
Results run_affine(S, const AffineCase& c, bool on_device, const Rounding& rounding) {
  if (c.log_space) return run_affine_as<S, ComputeType<S>>(c, on_device, {});
  return run_affine_as<S, S>(c, on_device, rounding);
}

// ---- the diagonal layer

struct DiagonalCase {
  std::vector<std::int64_t> lengths;
  std::int64_t channels, width;
  bool padded = false, resets = false, complex = false;
};

template <class S>
Results run_diagonal(S, const DiagonalCase& c, bool on_device, const Rounding& rounding) {
  using C = ComputeType<S>;
  const Rows rows(c.lengths, c.padded, c.resets);
  const std::int64_t count = rows.args.tokens * c.channels;
  const std::int64_t state = rows.args.rows * c.channels * c.width;
  const std::int64_t padded =
      (c.width + kDiagonalPadding - 1) / kDiagonalPadding * kDiagonalPadding;
  const Arrays<S> make{rounding};
  const auto x = make.activations(count, 1), dy = make.activations(count, 2);
  const auto a = make.others(c.channels * c.width, 3, -0.6, 0.6);
  const auto w = make.others(c.channels * c.width, 4), d = make.others(c.channels, 5);
  const auto initial = make.others(state, 6), dfinal = make.others(state, 7);
  auto coefficients = unset<C>(c.channels * 3 * padded), dcoefficients = coefficients;
  auto final_state = unset<C>(state), dinitial = final_state, dd = unset<C>(c.channels);
  auto checkpoints = unset<C>(diagonal_slots(rows.args) * c.channels * c.width);
  auto scratch = unset<C>(diagonal_scratch(c.width)), workspace = unset<C>(1 << 16);
  auto y = unset<S>(count), dx = y;
  const DiagonalPackArgs pack{a.data(), w.data(), coefficients.data(), c.channels, c.width,
                              padded,   c.complex};
  const DiagonalSsmArgs p{.sequence = rows.args,
                          .x = x.data(),
                          .coefficients = coefficients.data(),
                          .d = d.data(),
                          .h_in = initial.data(),
                          .h_out = final_state.data(),
                          .y = y.data(),
                          .checkpoints = checkpoints.data(),
                          .channels = c.channels,
                          .width = c.width,
                          .padded_width = padded,
                          .complex = c.complex};
  const DiagonalSsmBackwardArgs q{.sequence = rows.args,
                                  .x = x.data(),
                                  .dy = dy.data(),
                                  .coefficients = coefficients.data(),
                                  .d = d.data(),
                                  .checkpoints = checkpoints.data(),
                                  .dh_final = dfinal.data(),
                                  .dx = dx.data(),
                                  .dh_initial = dinitial.data(),
                                  .dcoefficients = dcoefficients.data(),
                                  .dd = dd.data(),
                                  .scratch = scratch.data(),
                                  .channels = c.channels,
                                  .width = c.width,
                                  .padded_width = padded,
                                  .complex = c.complex};
  if (on_device) {
    launched(launch_diagonal_pack<C>(pack, {}));
    launched(launch_diagonal_ssm<S>(p, launch_with(workspace)));
    launched(launch_diagonal_ssm_backward<S>(q, launch_with(workspace)));
  } else if constexpr (sizeof(S) != 2) {
    scan_oracle<S>().diagonal_pack(pack, {});
    scan_oracle<S>().diagonal_ssm(p, {});
    scan_oracle<S>().diagonal_ssm_backward(q, {});
  }
  Results results;
  results.add_activation("y", y);
  results.add("final_state", final_state);
  results.add_activation("dx", dx);
  results.add("dinitial", dinitial);
  results.add("dcoefficients", dcoefficients);
  results.add("dd", dd);
  return results;
}

}  // namespace

TEST_CASE("the device's convolution agrees with the plain loops in all storage types") {
  const auto run = [](auto zero, const auto&... rest) { return run_conv(zero, rest...); };
  for (const std::int64_t channels : {5, 8})  // one at a time, four at a time
    for (const std::int64_t width : {1, 2, 3, 4, 7})
      check_storage(ConvCase{.lengths = {37, 0, 3, 66},
                             .channels = channels,
                             .width = width,
                             .padded = width != 4,
                             .resets = width > 2,
                             .silu = width != 2},
                    run, static_cast<std::uint64_t>(width) % 3);
}

TEST_CASE("the device's affine scan agrees with the plain loops in all storage types") {
  const auto run = [](auto zero, const auto&... rest) { return run_affine(zero, rest...); };
  for (const int form : {0, 1, 2, 3, 4, 5}) {
    INFO("form " << form);
    check_storage(AffineCase{.lengths = {70, 0, 3},
                             .channels = 5,
                             .padded = form % 2 == 1,
                             .resets = form > 2,
                             .complex = form == 2 || form == 3,
                             .reverse = form % 2 == 1,
                             .log_space = form > 3},
                  run, static_cast<std::uint64_t>(form) % 3);
  }
}

TEST_CASE("the device's diagonal layer agrees with the plain loops in all storage types") {
  const auto run = [](auto zero, const auto&... rest) { return run_diagonal(zero, rest...); };
  for (const std::int64_t width : {2, 8, 34})
    for (const std::int64_t length : {1, 8, 63, 64, 65})
      check_storage(DiagonalCase{.lengths = {length, 0, 3},
                                 .channels = 3,
                                 .width = width,
                                 .padded = width != 8,
                                 .resets = length == 65,
                                 .complex = width != 8},
                    run, static_cast<std::uint64_t>(length) % 3);
}
