#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <string>
#include <vector>

#include <rill/core/check.h>
#include <rill/core/random.h>
#include <rill/hippo/diagonal_init.h>
#include <rill/hippo/nplr.h>

namespace rill::hippo {
namespace {

using Complex = std::complex<double>;
constexpr double kPi = std::numbers::pi;

enum class Spectrum { kLin, kInv, kInv2, kQuad, kReal, kRand, kLegs };

struct SpectrumName {
  std::string_view name;
  Spectrum spectrum;
};

constexpr std::array kSpectra = {
    SpectrumName{"lin", Spectrum::kLin},        SpectrumName{"inv", Spectrum::kInv},
    SpectrumName{"inv2", Spectrum::kInv2},      SpectrumName{"quad", Spectrum::kQuad},
    SpectrumName{"real", Spectrum::kReal},      SpectrumName{"rand", Spectrum::kRand},
    SpectrumName{"legs", Spectrum::kLegs},      SpectrumName{"linear", Spectrum::kLin},
    SpectrumName{"inverse", Spectrum::kInv},    SpectrumName{"inverse2", Spectrum::kInv2},
    SpectrumName{"quadratic", Spectrum::kQuad}, SpectrumName{"random", Spectrum::kRand},
    SpectrumName{"hippo", Spectrum::kLegs}};

const SpectrumName* find_spectrum(std::string_view name) {
  const auto* found = std::find_if(kSpectra.begin(), kSpectra.end(),
                                   [&](const SpectrumName& s) { return s.name == name; });
  return found == kSpectra.end() ? nullptr : found;
}

/// Complex normal with E|z|^2 = 1.
Complex complex_normal(Generator& random) {
  const double re = random.normal();
  const double im = random.normal();
  return Complex(re, im) * std::sqrt(0.5);
}

/// One member of a combination.
struct Plan {
  bool from_nplr = false;
  Measure measure = Measure::kLegs;     // from_nplr
  Spectrum spectrum = Spectrum::kLegs;  // otherwise
  bool random_p = false;                // otherwise
};

Plan plan_of(std::string_view name) {
  Plan plan;
  const auto remove_prefix = [&](std::string_view prefix) {
    if (!name.starts_with(prefix)) return false;
    name.remove_prefix(prefix.size());
    return true;
  };
  if (remove_prefix("nplr-")) {
    plan.from_nplr = true;
    plan.measure = measure_from_name(name);
    return plan;
  }
  const bool named_diagonal = remove_prefix("diag-");
  plan.random_p = !named_diagonal && remove_prefix("dplr-");
  const SpectrumName* found = find_spectrum(name);
  if (!found && !named_diagonal && !plan.random_p) {
    plan.from_nplr = true;
    plan.measure = measure_from_name(name);
    return plan;
  }
  check(
      found != nullptr, ErrorCode::kConfig,
      "hippo::diagonal_init: \"{}\" is no diagonal initialisation; expected lin, inv, inv2, quad, "
      "real, rand or legs.",
      name);
  plan.spectrum = found->spectrum;
  return plan;
}

std::vector<Plan> plans_of(std::string_view name) {
  const Plan legs{.from_nplr = true, .measure = Measure::kLegs};
  const Plan fourier{.from_nplr = true, .measure = Measure::kFourier};
  const Plan inv{.spectrum = Spectrum::kInv};
  const Plan lin{.spectrum = Spectrum::kLin};
  if (name == "hippo") return {legs, fourier};
  if (name == "diag") return {inv, lin};
  if (name == "all") return {legs, fourier, inv, lin};
  return {plan_of(name)};
}

/// Frequencies and decays of one copy.
void fill_spectrum(Spectrum spectrum, std::int64_t state_size, const DiagonalInitOptions& options,
                   Generator& random, std::span<double> re, std::span<double> im) {
  const double N = static_cast<double>(state_size);
  for (std::size_t i = 0; i < re.size(); ++i) {
    const double mode = static_cast<double>(i);
    re[i] = options.real_random ? random.uniform() : 0.5;
    const double n = options.imag_random ? random.uniform() * (N / 2) : mode;
    switch (spectrum) {
      case Spectrum::kLin:
        im[i] = kPi * n;
        break;
      case Spectrum::kInv:
        im[i] = N / kPi * (N / (2 * n + 1) - 1);
        break;
      case Spectrum::kInv2:
        im[i] = N / kPi * (N / (n + 1) - 1);
        break;
      case Spectrum::kQuad:
        im[i] = (1 + 2 * n) * (1 + 2 * n) / kPi;
        break;
      case Spectrum::kRand:
        im[i] = std::exp(random.normal());
        break;
      case Spectrum::kLegs:
        break;  // filled from nplr by the caller
      case Spectrum::kReal:
        re[i] = options.real_random ? re[i] * (N / 2) : mode + 1;
        im[i] = 0;
        break;
    }
    // inv with a random n up to N/2 would reach -N/(pi (N + 1)): frequencies are kept non-negative.
    im[i] = std::max(im[i], 0.0) * options.imag_scale;
    re[i] *= options.real_scale;
  }
}

void fill_b(std::int64_t state_size, const DiagonalInitOptions& options, Generator& random,
            std::span<Complex> B) {
  const double turn = 2 * kPi / static_cast<double>(state_size);
  for (std::size_t i = 0; i < B.size(); ++i) {
    const double n = static_cast<double>(i);
    if (options.b_init == "constant") {
      B[i] = 1.0;
    } else if (options.b_init == "random") {
      B[i] = complex_normal(random);
    } else if (options.b_init == "alternating") {
      B[i] = i % 2 == 0 ? 1.0 : -1.0;
    } else if (options.b_init == "unit-cw") {
      B[i] = std::polar(1.0, -turn * n);
    } else if (options.b_init == "unit-ccw") {
      B[i] = std::polar(1.0, turn * n);
    } else {
      fail(ErrorCode::kConfig,
           "hippo::diagonal_init: b_init must be constant, random, alternating, unit-cw or "
           "unit-ccw, "
           "but is \"{}\".",
           options.b_init);
    }
  }
}

/// B is scaled so that the response to a constant input, read by a random C, has variance 1.
void normalize_b(std::span<const double> re, std::span<const double> im, std::span<Complex> B) {
  double variance = 0;
  for (std::size_t i = 0; i < B.size(); ++i)
    variance += 2 * std::norm(B[i] / Complex(-re[i], -im[i]));
  check(std::isfinite(variance) && variance > 0, ErrorCode::kConfig,
        "hippo::diagonal_init: normalize needs modes that decay and a B that is not 0.");
  for (Complex& b : B) b /= std::sqrt(variance);
}

class Builder {
 public:
  Builder(std::int64_t state_size, std::int64_t copies, const DiagonalInitOptions& options)
      : state_size_(state_size), options_(options), random_(options.seed, "hippo::diagonal_init") {
    init_.copies = copies;
    init_.modes = state_size / 2;
    init_.rank = options.rank;
    const auto size = static_cast<std::size_t>(copies * init_.modes);
    init_.re.resize(size);
    init_.im.resize(size);
    init_.B.resize(size);
    init_.P.resize(size * static_cast<std::size_t>(options.rank));
  }

