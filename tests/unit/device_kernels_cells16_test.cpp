// The recurrent cells' kernels in bfloat16 and half by the design's rule: the error against double,
// as a root mean square, is at most twice that of a plain loop in float that rounds at the same
// places, plus 8 units of the type.
#include "device_cells_support.h"

#include <cmath>
#include <limits>

namespace {

using namespace rill;
using namespace rill::device_test;

// One row's recurrence in T, what is stored rounded to `type`: the plain loop. Arrays as run_cell
// has them, [steps, ...]; weights W_hh [G H, P], W_hr [P, H].
template <class T>
struct PlainCell {
  const CellCase& c;
  DType type;
  std::int64_t gates, h, p;
  std::vector<T> w_hh, w_hr, bias;

  T stored(T v) const { return static_cast<T>(rounded_to(type, static_cast<double>(v))); }
  static T sigmoid(T v) { return T(1) / (T(1) + std::exp(-v)); }
  static T at(const std::vector<T>& x, std::int64_t i) { return x[static_cast<std::size_t>(i)]; }
  static T& at(std::vector<T>& x, std::int64_t i) { return x[static_cast<std::size_t>(i)]; }

  // value, kept: overwritten as the kernels do.
  void forward(std::vector<T>& value, std::vector<T>& kept, std::vector<T>& y,
               std::vector<T>& state, std::vector<T>& cell, std::int64_t steps) const {
    std::vector<T> read(state.size()), out(static_cast<std::size_t>(h));
    for (std::int64_t t = 0; t < steps; ++t) {
      for (std::size_t q = 0; q < state.size(); ++q) read[q] = stored(state[q]);
      for (std::int64_t j = 0; j < h; ++j) {
        T u[4], w[4];
        for (std::int64_t g = 0; g < gates; ++g) {
          T sum = 0;
          for (std::int64_t q = 0; q < p; ++q) sum += at(w_hh, (g * h + j) * p + q) * at(read, q);
          u[g] = sum + at(bias, g * h + j);
          w[g] = at(value, (t * gates + g) * h + j);
        }
        out[static_cast<std::size_t>(j)] =
            c.gru ? gru(value, kept, state, t, j, w, u) : lstm(value, kept, cell, t, j, w, u);
      }
      for (std::int64_t q = 0; q < p; ++q) {
        T sum = 0;
        if (c.projected)
          for (std::int64_t j = 0; j < h; ++j) sum += at(w_hr, q * h + j) * stored(at(out, j));
        else
          sum = at(out, q);
        at(state, q) = sum;
        at(y, t * p + q) = stored(sum);
      }
    }
  }
  T lstm(std::vector<T>& value, std::vector<T>& kept, std::vector<T>& cell, std::int64_t t,
         std::int64_t j, const T* w, const T* u) const {
    const T i = sigmoid(w[0] + u[0]), f = sigmoid(w[1] + u[1]), g = std::tanh(w[2] + u[2]);
    const T o = sigmoid(w[3] + u[3]);
    at(cell, j) = f * at(cell, j) + i * g;
    at(kept, t * h + j) = at(cell, j);
    const T all[4] = {i, f, g, o};
    for (std::int64_t q = 0; q < 4; ++q) at(value, (t * 4 + q) * h + j) = stored(all[q]);
    return o * std::tanh(at(cell, j));
  }
  T gru(std::vector<T>& value, std::vector<T>& kept, const std::vector<T>& state, std::int64_t t,
        std::int64_t j, const T* w, const T* u) const {
    const T r = sigmoid(w[0] + u[0]), z = sigmoid(w[1] + u[1]), n = std::tanh(w[2] + r * u[2]);
    const T all[3] = {r, z, n};
    for (std::int64_t q = 0; q < 3; ++q) at(value, (t * 3 + q) * h + j) = stored(all[q]);
    at(kept, t * h + j) = stored(u[2]);
    return n + z * (at(state, j) - n);
  }

