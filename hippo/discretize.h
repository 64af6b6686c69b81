// From x' = A x + B f to x_k = A_bar x_{k-1} + B_bar f_k, for a time step dt.
//
//   generalised bilinear   A_bar = (I - alpha dt A)^-1 (I + (1 - alpha) dt A)
//     (gbt, alpha)         B_bar = dt (I - alpha dt A)^-1 B
//                          alpha = 0 forward Euler, 1/2 bilinear (Tustin), 1 backward Euler
//   zero-order hold        A_bar = e^(dt A)   B_bar = A^-1 (e^(dt A) - I) B   exact for step inputs
//   Mamba's                A_bar = e^(dt A)   B_bar = dt B                    (Euler on B)
//
// The functions of one mode are templates, in float or double, for the diagonal layers.
#pragma once

#include <algorithm>
#include <cmath>
#include <complex>
#include <concepts>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>

#include <rill/hippo/matrix.h>

namespace rill::hippo {

enum class Discretization { kForwardEuler, kBilinear, kBackwardEuler, kZoh, kMamba };

/// "forward" (euler, forward_diff), "bilinear" (tustin, trapezoid), "backward" (backward_diff),
/// "zoh", "mamba". Throws Error (kConfig) for another name.
Discretization discretization_from_name(std::string_view name);

/// alpha of the generalised bilinear family; NaN for zoh and mamba, which are not of it.
double alpha_of(Discretization method);

struct Discrete {
  Matrix A;  // [N, N] A_bar
  Vector B;  // [N] B_bar
};

/// The generalised bilinear form. Throws Error (kShape) unless A is [N, N] and B [N], and (kConfig)
/// for a dt that is negative or not finite or an alpha outside 0 .. 1, and (kValue) where I - alpha
/// dt A has no inverse.
Discrete gbt(const Matrix& A, std::span<const double> B, double dt, double alpha);

/// Zero-order hold, from the exponential of [[A, B], [0, 0]] dt: A may be singular.
/// Throws as gbt does.
Discrete zoh(const Matrix& A, std::span<const double> B, double dt);

/// Any of the methods. Throws as gbt does.
Discrete discretize(const Matrix& A, std::span<const double> B, double dt, Discretization method);

/// e^z - 1 without the loss of digits near 0: for small z the subtraction would leave none.
/// The real part is expm1(x) cos y - 2 sin^2(y / 2), of which each term is exact to rounding.
template <std::floating_point T>
std::complex<T> complex_expm1(std::complex<T> z) {
  const T half_sine = std::sin(z.imag() / 2);
  const T growth = std::expm1(z.real());
  return {growth * std::cos(z.imag()) - 2 * half_sine * half_sine,
          (growth + 1) * std::sin(z.imag())};
}

/// (e^z - 1) / z, 1 at z = 0.
template <std::floating_point T>
std::complex<T> phi1(std::complex<T> z) {
  // Below the rounding unit the next term of the series, z^2 / 6, is beyond the last digit.
  if (std::max(std::abs(z.real()), std::abs(z.imag())) < std::numeric_limits<T>::epsilon())
    return T(1) + z / T(2);
  return complex_expm1(z) / z;
}

/// One mode of a diagonal system after discretisation.
template <std::floating_point T>
struct DiscreteMode {
  std::complex<T> A;  // A_bar
  std::complex<T> B;  // B_bar
};

template <std::floating_point T>
DiscreteMode<T> gbt_mode(std::complex<T> A, std::complex<T> B, T dt, T alpha) {
  const std::complex<T> inverse = T(1) / (T(1) - alpha * dt * A);
  return {(T(1) + (T(1) - alpha) * dt * A) * inverse, dt * B * inverse};
}

template <std::floating_point T>
DiscreteMode<T> zoh_mode(std::complex<T> A, std::complex<T> B, T dt) {
  return {std::exp(dt * A), dt * phi1(dt * A) * B};
}

template <std::floating_point T>
DiscreteMode<T> mamba_mode(std::complex<T> A, std::complex<T> B, T dt) {
  return {std::exp(dt * A), dt * B};
}

template <std::floating_point T>
DiscreteMode<T> discretize_mode(std::complex<T> A, std::complex<T> B, T dt, Discretization method) {
  switch (method) {
    case Discretization::kForwardEuler:
      return gbt_mode(A, B, dt, T(0));
    case Discretization::kBilinear:
      return gbt_mode(A, B, dt, T(0.5));
    case Discretization::kBackwardEuler:
      return gbt_mode(A, B, dt, T(1));
    case Discretization::kMamba:
      return mamba_mode(A, B, dt);
    case Discretization::kZoh:
      break;
  }
  return zoh_mode(A, B, dt);
}

}  // namespace rill::hippo
