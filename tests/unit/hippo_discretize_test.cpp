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
  CHECK(blocks == 132);  // 11 measures, 6 methods, 2 steps
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

TEST_CASE("a discretisation that does not exist is an error, not a NaN") {
  const auto refuses = [](const Matrix& A, double dt, double alpha) {
    const Vector B(std::size_t(A.rows()), 1.0);
    try {
      gbt(A, B, dt, alpha);
    } catch (const Error& error) {
      return error.code() == ErrorCode::kValue;
    }
    return false;
  };
  Matrix A(2, 2);  // eigenvalues 0 and 0.7, the latter not exact in binary
  A(0, 0) = 0.1;
  A(0, 1) = 0.2;
  A(1, 0) = 0.3;
  A(1, 1) = 0.6;
  CHECK(refuses(Matrix::identity(3), 1.0, 1.0));  // exactly singular
  CHECK(refuses(A, 1 / 0.7, 1.0));                // singular but for rounding
  CHECK(refuses(A, 2 / 0.7, 0.5));
  CHECK(!refuses(A, 1.0, 1.0));
  A(1, 1) = NAN;
  CHECK(refuses(A, 1.0, 0.5));
  // Rows of very different size are no harm, and neither are stiff systems.
  const Discrete stiff = gbt(Matrix::diagonal(Vector{-1e20, -1.0}), Vector{1, 1}, 1.0, 0.5);
  CHECK(stiff.A(1, 1) == Approx(1.0 / 3));
  CHECK(!refuses(transition(Measure::kLegs, 64).A, 1e9, 0.5));
}

TEST_CASE("complex quotients neither overflow nor underflow, however large or small z is") {
  // The sums of squares in a plain complex division would be infinite or 0 here.
  const auto check_at = [](auto size, double bound) {
    using T = decltype(size);
    using Wide = std::complex<long double>;
    const std::complex<T> A(-size, T(2) * size), B(T(1.5), T(-0.5));
    const Wide z(A), b(B);
    const auto close = [bound](std::complex<T> value, Wide exact) {
      CHECK(double(std::abs(Wide(value) - exact) / std::abs(exact)) < bound);
    };
    // Far out e^z is 0; close to 0 phi1 is 1 + z / 2.
    close(phi1(A), size > 1 ? -1.0L / z : 1.0L + z / 2.0L);
    close(zoh_mode(A, B, T(1)).B, (size > 1 ? -1.0L / z : 1.0L + z / 2.0L) * b);
    for (const T alpha : {T(0.5), T(1)}) {
      const Wide inverse = 1.0L / (1.0L - static_cast<long double>(alpha) * z);
      const DiscreteMode<T> mode = gbt_mode(A, B, T(1), alpha);
      close(mode.B, b * inverse);
      // The sum before the product is exact to rounding: its terms differ by the whole range.
      const Wide numerator = 1.0L + static_cast<long double>(T(1) - alpha) * z;
      close(mode.A, numerator * inverse);
    }
  };
  for (const double size : {1e200, 1e-200, 1e150, 1e-150}) check_at(size, 2e-15);
  for (const float size : {1e25f, 1e-25f}) check_at(size, 1e-6);  // a few roundings of float
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
