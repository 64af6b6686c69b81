// The scan algorithms, exactly: non-commutative operators over integers modulo a prime, at all edge
// lengths.
#include <rill/scan/algorithms.h>
#include <rill/tests/support/catch.h>

#include <array>
#include <complex>
#include <cstdint>
#include <random>

using namespace rill::scan;

namespace {

constexpr std::uint64_t kPrime = 1000003;

// 2x2 matrices over Z_p; combine(earlier, later) = later * earlier.
struct MatrixProduct {
  using Element = std::array<std::uint64_t, 4>;
  Element identity() const { return {1, 0, 0, 1}; }
  Element combine(const Element& e, const Element& l) const {
    return {(l[0] * e[0] + l[1] * e[2]) % kPrime, (l[0] * e[1] + l[1] * e[3]) % kPrime,
            (l[2] * e[0] + l[3] * e[2]) % kPrime, (l[2] * e[1] + l[3] * e[3]) % kPrime};
  }
};

// Integers modulo p, for affine maps over them.
struct Mod {
  std::uint64_t v = 0;
  constexpr Mod() = default;
  constexpr explicit Mod(std::uint64_t value) : v(value % kPrime) {}
  friend Mod operator*(Mod a, Mod b) { return Mod(a.v * b.v); }
  friend Mod operator+(Mod a, Mod b) { return Mod(a.v + b.v); }
  friend bool operator==(Mod, Mod) = default;
};

static_assert(ScanOperator<MatrixProduct> && ScanOperator<Affine<Mod>> &&
              ScanOperator<Affine<double>> && ScanOperator<Affine<std::complex<double>>> &&
              ScanOperator<LogAffine<double>> && ScanOperator<Segmented<MatrixProduct>>);

constexpr std::size_t kLengths[] = {0,  1,  2,  3,  4,  5,  7,  8,   9,   13,  15, 16,
                                    17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 257};

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

TEST_CASE("the adjoint of the affine recurrence is exact") {
  // <dh, dh/dtheta> against the derivative of sum(dh h) + carry h_n, which is linear in each b and
  // each single a.
  using C = std::complex<double>;
  std::mt19937_64 random(9);
  const auto draw = [&] {
    return C(static_cast<double>(random() % 7) - 3, static_cast<double>(random() % 7) - 3);
  };
  for (const std::size_t n : {0u, 1u, 2u, 5u}) {
    std::vector<AffineMap<C>> maps(n);
    std::vector<C> dh(n);
    for (std::size_t i = 0; i < n; ++i) maps[i] = {draw(), draw()}, dh[i] = draw();
    for (const bool with_reset : {false, true}) {
      std::vector<std::uint8_t> reset(with_reset ? n : 0);
      if (with_reset && n > 2) reset[2] = 1;
      const C h0 = draw(), carry = draw();
      const auto run = [&](const std::vector<AffineMap<C>>& m, C h, std::vector<C>& states) {
        states.clear();
        for (std::size_t i = 0; i < m.size(); ++i) {
          h = m[i](!reset.empty() && reset[i] ? C(0) : h);
          states.push_back(h);
        }
        C loss = std::conj(carry) * h;  // real part: the inner product of pairs
        for (std::size_t i = 0; i < m.size(); ++i) loss += std::conj(dh[i]) * states[i];
        return loss.real();
      };
      std::vector<C> h, scratch, da(n), db(n);
      const double loss = run(maps, h0, h);
      const C dh0 = affine_adjoint<C>(maps, h, h0, dh, carry, da, db, reset);
      // Small integers: differences of a function that is affine in one variable are exact.
      for (const C unit : {C(1, 0), C(0, 1)}) {
        const auto along = [&](C g) { return (std::conj(g) * unit).real(); };
        CHECK(run(maps, h0 + unit, scratch) - loss == along(dh0));
        for (std::size_t i = 0; i < n; ++i) {
          auto moved = maps;
          moved[i].a += unit;
          CHECK(run(moved, h0, scratch) - loss == along(da[i]));
          moved = maps;
          moved[i].b += unit;
          CHECK(run(moved, h0, scratch) - loss == along(db[i]));
        }
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
