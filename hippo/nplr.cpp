#include <algorithm>
#include <cmath>
#include <complex>
#include <numbers>

#include <rill/core/check.h>
#include <rill/hippo/linear_algebra.h>
#include <rill/hippo/nplr.h>

namespace rill::hippo {
namespace {

using Complex = std::complex<double>;

/// P of the natural rank, one row of entries a state.
double low_rank_entry(Measure measure, std::int64_t n, std::int64_t column) {
  const double degree = static_cast<double>(n);
  switch (measure) {
    case Measure::kLegs:
      return std::sqrt(degree + 0.5);
    case Measure::kLegt:
      return n % 2 != column ? std::sqrt(degree + 0.5) : 0.0;
    case Measure::kLagt:
      return std::numbers::sqrt2 / 2;
    default:
      break;
  }
  const double b = n == 0 ? 1.0 : (n % 2 == 0 ? std::numbers::sqrt2 : 0.0);
  if (measure == Measure::kFourierDecay) return b / std::numbers::sqrt2;
  if (measure == Measure::kFourier2) return b * std::numbers::sqrt2;
  return b;
}

/// A + P P^T; checks that it is c I + skew.
Matrix normal_part(Measure measure, const Matrix& A, const Matrix& P) {
  Matrix normal = multiply(P, transpose(P));
  for (std::size_t i = 0; i < normal.data().size(); ++i) normal.data()[i] += A.data()[i];
  double asymmetry = 0;
  double largest = 0;
  for (std::int64_t n = 0; n < A.rows(); ++n) {
    for (std::int64_t k = 0; k < A.rows(); ++k) {
      const double expected = n == k ? 2 * shift(measure) : 0.0;
      asymmetry = std::max(asymmetry, std::abs(normal(n, k) + normal(k, n) - expected));
      largest = std::max(largest, std::abs(normal(n, k)));
    }
  }
  check(
      asymmetry <= 1e-12 * std::max(1.0, largest), ErrorCode::kValue,
      "hippo::nplr: A + P P^T of {} must be a multiple of the identity plus a skew matrix, but is "
      "{} from it.",
      name_of(measure), asymmetry);
  return normal;
}

/// The lower half of the spectrum of c I + skew, from the Hermitian matrix -i (normal).
Nplr lower_half(const Matrix& normal, double c) {
  const std::int64_t size = normal.rows();
  ComplexMatrix hermitian(size, size);
  for (std::int64_t n = 0; n < size; ++n)
    for (std::int64_t k = 0; k < size; ++k)
      hermitian(n, k) = Complex(0.0, 0.5 * (normal(k, n) - normal(n, k)));
  const HermitianEigen eigen = hermitian_eigen(hermitian);

  const std::int64_t modes = size / 2;
  Nplr result;
  result.V = ComplexMatrix(size, modes);
  for (std::int64_t m = 0; m < modes; ++m) {
    result.W.emplace_back(c, eigen.values[static_cast<std::size_t>(m)]);
    for (std::int64_t n = 0; n < size; ++n) result.V(n, m) = eigen.vectors(n, m);
  }
  return result;
}

/// An eigenvector is known up to its phase: the first entry is made real and positive.
void fix_phases(ComplexMatrix& V) {
  for (std::int64_t m = 0; m < V.cols(); ++m) {
    const double size = std::abs(V(0, m));
    if (size == 0) continue;
    const Complex rotation = std::conj(V(0, m)) / size;
    for (std::int64_t n = 0; n < V.rows(); ++n) V(n, m) *= rotation;
    V(0, m) = size;
  }
}

/// The Fourier measures have one conjugate pair of eigenvalue 0, on the states 0 and 1. An
/// eigensolver returns any basis of it, whose columns need not be conjugate to each other: the pair
/// is set by hand.
void fix_zero_mode(Measure measure, Nplr& form) {
  constexpr double kZero = 1e-4;
  const std::int64_t last = form.V.cols() - 1;
  const auto frequency = [&](std::int64_t m) {
    return std::abs(form.W[static_cast<std::size_t>(m)].imag());
  };
  check(last < 1 || frequency(last - 1) > kZero, ErrorCode::kValue,
        "hippo::nplr: A + P P^T of {} must have at most one pair of eigenvalues 0, but has more.",
        name_of(measure));
  if (frequency(last) >= kZero) return;
  for (std::int64_t n = 0; n < form.V.rows(); ++n) form.V(n, last) = 0;
  form.V(0, last) = std::numbers::sqrt2 / 2;
  form.V(1, last) = Complex(0.0, std::numbers::sqrt2 / 2);
  form.W[static_cast<std::size_t>(last)] = form.W[static_cast<std::size_t>(last)].real();
}

/// 2 Re(V W V^*) must give the normal part back: the two halves are then conjugates of each other.
void check_halves(Measure measure, const Nplr& form, const Matrix& normal) {
  const std::int64_t size = normal.rows();
  double worst = 0;
  double largest = 1;
  for (std::int64_t n = 0; n < size; ++n) {
    for (std::int64_t k = 0; k < size; ++k) {
      double entry = 0;
      for (std::int64_t m = 0; m < form.V.cols(); ++m) {
        const Complex product =
            form.V(n, m) * form.W[static_cast<std::size_t>(m)] * std::conj(form.V(k, m));
        entry += 2 * product.real();
      }
      worst = std::max(worst, std::abs(entry - normal(n, k)));
      largest = std::max(largest, std::abs(normal(n, k)));
    }
  }
  check(worst <= 1e-5 * largest, ErrorCode::kValue,
        "hippo::nplr: 2 Re(V W V^*) of {} must equal A + P P^T, but is {} from it.",
        name_of(measure), worst);
}

}  // namespace

std::int64_t natural_rank(Measure measure) {
  switch (measure) {
    case Measure::kLegs:
    case Measure::kLagt:
    case Measure::kFourier:
    case Measure::kFourierDecay:
    case Measure::kFourier2:
      return 1;
    case Measure::kLegt:
      return 2;
    case Measure::kFourierDiag:
    case Measure::kLegsd:
      return 0;
    default:
      fail(ErrorCode::kConfig,
           "hippo::nplr: the measure {} has no normal plus low-rank form; expected legs, legt, "
           "lagt, "
           "fourier, fourier_decay, fourier2, fourier_diag or legsd.",
           name_of(measure));
  }
}

Matrix low_rank(Measure measure, std::int64_t state_size, std::int64_t rank) {
  const std::int64_t needed = natural_rank(measure);
  constexpr std::int64_t kMaxStateSize = 1 << 14;  // that of transition()
  check(state_size >= 1 && state_size <= kMaxStateSize, ErrorCode::kConfig,
        "hippo::low_rank: state_size must lie in 1 .. {}, but is {}.", kMaxStateSize, state_size);
  check(rank >= needed && rank <= std::max<std::int64_t>(state_size, needed), ErrorCode::kConfig,
        "hippo::low_rank: rank must lie in {} .. {} for {} with {} states, but is {}.", needed,
        std::max(state_size, needed), name_of(measure), state_size, rank);
  Matrix P(state_size, rank);
  for (std::int64_t n = 0; n < state_size; ++n)
    for (std::int64_t column = 0; column < needed; ++column)
      P(n, column) = low_rank_entry(measure, n, column);
  return P;
}

double shift(Measure measure) {
  natural_rank(measure);  // throws where there is no such form
  const bool half =
      measure == Measure::kLegs || measure == Measure::kLegsd || measure == Measure::kFourierDiag;
  return half ? -0.5 : 0.0;
}

Nplr nplr(Measure measure, std::int64_t state_size, std::int64_t rank, const NplrOptions& options) {
  check(state_size >= 2 && state_size % 2 == 0, ErrorCode::kConfig,
        "hippo::nplr: state_size must be even and at least 2, but is {}.", state_size);
  check(!options.b_clip || *options.b_clip >= 0, ErrorCode::kConfig,
        "hippo::nplr: b_clip must not be negative, but is {}.", options.b_clip.value_or(0.0));
  const Matrix P = low_rank(measure, state_size, rank);
  const Transition pair = transition(measure, state_size);
  const Matrix normal = normal_part(measure, pair.A, P);

  double mean_diagonal = 0;
  for (std::int64_t n = 0; n < state_size; ++n) mean_diagonal += normal(n, n);
  Nplr form = lower_half(normal, mean_diagonal / static_cast<double>(state_size));
  fix_phases(form.V);
  fix_zero_mode(measure, form);
  check_halves(measure, form, normal);

  const ComplexMatrix projection = adjoint(form.V);
  const ComplexVector b(pair.B.begin(), pair.B.end());
  form.B = multiply(projection, b);
  if (options.b_clip) {
    const double clip = *options.b_clip;
    for (Complex& entry : form.B) entry.imag(std::clamp(entry.imag(), -clip, clip));
  }
  ComplexMatrix complex_p(state_size, rank);
  for (std::size_t i = 0; i < P.data().size(); ++i) complex_p.data()[i] = P.data()[i];
  form.P = multiply(projection, complex_p);
  return form;
}

}  // namespace rill::hippo
