// The scan algorithms, exactly: non-commutative operators over integers modulo a prime, at all edge
// lengths.
#include <rill/scan/algorithms.h>
#include <rill/tests/support/catch.h>
#include <rill/tests/unit/scan_rings.h>

#include <array>
#include <complex>
#include <cstdint>
#include <random>

using namespace rill::scan;

namespace {

static_assert(ScanOperator<MatrixProduct> && ScanOperator<Affine<Mod>> &&
              ScanOperator<Affine<double>> && ScanOperator<Affine<std::complex<double>>> &&
              ScanOperator<LogAffine<double>> && ScanOperator<Segmented<MatrixProduct>>);

std::vector<MatrixProduct::Element> random_matrices(std::size_t n) {
  std::mt19937_64 random(n + 1);
  std::vector<MatrixProduct::Element> x(n);
  for (auto& element : x)
    for (auto& value : element) value = random() % kPrime;
  return x;
}

std::vector<std::uint8_t> random_resets(std::size_t n, unsigned one_in) {
  std::mt19937_64 random(7 * n + one_in);
  std::vector<std::uint8_t> reset(n);
  for (auto& value : reset) value = random() % one_in == 0;
  return reset;
}

// y_i by definition: a product of its own for every i.
std::vector<MatrixProduct::Element> by_definition(const std::vector<MatrixProduct::Element>& x,
                                                  const MatrixProduct::Element& carry,
                                                  Direction direction,
                                                  const std::vector<std::uint8_t>& reset) {
  const MatrixProduct op;
  std::vector<MatrixProduct::Element> y(x.size());
  const bool forward = direction == Direction::kForward;
  for (std::size_t i = 0; i < x.size(); ++i) {
    MatrixProduct::Element value = carry;
    for (std::size_t step = 0; step < x.size(); ++step) {
      const std::size_t at = forward ? step : x.size() - 1 - step;
      if (forward ? at > i : at < i) break;
      const std::size_t cut = forward ? at : at + 1;
      if (cut < reset.size() && reset[cut]) value = op.identity();
      value = op.combine(value, x[at]);
    }
    y[i] = value;
  }
  return y;
}

}  // namespace

TEST_CASE("operators are associative and have an identity") {
  const auto m = random_matrices(3);
  const MatrixProduct op;
  CHECK(op.combine(op.combine(m[0], m[1]), m[2]) == op.combine(m[0], op.combine(m[1], m[2])));
  CHECK(op.combine(m[0], m[1]) != op.combine(m[1], m[0]));
  CHECK(op.combine(op.identity(), m[0]) == m[0]);
  CHECK(op.combine(m[0], op.identity()) == m[0]);
  const Affine<Mod> affine;
  const AffineMap<Mod> x{Mod(5), Mod(7)}, y{Mod(11), Mod(13)}, z{Mod(17), Mod(19)};
  CHECK(affine.combine(affine.combine(x, y), z) == affine.combine(x, affine.combine(y, z)));
  CHECK(affine.combine(x, y)(Mod(3)) == y(x(Mod(3))));
  const Segmented<MatrixProduct> segmented;
  for (int bits = 0; bits < 8; ++bits) {
    using Element = Segmented<MatrixProduct>::Element;
    const Element a{m[0], (bits & 1) != 0}, b{m[1], (bits & 2) != 0}, c{m[2], (bits & 4) != 0};
    const Element left = segmented.combine(segmented.combine(a, b), c);
    const Element right = segmented.combine(a, segmented.combine(b, c));
    CHECK((left.value == right.value && left.reset == right.reset));
  }
}

TEST_CASE("scans equal their definition at every edge length, forward and reverse, in any blocks") {
  const MatrixProduct op;
  const auto carry = random_matrices(1)[0];
  for (const std::size_t n : kLengths) {
    const auto x = random_matrices(n);
    for (const Direction direction : {Direction::kForward, Direction::kReverse}) {
      const auto expected = by_definition(x, carry, direction, {});
      std::vector<MatrixProduct::Element> y(n);
      const auto out = serial<MatrixProduct>(op, x, y, carry, direction);
      CHECK(y == expected);
      CHECK(out == op.combine(carry, reduce<MatrixProduct>(op, x, direction)));
      for (const std::size_t block : {1u, 2u, 3u, 8u, 16u, 64u, 1000u}) {
        std::vector<MatrixProduct::Element> z(n);
        CHECK(blocked<MatrixProduct>(op, x, z, carry, block, direction) == out);
        CHECK(z == expected);
      }
    }
  }
}

