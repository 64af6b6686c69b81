// Device kernels of convolutions by FFT and of a diagonal state space in that form, against the
// CPU's plain loops, in the execution model: every case in double and in float, some in other
// orders of threads.
#include "device_support.h"

#include <rill/core/cuda/fft.h>
#include <rill/core/cuda/launch.h>
#include <rill/core/kernels.h>
#include <rill/scan/cuda/launch_diagonal.h>

#include <cmath>
#include <complex>
#include <numbers>
#include <vector>

namespace {

using namespace rill;
using namespace rill::device_test;

// Scratch of that many bytes, NaN.
std::vector<double> scratch_of(std::int64_t bytes) { return unset<double>(bytes / 8 + 1); }

template <class T>
const CoreKernels& core_oracle() {
  return sizeof(T) == 8 ? cpu_core_kernels_f64() : cpu_core_kernels_plain_f32();
}

// ---- convolution

struct ConvCase {
  std::vector<std::int64_t> lengths;
  std::int64_t channels, taps;
  bool padded = false;
};

template <class T>
Results run_conv(const ConvCase& c, bool on_device) {
  const Rows rows(c.lengths, c.padded, false);
  const std::int64_t count = rows.args.tokens * c.channels;
  const auto x = as<T>(random_values(count, -1, 1, 1)), dy = as<T>(random_values(count, -1, 1, 2));
  const auto kernel = as<T>(random_values(c.channels * c.taps, -1, 1, 3));
  auto y = unset<T>(count), dx = y, dkernel = unset<T>(c.channels * c.taps);
  FftConvArgs forward{.sequence = rows.args,
                      .x = x.data(),
                      .kernel = kernel.data(),
                      .y = y.data(),
                      .channels = c.channels,
                      .kernel_length = c.taps};
  FftConvBackwardArgs backward{.sequence = rows.args,
                               .x = x.data(),
                               .kernel = kernel.data(),
                               .dy = dy.data(),
                               .dx = dx.data(),
                               .dkernel = dkernel.data(),
                               .channels = c.channels,
                               .kernel_length = c.taps};
  if (on_device) {
    auto scratch = scratch_of(fft_conv_scratch<T>(forward));
    auto back = scratch_of(fft_conv_backward_scratch<T>(backward));
    forward.scratch = scratch.data();
    backward.scratch = back.data();
    launched(launch_fft_conv<T>(forward, {}));
    launched(launch_fft_conv_backward<T>(backward, {}));
  } else {
    core_oracle<T>().fft_conv(forward, {});
    core_oracle<T>().fft_conv_backward(backward, {});
  }
  Results results;
  results.add("y", y);
  results.add("dx", dx);
  results.add("dkernel", dkernel);
  return results;
}

void check_conv(const ConvCase& c, std::uint64_t schedule = 0) {
  INFO("channels " << c.channels << " taps " << c.taps << " first length " << c.lengths[0]);
  compare([&](auto zero, bool device) { return run_conv<decltype(zero)>(c, device); }, schedule);
}

// ---- the diagonal state space as a convolution

struct PowerCase {
  std::vector<std::int64_t> lengths;
  std::int64_t channels, modes, taps = 1;
  bool padded = false, exact = true, state = true, gradients = true, skip = true, in_place = false;
  double damping = 0.05;  // |a| lies between e^-damping and 1
};

// Modes of any phase, their C as if by a layer; a in double as it was before it was rounded.
struct Modes {
  Values a, w;

