// The adjoint of the affine recurrence, exactly: over Gaussian integers modulo a prime, at all edge
// lengths, in both directions, with resets, in any blocks and any order of them.
#include <rill/scan/algorithms.h>
#include <rill/tests/support/catch.h>
#include <rill/tests/unit/scan_rings.h>

using namespace rill::scan;

namespace {

struct Case {
  std::vector<AffineMap<Gauss>> maps;
  std::vector<Gauss> dh;
  std::vector<std::uint8_t> reset;
  Gauss h0, carry;
  Direction direction;
};

Case random_case(std::size_t n, Direction direction, unsigned reset_one_in) {
  std::mt19937_64 random(13 * n + reset_one_in);
  const auto draw = [&] { return Gauss(Mod(random()), Mod(random())); };
  Case c{std::vector<AffineMap<Gauss>>(n), std::vector<Gauss>(n), {}, draw(), draw(), direction};
  for (auto& map : c.maps) map = {draw(), draw()};
  for (auto& gradient : c.dh) gradient = draw();
  for (std::size_t i = 0; reset_one_in > 0 && i < n; ++i)
    c.reset.push_back(random() % reset_one_in == 0);
  return c;
}

/// The states; returns the real part of <carry, last state> + sum <dh, h>, the inner product of
/// pairs.
Mod objective(const Case& c, const std::vector<AffineMap<Gauss>>& maps, Gauss h,
              std::vector<Gauss>& states) {
  const std::size_t n = maps.size();
  states.assign(n, Gauss());
  Gauss sum;
  for (std::size_t i = 0; i < n; ++i) {
    const bool forward = c.direction == Direction::kForward;
    const std::size_t at = forward ? i : n - 1 - i, cut = forward ? at : at + 1;
    if (cut < c.reset.size() && c.reset[cut]) h = Gauss();
    h = states[at] = maps[at](h);
    sum = sum + conj(c.dh[at]) * h;
  }
  return (sum + conj(c.carry) * h).re;
}

struct Gradients {
  std::vector<Gauss> da, db;
  Gauss dh0;
};

}  // namespace

TEST_CASE("the adjoint of the affine recurrence is exact at every edge length") {
  // The objective is affine in each b and in each single a: its differences are exact.
  for (const std::size_t n : kLengths)
    for (const Direction direction : {Direction::kForward, Direction::kReverse})
      for (const unsigned one_in : {0u, 1u, 4u}) {
        const Case c = random_case(n, direction, one_in);
        std::vector<Gauss> h, scratch;
        const Mod at = objective(c, c.maps, c.h0, h);
        Gradients g{std::vector<Gauss>(n), std::vector<Gauss>(n), {}};
        g.dh0 = affine_adjoint<Gauss>({.maps = c.maps,
                                       .h = h,
                                       .h0 = c.h0,
                                       .dh = c.dh,
                                       .da = g.da,
                                       .db = g.db,
                                       .reset = c.reset,
                                       .direction = direction},
                                      c.carry);
        for (const Gauss unit : {Gauss(Mod(1), Mod(0)), Gauss(Mod(0), Mod(1))}) {
          const auto along = [&](Gauss gradient) { return (conj(gradient) * unit).re; };
          CHECK(objective(c, c.maps, c.h0 + unit, scratch) - at == along(g.dh0));
          auto moved = c.maps;
          for (std::size_t i = 0; i < n; ++i) {
            moved[i].a = c.maps[i].a + unit;
            REQUIRE(objective(c, moved, c.h0, scratch) - at == along(g.da[i]));
            moved[i] = {c.maps[i].a, c.maps[i].b + unit};
            REQUIRE(objective(c, moved, c.h0, scratch) - at == along(g.db[i]));
            moved[i] = c.maps[i];
          }
        }
      }
}

TEST_CASE("a blocked adjoint is the serial one, in any order of its blocks and at once") {
  rill::ThreadPool pool(4);
  for (const std::size_t n : kLengths)
    for (const Direction direction : {Direction::kForward, Direction::kReverse})
      for (const unsigned one_in : {0u, 1u, 4u}) {
        const Case c = random_case(n, direction, one_in);
        std::vector<Gauss> h;
        objective(c, c.maps, c.h0, h);
        const auto args = [&](Gradients& g) {
          g = {std::vector<Gauss>(n), std::vector<Gauss>(n), {}};
          return AffineAdjoint<Gauss>{.maps = c.maps,
                                      .h = h,
                                      .h0 = c.h0,
                                      .dh = c.dh,
                                      .da = g.da,
                                      .db = g.db,
                                      .reset = c.reset,
                                      .direction = direction};
        };
        Gradients whole, part;
        whole.dh0 = affine_adjoint(args(whole), c.carry);
        for (const std::size_t block : {1u, 2u, 7u, 16u, 1000u}) {
          const auto check_run = [&](const auto& run) {
            const auto call = args(part);
            part.dh0 = blocked_affine_adjoint(call, c.carry, block, run);
            CHECK(part.dh0 == whole.dh0);
            CHECK(part.da == whole.da);
            CHECK(part.db == whole.db);
          };
          check_run(RunSerial{});
          check_run(RunShuffled{});
          check_run(RunOnPool{&pool});
        }
      }
}

TEST_CASE("the adjoint conjugates complex factors and leaves real ones") {
  using C = std::complex<double>;
  const std::vector<AffineMap<C>> maps{{C(2, 1), C(1, 0)}, {C(0, 3), C(0, 1)}};
  const std::vector<C> h{C(5, 0), C(0, 16)}, dh{C(1, 0), C(1, 1)};  // of h0 = 2 - i
  std::vector<C> da(2), db(2);
  const C dh0 = affine_adjoint<C>(
      {.maps = maps, .h = h, .h0 = C(2, -1), .dh = dh, .da = da, .db = db}, C(1, 0));
  CHECK(db[1] == C(2, 1));
  CHECK(db[0] == C(1, 0) + C(0, -3) * C(2, 1));
  CHECK(da[1] == C(2, 1) * C(5, 0));
  CHECK(da[0] == db[0] * C(2, 1));
  CHECK(dh0 == C(2, -1) * db[0]);
  const std::vector<AffineMap<double>> real{{3.0, 1.0}};
  const std::vector<double> state{7.0}, gradient{2.0};
  std::vector<double> da_real(1), db_real(1);
  CHECK(affine_adjoint<double>(
            {.maps = real, .h = state, .h0 = 2.0, .dh = gradient, .da = da_real, .db = db_real},
            1.0) == 9.0);
  CHECK(da_real[0] == 6.0);
  CHECK(db_real[0] == 3.0);
}