  // The row's forward must have run; dh and dc run.
  void backward(std::vector<T>& value, std::vector<T>& kept, const std::vector<T>& y,
                const std::vector<T>& h0, const std::vector<T>& c0, const std::vector<T>& dy,
                std::vector<T>& dh, std::vector<T>& dc, std::int64_t steps) const {
    std::vector<T> d(static_cast<std::size_t>(gates * h)), passed(static_cast<std::size_t>(h));
    for (std::int64_t t = steps - 1; t >= 0; --t) {
      std::vector<T> total(dh);
      for (std::int64_t q = 0; q < p; ++q) at(total, q) += at(dy, t * p + q);
      for (std::int64_t j = 0; j < h; ++j) {
        T dout = c.projected ? T(0) : at(total, j);
        for (std::int64_t q = 0; c.projected && q < p; ++q)
          dout += at(w_hr, q * h + j) * stored(at(total, q));
        const auto gate = [&](std::int64_t g) -> T& { return at(value, (t * gates + g) * h + j); };
        if (c.gru) {
          const T r = gate(0), z = gate(1), n = gate(2);
          const T before = t == 0 ? at(h0, j) : at(y, (t - 1) * p + j);
          const T dn = dout * (1 - z) * (1 - n * n);
          at(d, j) = stored(dn * at(kept, t * h + j) * r * (1 - r));
          at(d, h + j) = stored(dout * (before - n) * z * (1 - z));
          at(d, 2 * h + j) = stored(dn * r);
          gate(2) = stored(dn);
          at(kept, t * h + j) = at(d, 2 * h + j);
          at(passed, j) = dout * z;
        } else {
          const T i = gate(0), f = gate(1), g = gate(2), o = gate(3);
          const T tanh_c = std::tanh(at(kept, t * h + j));
          const T through = at(dc, j) + dout * o * (1 - tanh_c * tanh_c);
          const T before = t == 0 ? at(c0, j) : at(kept, (t - 1) * h + j);
          at(d, j) = stored(through * g * i * (1 - i));
          at(d, h + j) = stored(through * before * f * (1 - f));
          at(d, 2 * h + j) = stored(through * i * (1 - g * g));
          at(d, 3 * h + j) = stored(dout * tanh_c * o * (1 - o));
          at(dc, j) = through * f;
          gate(2) = at(d, 2 * h + j);
          gate(3) = at(d, 3 * h + j);
        }
        gate(0) = at(d, j);
        gate(1) = at(d, h + j);
      }
      for (std::int64_t q = 0; q < p; ++q) {
        T sum = 0;
        for (std::int64_t k = 0; k < gates * h; ++k) sum += at(w_hh, k * p + q) * at(d, k);
        at(dh, q) = sum + (c.gru ? at(passed, q) : T(0));
      }
    }
  }
};

// A case of one row, without resets, by the plain loop; arrays and their numbers as in run_cell.
template <class T>
Results run_plain(const CellCase& c, DType type) {
  const std::int64_t steps = c.lengths[0], gates = c.gru ? 3 : 4, h = c.hidden, p = c.output;
  const double unit = 1.0 / std::sqrt(static_cast<double>(h));
  const auto values_of = [&](std::int64_t count, double high, unsigned seed) {
    Values x = random_values(count, -high, high, seed);
    for (double& v : x) v = rounded_to(c.rounded, v);
    return as<T>(x);
  };
  const PlainCell<T> cell{c,
                          type,
                          gates,
                          h,
                          p,
                          values_of(gates * h * p, unit, 4),
                          values_of(p * h, unit, 5),
                          values_of(gates * h, 1, 7)};
  auto value = values_of(steps * gates * h, 1, 1), kept = as<T>(Values(value.size(), 0.0));
  kept.resize(static_cast<std::size_t>(steps * h));
  const auto h0 = values_of(p, 1, 8), c0 = values_of(h, 1, 9);
  auto state = h0, running = c0;
  std::vector<T> y(static_cast<std::size_t>(steps * p));
  cell.forward(value, kept, y, state, running, steps);
  Results results;
  results.add("y", y);
  results.add("h", state);
  if (!c.gru) results.add("c", running);
  results.add("gates", value);
  results.add("kept", kept);
  const auto dy = values_of(steps * p, 1, 10);
  auto dh = values_of(p, 1, 11), dc = values_of(h, 1, 12);
  cell.backward(value, kept, y, h0, c0, dy, dh, dc, steps);
  results.add("dgates", value);
  if (c.gru) results.add("dkept", kept);
  results.add("dh", dh);
  if (!c.gru) results.add("dc", dc);
  return results;
}

double root_mean_square(const Values& x, const Values& minus) {
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) sum += (x[i] - minus[i]) * (x[i] - minus[i]);
  return std::sqrt(sum / static_cast<double>(x.size()));
}