  explicit Modes(const PowerCase& c) {
    const std::int64_t count = c.channels * c.modes;
    const Values decay = random_values(count, 0, c.damping, 21);
    const Values phase = random_values(count, -std::numbers::pi, std::numbers::pi, 22);
    for (std::size_t i = 0; i < decay.size(); ++i) {
      const auto value = std::polar(std::exp(-decay[i]), phase[i]);
      a.insert(a.end(), {value.real(), value.imag()});
    }
    w = random_values(2 * count, -1, 1, 23);
  }
};

template <class T>
Results run_kernel(const PowerCase& c, bool on_device) {
  const Modes modes(c);
  const auto a = as<T>(modes.a), w = as<T>(modes.w);
  const Values exact = c.exact ? modes.a : Values(a.begin(), a.end());
  const auto dkernel = as<T>(random_values(c.channels * c.taps, -1, 1, 24));
  auto kernel = unset<T>(c.channels * c.taps), da = unset<T>(2 * c.channels * c.modes), dw = da;
  const DiagonalKernelArgs forward{.a = a.data(),
                                   .w = w.data(),
                                   .exact_a = exact.data(),
                                   .kernel = kernel.data(),
                                   .channels = c.channels,
                                   .modes = c.modes,
                                   .length = c.taps};
  DiagonalKernelBackwardArgs backward{.a = a.data(),
                                      .w = w.data(),
                                      .dkernel = dkernel.data(),
                                      .exact_a = c.exact ? exact.data() : nullptr,
                                      .da = da.data(),
                                      .dw = dw.data(),
                                      .channels = c.channels,
                                      .modes = c.modes,
                                      .length = c.taps};
  if (on_device) {
    auto scratch = scratch_of(diagonal_kernel_backward_scratch(backward));
    backward.scratch = scratch.data();
    launched(launch_diagonal_kernel<T>(forward, {}));
    launched(launch_diagonal_kernel_backward<T>(backward, {}));
  } else {
    scan_oracle<T>().diagonal_kernel(forward, {});
    scan_oracle<T>().diagonal_kernel_backward(backward, {});
  }
  Results results;
  results.add("kernel", kernel);
  results.add("da", da);
  results.add("dw", dw);
  return results;
}

template <class T>
Results run_response(const PowerCase& c, bool on_device) {
  const Rows rows(c.lengths, c.padded, false);
  const Modes modes(c);
  const auto a = as<T>(modes.a), w = as<T>(modes.w);
  const std::int64_t count = rows.args.tokens * c.channels;
  const std::int64_t states = 2 * rows.args.rows * c.channels * c.modes;
  const auto x = as<T>(random_values(count, -1, 1, 31)),
             dy = as<T>(random_values(count, -1, 1, 32));
  const auto d = as<T>(random_values(c.channels, -1, 1, 33));
  const auto h = as<T>(c.state ? random_values(states, -1, 1, 34)
                               : Values(static_cast<std::size_t>(states), 0.0));
  const auto dh = as<T>(random_values(states, -1, 1, 35));
  auto h_out = c.in_place ? h : unset<T>(states);
  auto y = unset<T>(count), dx = y, da = unset<T>(2 * c.channels * c.modes), dw = da;
  auto dd = unset<T>(c.channels), dh_initial = unset<T>(states);
  DiagonalResponseArgs forward{.sequence = rows.args,
                               .x = x.data(),
                               .a = a.data(),
                               .w = w.data(),
                               .exact_a = c.exact ? modes.a.data() : nullptr,
                               .d = c.skip ? d.data() : nullptr,
                               .h_in = c.in_place ? h_out.data() : h.data(),
                               .h_out = h_out.data(),
                               .y = y.data(),
                               .channels = c.channels,
                               .modes = c.modes};
  DiagonalResponseBackwardArgs backward{.sequence = rows.args,
                                        .x = x.data(),
                                        .a = a.data(),
                                        .w = w.data(),
                                        .d = c.skip ? d.data() : nullptr,
                                        .h_in = h.data(),
                                        .exact_a = c.exact ? modes.a.data() : nullptr,
                                        .dy = c.gradients ? dy.data() : nullptr,
                                        .dh_final = c.state ? dh.data() : nullptr,
                                        .dx = dx.data(),
                                        .da = da.data(),
                                        .dw = dw.data(),
                                        .dd = c.skip ? dd.data() : nullptr,
                                        .dh_initial = dh_initial.data(),
                                        .channels = c.channels,
                                        .modes = c.modes};
  if (on_device) {
    auto scratch = scratch_of(diagonal_response_scratch(forward));
    auto back = scratch_of(diagonal_response_backward_scratch(backward));
    forward.scratch = scratch.data();
    backward.scratch = back.data();
    launched(launch_diagonal_response<T>(forward, {}));
    launched(launch_diagonal_response_backward<T>(backward, {}));
  } else {
    scan_oracle<T>().diagonal_response(forward, {});
    scan_oracle<T>().diagonal_response_backward(backward, {});
  }
  Results results;
  results.add("y", y);
  results.add("h_out", h_out);
  results.add("dx", dx);
  results.add("da", da);
  results.add("dw", dw);
  results.add("dd", dd);
  results.add("dh_initial", dh_initial);
  return results;
}

void check_kernel(const PowerCase& c, std::uint64_t schedule = 0, double bound64 = 1e-12) {
  INFO("kernel: taps " << c.taps << " modes " << c.modes << " schedule " << schedule);
  compare([&](auto zero, bool device) { return run_kernel<decltype(zero)>(c, device); }, schedule,
          bound64);
}
void check_response(const PowerCase& c, std::uint64_t schedule = 0) {
  INFO("response: length " << c.lengths[0] << " modes " << c.modes << " schedule " << schedule);
  compare([&](auto zero, bool device) { return run_response<decltype(zero)>(c, device); },
          schedule);
}

}  // namespace

