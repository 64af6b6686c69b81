// What the tests of device kernels share: rows of a sequence, random arrays, and the comparison of
// a kernel in the execution model with the CPU's plain loops, in double and in float.
#pragma once

#include "../support/catch.h"

#include <rill/core/cuda/model/engine.h>
#include <rill/core/device_launch.h>
#include <rill/core/half.h>
#include <rill/core/seq_args.h>
#include <rill/scan/kernels.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace rill::device_test {

using Values = std::vector<double>;

// Rows of these lengths; `padded`: behind row r lie r + 1 tokens of no row; `resets`: some tokens
// reset, a row's first among them.
struct Rows {
  std::vector<std::int64_t> start, length;
  std::vector<std::uint8_t> reset;
  SeqArgs args;

  Rows(const std::vector<std::int64_t>& lengths, bool padded, bool resets) : length(lengths) {
    std::int64_t at = 0;
    for (std::size_t r = 0; r < lengths.size(); ++r) {
      start.push_back(at);
      at += lengths[r] + (padded ? static_cast<std::int64_t>(r) + 1 : 0);
    }
    if (resets) {
      reset.assign(static_cast<std::size_t>(at), 0);
      for (std::size_t t = 0; t < reset.size(); t += 5 + t % 3) reset[t] = 1;
    }
    args = {.rows = static_cast<std::int64_t>(lengths.size()),
            .tokens = at,
            .start = start.data(),
            .length = length.data(),
            .reset = resets ? reset.data() : nullptr,
            .max_length = *std::max_element(lengths.begin(), lengths.end()),
            .padded = padded ? 1 : 0};
  }
  Rows(const Rows&) = delete;
  Rows& operator=(const Rows&) = delete;
  // Whether token t belongs to a row.
  bool owns(std::int64_t t) const {
    for (std::size_t r = 0; r < start.size(); ++r)
      if (t >= start[r] && t < start[r] + length[r]) return true;
    return false;
  }
};

inline Values random_values(std::int64_t count, double low, double high, unsigned seed) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<double> uniform(low, high);
  Values x(static_cast<std::size_t>(count));
  for (double& v : x) v = uniform(random);
  return x;
}

/// A number as T, rounded once.
template <class T>
T as(double x) {
  if constexpr (sizeof(T) == 2)
    return T::from_float(static_cast<float>(x));
  else
    return static_cast<T>(x);
}
template <class T>
std::vector<T> as(const Values& x) {
  std::vector<T> y(x.size());
  std::transform(x.begin(), x.end(), y.begin(), [](double v) { return as<T>(v); });
  return y;
}
template <class T>
std::vector<T> unset(std::int64_t count) {
  return std::vector<T>(static_cast<std::size_t>(count),
                        as<T>(std::numeric_limits<double>::quiet_NaN()));
}

/// What activations of type S are computed in (core/cuda/device.h, Compute).
template <class S>
using ComputeType = std::conditional_t<sizeof(S) == 8, double, float>;

/// Rounds activations to a type of 16 bits before anybody reads them; by default to none.
struct Rounding {
  double (*round)(double) = nullptr;

  template <class S>
  static Rounding to() {
    return {[](double x) { return static_cast<double>(static_cast<float>(as<S>(x))); }};
  }
  Values operator()(Values x) const {
    if (round) std::transform(x.begin(), x.end(), x.begin(), round);
    return x;
  }
};

// What one back end made of a case: arrays that the caller compares.
struct Results {
  std::vector<std::pair<std::string, Values>> arrays;
  std::vector<bool> activation;  // of 16 bits where activations are

  template <class T>
  void add(const std::string& name, const std::vector<T>& x) {
    arrays.emplace_back(name, Values(x.begin(), x.end()));
    activation.push_back(false);
  }
  template <class T>
  void add_activation(const std::string& name, const std::vector<T>& x) {
    add(name, x);
    activation.back() = true;
  }
};

