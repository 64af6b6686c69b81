// What the tests of device kernels share: rows of a sequence, random arrays, and the comparison of
// a kernel in the execution model with the CPU's plain loops, in double and in float.
#pragma once

#include "../support/catch.h"

#include <rill/core/cuda/model/engine.h>
#include <rill/core/device_launch.h>
#include <rill/core/seq_args.h>
#include <rill/scan/kernels.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
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

template <class T>
std::vector<T> as(const Values& x) {
  return {x.begin(), x.end()};
}
template <class T>
std::vector<T> unset(std::int64_t count) {
  return std::vector<T>(static_cast<std::size_t>(count), std::numeric_limits<T>::quiet_NaN());
}

// What one back end made of a case: arrays that the caller compares.
struct Results {
  std::vector<std::pair<std::string, Values>> arrays;

  template <class T>
  void add(const std::string& name, const std::vector<T>& x) {
    arrays.emplace_back(name, Values(x.begin(), x.end()));
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