template <class Name>
void check_16(CellCase c, DType type, double epsilon) {
  c.rounded = type;
  // The oracle itself is held against the CPU's kernels in double.
  const Results exact = run_plain<double>(c, DType::kFloat64), cpu = run_cell<double>(c, false);
  const Results plain = run_plain<float>(c, type), device = run_cell<Name>(c, true);
  for (const auto& [name, expected] : exact.arrays) {
    INFO(name << " " << name_of(type) << (c.gru ? " GRU" : " LSTM") << " H " << c.hidden);
    const auto in = [&, &wanted = name](const Results& results) -> const Values& {
      for (const auto& [other, values] : results.arrays)
        if (other == wanted) return values;
      FAIL("missing");
      return results.arrays[0].second;
    };
    const Values zero(expected.size(), 0.0);
    const double scale = root_mean_square(expected, zero);
    CHECK(root_mean_square(in(cpu), expected) <= 1e-12 * scale);  // sums in another order
    CHECK(root_mean_square(in(device), expected) <=
          2 * root_mean_square(in(plain), expected) + 8 * epsilon * scale);
  }
}

void check_both(const CellCase& c) {
  check_16<BFloat16>(c, DType::kBFloat16, 0x1p-8);
  check_16<Half>(c, DType::kFloat16, 0x1p-11);
}

}  // namespace

TEST_CASE("device cells in bfloat16 and half keep the bound of a plain loop that rounds alike") {
  for (const bool gru : {false, true})
    for (const std::int64_t hidden : {5, 70, 140})
      check_both({.lengths = {hidden == 70 ? 20 : 6},
                  .input = 1,
                  .hidden = hidden,
                  .output = hidden,
                  .gru = gru});
}

TEST_CASE("device LSTM in bfloat16 and half projects its outputs") {
  check_both({.lengths = {9}, .input = 1, .hidden = 40, .output = 12, .projected = true});
  check_both({.lengths = {3}, .input = 1, .hidden = 12, .output = 30, .projected = true});
}

TEST_CASE("device cells in 16 bits have the same bits alone, in teams and step by step") {
  for (const bool gru : {false, true}) {
    const CellCase c{.lengths = {6, 3, 0, 5, 1, 4, 2, 6, 3, 5},
                     .input = 1,
                     .hidden = 150,
                     .output = 150,
                     .gru = gru,
                     .padded = true,
                     .resets = true,
                     .rounded = DType::kBFloat16};
    const auto run_on = [&](int multiprocessors, bool cooperative, std::uint64_t schedule) {
      device_model::set_card({.multiprocessors = multiprocessors, .cooperative = cooperative});
      device_model::set_schedule(schedule);
      const Results results = run_cell<BFloat16>(c, true);
      device_model::set_card({});
      device_model::set_schedule(0);
      return results;
    };
    const Results teams = run_on(4, true, 0);
    for (const Results& other : {run_on(4, true, 2), run_on(2, true, 1), run_on(4, false, 0)})
      for (std::size_t i = 0; i < teams.arrays.size(); ++i) {
        INFO(teams.arrays[i].first);
        CHECK(largest_error(other.arrays[i].second, teams.arrays[i].second) == 0.0);
      }
  }
}

TEST_CASE("device cells in 16 bits make W x in the step") {
  CellCase c{.lengths = {3, 9},
             .input = 33,
             .hidden = 20,
             .output = 20,
             .in_step = true,
             .rounded = DType::kFloat16};
  for (const bool gru : {false, true}) {
    c.gru = gru;
    const Results exact = run_cell<double>(c, false), device = run_cell<Half>(c, true);
    for (std::size_t i = 0; i < exact.arrays.size(); ++i) {
      const Values& expected = exact.arrays[i].second;
      const Values zero(expected.size(), 0.0);
      // y and h are rounded once a step, over at most 9 steps of which each passes on less than 1.
      CHECK(root_mean_square(device.arrays[i].second, expected) <=
            8 * 0x1p-11 * root_mean_square(expected, zero));
    }
  }
}