TEST_CASE("device: signals are transformed as their sums say, and back") {
  for (const std::int64_t samples : {2, 4, 6, 10, 24, 80}) {
    INFO("samples " << samples);
    constexpr std::int64_t kBatch = 3;
    const std::int64_t pitch = signal_pitch(samples);
    const Values x = random_values(kBatch * samples, -1, 1, 5);
    auto data = unset<double>(kBatch * pitch);
    for (std::int64_t b = 0; b < kBatch; ++b)
      std::copy_n(x.begin() + b * samples, samples, data.begin() + b * pitch);
    launched(transform_signals(data.data(), samples, kBatch, false, {}));
    double error = 0;
    for (std::int64_t b = 0; b < kBatch; ++b)
      for (std::int64_t k = 0; k <= samples / 2; ++k) {
        std::complex<double> sum = 0;
        for (std::int64_t t = 0; t < samples; ++t)
          sum += x[static_cast<std::size_t>(b * samples + t)] *
                 std::polar(1.0, -2 * std::numbers::pi * static_cast<double>(k * t % samples) /
                                     static_cast<double>(samples));
        const auto at = static_cast<std::size_t>(b * pitch + 2 * k);
        error = std::max(error, std::abs(sum - std::complex<double>(data[at], data[at + 1])));
      }
    CHECK(error < 1e-13);  // some ulp of sums of up to 80 terms
    launched(transform_signals(data.data(), samples, kBatch, true, {}));
    for (std::int64_t b = 0; b < kBatch; ++b)
      for (std::int64_t t = 0; t < samples; ++t)
        error = std::max(error, std::abs(data[static_cast<std::size_t>(b * pitch + t)] /
                                             static_cast<double>(samples) -
                                         x[static_cast<std::size_t>(b * samples + t)]));
    CHECK(error < 1e-13);
  }
}

TEST_CASE("device convolution by FFT agrees with the CPU's over lengths, taps and channels") {
  for (const std::int64_t length : {0, 1, 2, 31, 33, 70})
    check_conv({.lengths = {length, 3}, .channels = 3, .taps = 40, .padded = length % 2 == 1});
  for (const std::int64_t taps : {1, 2, 5, 70, 100})
    check_conv({.lengths = {70, 0, 1}, .channels = 35, .taps = taps});
  for (const std::uint64_t schedule : {1, 2})
    check_conv({.lengths = {40, 65}, .channels = 33, .taps = 65, .padded = true}, schedule);
}

TEST_CASE("device convolution by FFT in several tiles of channels and rows") {
  // 162 reals a signal, 4096 a tile in the model: of 30 rows two tiles for each of the channels.
  ConvCase c{.lengths = std::vector<std::int64_t>(30, 80), .channels = 3, .taps = 80};
  c.lengths[7] = 0;
  check_conv(c);
  check_conv({.lengths = {80, 41}, .channels = 40, .taps = 80});    // tiles of 12 channels
  check_conv({.lengths = {2500, 3}, .channels = 2, .taps = 2500});  // a signal is more than a tile
}

TEST_CASE("device kernels of a diagonal state space agree with the CPU's") {
  for (const std::int64_t taps : {0, 1, 2, 63, 64, 65, 129, 1025, 2049})
    check_kernel({.lengths = {}, .channels = 2, .modes = 3, .taps = taps});
  for (const std::int64_t modes : {1, 2, 16, 17, 32, 33, 70})
    check_kernel({.lengths = {}, .channels = 2, .modes = modes, .taps = 66});
  check_kernel({.lengths = {}, .channels = 2, .modes = 5, .taps = 100, .exact = false});
  for (const std::uint64_t schedule : {1, 2})
    check_kernel({.lengths = {}, .channels = 2, .modes = 35, .taps = 2100}, schedule);
}

TEST_CASE("device kernels of a diagonal state space keep their phase over many steps") {
  // Several stretches, of modes that have hardly decayed at the end: rounded to float a's phase
  // would be off by 130,000 * 6e-8.
  check_kernel({.lengths = {}, .channels = 1, .modes = 2, .taps = 131072, .damping = 1e-5}, 0,
               3e-11);  // a power multiplies double's own rounding by 131072, on either side
}

TEST_CASE("device response of a diagonal state space agrees with the CPU's") {
  for (const std::int64_t length : {0, 1, 2, 63, 64, 65, 130})
    check_response({.lengths = {length, 3}, .channels = 3, .modes = 3, .padded = true});
  for (const std::int64_t modes : {1, 17, 33})
    check_response(
        {.lengths = {66, 0, 5}, .channels = 34, .modes = modes, .in_place = modes == 17});
  check_response({.lengths = {20, 7}, .channels = 2, .modes = 4, .exact = false});
  check_response({.lengths = {20, 7}, .channels = 2, .modes = 4, .state = false});
  check_response({.lengths = {20, 7}, .channels = 2, .modes = 4, .gradients = false});
  check_response({.lengths = {20, 7}, .channels = 2, .modes = 4, .skip = false});
  for (const std::uint64_t schedule : {1, 2})
    check_response({.lengths = {70, 9}, .channels = 3, .modes = 34, .padded = true}, schedule);
}

TEST_CASE("device response of a diagonal state space over several stretches") {
  check_response({.lengths = {40000, 100}, .channels = 1, .modes = 2, .damping = 1e-4});
}
