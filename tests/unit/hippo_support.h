// What the tests of hippo/ share: largest differences, dense references.
#pragma once

#include <algorithm>
#include <cmath>
#include <complex>
#include <span>

#include <rill/hippo/hippo.h>
#include <rill/tests/support/catch.h>

namespace rill::hippo {

template <class A, class B>
double largest_difference(const A& a, const B& b) {
  REQUIRE(std::size(a) == std::size(b));
  double worst = 0;
  for (std::size_t i = 0; i < std::size(a); ++i) {
    const double difference = std::abs(a[i] - b[i]);
    // NaN must not pass as 0.
    worst = std::isnan(difference) ? INFINITY : std::max(worst, difference);
  }
  return worst;
}

inline double largest_difference(const Matrix& a, const Matrix& b) {
  REQUIRE(a.rows() == b.rows());
  REQUIRE(a.cols() == b.cols());
  return largest_difference(a.data(), b.data());
}

inline double largest(std::span<const double> a) {
  double worst = 0;
  for (const double x : a) worst = std::isnan(x) ? INFINITY : std::max(worst, std::abs(x));
  return worst;
}

inline double root_mean_square(std::span<const double> a, std::span<const double> b) {
  REQUIRE(a.size() == b.size());
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return std::sqrt(sum / static_cast<double>(a.size()));
}

}  // namespace rill::hippo