TEST_CASE("blocks may run in any order and at once") {
  const MatrixProduct op;
  rill::ThreadPool pool(4);
  const auto carry = random_matrices(1)[0];
  for (const std::size_t n : kLengths) {
    const auto x = random_matrices(n);
    for (const Direction direction : {Direction::kForward, Direction::kReverse}) {
      std::vector<MatrixProduct::Element> expected(n), shuffled(n), at_once(n);
      const auto out = serial<MatrixProduct>(op, x, expected, carry, direction);
      for (const std::size_t block : {1u, 3u, 16u}) {
        CHECK(blocked<MatrixProduct>(op, x, shuffled, carry, block, direction, RunShuffled{}) ==
              out);
        CHECK(blocked<MatrixProduct>(op, x, at_once, carry, block, direction, RunOnPool{&pool}) ==
              out);
        CHECK(shuffled == expected);
        CHECK(at_once == expected);
      }
    }
  }
}

TEST_CASE("scans may be cut anywhere, and in place") {
  const MatrixProduct op;
  const auto x = random_matrices(65);
  const auto carry = random_matrices(2)[1];
  std::vector<MatrixProduct::Element> whole(x.size());
  const auto out = serial<MatrixProduct>(op, x, whole, carry);
  for (std::size_t cut = 0; cut <= x.size(); ++cut) {
    std::vector<MatrixProduct::Element> y = x;
    const std::span<MatrixProduct::Element> all(y);
    const auto middle = serial<MatrixProduct>(op, all.first(cut), all.first(cut), carry);
    CHECK(blocked<MatrixProduct>(op, all.subspan(cut), all.subspan(cut), middle, 8) == out);
    CHECK(y == whole);
  }
}

TEST_CASE("a reset is a fresh state in either direction and in any blocks") {
  using Cut = Segmented<MatrixProduct>;
  const Cut op;
  const auto carry = random_matrices(1)[0];
  for (const std::size_t n : kLengths) {
    const auto x = random_matrices(n);
    for (const unsigned one_in : {1u, 3u, 20u}) {
      const auto reset = random_resets(n, one_in);
      for (const Direction direction : {Direction::kForward, Direction::kReverse}) {
        const auto expected = by_definition(x, carry, direction, reset);
        const auto elements = with_resets<MatrixProduct>(x, reset, direction);
        for (const std::size_t block : {1u, 4u, 16u, 1000u}) {
          std::vector<Cut::Element> y(n);
          const auto out = blocked<Cut>(op, elements, y, {carry, false}, block, direction);
          for (std::size_t i = 0; i < n; ++i) REQUIRE(y[i].value == expected[i]);
          if (n > 0)
            CHECK(out.value ==
                  (direction == Direction::kForward ? expected.back() : expected.front()));
          if (n == 0) CHECK(out.value == carry);
        }
      }
    }
  }
  const std::vector<std::uint8_t> cut_first = {1, 0};
  CHECK(cut_carry(MatrixProduct{}, carry, cut_first) == MatrixProduct{}.identity());
  CHECK(cut_carry(MatrixProduct{}, carry, {}) == carry);
}

TEST_CASE("a scan of affine maps is the recurrence") {
  std::mt19937_64 random(3);
  for (const std::size_t n : kLengths) {
    std::vector<AffineMap<Mod>> maps(n), scanned(n);
    for (auto& map : maps) map = {Mod(random()), Mod(random())};
    blocked<Affine<Mod>>({}, maps, scanned, {}, 8);
    Mod h(12345);
    for (std::size_t i = 0; i < n; ++i) {
      h = maps[i](h);
      REQUIRE(scanned[i](Mod(12345)) == h);
    }
  }
}

TEST_CASE("scans of complex affine maps are the recurrence, in either direction and any blocks") {
  // Units times integers: exact in double.
  using C = std::complex<double>;
  constexpr C kUnits[] = {{1, 0}, {0, 1}, {-1, 0}, {0, -1}};
  std::mt19937_64 random(11);
  const auto integer = [&] { return static_cast<double>(random() % 9) - 4; };
  for (const std::size_t n : kLengths) {
    std::vector<AffineMap<C>> maps(n), scanned(n), in_blocks(n);
    for (auto& map : maps) map = {kUnits[random() % 4], {integer(), integer()}};
    const AffineMap<C> carry{kUnits[random() % 4], {integer(), integer()}};
    for (const Direction direction : {Direction::kForward, Direction::kReverse}) {
      const auto out = serial<Affine<C>>({}, maps, scanned, carry, direction);
      for (const std::size_t block : {1u, 4u, 16u, 1000u}) {
        CHECK(blocked<Affine<C>>({}, maps, in_blocks, carry, block, direction) == out);
        CHECK(in_blocks == scanned);
      }
      C h = carry(C(3, -2));
      for (std::size_t i = 0; i < n; ++i) {
        const std::size_t at = direction == Direction::kForward ? i : n - 1 - i;
        h = maps[at](h);
        REQUIRE(scanned[at](C(3, -2)) == h);
      }
    }
  }
}

