#include <cmath>
#include <numbers>

#include <rill/core/check.h>
#include <rill/hippo/legendre.h>
#include <rill/hippo/reconstruct.h>

namespace rill::hippo {
namespace {

/// values [n] = e^(-s/2) L_n(s) by the recurrence of the Laguerre polynomials. The weight goes in
/// first: the polynomials alone overflow for old ages.
void laguerre_functions(double s, std::span<double> values) {
  double previous = 0;
  double current = std::exp(-0.5 * s);
  for (std::size_t n = 0; n < values.size(); ++n) {
    values[n] = current;
    const double degree = static_cast<double>(n);
    const double next = ((2 * degree + 1 - s) * current - degree * previous) / (degree + 1);
    previous = current;
    current = next;
  }
}

void fourier_functions(double phase, std::span<double> values) {
  for (std::size_t n = 0; n < values.size(); ++n) {
    const double angle = phase * static_cast<double>(n / 2);
    values[n] = std::numbers::sqrt2 * (n % 2 == 0 ? std::cos(angle) : std::sin(angle));
  }
  if (!values.empty()) values[0] = 1.0;
}

double dot(std::span<const double> a, std::span<const double> b) {
  double sum = 0;
  for (std::size_t n = 0; n < a.size(); ++n) sum += a[n] * b[n];
  return sum;
}

}  // namespace

void basis(Measure measure, double age, std::span<double> values, double window) {
  const double natural = natural_window(measure);
  check(age >= 0 && std::isfinite(age), ErrorCode::kConfig,
        "hippo::basis: age must be finite and not negative, but is {}.", age);
  check(
      window == 0 || (natural > 0 && window > 0), ErrorCode::kConfig,
      "hippo::basis: window must be 0, or positive for a measure with a window, but is {} for {}.",
      window, name_of(measure));
  const double s = window == 0 ? age : age * natural / window;
  switch (measure) {
    case Measure::kLegt:
      shifted_legendre(1 - 0.5 * s, values);
      return;
    case Measure::kLmu:
      legendre(2 * s - 1, values);
      return;
    case Measure::kLagt:
      laguerre_functions(s, values);
      return;
    case Measure::kLegs:
      shifted_legendre(std::exp(-s), values);
      return;
    case Measure::kFourier:
      fourier_functions(std::numbers::pi * s, values);
      return;
    case Measure::kFourier2:
      fourier_functions(2 * std::numbers::pi * s, values);
      return;
    default:
      fail(ErrorCode::kConfig,
           "hippo::basis: the past cannot be read back from the measure {}; expected legt, lmu, "
           "lagt, "
           "legs, fourier or fourier2.",
           name_of(measure));
  }
}

Vector reconstruct(Measure measure, std::span<const double> c, std::span<const double> ages,
                   double window) {
  Vector values(c.size());
  Vector result;
  result.reserve(ages.size());
  for (const double age : ages) {
    basis(measure, age, values, window);
    result.push_back(dot(c, values));
  }
  return result;
}

Vector reconstruct_history(std::span<const double> c, std::span<const double> positions) {
  Vector values(c.size());
  Vector result;
  result.reserve(positions.size());
  for (const double x : positions) {
    check(x >= 0 && x <= 1, ErrorCode::kConfig,
          "hippo::reconstruct_history: positions must lie in 0 .. 1, but one is {}.", x);
    shifted_legendre(x, values);
    result.push_back(dot(c, values));
  }
  return result;
}

}  // namespace rill::hippo
