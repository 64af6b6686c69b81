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

/// The inverse of a matrix by Gauss and Jordan with row exchanges, in long double.
Matrix inverse(const Matrix& a) {
  const std::int64_t N = a.rows();
  std::vector<std::vector<long double>> rows(std::size_t(N),
                                             std::vector<long double>(std::size_t(2 * N)));
  for (std::size_t i = 0; i < std::size_t(N); ++i) {
    for (std::size_t j = 0; j < std::size_t(N); ++j)
      rows[i][j] = a(std::int64_t(i), std::int64_t(j));
    rows[i][std::size_t(N) + i] = 1.0L;
  }
  for (std::size_t k = 0; k < rows.size(); ++k) {
    const auto largest_row = std::max_element(
        rows.begin() + std::ptrdiff_t(k), rows.end(),
        [k](const auto& x, const auto& y) { return std::abs(x[k]) < std::abs(y[k]); });
    std::swap(*largest_row, rows[k]);
    const long double pivot = rows[k][k];
    for (long double& entry : rows[k]) entry /= pivot;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const long double factor = i == k ? 0.0L : rows[i][k];
      for (std::size_t j = 0; j < rows[i].size(); ++j) rows[i][j] -= factor * rows[k][j];
    }
  }
  Matrix result(N, N);
  for (std::int64_t i = 0; i < N; ++i)
    for (std::int64_t j = 0; j < N; ++j)
      result(i, j) = double(rows[std::size_t(i)][std::size_t(N + j)]);
  return result;
}

/// -diag(p) (T^-1 + diag(c)) diag(p), T of the diagonals dl (from row 1), d and du.
Matrix from_definition(const Vector& p, const Vector& c, const Vector& dl, const Vector& d,
                       const Vector& du) {
  const auto N = std::int64_t(p.size());
  Matrix T(N, N);
  for (std::int64_t n = 0; n < N; ++n) {
    T(n, n) = d[std::size_t(n)];
    if (n > 0) T(n, n - 1) = dl[std::size_t(n)];
    if (n + 1 < N) T(n, n + 1) = du[std::size_t(n)];
  }
  Matrix A = inverse(T);
  for (std::int64_t n = 0; n < N; ++n)
    for (std::int64_t k = 0; k < N; ++k)
      A(n, k) =
          -p[std::size_t(n)] * (A(n, k) + (n == k ? c[std::size_t(n)] : 0.0)) * p[std::size_t(k)];
  return A;
}

TEST_CASE("LSSL families are their definitions: jac, cheb1, cheb2") {
  for (const std::size_t N : {1, 2, 3, 10, 11}) {
    INFO("N " << N);
    const Vector zero(N, 0.0), one(N, 1.0);
    Vector p(N), b(N);
    for (std::size_t n = 0; n < N; ++n) {
      p[n] = std::sqrt(2.0 * double(n) + 2.0);
      b[n] = 2.0 * p[n];
    }
    const Transition jac = lssl_family("jac", std::int64_t(N)).dense();
    const Matrix exact = from_definition(p, zero, Vector(N, -1.0), one, zero);
    CHECK(largest_difference(jac.A, exact) < 1e-13);  // entries up to 22
    CHECK(largest_difference(jac.B, b) < 1e-15);      // one rounding each

    for (const bool first_kind : {true, false}) {
      INFO("first kind " << first_kind);
      const LsslFamily family = lssl_family(first_kind ? "cheb1" : "cheb2", std::int64_t(N), 5);
      // The diagonal is drawn: 1e-3 normal.
      for (const double entry : family.main) CHECK((entry != 0.0 && std::abs(entry) < 5e-3));
      Vector dl(N, -0.5), du(N, 0.5);
      if (first_kind && N > 1) dl[1] *= std::sqrt(2.0);
      if (first_kind && N > 1) du[0] *= std::sqrt(2.0);
      const Transition dense = family.dense();
      const Matrix definition = from_definition(one, zero, dl, family.main, du);
      // Thomas's algorithm does not pivot: a first pivot of 1e-3 costs up to 6 digits.
      CHECK(largest_difference(dense.A, definition) < 1e-9 * largest(definition.data()));
      CHECK(largest_difference(dense.B, one) == 0);
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
  CHECK_THROWS_AS(lssl_family("legs", INT64_MAX), Error);
}

TEST_CASE("sizes are checked") {
  Vector x(4), y(3), scratch(8);
  CHECK_THROWS_AS(legs_multiply(x, y), Error);
  CHECK_THROWS_AS(legt_solve(0.1, x, x, std::span<double>(scratch).first(7)), Error);
  CHECK_THROWS_AS(StructuredTransition(Measure::kLegs, 5).multiply(x, x, scratch), Error);
}

}  // namespace
}  // namespace rill::hippo
