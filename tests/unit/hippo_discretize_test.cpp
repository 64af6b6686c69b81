// Discretisations (methods 1.3) against SciPy's, and the functions of one mode against the dense
// ones.
#include <fstream>
#include <string>

#include <rill/core/error.h>
#include <rill/tests/unit/hippo_support.h>

namespace rill::hippo {
namespace {

using Complex = std::complex<double>;

TEST_CASE("discretisations equal SciPy's cont2discrete") {
  std::ifstream file(RILL_SOURCE_DIR "/tests/golden/hippo/cont2discrete.txt");
  REQUIRE(file.good());
  std::string measure, method;
  double alpha = 0, dt = 0;
  std::int64_t N = 0;
  int blocks = 0;
  while (file >> measure >> method >> alpha >> dt >> N) {
    INFO(measure << " " << method << " dt " << dt);
    Discrete expected{Matrix(N, N), Vector(std::size_t(N))};
    for (double& entry : expected.A.data()) file >> entry;
    for (double& entry : expected.B) file >> entry;
    REQUIRE(file.good());
    const Transition pair = transition(measure_from_name(measure), N);
    const Discrete ours = method == "gbt"
                              ? gbt(pair.A, pair.B, dt, alpha)
                              : discretize(pair.A, pair.B, dt, discretization_from_name(method));
    CHECK(largest_difference(ours.A, expected.A) < 1e-13);  // entries up to 8, some 100 roundings
    CHECK(largest_difference(ours.B, expected.B) < 1e-13);  // the same
    ++blocks;
  }
  CHECK(blocks == 40);
}

TEST_CASE("Mamba's discretisation holds A and steps B by Euler's rule") {
  const Transition pair = transition(Measure::kLegs, 5);
  const Discrete held = zoh(pair.A, pair.B, 0.2);
  const Discrete mamba = discretize(pair.A, pair.B, 0.2, Discretization::kMamba);
  CHECK(mamba.A == held.A);
  for (std::size_t n = 0; n < 5; ++n) CHECK(mamba.B[n] == 0.2 * pair.B[n]);
}

TEST_CASE("a mode is discretised as the real 2 x 2 system that it stands for") {
  // x' = (a + i w) x + (b + i c) f is a real system in (Re x, Im x).
  const Complex A(-0.4, -7.0), B(1.5, -0.25);
  Matrix real(2, 2);
  real(0, 0) = real(1, 1) = A.real();
  real(0, 1) = -A.imag();
  real(1, 0) = A.imag();
  for (const Discretization method :
       {Discretization::kForwardEuler, Discretization::kBilinear, Discretization::kBackwardEuler,
        Discretization::kZoh, Discretization::kMamba}) {
    const Discrete dense = discretize(real, Vector{B.real(), B.imag()}, 0.3, method);
    const DiscreteMode<double> mode = discretize_mode(A, B, 0.3, method);
    CHECK(std::abs(mode.A - Complex(dense.A(0, 0), dense.A(1, 0))) < 1e-14);  // a few roundings
    CHECK(std::abs(mode.B - Complex(dense.B[0], dense.B[1])) < 1e-14);        // the same
    const auto single =
        discretize_mode(std::complex<float>(A), std::complex<float>(B), 0.3f, method);
    CHECK(std::abs(Complex(single.A) - mode.A) < 2e-6);  // float's rounding at |dt A| = 2
    CHECK(std::abs(Complex(single.B) - mode.B) < 2e-6);  // the same
  }
}

TEST_CASE("phi1 keeps its digits near 0, where the plain formula loses them") {
  double worst = 0, plain = 0;
  for (const double size : {1e-30, 1e-12, 1e-8, 1e-5, 1e-4, 1e-3, 0.1, 1.0}) {
    for (int k = 0; k < 16; ++k) {
      const Complex z = std::polar(size, 0.1 + k * 0.39269908169872414);
      // Ten terms of the series in long double are exact to double's rounding for |z| <= 1.
      std::complex<long double> series = 0, term = 1;
      for (int j = 1; j < 30; ++j) {
        series += term;
        term *= std::complex<long double>(z) / static_cast<long double>(j + 1);
      }
      const Complex exact(series);
      const std::complex<float> zf(z);
      worst = std::max(worst, std::abs(phi1(z) - exact) / std::abs(exact));
      CHECK(std::abs(Complex(phi1(zf)) - exact) < 5e-7 * std::abs(exact));  // 4 roundings of float
      if (size == 1e-4)
        plain = std::max(plain, std::abs(Complex((std::exp(zf) - 1.0f) / zf) - exact));
    }
  }
  CHECK(worst < 1e-15);  // 4 roundings of double
  CHECK(plain > 1e-4);   // what phi1 is for
  CHECK(phi1(Complex(0)) == Complex(1));
  CHECK(zoh_mode(Complex(0), Complex(2), 0.5).B == Complex(1));  // A = 0: dt B
}

TEST_CASE("arguments of a discretisation are checked") {
  const Transition pair = transition(Measure::kLegs, 4);
  CHECK_THROWS_AS(gbt(pair.A, Vector(3), 0.1, 0.5), Error);
  CHECK_THROWS_AS(gbt(Matrix(4, 3), pair.B, 0.1, 0.5), Error);
  CHECK_THROWS_AS(gbt(pair.A, pair.B, -0.1, 0.5), Error);
  CHECK_THROWS_AS(gbt(pair.A, pair.B, 0.1, 1.5), Error);
  CHECK_THROWS_AS(zoh(pair.A, pair.B, INFINITY), Error);
  CHECK_THROWS_AS(discretization_from_name("rk4"), Error);
}

}  // namespace
}  // namespace rill::hippo
