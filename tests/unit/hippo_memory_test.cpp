// Online memories and reconstruction of the past (methods 1.4).
#include <numbers>

#include <rill/core/error.h>
#include <rill/core/random.h>
#include <rill/hippo/linear_algebra.h>
#include <rill/tests/unit/hippo_support.h>

namespace rill::hippo {
namespace {

constexpr double kPi = std::numbers::pi;

/// A smooth signal on [0, 1].
double smooth(double x) {
  return 0.6 * std::sin(2 * kPi * 1.7 * x) + 0.3 * std::cos(2 * kPi * 3.1 * x + 0.4) - 0.2 * x;
}

Vector noise(std::int64_t size, std::uint64_t seed) {
  Generator random(seed);
  Vector f(static_cast<std::size_t>(size));
  for (double& sample : f) sample = random.normal();
  return f;
}

/// sqrt(2n + 1) times the integral of P_n(2x - 1) over [0, x].
double antiderivative(int n, double x) {
  const double y = 2 * x - 1;
  if (n == 0) return x;
  return (std::legendre(unsigned(n + 1), y) - std::legendre(unsigned(n - 1), y)) /
         (2 * std::sqrt(2.0 * n + 1));
}

TEST_CASE("held samples give the exact Legendre projection of the step function") {
  const int N = 24, T = 50;
  const Vector f = noise(T, 1);
  ScaleInvariantMemory memory(N, {.method = Discretization::kZoh});
  for (const double sample : f) memory.update(sample);
  CHECK(memory.time() == T);
  Vector expected(N, 0.0);
  for (int n = 0; n < N; ++n)
    for (int k = 0; k < T; ++k)
      expected[std::size_t(n)] += f[std::size_t(k)] * (antiderivative(n, double(k + 1) / T) -
                                                       antiderivative(n, double(k) / T));
  CHECK(largest_difference(memory.coefficients(), expected) < 1e-13);  // 50 steps of rounding
}

TEST_CASE("the closed form of held steps is the exponential in log time") {
  const std::int64_t N = 8;
  const Transition pair = transition(Measure::kLegs, N);
  ScaleInvariantMemory memory(N, {.method = Discretization::kZoh});
  Vector c(8, 0.0);
  c[0] = 1.5;
  memory.update(1.5);
  double time = 1;
  for (const double until : {2.0, 2.25, 7.0, 7.5}) {
    const double f = std::sin(until);
    const Discrete step = zoh(pair.A, pair.B, std::log(until / time));
    c = multiply(step.A, c);
    for (std::size_t n = 0; n < 8; ++n) c[n] += step.B[n] * f;
    memory.update_until(f, until);
    time = until;
    CHECK(largest_difference(memory.coefficients(), c) < 1e-12);  // exponential of |A| = 30
  }
}

TEST_CASE("the exact step shrinks by sqrt(k / (k + 1)), its spectral norm") {
  for (const std::int64_t N : {16, 32}) {
    const Transition pair = transition(Measure::kLegs, N);
    for (const double k : {1.0, 2.0, 10.0, 100.0}) {
      INFO("N " << N << " k " << k);
      const Matrix A = zoh(pair.A, pair.B, std::log((k + 1) / k)).A;
      const Matrix gram = multiply(transpose(A), A);
      ComplexMatrix hermitian(N, N);
      for (std::size_t i = 0; i < gram.data().size(); ++i) hermitian.data()[i] = gram.data()[i];
      const double norm = std::sqrt(hermitian_eigen(hermitian).values.back());
      CHECK(norm ==
            Approx(std::sqrt(k / (k + 1))).epsilon(1e-13));  // 32 roundings of entries below 1
    }
  }
}

TEST_CASE("bilinear and backward updates in O(N) equal the dense ones") {
  const std::int64_t N = 20;
  const Transition pair = transition(Measure::kLegs, N);
  const Vector f = noise(60, 2);
  for (const Discretization method : {Discretization::kBilinear, Discretization::kBackwardEuler}) {
    for (const FirstSample first : {FirstSample::kFromZero, FirstSample::kSets}) {
      ScaleInvariantMemory memory(N, {.method = method, .first_sample = first});
      Vector c(20, 0.0);
      for (std::size_t k = 0; k < f.size(); ++k) {
        memory.update(f[k]);
        if (k == 0 && first == FirstSample::kSets) {
          c[0] = f[0];
          continue;
        }
        // From zero the samples count from 1; where the first sets, those after it count from 1.
        const double d = 1.0 / double(first == FirstSample::kSets ? k : k + 1);
        const Discrete step = discretize(pair.A, pair.B, d, method);
        c = multiply(step.A, c);
        for (std::size_t n = 0; n < c.size(); ++n) c[n] += step.B[n] * f[k];
      }
      CHECK(largest_difference(memory.coefficients(), c) < 1e-12);  // 60 solves of 20 unknowns
    }
  }
}

TEST_CASE("forward Euler grows beyond all bounds at first, bilinear and backward stay below 1") {
  const auto peak = [](Discretization method, std::int64_t N) {
    ScaleInvariantMemory memory(N, {.method = method, .first_sample = FirstSample::kSets});
    double worst = 0;
    for (int k = 0; k < 400; ++k) {
      memory.update(0.5 * std::sin(0.1 * k));
      worst = std::max(worst, largest(memory.coefficients()));
    }
    return worst;
  };
  CHECK(peak(Discretization::kForwardEuler, 16) > 1e7);
  CHECK(peak(Discretization::kForwardEuler, 32) > 1e18);
  CHECK(peak(Discretization::kForwardEuler, 64) > 1e42);
  for (const std::int64_t N : {16, 32, 64}) {
    CHECK(peak(Discretization::kBilinear, N) < 1);
    CHECK(peak(Discretization::kBackwardEuler, N) < 1);
    CHECK(peak(Discretization::kZoh, N) < 1);
  }
}

double history_error(Discretization method, std::int64_t N, int T, double scale = 1) {
  ScaleInvariantMemory memory(N, {.method = method});
  for (int k = 0; k < T; ++k) memory.update_until(smooth((k + 0.5) / T), scale * (k + 1));
  Vector positions, truth;
  for (int k = 0; k < T; ++k) {
    positions.push_back((k + 0.5) / T);
    truth.push_back(smooth(positions.back()));
  }
  return root_mean_square(memory.reconstruct(positions), truth);
}

TEST_CASE("the whole past comes back from 32 coefficients") {
  // Held samples: second order in the step, 5e-6 at 2000 samples. Bilinear: first order, from its
  // early steps.
  const double coarse = history_error(Discretization::kZoh, 32, 1000);
  const double fine = history_error(Discretization::kZoh, 32, 2000);
  CHECK(fine < 1e-5);                                                       // measured 5.4e-6
  CHECK(coarse / fine == Approx(4.0).margin(0.2));                          // second order
  CHECK(history_error(Discretization::kBilinear, 32, 1000) < 6e-3);         // measured 4.5e-3
  CHECK(history_error(Discretization::kBackwardEuler, 32, 1000) < 1.5e-2);  // measured 1.1e-2
  CHECK(history_error(Discretization::kZoh, 8, 1000) > 0.1);  // too few for a signal of nine bends
}

TEST_CASE("the unit of time does not matter, and a held sample may be cut") {
  // 1024: a power of two scales without rounding.
  CHECK(history_error(Discretization::kZoh, 16, 100) ==
        history_error(Discretization::kZoh, 16, 100, 1024));
  ScaleInvariantMemory whole(12, {.method = Discretization::kZoh}), cut = whole;
  whole.update_until(1.0, 2.0);
  whole.update_until(-0.5, 5.0);
  cut.update_until(1.0, 0.3);
  cut.update_until(1.0, 2.0);
  cut.update_until(-0.5, 2.5);
  cut.update_until(-0.5, 5.0);
  CHECK(largest_difference(whole.coefficients(), cut.coefficients()) < 1e-14);  // a few roundings
  whole.reset();
  CHECK(whole.time() == 0);
  CHECK(largest(whole.coefficients()) == 0);
}

TEST_CASE("time-invariant memories in O(N) equal the dense recurrence, at any time step") {
  for (const Measure measure : all_measures()) {
    INFO(name_of(measure));
    const std::int64_t N = 10;
    const Transition pair = transition(measure, N);
    for (const Discretization method :
         {Discretization::kBilinear, Discretization::kBackwardEuler, Discretization::kZoh}) {
      TimeInvariantMemory memory(measure, N, 0.02, {.method = method});
      Vector c(10, 0.0);
      const Vector f = noise(30, 3);
      for (std::size_t k = 0; k < f.size(); ++k) {
        const double dt = k % 3 == 0 ? 0.05 : 0.02;
        if (k % 3 == 0)
          memory.update_after(f[k], dt);
        else
          memory.update(f[k]);
        const Discrete step = discretize(pair.A, pair.B, dt, method);
        c = multiply(step.A, c);
        for (std::size_t n = 0; n < c.size(); ++n) c[n] += step.B[n] * f[k];
      }
      const double scale = std::max(1.0, largest(c));
      CHECK(largest_difference(memory.coefficients(), c) <
            1e-12 * scale);  // 30 solves of 10 unknowns
      memory.reset();
      CHECK(largest(memory.coefficients()) == 0);
    }
  }
}

/// RMSE of the past at ages lo .. hi (in the units of time), after a signal of period 2.5 and a
/// slower one.
double past_error(Measure measure, std::int64_t N, double lo, double hi, double window = 0) {
  const double dt = 1e-3;
  const double unit = window == 0 ? 1.0 : window / natural_window(measure);
  TimeInvariantMemory memory(measure, N, dt * unit, {.transition = {.window = window}});
  const auto signal = [](double t) { return 0.6 * std::sin(2.5 * t) + 0.4 * std::cos(1.1 * t); };
  const int steps = 20000;
  // A step's input stands for the interval's average: sampled in its middle.
  for (int k = 0; k < steps; ++k) memory.update(signal((k + 0.5) * dt));
  Vector ages, truth;
  for (int i = 0; i <= 200; ++i) {
    const double age = lo + (hi - lo) * i / 200;
    ages.push_back(age * unit);
    truth.push_back(signal(steps * dt - age));
  }
  return root_mean_square(memory.reconstruct(ages), truth);
}

TEST_CASE("the recent past comes back from time-invariant memories") {
  CHECK(past_error(Measure::kLegt, 32, 0, 2) < 1e-6);  // of the order of dt^2; measured 7e-7
  CHECK(past_error(Measure::kLmu, 32, 0, 1) < 1e-6);   // the same; measured 4e-7
  CHECK(past_error(Measure::kLegs, 64, 0, 3) < 4e-3);  // older parts are coarser; measured 2.9e-3
  CHECK(past_error(Measure::kFourier, 32, 0.5, 1.5) < 0.03);     // the window's ends differ; 0.015
  CHECK(past_error(Measure::kFourier2, 32, 0.25, 0.75) < 0.01);  // the same; measured 5e-3
  CHECK(past_error(Measure::kLagt, 64, 0, 3) < 0.05);      // a signal that does not decay; 0.036
  CHECK(past_error(Measure::kLegt, 32, 0, 2, 50) < 1e-6);  // a window of 50 in its own units
  CHECK(past_error(Measure::kLmu, 32, 0, 1, 100) < 1e-6);  // the same
}

TEST_CASE("the Fourier bases are orthonormal over their windows, but for the dead sine") {
  for (const Measure measure : {Measure::kFourier, Measure::kFourier2}) {
    const int N = 12, points = 64;  // equal weights are exact for frequencies below half of them
    const double window = natural_window(measure);
    Matrix gram(N, N);
    Vector g(N);
    for (int i = 0; i < points; ++i) {
      basis(measure, window * i / points, g);
      for (int n = 0; n < N; ++n)
        for (int k = 0; k < N; ++k) gram(n, k) += g[std::size_t(n)] * g[std::size_t(k)] / points;
    }
    Matrix expected = Matrix::identity(N);
    expected(1, 1) = 0;
    CHECK(largest_difference(gram, expected) < 1e-14);  // 64 roundings of numbers below 2
  }
}

TEST_CASE("bases are what the definitions say") {
  Vector g(6);
  basis(Measure::kLegt, 0.5, g);
  CHECK(g[2] == Approx(std::sqrt(5.0) * std::legendre(2, 0.5)));
  basis(Measure::kLmu, 0.25, g);
  CHECK(g[3] == Approx(std::legendre(3, -0.5)));
  basis(Measure::kLagt, 1.7, g);
  CHECK(g[4] == Approx(std::exp(-0.85) * std::laguerre(4, 1.7)));
  basis(Measure::kLegs, 0.3, g);
  CHECK(g[5] == Approx(std::sqrt(11.0) * std::legendre(5, 2 * std::exp(-0.3) - 1)));
  basis(Measure::kFourier, 0.3, g);
  CHECK(g[0] == 1);
  CHECK(g[1] == 0);
  CHECK(g[4] == Approx(std::sqrt(2.0) * std::cos(2 * kPi * 0.3)));
  CHECK(g[5] == Approx(std::sqrt(2.0) * std::sin(2 * kPi * 0.3)));
  basis(Measure::kFourier2, 0.3, g);
  CHECK(g[4] == Approx(std::sqrt(2.0) * std::cos(4 * kPi * 0.3)));
  // initial_c reads the oldest value: the basis at the end of the window.
  basis(Measure::kLegt, 2.0, g);
  CHECK(largest_difference(g, initial_c(Measure::kLegt, 6)) < 1e-14);  // rounding
  basis(Measure::kFourier, 2.0, g);
  CHECK(largest_difference(g, initial_c(Measure::kFourier, 6)) < 1e-14);  // rounding of sin(4 pi)
}

TEST_CASE("arguments of the memories are checked") {
  Vector g(4);
  CHECK_THROWS_AS(ScaleInvariantMemory(0), Error);
  CHECK_THROWS_AS(ScaleInvariantMemory(4, {.method = Discretization::kMamba}), Error);
  ScaleInvariantMemory memory(4);
  memory.update(1);
  CHECK_THROWS_AS(memory.update_until(1, 1.0), Error);
  CHECK_THROWS_AS(memory.update_until(1, NAN), Error);
  CHECK_THROWS_AS(memory.reconstruct(Vector{1.5}), Error);
  CHECK_THROWS_AS(TimeInvariantMemory(Measure::kLegt, 4, 0.0), Error);
  CHECK_THROWS_AS(TimeInvariantMemory(Measure::kLegt, 4, 0.1).update_after(1, -1), Error);
  CHECK_THROWS_AS(basis(Measure::kRandom, 0.1, g), Error);
  CHECK_THROWS_AS(basis(Measure::kLegs, 0.1, g, 2.0), Error);
  CHECK_THROWS_AS(basis(Measure::kLegt, -0.1, g), Error);
}

}  // namespace
}  // namespace rill::hippo
