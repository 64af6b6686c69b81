// Transition matrices against their definitions (methods 1.1), and the normal plus low-rank forms
// (1.2).
#include <numbers>

#include <rill/core/error.h>
#include <rill/tests/unit/hippo_support.h>

namespace rill::hippo {
namespace {

constexpr double kSqrt2 = std::numbers::sqrt2;

TEST_CASE("transition matrices of three states are those of the definitions") {
  const double r3 = std::sqrt(3.0), r5 = std::sqrt(5.0), r15 = std::sqrt(15.0);
  const double kRounding = 1e-15 * 16;  // entries up to 5, a few roundings each
  const Transition legs = transition(Measure::kLegs, 3);
  CHECK(largest_difference(legs.A.data(), Vector{-1, 0, 0, -r3, -2, 0, -r5, -r15, -3}) < kRounding);
  CHECK(largest_difference(legs.B, Vector{1, r3, r5}) < kRounding);

  const Transition legt = transition(Measure::kLegt, 3);
  CHECK(largest_difference(legt.A.data(), Vector{-.5, .5 * r3, -.5 * r5, -.5 * r3, -1.5, .5 * r15,
                                                 -.5 * r5, -.5 * r15, -2.5}) < kRounding);
  CHECK(largest_difference(legt.B, Vector{.5, .5 * r3, .5 * r5}) < kRounding);

  const Transition lmu = transition(Measure::kLmu, 3);
  CHECK(largest_difference(lmu.A.data(), Vector{-1, -1, -1, 3, -3, -3, -5, 5, -5}) < kRounding);
  CHECK(largest_difference(lmu.B, Vector{1, -3, 5}) < kRounding);

  const Transition lagt = transition(Measure::kLagt, 3);
  CHECK(largest_difference(lagt.A.data(), Vector{-.5, 0, 0, -1, -.5, 0, -1, -1, -.5}) < kRounding);
  CHECK(largest_difference(lagt.B, Vector{1, 1, 1}) < kRounding);

  const Transition tlagt = transition(Measure::kTlagt, 2, {.beta = 0.2});
  CHECK(largest_difference(tlagt.A.data(), Vector{-.6, 0, -1, -.6}) < kRounding);
  CHECK(largest_difference(tlagt.B, Vector{.2, .2}) < kRounding);
}

TEST_CASE("Fourier matrices couple cosine and sine of a frequency") {
  const double pi = std::numbers::pi;
  const double kRounding = 1e-14;  // entries up to 4 pi
  CHECK(largest_difference(
            transition(Measure::kFourier, 4).A.data(),
            Vector{-1, 0, -kSqrt2, 0, 0, 0, 0, 0, -kSqrt2, 0, -2, -pi, 0, 0, pi, 0}) < kRounding);
  CHECK(largest_difference(transition(Measure::kFourier, 4).B, Vector{1, 0, kSqrt2, 0}) <
        kRounding);
  CHECK(largest_difference(transition(Measure::kFourierDecay, 4).A.data(),
                           Vector{-.5, 0, -kSqrt2 / 2, 0, 0, 0, 0, 0, -kSqrt2 / 2, 0, -1, -pi, 0, 0,
                                  pi, 0}) < kRounding);
  CHECK(largest_difference(transition(Measure::kFourier2, 4).A.data(),
                           Vector{-2, 0, -2 * kSqrt2, 0, 0, 0, 0, 0, -2 * kSqrt2, 0, -4, -2 * pi, 0,
                                  0, 2 * pi, 0}) < kRounding);
  CHECK(largest_difference(
            transition(Measure::kFourierDiag, 4).A.data(),
            Vector{-.5, 0, 0, 0, 0, -.5, 0, 0, 0, 0, -.5, -2 * pi, 0, 0, 2 * pi, -.5}) < kRounding);
}

TEST_CASE("measures that are one another in other bases agree") {
  const std::int64_t N = 12;
  const Transition legt = transition(Measure::kLegt, N), lmu = transition(Measure::kLmu, N);
  const Transition legs = transition(Measure::kLegs, N), legsd = transition(Measure::kLegsd, N);
  const Transition glagt = transition(Measure::kGlagt, N, {.alpha = 0, .beta = 0.3});
  const Transition tlagt = transition(Measure::kTlagt, N, {.beta = 0.3});
  double lmu_error = 0, legsd_error = 0, glagt_error = 0;
  for (std::int64_t n = 0; n < N; ++n) {
    for (std::int64_t k = 0; k < N; ++k) {
      const double scale = std::sqrt((2.0 * n + 1) / (2.0 * k + 1)) * ((n + k) % 2 ? -1 : 1);
      lmu_error = std::max(lmu_error, std::abs(lmu.A(n, k) - 2 * scale * legt.A(n, k)));
      legsd_error =
          std::max(legsd_error, std::abs(legsd.A(n, k) - legs.A(n, k) -
                                         0.5 * legs.B[std::size_t(n)] * legs.B[std::size_t(k)]));
      // alpha = 0 makes Lam the identity; the tilt is (1 + beta) / 2 in one and (1 - b) / 2 in the
      // other.
      const double diagonal = n == k ? -0.5 * 1.3 - (0.5 * 0.7 - 1) : 0.0;
      glagt_error = std::max(glagt_error, std::abs(glagt.A(n, k) - tlagt.A(n, k) - diagonal));
    }
  }
  CHECK(lmu_error < 1e-13);    // entries up to 23, two roundings
  CHECK(legsd_error < 1e-13);  // entries up to 12
  CHECK(glagt_error < 1e-13);  // lgamma differences near 20, exponentiated
  CHECK(std::abs(glagt.B[0] - std::sqrt(0.3)) < 1e-15);  // binom 1, Gamma(1) = 1
}

TEST_CASE("generalised Laguerre scales by sqrt(Gamma(n + alpha + 1) / n!)") {
  const Transition pair = transition(Measure::kGlagt, 3, {.alpha = 0.5, .beta = 0.1});
  const double lam0 = std::sqrt(std::tgamma(1.5)), lam1 = std::sqrt(std::tgamma(2.5));
  CHECK(std::abs(pair.A(1, 0) + lam0 / lam1) < 1e-14);  // lgamma's rounding
  CHECK(std::abs(pair.A(1, 1) + 0.55) < 1e-15);
  const double scale = std::pow(0.1, 0.25) / std::sqrt(std::tgamma(0.5));
  CHECK(std::abs(pair.B[1] - 1.5 / lam1 * scale) <
        1e-14);  // lgamma's rounding; binom(1.5, 1) = 1.5
}

TEST_CASE("the Fourier measures with a window have a dead state, the sine of frequency 0") {
  for (const Measure measure : {Measure::kFourier, Measure::kFourierDecay, Measure::kFourier2}) {
    const Transition pair = transition(measure, 8);
    CHECK(pair.B[1] == 0);
    for (std::int64_t k = 0; k < 8; ++k) {
      CHECK(pair.A(1, k) == 0);
      CHECK(pair.A(k, 1) == 0);  // an eigenvector of eigenvalue 0
    }
  }
}

TEST_CASE("the eigenvectors of legs grow as binom(n + k, n - k), to 1.1e12 at N = 32") {
  const std::int64_t N = 32;
  const Matrix A = transition(Measure::kLegs, N).A;
  double most = 0;
  for (std::int64_t k = 0; k < N; ++k) {
    // v_n = (-1)^n sqrt(2n + 1) binom(n + k, n - k), of eigenvalue -(k + 1).
    Vector v(std::size_t(N), 0.0);
    double binomial = 1;
    for (std::int64_t n = k; n < N; ++n) {
      v[std::size_t(n)] = (n % 2 == 0 ? 1 : -1) * std::sqrt(2.0 * double(n) + 1) * binomial;
      most = std::max(most, binomial);
      binomial = std::round(binomial * double(n + k + 1) / double(n - k + 1));  // below 2^53
    }
    const Vector product = multiply(A, v);
    for (std::int64_t n = 0; n < N; ++n)
      // Terms of up to 63 * 32 * max|v| cancel.
      REQUIRE(std::abs(product[std::size_t(n)] + double(k + 1) * v[std::size_t(n)]) <
              1e-12 * largest(v));
  }
  CHECK(most == Approx(1.1e12).epsilon(0.05));  // the specification's two digits
}

TEST_CASE("a window scales time") {
  for (const Measure measure :
       {Measure::kLegt, Measure::kLmu, Measure::kFourier, Measure::kFourier2}) {
    const double natural = natural_window(measure);
    const Transition plain = transition(measure, 6);
    CHECK(transition(measure, 6, {.window = natural}).A == plain.A);
    const Transition longer = transition(measure, 6, {.window = 10 * natural});
    CHECK(std::abs(longer.A(4, 2) - plain.A(4, 2) / 10) < 1e-15);
    CHECK(std::abs(longer.B[4] - plain.B[4] / 10) < 1e-15);
  }
}

TEST_CASE("random measures repeat for a seed and differ between seeds") {
  for (const Measure measure : {Measure::kRandom, Measure::kDiagonal}) {
    CHECK(transition(measure, 8, {.seed = 3}).A == transition(measure, 8, {.seed = 3}).A);
    CHECK_FALSE(transition(measure, 8, {.seed = 3}).A == transition(measure, 8, {.seed = 4}).A);
  }
  for (std::int64_t n = 0; n < 8; ++n) CHECK(transition(Measure::kDiagonal, 8).A(n, n) < 0);
}

TEST_CASE("names of measures come back, and other names are refused") {
  for (const Measure measure : all_measures()) {
    CHECK(measure_from_name(name_of(measure)) == measure);
    CHECK(transition(measure, 6).A.rows() == 6);
  }
  CHECK(measure_from_name("fout") == Measure::kFourier);
  CHECK(measure_from_name("foud") == Measure::kFourierDiag);
  CHECK_THROWS_AS(measure_from_name("legz"), Error);
  CHECK_THROWS_AS(transition(Measure::kLegs, 0), Error);
  CHECK_THROWS_AS(transition(Measure::kFourier, 5), Error);
  CHECK_THROWS_AS(transition(Measure::kLegs, 4, {.window = 2}), Error);
  CHECK_THROWS_AS(transition(Measure::kLegt, 4, {.window = -1}), Error);
  CHECK_THROWS_AS(transition(Measure::kLegt, 4, {.window = NAN}), Error);
  CHECK_THROWS_AS(transition(Measure::kGlagt, 4, {.alpha = 1.5}), Error);
  for (const Measure measure : {Measure::kLagt, Measure::kTlagt, Measure::kGlagt})
    for (const double beta : {-0.5, double(NAN), double(INFINITY)})
      CHECK_THROWS_AS(transition(measure, 4, {.beta = beta}), Error);
}

TEST_CASE("A + P P^T is a multiple of the identity plus a skew matrix") {
  for (const Measure measure : all_measures()) {
    if (measure == Measure::kLmu || measure == Measure::kTlagt || measure == Measure::kGlagt ||
        measure == Measure::kRandom || measure == Measure::kDiagonal) {
      CHECK_THROWS_AS(low_rank(measure, 8, 1), Error);
      continue;
    }
    INFO(name_of(measure));
    const std::int64_t N = 64;
    const Matrix A = transition(measure, N).A;
    const Matrix P = low_rank(measure, N, std::max<std::int64_t>(1, natural_rank(measure)));
    const Matrix PPt = multiply(P, transpose(P));
    double worst = 0;
    for (std::int64_t n = 0; n < N; ++n)
      for (std::int64_t k = 0; k < N; ++k)
        worst = std::max(worst, std::abs(A(n, k) + A(k, n) + PPt(n, k) + PPt(k, n) -
                                         (n == k ? 2 * shift(measure) : 0.0)));
    CHECK(worst < 1e-12);  // the definition's bound: entries up to 64, rounding 1e-14
  }
  CHECK_THROWS_AS(low_rank(Measure::kLegt, 8, 1), Error);
  CHECK_THROWS_AS(low_rank(Measure::kLegs, std::int64_t{1} << 40, 1), Error);
  CHECK_THROWS_AS(low_rank(Measure::kLegs, INT64_MAX, 1), Error);
}

TEST_CASE("the largest frequency of legs is near N^2 / pi") {
  const Nplr form = nplr(Measure::kLegs, 64, 1);
  CHECK(std::abs(-form.W[0].imag() - 1303.27) < 5e-3);  // the published digits
  CHECK(-form.W[0].imag() / (64.0 * 64.0 / std::numbers::pi) == Approx(0.9996).margin(5e-5));
  for (const auto& w : form.W) CHECK(w.real() == Approx(-0.5).margin(1e-13));
}

TEST_CASE("the kept modes give A back: 2 Re(V W V^*) - P P^T") {
  for (const Measure measure :
       {Measure::kLegs, Measure::kLegt, Measure::kLagt, Measure::kFourier, Measure::kFourierDecay,
        Measure::kFourier2, Measure::kFourierDiag, Measure::kLegsd}) {
    INFO(name_of(measure));
    const std::int64_t N = 32;
    const std::int64_t rank = natural_rank(measure) + 1;  // one column of zeros
    const Transition pair = transition(measure, N);
    const Nplr form = nplr(measure, N, rank, {.b_clip = std::nullopt});
    double a_error = 0, b_error = 0;
    for (std::int64_t n = 0; n < N; ++n) {
      double b = 0;
      for (std::int64_t m = 0; m < N / 2; ++m)
        b += 2 * (form.V(n, m) * form.B[std::size_t(m)]).real();
      b_error = std::max(b_error, std::abs(b - pair.B[std::size_t(n)]));
      for (std::int64_t k = 0; k < N; ++k) {
        double a = 0;
        for (std::int64_t m = 0; m < N / 2; ++m)
          a += 2 * (form.V(n, m) * form.W[std::size_t(m)] * std::conj(form.V(k, m))).real();
        for (std::int64_t c = 0; c < rank; ++c) {
          double p_n = 0, p_k = 0;
          for (std::int64_t m = 0; m < N / 2; ++m) {
            p_n += 2 * (form.V(n, m) * form.P(m, c)).real();
            p_k += 2 * (form.V(k, m) * form.P(m, c)).real();
          }
          a -= p_n * p_k;
        }
        a_error = std::max(a_error, std::abs(a - pair.A(n, k)));
      }
    }
    CHECK(a_error < 1e-11);  // entries up to 326 (N^2 / pi), an eigensolve's 10 roundings
    CHECK(b_error < 1e-12);  // entries up to 8
    for (std::int64_t m = 0; m < N / 2; ++m) {
      CHECK(form.W[std::size_t(m)].imag() <= 0);
      CHECK(form.V(0, m).imag() == 0);
      CHECK(form.V(0, m).real() >= 0);
    }
  }
}

TEST_CASE("the imaginary part of B is clamped unless asked otherwise") {
  const Nplr exact = nplr(Measure::kLegs, 64, 1, {.b_clip = std::nullopt});
  const Nplr clamped = nplr(Measure::kLegs, 64, 1);
  double beyond = 0;
  for (std::size_t m = 0; m < exact.B.size(); ++m) {
    beyond = std::max(beyond, std::abs(exact.B[m].imag()));
    CHECK(clamped.B[m].real() == exact.B[m].real());
    CHECK(clamped.B[m].imag() == std::clamp(exact.B[m].imag(), -2.0, 2.0));
  }
  CHECK(beyond > 2);
  CHECK_THROWS_AS(nplr(Measure::kLegs, 7, 1), Error);
  CHECK_THROWS_AS(nplr(Measure::kLmu, 8, 1), Error);
}

}  // namespace
}  // namespace rill::hippo
