#include <cmath>
#include <numbers>

#include <rill/core/check.h>
#include <rill/hippo/kernel.h>
#include <rill/hippo/linear_algebra.h>

namespace rill::hippo {
namespace {

using Complex = std::complex<double>;

void check_length(std::int64_t length) {
  check(length >= 0, ErrorCode::kShape,
        "hippo: the length of a kernel must not be negative, but is {}.", length);
}

void check_modes(std::size_t expected, std::size_t B, std::size_t C) {
  check(
      B == expected && C == expected, ErrorCode::kShape,
      "hippo: a kernel needs B and C with an entry for each of {} modes, but they have {} and {}.",
      expected, B, C);
}

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

}  // namespace

Vector krylov_kernel(const Discrete& system, std::span<const double> C, std::int64_t length) {
  check_length(length);
  check_modes(system.B.size(), system.B.size(), C.size());
  Vector kernel;
  Vector x = system.B;
  for (std::int64_t l = 0; l < length; ++l) {
    double y = 0;
    for (std::size_t n = 0; n < C.size(); ++n) y += C[n] * x[n];
    kernel.push_back(y);
    x = multiply(system.A, x);
  }
  return kernel;
}

Vector diagonal_kernel(std::span<const Complex> A, std::span<const Complex> B,
                       std::span<const Complex> C, double dt, std::int64_t length,
                       Discretization method) {
  check_length(length);
  check_modes(A.size(), B.size(), C.size());
  constexpr std::int64_t kAnchor = 64;
  Vector kernel(at(length), 0.0);
  for (std::size_t n = 0; n < A.size(); ++n) {
    const DiscreteMode<double> mode = discretize_mode(A[n], B[n], dt, method);
    // log of the power's base; exact for the exponential methods.
    const bool exponential = method == Discretization::kZoh || method == Discretization::kMamba;
    const Complex log_base = exponential ? dt * A[n] : std::log(mode.A);
    const Complex coefficient = 2.0 * C[n] * mode.B;
    Complex term = coefficient;
    for (std::int64_t l = 0; l < length; ++l) {
      if (l % kAnchor == 0 && l > 0) term = coefficient * std::exp(double(l) * log_base);
      kernel[at(l)] += term.real();
      term *= mode.A;
    }
  }
  return kernel;
}

Vector dss_kernel(std::span<const Complex> A, std::span<const Complex> W, double dt,
                  std::int64_t length) {
  check_length(length);
  check_modes(A.size(), A.size(), W.size());
  Vector kernel(at(length), 0.0);
  for (std::size_t n = 0; n < A.size(); ++n) {
    const bool growing = A[n].real() > 0;
    // A growing mode is counted from the other end, so that all powers stay within 1.
    const Complex s = growing ? -dt * A[n] : dt * A[n];
    const double steps = static_cast<double>(length);
    const Complex sum = A[n] * complex_expm1(steps * s);
    const Complex reciprocal = std::conj(sum) / (std::norm(sum) + 1e-7);
    const Complex coefficient = W[n] * complex_expm1(s) * reciprocal;
    for (std::int64_t l = 0; l < length; ++l) {
      const double power = static_cast<double>(growing ? length - 1 - l : l);
      kernel[at(l)] += (coefficient * std::exp(power * s)).real();
    }
  }
  return kernel;
}

DplrRecurrence::DplrRecurrence(const Nplr& form, double dt) : B_(form.B), P_(form.P) {
  check(dt > 0 && std::isfinite(dt), ErrorCode::kConfig,
        "hippo::DplrRecurrence: dt must be positive and finite, but is {}.", dt);
  for (const Complex& w : form.W) {
    resolvent_.push_back(1.0 / (2.0 / dt - w));
    numerator_.push_back(2.0 / dt + w);
  }
  const std::int64_t rank = P_.cols();
  Matrix middle = Matrix::identity(rank);
  for (std::int64_t c = 0; c < rank; ++c)
    for (std::int64_t d = 0; d < rank; ++d)
      for (std::int64_t m = 0; m < P_.rows(); ++m)
        middle(c, d) += 2 * (std::conj(P_(m, c)) * resolvent_[at(m)] * P_(m, d)).real();
  core_ = solve(middle, Matrix::identity(rank), "the low-rank term of a DPLR step");
}

void DplrRecurrence::step(std::span<Complex> x, double input) const { advance(x, input, false); }
void DplrRecurrence::step_transposed(std::span<Complex> c) const { advance(c, 0.0, true); }

void DplrRecurrence::advance(std::span<Complex> x, double input, bool transposed) const {
  check(static_cast<std::int64_t>(x.size()) == modes(), ErrorCode::kShape,
        "hippo::DplrRecurrence: the state must have {} modes, but has {}.", modes(), x.size());
  // (2 / dt - A)^-1 (2 / dt + A) with A = W - P P^*; Woodbury's formula. The transpose of A is
  // W - conj(P) P^T, and (2 / dt + A) commutes with the inverse.
  const std::int64_t rank = P_.cols();
  const auto p = [&](std::int64_t m, std::int64_t c) {
    return transposed ? std::conj(P_(m, c)) : P_(m, c);
  };
  const auto project = [&](std::int64_t c) {
    double sum = 0;
    for (std::int64_t m = 0; m < modes(); ++m) sum += 2 * (std::conj(p(m, c)) * x[at(m)]).real();
    return sum;
  };
  Vector projection(at(rank)), correction(at(rank));
  for (std::int64_t c = 0; c < rank; ++c) projection[at(c)] = project(c);
  for (std::int64_t m = 0; m < modes(); ++m) {
    Complex v = numerator_[at(m)] * x[at(m)] + 2.0 * B_[at(m)] * input;
    for (std::int64_t c = 0; c < rank; ++c) v -= p(m, c) * projection[at(c)];
    x[at(m)] = resolvent_[at(m)] * v;
  }
  for (std::int64_t c = 0; c < rank; ++c) projection[at(c)] = project(c);
  for (std::int64_t c = 0; c < rank; ++c)
    for (std::int64_t d = 0; d < rank; ++d)
      correction[at(c)] += (transposed ? core_(d, c) : core_(c, d)) * projection[at(d)];
  for (std::int64_t m = 0; m < modes(); ++m)
    for (std::int64_t c = 0; c < rank; ++c)
      x[at(m)] -= resolvent_[at(m)] * p(m, c) * correction[at(c)];
}

ComplexVector truncated_c(const Nplr& form, std::span<const Complex> C, double dt,
                          std::int64_t length) {
  check_length(length);
  const DplrRecurrence recurrence(form, dt);
  ComplexVector power(C.begin(), C.end());
  for (std::int64_t l = 0; l < length; ++l) recurrence.step_transposed(power);
  ComplexVector result(C.begin(), C.end());
  for (std::size_t m = 0; m < result.size(); ++m) result[m] -= power[m];
  return result;
}

ComplexVector dplr_generating_function(const Nplr& form, std::span<const Complex> c_tilde,
                                       double dt, std::int64_t length) {
  check_length(length);
  check_modes(form.W.size(), form.B.size(), c_tilde.size());
  const std::int64_t modes = static_cast<std::int64_t>(form.W.size());
  const std::int64_t rank = form.P.cols();
  ComplexVector result;
  for (std::int64_t l = 0; length > 0 && l <= length / 2; ++l) {
    const double angle = -2 * std::numbers::pi * double(l) / double(length);
    const Complex w = std::polar(1.0, angle);
    // rho(v) = dt sum over conjugate pairs of v / (2 (1 - w) - (1 + w) dt W).
    ComplexVector own(at(modes)), mirrored(at(modes));
    for (std::int64_t m = 0; m < modes; ++m) {
      const Complex W = form.W[at(m)];
      own[at(m)] = dt / (2.0 * (1.0 - w) - (1.0 + w) * dt * W);
      mirrored[at(m)] = dt / (2.0 * (1.0 - w) - (1.0 + w) * dt * std::conj(W));
    }
    const auto rho = [&](auto left, auto right) {
      Complex sum = 0;
      for (std::int64_t m = 0; m < modes; ++m) {
        const Complex v = left(m) * right(m);
        sum += v * own[at(m)] + std::conj(v) * mirrored[at(m)];
      }
      return sum;
    };
    const auto B = [&](std::int64_t m) { return form.B[at(m)]; };
    const auto C = [&](std::int64_t m) { return c_tilde[at(m)]; };
    const auto P = [&](std::int64_t c) { return [&, c](std::int64_t m) { return form.P(m, c); }; };
    const auto Q = [&](std::int64_t c) {
      return [&, c](std::int64_t m) { return std::conj(form.P(m, c)); };
    };
    ComplexMatrix middle = ComplexMatrix::identity(rank);
    ComplexMatrix right(rank, 1);
    for (std::int64_t c = 0; c < rank; ++c) {
      for (std::int64_t d = 0; d < rank; ++d) middle(c, d) += (1.0 + w) * rho(Q(c), P(d));
      right(c, 0) = rho(Q(c), B);
    }
    const ComplexMatrix solution = solve(middle, right, "I + (1 + w) R of the generating function");
    Complex value = rho(C, B);
    for (std::int64_t c = 0; c < rank; ++c) value -= (1.0 + w) * rho(C, P(c)) * solution(c, 0);
    result.push_back(2.0 * value);
  }
  return result;
}

}  // namespace rill::hippo