  void fill(const Plan& plan, std::int64_t first, std::int64_t count) {
    Nplr form;
    const bool legs = !plan.from_nplr && plan.spectrum == Spectrum::kLegs;
    if (plan.from_nplr) form = nplr(plan.measure, state_size_, options_.rank);
    if (legs) form = nplr(Measure::kLegs, state_size_, 1);
    for (std::int64_t copy = first; copy < first + count; ++copy) {
      if (!plan.from_nplr)
        fill_spectrum(plan.spectrum, state_size_, options_, random_, of(init_.re, copy),
                      of(init_.im, copy));
      if (plan.from_nplr || legs)
        copy_form(form, copy, plan.from_nplr);
      else
        fill_b(state_size_, options_, random_, of(init_.B, copy));
      if (!plan.from_nplr) {
        for (Complex& b : of(init_.B, copy)) b *= options_.b_scale;
        if (plan.random_p) fill_random_p(copy);
        if (options_.normalize)
          normalize_b(of(init_.re, copy), of(init_.im, copy), of(init_.B, copy));
      }
    }
  }

  DiagonalInit take() { return std::move(init_); }

 private:
  template <class T>
  std::span<T> of(std::vector<T>& values, std::int64_t copy) const {
    const auto modes = static_cast<std::size_t>(init_.modes);
    return std::span<T>(values).subspan(static_cast<std::size_t>(copy) * modes, modes);
  }
  Complex& P(std::int64_t column, std::int64_t copy, std::int64_t mode) {
    return init_.P[static_cast<std::size_t>((column * init_.copies + copy) * init_.modes + mode)];
  }

