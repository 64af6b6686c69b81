// Private: Legendre polynomials by their three-term recurrence (stable on [-1, 1]) and Gauss
// quadrature.
#pragma once

#include <cmath>
#include <cstddef>
#include <numbers>
#include <span>

#include <rill/hippo/matrix.h>

namespace rill::hippo {

/// values [n] = P_0(x) .. P_{n-1}(x).
inline void legendre(double x, std::span<double> values) {
  double previous = 0;
  double current = 1;
  for (std::size_t n = 0; n < values.size(); ++n) {
    values[n] = current;
    const double degree = static_cast<double>(n);
    const double next = ((2 * degree + 1) * x * current - degree * previous) / (degree + 1);
    previous = current;
    current = next;
  }
}

/// values [n] = p_k(x) = sqrt(2k + 1) P_k(2x - 1), orthonormal on [0, 1].
inline void shifted_legendre(double x, std::span<double> values) {
  legendre(2 * x - 1, values);
  for (std::size_t n = 0; n < values.size(); ++n)
    values[n] *= std::sqrt(2.0 * static_cast<double>(n) + 1.0);
}

struct Quadrature {
  Vector nodes;    // [n] in (0, 1), ascending
  Vector weights;  // [n]
};

/// Gauss-Legendre quadrature with n nodes on [0, 1], exact for polynomials of degree 2n - 1.
inline Quadrature gauss_legendre(std::size_t n) {
  Quadrature rule{Vector(n), Vector(n)};
  Vector values(n + 1);
  const double count = static_cast<double>(n);
  for (std::size_t i = 0; i < n; ++i) {
    double x = -std::cos(std::numbers::pi * (static_cast<double>(i) + 0.75) / (count + 0.5));
    double slope = 1;
    constexpr int kNewtonSteps =
        8;  // quadratic from a start within 1e-2 / n^2: five reach rounding
    for (int step = 0; step < kNewtonSteps; ++step) {
      legendre(x, values);
      slope = count * (values[n - 1] - x * values[n]) / (1 - x * x);
      x -= values[n] / slope;
    }
    rule.nodes[i] = 0.5 * (1 + x);
    rule.weights[i] = 1 / ((1 - x * x) * slope * slope);
  }
  return rule;
}

}  // namespace rill::hippo
