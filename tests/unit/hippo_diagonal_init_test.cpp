// Initial values of diagonal state spaces against the table of methods 1.5.
#include <numbers>

#include <rill/core/error.h>
#include <rill/tests/unit/hippo_support.h>

namespace rill::hippo {
namespace {

constexpr double kPi = std::numbers::pi;
using Complex = std::complex<double>;

TEST_CASE("diagonal inits have the frequencies of their definitions") {
  const std::int64_t N = 16, S = 3;
  const auto frequency = [&](std::string_view name, double n) {
    if (name == "lin") return kPi * n;
    if (name == "inv") return N / kPi * (N / (2 * n + 1) - 1);
    if (name == "inv2") return N / kPi * (N / (n + 1) - 1);
    if (name == "quad") return (1 + 2 * n) * (1 + 2 * n) / kPi;
    return 0.0;
  };
  for (const std::string_view name : {"lin", "inv", "inv2", "quad", "real"}) {
    INFO(name);
    const DiagonalInit init = diagonal_init(name, N, S);
    REQUIRE(init.re.size() == 24);
    REQUIRE(init.B.size() == 24);
    REQUIRE(init.P.size() == 24);
    for (std::int64_t s = 0; s < S; ++s) {
      for (std::int64_t n = 0; n < N / 2; ++n) {
        const auto i = std::size_t(s * N / 2 + n);
        CHECK(init.im[i] == Approx(frequency(name, double(n))).margin(1e-12));
        CHECK(init.re[i] == (name == "real" ? double(n + 1) : 0.5));
        CHECK(init.A(s, n) == Complex(-init.re[i], -init.im[i]));
        CHECK(init.B[i] == 1.0);
        CHECK(init.P[i] == 0.0);
      }
    }
    CHECK(diagonal_init("diag-" + std::string(name), N, S).im == init.im);
  }
}

TEST_CASE("legs takes its frequencies and B from the normal part of HiPPO") {
  const Nplr form = nplr(Measure::kLegs, 64, 1);
  for (const std::string_view name : {"legs", "diag-legs", "nplr-legs"}) {
    const DiagonalInit init = diagonal_init(name, 64, 2);
    for (std::int64_t s = 0; s < 2; ++s)
      for (std::int64_t m = 0; m < 32; ++m) {
        CHECK(std::abs(init.A(s, m) - form.W[std::size_t(m)]) < 1e-12);  // rounding at |W| = 1e3
        CHECK(init.B[std::size_t(s * 32 + m)] == form.B[std::size_t(m)]);
        CHECK((init.P[std::size_t(s * 32 + m)] == form.P(m, 0)) == (name == "nplr-legs"));
      }
  }
}

TEST_CASE("inv follows the asymptotics of legs") {
  const DiagonalInit legs = diagonal_init("legs", 64, 1), inv = diagonal_init("inv", 64, 1);
  CHECK(inv.im[0] / legs.im[0] == Approx(1.0).margin(0.02));  // (N / pi)(N - 1) to N^2 / pi
}

TEST_CASE("combinations share the copies in order") {
  const DiagonalInit hippo = diagonal_init("hippo", 16, 4);
  CHECK(hippo.A(0, 3) == diagonal_init("nplr-legs", 16, 1).A(0, 3));
  CHECK(hippo.A(1, 3) == hippo.A(0, 3));
  CHECK(hippo.A(2, 3) == diagonal_init("fout", 16, 1).A(0, 3));
  CHECK(hippo.re[2 * 8] >= 0);
  const DiagonalInit diag = diagonal_init("diag", 16, 2);
  CHECK(diag.A(0, 2) == diagonal_init("inv", 16, 1).A(0, 2));
  CHECK(diag.A(1, 2) == diagonal_init("lin", 16, 1).A(0, 2));
  const DiagonalInit all = diagonal_init("all", 16, 8);
  CHECK(all.A(7, 2) == diag.A(1, 2));
  CHECK(all.A(4, 2) == diag.A(0, 2));
  CHECK(all.A(3, 2) == hippo.A(2, 2));
  CHECK_THROWS_AS(diagonal_init("hippo", 16, 3), Error);
}

TEST_CASE("options: random parts, other B, random P, normalisation") {
  const std::int64_t N = 32;
  const DiagonalInit random =
      diagonal_init("lin", N, 50, {.real_random = true, .imag_random = true, .seed = 7});
  double re = 0, im = 0;
  for (std::size_t i = 0; i < random.re.size(); ++i) {
    CHECK((random.re[i] >= 0 && random.re[i] < 1));
    CHECK((random.im[i] >= 0 && random.im[i] < kPi * N / 2));
    re += random.re[i] / double(random.re.size());
    im += random.im[i] / double(random.im.size());
  }
  CHECK(re == Approx(0.5).margin(0.05));         // 800 draws: five standard errors
  CHECK(im == Approx(kPi * N / 4).margin(2.6));  // the same
  CHECK(diagonal_init("rand", N, 2).im != diagonal_init("rand", N, 2, {.seed = 1}).im);
  CHECK(diagonal_init("rand", N, 2, {.seed = 1}).im == diagonal_init("rand", N, 2, {.seed = 1}).im);

  CHECK(diagonal_init("lin", N, 1, {.b_init = "alternating"}).B[5] == -1.0);
  CHECK(std::abs(diagonal_init("lin", N, 1, {.b_init = "unit-cw"}).B[3] -
                 std::exp(Complex(0, -2 * kPi * 3 / N))) < 1e-15);
  CHECK(std::abs(diagonal_init("lin", N, 1, {.b_init = "unit-ccw"}).B[3] -
                 std::exp(Complex(0, 2 * kPi * 3 / N))) < 1e-15);
  double energy = 0;
  for (const Complex& b : diagonal_init("lin", N, 50, {.b_init = "random"}).B)
    energy += std::norm(b) / 800;
  CHECK(energy == Approx(1.0).margin(0.2));  // 800 draws of variance 1: five standard errors
  energy = 0;
  for (const Complex& p : diagonal_init("dplr-lin", N, 50, {.rank = 2, .p_scale = 3.0}).P)
    energy += std::norm(p) / 1600;
  CHECK(energy == Approx(9.0).margin(1.2));  // 1600 draws of variance 81: five standard errors

  const DiagonalInit unit = diagonal_init("inv", N, 2, {.normalize = true});
  double variance = 0;
  for (std::int64_t m = 0; m < N / 2; ++m)
    variance += 2 * std::norm(unit.B[std::size_t(m)] / unit.A(0, m));
  CHECK(variance == Approx(1.0));
}

TEST_CASE("bad names and sizes are refused") {
  CHECK_THROWS_AS(diagonal_init("lim", 16, 1), Error);
  CHECK_THROWS_AS(diagonal_init("diag-fourier", 16, 1), Error);
  CHECK_THROWS_AS(diagonal_init("lmu", 16, 1), Error);
  CHECK_THROWS_AS(diagonal_init("lin", 15, 1), Error);
  CHECK_THROWS_AS(diagonal_init("lin", 0, 1), Error);
  CHECK_THROWS_AS(diagonal_init("lin", 16, 0), Error);
  CHECK_THROWS_AS(diagonal_init("lin", 1 << 24, 1 << 24), Error);
  CHECK_THROWS_AS(diagonal_init("lin", 1 << 14, 1, {.rank = 1 << 14}), Error);
  CHECK_THROWS_AS(diagonal_init("legt", 16, 1), Error);  // rank 1 by default, legt needs 2
  CHECK_THROWS_AS(diagonal_init("lin", 16, 1, {.b_init = "ones"}), Error);
  CHECK_THROWS_AS(diagonal_init("lin", 16, 1, {.real_scale = -1}), Error);
}

}  // namespace
}  // namespace rill::hippo