  void copy_form(const Nplr& form, std::int64_t copy, bool whole) {
    for (std::int64_t mode = 0; mode < init_.modes; ++mode) {
      const auto m = static_cast<std::size_t>(mode);
      of(init_.im, copy)[m] = -form.W[m].imag() * (whole ? 1.0 : options_.imag_scale);
      of(init_.B, copy)[m] = form.B[m];
      if (!whole) continue;  // the real part and P are the diagonal initialisation's own
      // Rounding leaves -1e-17 where the real part is 0.
      of(init_.re, copy)[m] = std::max(0.0, -form.W[m].real());
      for (std::int64_t column = 0; column < init_.rank; ++column)
        P(column, copy, mode) = form.P(mode, column);
    }
  }
  void fill_random_p(std::int64_t copy) {
    for (std::int64_t column = 0; column < init_.rank; ++column)
      for (std::int64_t mode = 0; mode < init_.modes; ++mode)
        P(column, copy, mode) = complex_normal(random_) * options_.p_scale;
  }

  std::int64_t state_size_;
  const DiagonalInitOptions& options_;
  Generator random_;
  DiagonalInit init_;
};

void check_options(std::int64_t state_size, std::int64_t copies,
                   const DiagonalInitOptions& options) {
  constexpr std::int64_t kMost = 1 << 24;
  check(state_size >= 2 && state_size % 2 == 0 && state_size <= kMost, ErrorCode::kConfig,
        "hippo::diagonal_init: state_size must be even and lie in 2 .. {}, but is {}.", kMost,
        state_size);
  check(copies >= 1 && copies <= kMost, ErrorCode::kConfig,
        "hippo::diagonal_init: copies must lie in 1 .. {}, but is {}.", kMost, copies);
  check(options.rank >= 0 && options.rank <= state_size, ErrorCode::kConfig,
        "hippo::diagonal_init: rank must lie in 0 .. {}, but is {}.", state_size, options.rank);
  // Each factor is at most 2^24 here, and 2^25 elements of B or P are half a gigabyte.
  constexpr std::int64_t kMostElements = 1 << 25;
  check(copies * (state_size / 2) <= kMostElements / std::max<std::int64_t>(options.rank, 1),
        ErrorCode::kConfig,
        "hippo::diagonal_init: {} copies of {} modes with rank {} are more than {} elements.",
        copies, state_size / 2, options.rank, kMostElements);
  for (const double scale : {options.real_scale, options.imag_scale})
    check(scale >= 0 && std::isfinite(scale), ErrorCode::kConfig,
          "hippo::diagonal_init: real_scale and imag_scale must be finite and not negative, but "
          "one is "
          "{}.",
          scale);
}

}  // namespace

DiagonalInit diagonal_init(std::string_view name, std::int64_t state_size, std::int64_t copies,
                           const DiagonalInitOptions& options) {
  check_options(state_size, copies, options);
  const std::vector<Plan> plans = plans_of(name);
  const auto parts = static_cast<std::int64_t>(plans.size());
  check(copies % parts == 0, ErrorCode::kConfig,
        "hippo::diagonal_init: \"{}\" shares the copies among {} initialisations, but {} copies do "
        "not "
        "divide by it.",
        name, parts, copies);
  Builder builder(state_size, copies, options);
  for (std::int64_t part = 0; part < parts; ++part)
    builder.fill(plans[static_cast<std::size_t>(part)], part * (copies / parts), copies / parts);
  return builder.take();
}

}  // namespace rill::hippo