TEST_CASE("the log-domain operator is the plain one of logarithms") {
  const double none = -std::numeric_limits<double>::infinity();
  const LogAffine<double> op;
  const LogAffineMap<double> x{std::log(0.3), std::log(2.0)}, y{std::log(0.9), std::log(0.1)};
  const auto xy = op.combine(x, y);
  CHECK(std::exp(xy.log_a) == Approx(0.27));
  CHECK(std::exp(xy.log_b) == Approx(0.9 * 2.0 + 0.1));
  CHECK(op.combine(op.identity(), x) == x);
  CHECK(op.combine(x, op.identity()) == x);
  CHECK(log_add_exp(none, none) == none);
  CHECK(log_add_exp(none, 3.0) == 3.0);
  CHECK(log_add_exp(1000.0, 1000.0) == Approx(1000.0 + std::log(2.0)));
}

namespace {

// Positive maps as they are and as logarithms; a fifth of the a and of the b are 0.
struct LogMaps {
  std::vector<AffineMap<double>> plain;
  std::vector<LogAffineMap<double>> logs;
};

LogMaps log_maps(std::size_t n) {
  std::mt19937_64 random(n + 5);
  std::uniform_real_distribution<double> uniform(0.1, 1.1);
  LogMaps maps;
  for (std::size_t i = 0; i < n; ++i) {
    const double a = random() % 5 == 0 ? 0.0 : uniform(random);
    const double b = random() % 5 == 0 ? 0.0 : uniform(random);
    maps.plain.push_back({a, b});
    maps.logs.push_back({std::log(a), std::log(b)});
  }
  return maps;
}

/// e^log is the value, to 1e-13: log's and exp's roundings over up to 257 steps without
/// cancellation.
bool same(const LogAffineMap<double>& log, const AffineMap<double>& plain) {
  const auto close = [](double x, double y) { return std::abs(x - y) <= 1e-13 * y; };
  return close(std::exp(log.log_a), plain.a) && close(std::exp(log.log_b), plain.b);
}

}  // namespace

TEST_CASE("the log-domain operator is associative") {
  const LogAffine<double> op;
  const Affine<double> plain;
  for (std::size_t seed = 0; seed < 200; ++seed) {
    const LogMaps maps = log_maps(3 + seed);
    const auto* x = &maps.logs[seed];
    const auto* p = &maps.plain[seed];
    const auto expected = plain.combine(plain.combine(p[0], p[1]), p[2]);
    CHECK(same(op.combine(op.combine(x[0], x[1]), x[2]), expected));
    CHECK(same(op.combine(x[0], op.combine(x[1], x[2])), expected));
  }
}

TEST_CASE("scans in the log domain are the plain scans, in either direction and any blocks") {
  const AffineMap<double> carry{0.7, 0.4};
  const LogAffineMap<double> log_carry{std::log(0.7), std::log(0.4)};
  for (const std::size_t n : kLengths) {
    const LogMaps maps = log_maps(n);
    std::vector<AffineMap<double>> plain(n);
    std::vector<LogAffineMap<double>> logs(n);
    for (const Direction direction : {Direction::kForward, Direction::kReverse}) {
      const auto out = serial<Affine<double>>({}, maps.plain, plain, carry, direction);
      CHECK(same(serial<LogAffine<double>>({}, maps.logs, logs, log_carry, direction), out));
      for (std::size_t i = 0; i < n; ++i) REQUIRE(same(logs[i], plain[i]));
      for (const std::size_t block : {1u, 5u, 16u, 1000u}) {
        CHECK(same(blocked<LogAffine<double>>({}, maps.logs, logs, log_carry, block, direction),
                   out));
        for (std::size_t i = 0; i < n; ++i) REQUIRE(same(logs[i], plain[i]));
      }
    }
  }
}
