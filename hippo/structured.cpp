#include <cmath>
#include <numbers>

#include <rill/core/check.h>
#include <rill/core/random.h>
#include <rill/hippo/structured.h>

namespace rill::hippo {
namespace {

double r(std::size_t n) { return std::sqrt(2.0 * static_cast<double>(n) + 1.0); }
double sign(std::size_t n) { return n % 2 == 0 ? 1.0 : -1.0; }

void check_sizes(std::string_view op, std::size_t state_size, std::size_t x, std::size_t y,
                 std::size_t scratch, std::size_t least_scratch) {
  check(x == state_size && y == state_size && scratch >= least_scratch, ErrorCode::kShape,
        "{}: x and y must have {} entries and scratch {}, but they have {}, {} and {}.", op,
        state_size, least_scratch, x, y, scratch);
}

/// Solves the tridiagonal system of rows (lower(n), main(n), upper(n)) for right(n) by Thomas's
/// algorithm. z [N] receives the solution; ratio [N] is scratch.
template <class Lower, class Main, class Upper, class Right>
void solve_tridiagonal(std::span<double> z, std::span<double> ratio, Lower lower, Main main,
                       Upper upper, Right right) {
  const std::size_t size = z.size();
  double pivot = main(0);
  z[0] = right(0) / pivot;
  for (std::size_t n = 1; n < size; ++n) {
    ratio[n] = upper(n - 1) / pivot;
    pivot = main(n) - lower(n) * ratio[n];
    z[n] = (right(n) - lower(n) * z[n - 1]) / pivot;
  }
  for (std::size_t n = size - 1; n > 0; --n) z[n - 1] -= ratio[n] * z[n];
}

/// T of legt: skew with 1/2 beside the diagonal, and 1/2 in the two corners of the diagonal.
double legt_main(std::size_t n, std::size_t size) {
  return (n == 0 ? 0.5 : 0.0) + (n + 1 == size ? 0.5 : 0.0);
}

/// z = T^-1 (pr x), in the first half of scratch [2 N].
std::span<const double> inverse_of_t(const LsslFamily& family, std::span<const double> x,
                                     std::span<double> scratch) {
  const std::size_t size = x.size();
  const std::span<double> z = scratch.first(size);
  solve_tridiagonal(
      z, scratch.subspan(size, size), [&](std::size_t n) { return family.lower[n]; },
      [&](std::size_t n) { return family.main[n]; }, [&](std::size_t n) { return family.upper[n]; },
      [&](std::size_t n) { return family.pr[n] * x[n]; });
  return z;
}

LsslFamily bidiagonal_family(std::size_t size) {
  LsslFamily family;
  family.pl = family.pr = Vector(size, 1.0);
  family.c = Vector(size, 0.0);
  family.lower = Vector(size, -1.0);  // T^-1 is then the lower triangle of ones
  family.main = Vector(size, 1.0);
  family.upper = Vector(size, 0.0);
  return family;
}

LsslFamily skew_family(std::size_t size) {
  LsslFamily family = bidiagonal_family(size);
  family.lower = Vector(size, -0.5);
  family.main = Vector(size, 0.0);
  family.upper = Vector(size, 0.5);
  return family;
}

LsslFamily legt_family(std::size_t size) {
  LsslFamily family = skew_family(size);
  for (std::size_t n = 0; n < size; ++n) {
    family.main[n] = legt_main(n, size);
    family.pl[n] = family.pr[n] = r(n);
  }
  return family;
}

LsslFamily legs_family(std::size_t size) {
  LsslFamily family = bidiagonal_family(size);
  for (std::size_t n = 0; n < size; ++n) {
    const double degree = static_cast<double>(n);
    family.pl[n] = family.pr[n] = r(n);
    family.c[n] = -degree / (2 * degree + 1);
  }
  return family;
}

LsslFamily laguerre_family(std::size_t size, double c) {
  LsslFamily family = bidiagonal_family(size);
  family.c = Vector(size, c);
  return family;
}

LsslFamily chebyshev_family(std::size_t size, bool first_kind, std::uint64_t seed) {
  LsslFamily family = skew_family(size);
  Generator random(seed, "hippo::lssl_family");
  for (double& entry : family.main) entry = 1e-3 * random.normal();
  if (first_kind && size > 1) {
    family.lower[1] *= std::numbers::sqrt2;
    family.upper[0] *= std::numbers::sqrt2;
  }
  return family;
}

/// pl and pr of a measure, scaled so that A is the table's (transition.h).
LsslFamily family_of(Measure measure, std::size_t size, const TransitionOptions& options) {
  if (measure == Measure::kLegs) return legs_family(size);
  if (measure == Measure::kLagt) return laguerre_family(size, -0.5);
  if (measure == Measure::kTlagt)
    return laguerre_family(size, -0.5 * (1 - (options.beta == 0 ? 1.0 : options.beta)));
  if (measure == Measure::kGlagt) {
    const double beta = options.beta == 0 ? 0.01 : options.beta;
    LsslFamily family = laguerre_family(size, 0.5 * (1 + beta) - 1);
    for (std::size_t n = 0; n < size; ++n) {
      const double degree = static_cast<double>(n);
      family.pr[n] =
          std::exp(0.5 * (std::lgamma(degree + options.alpha + 1.0) - std::lgamma(degree + 1.0)));
      family.pl[n] = 1 / family.pr[n];
    }
    return family;
  }
  LsslFamily family = legt_family(size);
  for (std::size_t n = 0; n < size; ++n) {
    if (measure == Measure::kLmu) {
      family.pl[n] = sign(n) * (2.0 * static_cast<double>(n) + 1.0);
      family.pr[n] = sign(n);
    } else {
      family.pl[n] *= 0.5;  // the table's legt has window 2
    }
  }
  return family;
}

FourierFamily fourier_of(Measure measure, std::size_t size) {
  constexpr double kPi = std::numbers::pi;
  FourierFamily family;
  family.b = Vector(size, 0.0);
  for (std::size_t n = 0; n < size; n += 2) family.b[n] = n == 0 ? 1.0 : std::numbers::sqrt2;
  const bool window_one = measure == Measure::kFourier2 || measure == Measure::kFourierDiag;
  family.frequency = window_one ? 2 * kPi : kPi;
  family.decay = measure == Measure::kFourierDiag ? 0.5 : 0.0;
  if (measure == Measure::kFourier) family.coupling = 1.0;
  if (measure == Measure::kFourierDecay) family.coupling = 0.5;
  if (measure == Measure::kFourier2) family.coupling = 2.0;
  return family;
}

bool is_fourier(Measure measure) {
  return measure == Measure::kFourier || measure == Measure::kFourierDecay ||
         measure == Measure::kFourier2 || measure == Measure::kFourierDiag;
}

}  // namespace

void legs_multiply(std::span<const double> x, std::span<double> y) {
  check_sizes("hippo::legs_multiply", x.size(), x.size(), y.size(), 0, 0);
  double sum = 0;
  for (std::size_t n = 0; n < x.size(); ++n) {
    const double entry = x[n];
    y[n] = -(r(n) * sum + (static_cast<double>(n) + 1.0) * entry);
    sum += r(n) * entry;
  }
}

void legs_solve(double d, std::span<const double> x, std::span<double> y) {
  check_sizes("hippo::legs_solve", x.size(), x.size(), y.size(), 0, 0);
  double sum = 0;
  for (std::size_t n = 0; n < x.size(); ++n) {
    y[n] = (x[n] - d * r(n) * sum) / (1.0 + (static_cast<double>(n) + 1.0) * d);
    sum += r(n) * y[n];
  }
}

void legt_multiply(std::span<const double> x, std::span<double> y) {
  check_sizes("hippo::legt_multiply", x.size(), x.size(), y.size(), 0, 0);
  double total = 0;
  for (std::size_t n = 0; n < x.size(); ++n) total += sign(n) * r(n) * x[n];
  double plain = 0;
  double alternating = 0;
  for (std::size_t n = 0; n < x.size(); ++n) {
    const double z = r(n) * x[n];
    plain += z;
    alternating += sign(n) * z;
    y[n] = -0.5 * r(n) * (plain + sign(n) * (total - alternating));
  }
}

void legt_solve(double d, std::span<const double> x, std::span<double> y,
                std::span<double> scratch) {
  const std::size_t size = x.size();
  check_sizes("hippo::legt_solve", size, size, y.size(), scratch.size(), 2 * size);
  if (size == 0) return;
  // (T + d/2 R^2) w = R x, then y = x - d/2 R w.
  const std::span<double> w = scratch.first(size);
  solve_tridiagonal(
      w, scratch.subspan(size, size), [](std::size_t) { return -0.5; },
      [&](std::size_t n) {
        return legt_main(n, size) + 0.5 * d * (2.0 * static_cast<double>(n) + 1.0);
      },
      [](std::size_t) { return 0.5; }, [&](std::size_t n) { return r(n) * x[n]; });
  for (std::size_t n = 0; n < size; ++n) y[n] = x[n] - 0.5 * d * r(n) * w[n];
}

void LsslFamily::multiply(std::span<const double> x, std::span<double> y,
                          std::span<double> scratch) const {
  const std::size_t size = pl.size();
  check_sizes("hippo::LsslFamily::multiply", size, x.size(), y.size(), scratch.size(), 2 * size);
  const std::span<const double> z = inverse_of_t(*this, x, scratch);
  for (std::size_t n = 0; n < size; ++n) y[n] = -pl[n] * (z[n] + c[n] * pr[n] * x[n]);
}

void LsslFamily::forward_mult(double d, std::span<const double> x, std::span<double> y,
                              std::span<double> scratch) const {
  const std::size_t size = pl.size();
  check_sizes("hippo::LsslFamily::forward_mult", size, x.size(), y.size(), scratch.size(),
              2 * size);
  const std::span<const double> z = inverse_of_t(*this, x, scratch);
  for (std::size_t n = 0; n < size; ++n) y[n] = x[n] - d * pl[n] * (z[n] + c[n] * pr[n] * x[n]);
}

void LsslFamily::inverse_mult(double d, std::span<const double> x, std::span<double> y,
                              std::span<double> scratch) const {
  const std::size_t size = pl.size();
  check_sizes("hippo::LsslFamily::inverse_mult", size, x.size(), y.size(), scratch.size(),
              2 * size);
  // With z = T^-1 pr y: (diag(e) T + d diag(pl pr)) z = pr x, e = 1 + d pl pr c, and y = T z / pr.
  // e may vanish (lagt at d = 2), so nothing is divided by it.
  const auto e = [&](std::size_t n) { return 1.0 + d * pl[n] * pr[n] * c[n]; };
  const std::span<double> z = scratch.first(size);
  solve_tridiagonal(
      z, scratch.subspan(size, size), [&](std::size_t n) { return e(n) * lower[n]; },
      [&](std::size_t n) { return e(n) * main[n] + d * pl[n] * pr[n]; },
      [&](std::size_t n) { return e(n) * upper[n]; }, [&](std::size_t n) { return pr[n] * x[n]; });
  for (std::size_t n = 0; n < size; ++n) {
    double entry = main[n] * z[n];
    if (n > 0) entry += lower[n] * z[n - 1];
    if (n + 1 < size) entry += upper[n] * z[n + 1];
    y[n] = entry / pr[n];
  }
}

Transition LsslFamily::dense() const {
  constexpr std::int64_t kMaxDense = 1 << 14;  // that of transition()
  check(state_size() <= kMaxDense, ErrorCode::kConfig,
        "hippo::LsslFamily::dense: state_size must be at most {}, but is {}.", kMaxDense,
        state_size());
  const std::size_t size = pl.size();
  Transition result{Matrix(state_size(), state_size()), Vector(size)};
  Vector unit(size, 0.0), column(size), scratch(2 * size);
  for (std::size_t k = 0; k < size; ++k) {
    unit[k] = 1.0;
    multiply(unit, column, scratch);
    unit[k] = 0.0;
    for (std::size_t n = 0; n < size; ++n)
      result.A(static_cast<std::int64_t>(n), static_cast<std::int64_t>(k)) = column[n];
    result.B[k] = pl[k] * b;
  }
  return result;
}

LsslFamily lssl_family(std::string_view name, std::int64_t state_size, std::uint64_t seed) {
  constexpr std::int64_t kMaxStateSize = 1 << 20;  // O(N): more than transition() makes dense
  check(state_size >= 1 && state_size <= kMaxStateSize, ErrorCode::kConfig,
        "hippo::lssl_family: state_size must lie in 1 .. {}, but is {}.", kMaxStateSize,
        state_size);
  const auto size = static_cast<std::size_t>(state_size);
  if (name == "legt") return legt_family(size);
  if (name == "lagt") return laguerre_family(size, -0.5);
  if (name == "legs") return legs_family(size);
  if (name == "cheb1") return chebyshev_family(size, true, seed);
  if (name == "cheb2") return chebyshev_family(size, false, seed);
  check(name == "jac", ErrorCode::kConfig,
        "hippo::lssl_family: \"{}\" is no family; expected legt, lagt, legs, jac, cheb1 or cheb2.",
        name);
  LsslFamily family = bidiagonal_family(size);
  for (std::size_t n = 0; n < size; ++n)
    family.pl[n] = family.pr[n] = std::sqrt(2.0 * static_cast<double>(n) + 2.0);
  family.b = 2.0;
  return family;
}

void FourierFamily::multiply(std::span<const double> x, std::span<double> y) const {
  check_sizes("hippo::FourierFamily::multiply", b.size(), x.size(), y.size(), 0, 0);
  double projection = 0;
  for (std::size_t n = 0; n < b.size(); ++n) projection += b[n] * x[n];
  for (std::size_t n = 0; n < b.size(); n += 2) {
    const double omega = frequency * static_cast<double>(n / 2);
    const double cosine = x[n];
    const double sine = x[n + 1];
    y[n] = -omega * sine - decay * cosine - coupling * b[n] * projection;
    y[n + 1] = omega * cosine - decay * sine - coupling * b[n + 1] * projection;
  }
}

void FourierFamily::inverse_mult(double d, std::span<const double> x, std::span<double> y) const {
  check_sizes("hippo::FourierFamily::inverse_mult", b.size(), x.size(), y.size(), 0, 0);
  // I - d A = K + d coupling b b^T with K in blocks of two; Sherman and Morrison's formula. b is 0
  // on the sines, so K^-1 b needs no array: its entries are scale * b and (d omega / a) * scale *
  // b.
  const double a = 1.0 + d * decay;
  double projection = 0;  // b^T K^-1 x
  double weight = 0;      // b^T K^-1 b
  for (std::size_t n = 0; n < b.size(); n += 2) {
    const double turn = d * frequency * static_cast<double>(n / 2);
    const double scale = 1.0 / (a * a + turn * turn);
    const double cosine = scale * (a * x[n] - turn * x[n + 1]);
    const double sine = scale * (turn * x[n] + a * x[n + 1]);
    projection += b[n] * cosine;
    weight += b[n] * b[n] * a * scale;
    y[n] = cosine;
    y[n + 1] = sine;
  }
  const double factor = d * coupling * projection / (1.0 + d * coupling * weight);
  for (std::size_t n = 0; n < b.size(); n += 2) {
    const double turn = d * frequency * static_cast<double>(n / 2);
    const double scale = b[n] / (a * a + turn * turn);
    y[n] -= factor * a * scale;
    y[n + 1] -= factor * turn * scale;
  }
}

bool has_structure(Measure measure) {
  return measure != Measure::kLegsd && measure != Measure::kRandom && measure != Measure::kDiagonal;
}

StructuredTransition::StructuredTransition(Measure measure, std::int64_t state_size,
                                           const TransitionOptions& options) {
  check(has_structure(measure), ErrorCode::kConfig,
        "hippo::StructuredTransition: the measure {} has no products in O(N).", name_of(measure));
  B_ = transition(measure, state_size, options).B;
  const auto size = static_cast<std::size_t>(state_size);
  const double scale = options.window == 0 ? 1.0 : natural_window(measure) / options.window;
  if (is_fourier(measure)) {
    FourierFamily family = fourier_of(measure, size);
    family.frequency *= scale;
    family.decay *= scale;
    family.coupling *= scale;
    family_ = std::move(family);
  } else {
    LsslFamily family = family_of(measure, size, options);
    for (double& entry : family.pl) entry *= scale;
    family_ = std::move(family);
  }
}

void StructuredTransition::multiply(std::span<const double> x, std::span<double> y,
                                    std::span<double> scratch) const {
  if (const auto* family = std::get_if<LsslFamily>(&family_))
    family->multiply(x, y, scratch);
  else
    std::get<FourierFamily>(family_).multiply(x, y);
}

void StructuredTransition::forward_mult(double d, std::span<const double> x, std::span<double> y,
                                        std::span<double> scratch) const {
  if (const auto* family = std::get_if<LsslFamily>(&family_)) {
    family->forward_mult(d, x, y, scratch);
    return;
  }
  const auto size = static_cast<std::size_t>(state_size());
  check_sizes("hippo::StructuredTransition::forward_mult", size, x.size(), y.size(), scratch.size(),
              size);
  const std::span<double> product = scratch.first(size);
  std::get<FourierFamily>(family_).multiply(x, product);
  for (std::size_t n = 0; n < size; ++n) y[n] = x[n] + d * product[n];
}

void StructuredTransition::inverse_mult(double d, std::span<const double> x, std::span<double> y,
                                        std::span<double> scratch) const {
  if (const auto* family = std::get_if<LsslFamily>(&family_))
    family->inverse_mult(d, x, y, scratch);
  else
    std::get<FourierFamily>(family_).inverse_mult(d, x, y);
}

}  // namespace rill::hippo
