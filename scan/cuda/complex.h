// Complex numbers in double for the diagonal state space's parameters, whatever the storage.
#pragma once

#include <rill/core/cuda/device.h>

namespace rill {

struct Cx {
  double re, im;
};
RILL_DEVICE Cx operator+(Cx x, Cx y) { return {x.re + y.re, x.im + y.im}; }
RILL_DEVICE Cx operator*(Cx x, Cx y) {
  return {x.re * y.re - x.im * y.im, x.re * y.im + x.im * y.re};
}
RILL_DEVICE Cx operator*(double x, Cx y) { return {x * y.re, x * y.im}; }
RILL_DEVICE Cx conj(Cx x) { return {x.re, -x.im}; }
/// x / y, scaled first: |y|^2 may overflow or vanish where y does not (Smith 1962).
RILL_DEVICE Cx operator/(Cx x, Cx y) {
  if (fabs(y.re) >= fabs(y.im)) {
    const double r = y.im / y.re, d = y.re + y.im * r;
    return {(x.re + x.im * r) / d, (x.im - x.re * r) / d};
  }
  const double r = y.re / y.im, d = y.re * r + y.im;
  return {(x.re * r + x.im) / d, (x.im * r - x.re) / d};
}
/// a^n, n >= 0, by repeated squaring.
RILL_DEVICE Cx power(Cx a, std::int64_t n) {
  Cx result{1.0, 0.0};
  for (; n > 0; n >>= 1) {
    if (n & 1) result = result * a;
    a = a * a;
  }
  return result;
}

template <class S>
RILL_DEVICE double real_at(const void* values, std::int64_t i) {
  return static_cast<double>(load<S>(values, i));
}
template <class S>
RILL_DEVICE Cx complex_at(const void* values, std::int64_t i) {
  return {real_at<S>(values, 2 * i), real_at<S>(values, 2 * i + 1)};
}
template <class S>
RILL_DEVICE void put_real(void* values, std::int64_t i, double value) {
  store<S>(values, i, static_cast<Compute<S>>(value));
}
template <class S>
RILL_DEVICE void put_complex(void* values, std::int64_t i, Cx value) {
  put_real<S>(values, 2 * i, value.re);
  put_real<S>(values, 2 * i + 1, value.im);
}

}  // namespace rill
