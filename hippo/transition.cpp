#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include <rill/core/check.h>
#include <rill/core/random.h>
#include <rill/hippo/transition.h>

namespace rill::hippo {
namespace {

struct Name {
  std::string_view name;
  Measure measure;
};

constexpr std::array kNames = {
    Name{"legs", Measure::kLegs},         Name{"legt", Measure::kLegt},
    Name{"lmu", Measure::kLmu},           Name{"lagt", Measure::kLagt},
    Name{"tlagt", Measure::kTlagt},       Name{"glagt", Measure::kGlagt},
    Name{"fourier", Measure::kFourier},   Name{"fourier_decay", Measure::kFourierDecay},
    Name{"fourier2", Measure::kFourier2}, Name{"fourier_diag", Measure::kFourierDiag},
    Name{"legsd", Measure::kLegsd},       Name{"random", Measure::kRandom},
    Name{"diagonal", Measure::kDiagonal}, Name{"fout", Measure::kFourier},
    Name{"foud", Measure::kFourierDiag}};

constexpr std::array kMeasures = {Measure::kLegs,        Measure::kLegt,         Measure::kLmu,
                                  Measure::kLagt,        Measure::kTlagt,        Measure::kGlagt,
                                  Measure::kFourier,     Measure::kFourierDecay, Measure::kFourier2,
                                  Measure::kFourierDiag, Measure::kLegsd,        Measure::kRandom,
                                  Measure::kDiagonal};

double r(std::int64_t n) { return std::sqrt(2.0 * static_cast<double>(n) + 1.0); }
double sign(std::int64_t n) { return n % 2 == 0 ? 1.0 : -1.0; }

/// A from its entries, B from its entries.
template <class EntryA, class EntryB>
Transition from_entries(std::int64_t size, EntryA a, EntryB b) {
  Transition result{Matrix(size, size), Vector(static_cast<std::size_t>(size))};
  for (std::int64_t n = 0; n < size; ++n) {
    for (std::int64_t k = 0; k < size; ++k) result.A(n, k) = a(n, k);
    result.B[static_cast<std::size_t>(n)] = b(n);
  }
  return result;
}

Transition legs(std::int64_t size) {
  return from_entries(
      size,
      [](std::int64_t n, std::int64_t k) {
        if (n == k) return -(static_cast<double>(n) + 1.0);
        return n > k ? -r(n) * r(k) : 0.0;
      },
      r);
}

Transition legsd(std::int64_t size) {
  // legs + B B^T / 2: the low-rank term is added back, what remains is normal.
  return from_entries(
      size,
      [](std::int64_t n, std::int64_t k) {
        if (n == k) return -0.5;
        return (n > k ? -0.5 : 0.5) * r(n) * r(k);
      },
      [](std::int64_t n) { return 0.5 * r(n); });
}

Transition legt(std::int64_t size) {
  return from_entries(
      size,
      [](std::int64_t n, std::int64_t k) {
        return -0.5 * r(n) * r(k) * (n >= k ? 1.0 : sign(k - n));
      },
      [](std::int64_t n) { return 0.5 * r(n); });
}

Transition lmu(std::int64_t size) {
  return from_entries(
      size,
      [](std::int64_t n, std::int64_t k) {
        return (2.0 * static_cast<double>(n) + 1.0) * (n < k ? -1.0 : -sign(n - k));
      },
      [](std::int64_t n) { return (2.0 * static_cast<double>(n) + 1.0) * sign(n); });
}

Transition tilted_laguerre(std::int64_t size, double tilt, double b) {
  return from_entries(
      size,
      [tilt](std::int64_t n, std::int64_t k) {
        if (n == k) return 0.5 * (1.0 - tilt) - 1.0;
        return n > k ? -1.0 : 0.0;
      },
      [b](std::int64_t) { return b; });
}

Transition generalised_laguerre(std::int64_t size, double alpha, double beta) {
  // Lam_n = sqrt(Gamma(n + alpha + 1) / n!): through lgamma, the factorials overflow beyond n =
  // 170.
  const auto log_gamma_ratio = [alpha](std::int64_t n) {
    return std::lgamma(static_cast<double>(n) + alpha + 1.0) -
           std::lgamma(static_cast<double>(n) + 1.0);
  };
  const double log_scale = -0.5 * std::lgamma(1.0 - alpha) + 0.5 * (1.0 - alpha) * std::log(beta);
  return from_entries(
      size,
      [&](std::int64_t n, std::int64_t k) {
        if (n == k) return -0.5 * (1.0 + beta);
        return n > k ? -std::exp(0.5 * (log_gamma_ratio(k) - log_gamma_ratio(n))) : 0.0;
      },
      [&](std::int64_t n) {
        const double log_binomial = log_gamma_ratio(n) - std::lgamma(alpha + 1.0);
        return std::exp(log_binomial - 0.5 * log_gamma_ratio(n) + log_scale);
      });
}

/// b = [1, 0, sqrt 2, 0, sqrt 2, ...]: the values at 0 of 1, sin 0, sqrt 2 cos, sqrt 2 sin, ...
double fourier_b(std::int64_t n) {
  if (n == 0) return 1.0;
  return n % 2 == 0 ? std::numbers::sqrt2 : 0.0;
}

/// frequency * S - coupling * b b^T - decay * I with S coupling the states 2j and 2j + 1 by j; B =
/// scale * b.
Transition fourier_family(std::int64_t size, double frequency, double coupling, double decay,
                          double scale) {
  return from_entries(
      size,
      [&](std::int64_t n, std::int64_t k) {
        double entry = -coupling * fourier_b(n) * fourier_b(k);
        if (n == k) entry -= decay;
        if (n / 2 == k / 2 && n != k)
          entry += (n < k ? -1.0 : 1.0) * frequency * static_cast<double>(n / 2);
        return entry;
      },
      [&](std::int64_t n) { return scale * fourier_b(n); });
}

Transition random_dense(std::int64_t size, std::uint64_t seed) {
  Generator random(seed, "hippo::transition");
  return from_entries(
      size, [&](std::int64_t, std::int64_t) { return random.normal() / static_cast<double>(size); },
      [&](std::int64_t) { return random.normal(); });
}

Transition random_diagonal(std::int64_t size, std::uint64_t seed) {
  Generator random(seed, "hippo::transition");
  return from_entries(
      size,
      [&](std::int64_t n, std::int64_t k) { return n == k ? -std::exp(random.normal()) : 0.0; },
      [&](std::int64_t) { return random.normal(); });
}

bool is_fourier(Measure measure) {
  return measure == Measure::kFourier || measure == Measure::kFourierDecay ||
         measure == Measure::kFourier2 || measure == Measure::kFourierDiag;
}

void check_size(std::string_view op, Measure measure, std::int64_t size) {
  constexpr std::int64_t kMaxStateSize = 1 << 14;
  check(size >= 1 && size <= kMaxStateSize, ErrorCode::kConfig,
        "{}: state_size must lie in 1 .. {}, but is {}.", op, kMaxStateSize, size);
  check(
      !is_fourier(measure) || size % 2 == 0, ErrorCode::kConfig,
      "{}: state_size must be even for the measure {}, whose states are pairs of cosine and sine, "
      "but is {}.",
      op, name_of(measure), size);
}

/// beta of the Laguerre measures; `standard` where it is 0.
double laguerre_beta(Measure measure, double beta, double standard) {
  check(beta >= 0, ErrorCode::kConfig,
        "hippo::transition: beta must be positive, or 0 for its default, for {}, but is {}.",
        name_of(measure), beta);
  return beta == 0 ? standard : beta;
}

Transition glagt_of(std::int64_t size, const TransitionOptions& options) {
  check(options.alpha > -1 && options.alpha < 1, ErrorCode::kConfig,
        "hippo::transition: alpha must lie between -1 and 1 for glagt, but is {}.", options.alpha);
  return generalised_laguerre(size, options.alpha,
                              laguerre_beta(Measure::kGlagt, options.beta, 0.01));
}

Transition natural_transition(Measure measure, std::int64_t size,
                              const TransitionOptions& options) {
  constexpr double kPi = std::numbers::pi;
  const auto tilt = [&] { return laguerre_beta(measure, options.beta, 1.0); };
  switch (measure) {
    case Measure::kLegs:
      return legs(size);
    case Measure::kLegt:
      return legt(size);
    case Measure::kLmu:
      return lmu(size);
    case Measure::kLagt:
      return tilted_laguerre(size, 0.0, tilt());
    case Measure::kTlagt:
      return tilted_laguerre(size, tilt(), tilt());
    case Measure::kGlagt:
      return glagt_of(size, options);
    case Measure::kFourier:
      return fourier_family(size, kPi, 1.0, 0.0, 1.0);
    case Measure::kFourierDecay:
      return fourier_family(size, kPi, 0.5, 0.0, 0.5);
    case Measure::kFourier2:
      return fourier_family(size, 2 * kPi, 2.0, 0.0, 2.0);
    case Measure::kFourierDiag:
      return fourier_family(size, 2 * kPi, 0.0, 0.5, 1.0);
    case Measure::kLegsd:
      return legsd(size);
    case Measure::kRandom:
      return random_dense(size, options.seed);
    case Measure::kDiagonal:
      return random_diagonal(size, options.seed);
  }
  fail(ErrorCode::kConfig, "hippo::transition: the measure {} does not exist.",
       static_cast<int>(measure));
}

}  // namespace

Measure measure_from_name(std::string_view name) {
  const auto* found = std::find_if(kNames.begin(), kNames.end(),
                                   [&](const Name& candidate) { return candidate.name == name; });
  check(found != kNames.end(), ErrorCode::kConfig,
        "hippo::measure_from_name: \"{}\" is no measure; expected legs, legt, lmu, lagt, tlagt, "
        "glagt, fourier (fout), fourier_decay, fourier2, fourier_diag (foud), legsd, random or "
        "diagonal.",
        name);
  return found->measure;
}

std::string_view name_of(Measure measure) {
  const auto* found = std::find_if(kNames.begin(), kNames.end(), [&](const Name& candidate) {
    return candidate.measure == measure;
  });
  return found == kNames.end() ? std::string_view("unknown") : found->name;
}

std::span<const Measure> all_measures() { return kMeasures; }

double natural_window(Measure measure) {
  switch (measure) {
    case Measure::kLegt:
    case Measure::kFourier:
      return 2.0;
    case Measure::kLmu:
    case Measure::kFourier2:
      return 1.0;
    default:
      return 0.0;
  }
}

Transition transition(Measure measure, std::int64_t state_size, const TransitionOptions& options) {
  check_size("hippo::transition", measure, state_size);
  check(std::isfinite(options.alpha) && std::isfinite(options.beta), ErrorCode::kConfig,
        "hippo::transition: alpha and beta must be finite, but are {} and {}.", options.alpha,
        options.beta);
  Transition result = natural_transition(measure, state_size, options);
  if (options.window == 0) return result;
  const double natural = natural_window(measure);
  check(natural > 0, ErrorCode::kConfig,
        "hippo::transition: window must be 0 for the measure {}, which has no window, but is {}.",
        name_of(measure), options.window);
  check(options.window > 0 && std::isfinite(options.window), ErrorCode::kConfig,
        "hippo::transition: window must be positive and finite, but is {}.", options.window);
  for (double& entry : result.A.data()) entry *= natural / options.window;
  for (double& entry : result.B) entry *= natural / options.window;
  return result;
}

Vector initial_c(Measure measure, std::int64_t state_size) {
  check_size("hippo::initial_c", measure, state_size);
  Vector c(static_cast<std::size_t>(state_size), 0.0);
  for (std::int64_t n = 0; n < state_size; ++n) {
    double& entry = c[static_cast<std::size_t>(n)];
    if (measure == Measure::kLegt) entry = r(n) * sign(n);
    if (measure == Measure::kFourier) entry = fourier_b(n);
  }
  return c;
}

}  // namespace rill::hippo
