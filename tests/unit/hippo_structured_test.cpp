// Products and solves in O(N) against the dense matrices (methods 1.1).
#include <rill/core/error.h>
#include <rill/core/random.h>
#include <rill/tests/unit/hippo_support.h>

namespace rill::hippo {
namespace {

Vector random_vector(std::int64_t size, std::uint64_t seed) {
  Generator random(seed);
  Vector x(static_cast<std::size_t>(size));
  for (double& entry : x) entry = random.normal();
  return x;
}

/// (I + d A) x.
Vector dense_forward(const Matrix& A, double d, const Vector& x) {
  Vector y = multiply(A, x);
  for (std::size_t n = 0; n < x.size(); ++n) y[n] = x[n] + d * y[n];
  return y;
}

TEST_CASE("the prefix sums of legs and legt equal the dense products") {
  for (const std::int64_t N : {1, 2, 3, 7, 64}) {
    const Vector x = random_vector(N, 1);
    Vector y(x.size()), scratch(2 * x.size());
    const double scale = double(N * N);  // of a product's entries
    const Matrix legs = transition(Measure::kLegs, N).A, legt = transition(Measure::kLegt, N).A;
    legs_multiply(x, y);
    CHECK(largest_difference(y, multiply(legs, x)) < 1e-14 * scale);  // N roundings an entry
    legt_multiply(x, y);
    CHECK(largest_difference(y, multiply(legt, x)) < 1e-14 * scale);  // the same
    for (const double d : {1e-3, 0.1, 1.0, 30.0}) {
      legs_solve(d, x, y);
      CHECK(largest_difference(dense_forward(legs, -d, y), x) < 1e-13 * scale);  // residual
      legt_solve(d, x, y, scratch);
      CHECK(largest_difference(dense_forward(legt, -d, y), x) < 1e-13 * scale);  // residual
    }
  }
}

TEST_CASE("results may overwrite their input") {
  const Vector x = random_vector(9, 2);
  Vector y(9), scratch(18);
  const auto check_in_place = [&](auto operation) {
    Vector same = x;
    operation(x, y);
    operation(same, same);
    CHECK(same == y);
  };
  check_in_place([](const Vector& in, Vector& out) { legs_multiply(in, out); });
  check_in_place([](const Vector& in, Vector& out) { legs_solve(0.3, in, out); });
  check_in_place([](const Vector& in, Vector& out) { legt_multiply(in, out); });
  check_in_place([&](const Vector& in, Vector& out) { legt_solve(0.3, in, out, scratch); });
  const LsslFamily family = lssl_family("legt", 9);
  check_in_place(
      [&](const Vector& in, Vector& out) { family.forward_mult(0.3, in, out, scratch); });
  check_in_place(
      [&](const Vector& in, Vector& out) { family.inverse_mult(0.3, in, out, scratch); });
}

TEST_CASE("structured transitions equal the dense ones, for every measure and size") {
  for (const Measure measure : all_measures()) {
    if (!has_structure(measure)) {
      CHECK_THROWS_AS(StructuredTransition(measure, 8), Error);
      continue;
    }
    INFO(name_of(measure));
    for (const std::int64_t N : {1, 2, 4, 9, 32}) {
      const bool pairs = name_of(measure).starts_with("fourier");
      if (pairs && N % 2 == 1) continue;
      TransitionOptions options{.beta = 0.4};
      if (natural_window(measure) > 0) options.window = 5;
      if (measure == Measure::kLagt) options.beta = 1;
      const Transition pair = transition(measure, N, options);
      const StructuredTransition fast(measure, N, options);
      const Vector x = random_vector(N, 3);
      Vector y(x.size()), scratch(std::size_t(fast.scratch_size()));
      const double scale = std::max(1.0, largest(multiply(pair.A, x)));
      fast.multiply(x, y, scratch);
      CHECK(largest_difference(y, multiply(pair.A, x)) < 1e-12 * scale);  // N roundings, Thomas
      fast.forward_mult(0.7, x, y, scratch);
      CHECK(largest_difference(y, dense_forward(pair.A, 0.7, x)) < 1e-12 * scale);  // the same
      for (const double d : {1e-3, 0.5, 2.0, 20.0}) {
        fast.inverse_mult(d, x, y, scratch);
        const double size = std::max(1.0, d * largest(multiply(pair.A, y)));
        CHECK(largest_difference(dense_forward(pair.A, -d, y), x) <
              1e-11 * size * scale);  // residual
      }
      CHECK(largest_difference(fast.B(), pair.B) == 0);
    }
  }
}

TEST_CASE("LSSL families: legs, lagt and legt are the table's; all have exact inverses") {
  const std::int64_t N = 10;
  const double kRounding = 1e-12;  // entries up to 19, one tridiagonal solve
  CHECK(largest_difference(lssl_family("legs", N).dense().A, transition(Measure::kLegs, N).A) <
        kRounding);
  CHECK(largest_difference(lssl_family("legs", N).dense().B, transition(Measure::kLegs, N).B) <
        kRounding);
  CHECK(largest_difference(lssl_family("lagt", N).dense().A, transition(Measure::kLagt, N).A) <
        kRounding);
  CHECK(largest_difference(lssl_family("legt", N).dense().A,
                           transition(Measure::kLegt, N, {.window = 1}).A) < kRounding);
  CHECK(largest_difference(lssl_family("legt", N).dense().B,
                           transition(Measure::kLegt, N, {.window = 1}).B) < kRounding);

  for (const std::string_view name : {"legt", "lagt", "legs", "jac", "cheb1", "cheb2"}) {
    INFO(name);
    const LsslFamily family = lssl_family(name, N, 5);
    const Transition dense = family.dense();
    const Vector x = random_vector(N, 4);
    Vector y(x.size()), scratch(20);
    family.forward_mult(0.2, x, y, scratch);
    const double scale = std::max(1.0, largest(y));
    CHECK(largest_difference(y, dense_forward(dense.A, 0.2, x)) < 1e-10 * scale);  // cond(T) = 1e3
    family.inverse_mult(0.2, x, y, scratch);
    CHECK(largest_difference(dense_forward(dense.A, -0.2, y), x) <
          1e-9 * scale);  // the same, twice
  }
  // e = 1 + d c vanishes here, and with it a division that the algorithm avoids.
  const LsslFamily lagt = lssl_family("lagt", N);
  const Vector x = random_vector(N, 6);
  Vector y(x.size()), scratch(20);
  lagt.inverse_mult(2.0, x, y, scratch);
  CHECK(largest_difference(dense_forward(lagt.dense().A, -2.0, y), x) < 1e-11);  // residual
  CHECK_THROWS_AS(lssl_family("hermite", 4), Error);
  CHECK_THROWS_AS(lssl_family("legs", 0), Error);
}

TEST_CASE("sizes are checked") {
  Vector x(4), y(3), scratch(8);
  CHECK_THROWS_AS(legs_multiply(x, y), Error);
  CHECK_THROWS_AS(legt_solve(0.1, x, x, std::span<double>(scratch).first(7)), Error);
  CHECK_THROWS_AS(StructuredTransition(Measure::kLegs, 5).multiply(x, x, scratch), Error);
}

}  // namespace
}  // namespace rill::hippo