inline double largest_error(const Values& x, const Values& oracle) {
  double error = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (std::isnan(x[i]) != std::isnan(oracle[i])) return std::numeric_limits<double>::infinity();
    if (!std::isnan(x[i])) error = std::max(error, std::abs(x[i] - oracle[i]));
  }
  return error;
}
inline double largest(const Values& x) {
  double value = 0;
  for (const double v : x)
    if (!std::isnan(v)) value = std::max(value, std::abs(v));
  return value;
}

// `run(T(), on_device)` gives the Results in dtype T. Elements that no back end writes stay NaN on
// both sides. Double: within `bound64` of the largest element; 1e-12 is for sums in another order
// over up to 70 steps.
template <class Run>
void compare(const Run& run, std::uint64_t schedule = 0, double bound64 = 1e-12) {
  device_model::set_schedule(schedule);
  const Results oracle = run(double(), false), device = run(double(), true);
  const Results plain = run(float(), false), single = run(float(), true);
  device_model::set_schedule(0);
  for (std::size_t i = 0; i < oracle.arrays.size(); ++i) {
    const auto& [name, expected] = oracle.arrays[i];
    INFO(name);
    const double scale = std::max(largest(expected), 1e-3);
    CHECK(largest_error(device.arrays[i].second, expected) <= bound64 * scale);
    // Float: twice the error of the plain loops, or 8 units in the last place where they happen on
    // less.
    const double allowed = 2 * largest_error(plain.arrays[i].second, expected) +
                           8 * scale * std::numeric_limits<float>::epsilon();
    CHECK(largest_error(single.arrays[i].second, expected) <= allowed);
  }
}

/// Of x, or of its difference from another; what is not finite has to be alike on both sides.
inline double root_mean_square(const Values& x, const Values* minus = nullptr) {
  double sum = 0;
  std::size_t count = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (minus && !std::isfinite(x[i]) && x[i] != (*minus)[i] &&
        !(std::isnan(x[i]) && std::isnan((*minus)[i])))
      return std::numeric_limits<double>::infinity();
    if (!std::isfinite(x[i])) continue;
    const double v = minus ? x[i] - (*minus)[i] : x[i];
    sum += v * v;
    ++count;
  }
  const double mean = count == 0 ? 0.0 : sum / static_cast<double>(count);
  return std::isnan(mean) ? std::numeric_limits<double>::infinity() : std::sqrt(mean);
}

template <class S, class Run>
void compare_storage(const Run& run, double epsilon) {
  const Rounding rounding = Rounding::to<S>();
  const Results oracle = run(double(), false, rounding), device = run(S(), true, rounding);
  const Results plain = run(float(), false, rounding);
  for (std::size_t i = 0; i < oracle.arrays.size(); ++i) {
    const auto& [name, expected] = oracle.arrays[i];
    INFO(name << " in 16 bits, epsilon " << epsilon);
    // The plain loops in float that round where the device does, to activations.
    const Values rounded =
        oracle.activation[i] ? rounding(plain.arrays[i].second) : plain.arrays[i].second;
    const double unit = oracle.activation[i] ? epsilon : std::numeric_limits<float>::epsilon();
    const double scale = std::max(root_mean_square(expected), 1e-3);
    CHECK(root_mean_square(device.arrays[i].second, &expected) <=
          2 * root_mean_square(rounded, &expected) + 8 * scale * unit);
  }
}

// `run(S(), on_device, rounding)`: a kernel whose activations are bfloat16 and half against the
// plain loops in double on the same rounded inputs.
template <class Run>
void compare_in_16_bits(const Run& run, std::uint64_t schedule = 0) {
  device_model::set_schedule(schedule);
  compare_storage<BFloat16>(run, 0x1p-8);
  compare_storage<Half>(run, 0x1p-11);
  device_model::set_schedule(0);
}

// A launch that must succeed.
inline void launched(DeviceStatus status) {
  INFO(device_model::last_error());
  REQUIRE(status == 0);
}

/// The plain loops in T.
template <class T>
const ScanKernels& scan_oracle() {
  return sizeof(T) == 8 ? cpu_scan_kernels_f64() : cpu_scan_kernels_plain_f32();
}

}  // namespace rill::device_test
