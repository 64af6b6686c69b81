// The diagonal recurrence: against the definition, lanes against double, bits of cuts, gradients,
// the convolution form, the discretisation.
#include <rill/core/core.h>
#include <rill/hippo/kernel.h>
#include <rill/scan/cpu/diagonal_ssm_plain-inl.h>
#include <rill/scan/diagonal_ssm.h>
#include <rill/scan/kernels.h>
#include <rill/tests/support/catch.h>
#include <rill/tests/support/gradcheck.h>

#include <complex>
#include <cstring>
#include <vector>

using namespace rill;
using test::random_tensor;
using Complex = std::complex<double>;

namespace {

// Decays and rotations with |a| between 0.5 and 0.999, as a diagonal state space has them.
struct Problem {
  Tensor x, a, w, d, h;
};

Problem problem(std::int64_t rows, std::int64_t length, std::int64_t channels, std::int64_t modes,
                bool complex, std::uint64_t seed) {
  const Shape mode_shape = complex ? Shape({channels, modes, 2}) : Shape({channels, modes});
  const Shape state = complex ? Shape({rows, channels, modes, 2}) : Shape({rows, channels, modes});
  Problem p{random_tensor({rows, length, channels}, seed),
            random_tensor(mode_shape, seed + 1, 0.5, 0.999), random_tensor(mode_shape, seed + 2),
            random_tensor({channels}, seed + 3), random_tensor(state, seed + 4)};
  if (complex)
    for (std::int64_t i = 0; i < channels * modes; ++i) {
      double* a = p.a.data<double>() + 2 * i;
      const Complex value = std::polar(a[0], 3.1 * (a[1] - 0.5) / 0.499);
      a[0] = value.real();
      a[1] = value.imag();
    }
  return p;
}

Problem to_float(const Problem& p) {
  return {p.x.to(DType::kFloat32), p.a.to(DType::kFloat32), p.w.to(DType::kFloat32),
          p.d.to(DType::kFloat32), p.h.to(DType::kFloat32)};
}

struct Result {
  Tensor y, h;
};

Result run(Exec& exec, const Problem& p, const Segments* segments = nullptr) {
  const Sequence sequence = Sequence::from(exec, segments, p.x.size(0), p.x.size(1));
  Result r{{}, p.h.clone()};
  r.y = diagonal_ssm(exec, p.x, p.a, p.w, p.d, r.h, sequence);
  return r;
}

// The definition, complex numbers and all.
Result definition(const Problem& p, const Segments* segments = nullptr) {
  Exec exec({.dtype = DType::kFloat64, .threads = 1});
  const Sequence sequence = Sequence::from(exec, segments, p.x.size(0), p.x.size(1));
  const SeqArgs& s = sequence.args();
  const bool complex = p.a.rank() == 3;
  const std::int64_t channels = p.a.size(0), modes = p.a.size(1), parts = complex ? 2 : 1;
  const auto at = [&](const Tensor& t, std::int64_t i) {
    const double* v = t.data<double>() + parts * i;
    return Complex(v[0], complex ? v[1] : 0.0);
  };
  Result r{Tensor::zeros(p.x.shape(), DType::kFloat64), p.h.clone()};
  for (std::int64_t row = 0; row < s.rows; ++row)
    for (std::int64_t c = 0; c < channels; ++c)
      for (std::int64_t n = 0; n < modes; ++n) {
        const std::int64_t state = (row * channels + c) * modes + n;
        Complex h = at(p.h, state);
        for (std::int64_t t = 0; t < s.length[row]; ++t) {
          const std::int64_t token = s.start[row] + t;
          const double x = p.x.data<double>()[token * channels + c];
          if (s.reset && s.reset[token]) h = 0.0;
          h = at(p.a, c * modes + n) * h + x;
          double& y = r.y.data<double>()[token * channels + c];
          y += (complex ? 2.0 : 1.0) * (at(p.w, c * modes + n) * h).real();
          if (n == 0) y += p.d.data<double>()[c] * x;
        }
        r.h.data<double>()[parts * state] = h.real();
        if (complex) r.h.data<double>()[2 * state + 1] = h.imag();
      }
  return r;
}

double error(const Tensor& a, const Tensor& b) {
  const std::vector<Tensor> left{a}, right{b};
  return test::relative_error(left, right);
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape().numel() == b.shape().numel() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

template <class F>
void each_target(const F& f) {
  const std::string before = cpu_target();
  for (const std::string& target : available_cpu_targets()) {
    set_cpu_target(target);
    INFO("target " << target);
    f();
  }
  set_cpu_target(before);
}

constexpr std::int64_t kModes[] = {1, 2, 3, 4, 7, 8, 12, 16, 32, 33, 70};

// 2 err(plain) + 8 eps, plain being the same loop in float without lanes.
double float_bound(double plain) { return 2.0 * plain + 8.0 * 0x1p-24; }

Result run_plain_float(const Problem& p) {
  Exec exec({.threads = 1});
  const Sequence sequence = Sequence::batch(exec, p.x.size(0), p.x.size(1));
  const bool complex = p.a.rank() == 3;
  const std::int64_t channels = p.a.size(0), width = p.a.numel() / channels;
  const std::int64_t padded = (width + kDiagonalPadding - 1) / kDiagonalPadding * kDiagonalPadding;
  const Tensor coefficients = exec.empty({channels, 3, padded});
  scan_kernels(exec).diagonal_pack({.a = p.a.raw(),
                                    .w = p.w.raw(),
                                    .coefficients = coefficients.raw(),
                                    .channels = channels,
                                    .width = width,
                                    .padded_width = padded,
                                    .complex = complex},
                                   {});
  Result r{exec.empty(p.x.shape()), p.h.clone()};
  diagonal_plain::forward<float>({.sequence = sequence.args(),
                                  .x = p.x.raw(),
                                  .coefficients = coefficients.raw(),
                                  .d = p.d.raw(),
                                  .h_in = r.h.raw(),
                                  .h_out = r.h.raw(),
                                  .y = r.y.raw(),
                                  .channels = channels,
                                  .width = width,
                                  .padded_width = padded,
                                  .complex = complex},
                                 {});
  return r;
}

}  // namespace

TEST_CASE("diagonal_ssm is its definition") {
  Exec exec({.dtype = DType::kFloat64, .threads = 2});
  for (const bool complex : {true, false})
    for (const std::int64_t length : {0, 1, 2, 63, 64, 65, 200}) {
      INFO("length " << length << ", complex " << complex);
      const Problem p = problem(2, length, 3, 5, complex, 11);
      const Result r = run(exec, p), expected = definition(p);
      CHECK(error(r.y, expected.y) < 1e-13);  // sums of a few hundred terms in double
      CHECK(error(r.h, expected.h) < 1e-13);
    }
}

TEST_CASE("float lanes are within the bound of a plain loop") {
  each_target([] {
    Exec exec({.threads = 2});
    for (const bool complex : {true, false})
      for (const std::int64_t modes : kModes) {
        INFO("modes " << modes << ", complex " << complex);
        const Problem p = to_float(problem(2, 150, 19, modes, complex, 23));
        const Problem wide{p.x.to(DType::kFloat64), p.a.to(DType::kFloat64),
                           p.w.to(DType::kFloat64), p.d.to(DType::kFloat64),
                           p.h.to(DType::kFloat64)};
        const Result r = run(exec, p), expected = definition(wide), plain = run_plain_float(p);
        CHECK(error(r.y, expected.y) <= float_bound(error(plain.y, expected.y)));
        CHECK(error(r.h, expected.h) <= float_bound(error(plain.h, expected.h)));
      }
  });
}

TEST_CASE("cuts, rows, channels and threads do not change a bit") {
  each_target([] {
    Exec one({.threads = 1}), many({.threads = 3});
    for (const std::int64_t modes : kModes) {
      INFO("modes " << modes);
      const Problem p = to_float(problem(2, 70, 21, modes, true, 31));
      const Result whole = run(one, p);
      const Result threaded = run(many, p);
      CHECK(same_bits(whole.y, threaded.y));
      CHECK(same_bits(whole.h, threaded.h));
      // One step at a time, and in three parts.
      for (const std::vector<std::int64_t>& cuts :
           {std::vector<std::int64_t>{5, 64, 70}, std::vector<std::int64_t>{}}) {
        Tensor h = p.h.clone();
        for (std::int64_t t = 0, k = 0; t < 70; ++k) {
          const std::int64_t end = cuts.empty() ? t + 1 : cuts[static_cast<std::size_t>(k)];
          const Tensor part = narrow_time(one, p.x, t, end - t);
          const Tensor y =
              diagonal_ssm(one, part, p.a, p.w, p.d, h, Sequence::batch(one, 2, end - t));
          REQUIRE(same_bits(y, narrow_time(one, whole.y, t, end - t)));
          t = end;
        }
        CHECK(same_bits(h, whole.h));
      }
      // The last channel alone.
      Problem last = to_float(problem(2, 70, 21, modes, true, 31));
      last.x = narrow(one, p.x, 20, 1);
      last.a = p.a.rows(20, 1);
      last.w = p.w.rows(20, 1);
      last.d = p.d.rows(20, 1);
      last.h = reshape(
          one, narrow(one, reshape(one, p.h, {2, 21 * modes * 2}), 20 * modes * 2, modes * 2),
          {2, 1, modes, 2});
      CHECK(same_bits(run(one, last).y, narrow(one, whole.y, 20, 1)));
    }
  });
}

TEST_CASE("resets, packed and padded sequences") {
  Exec exec({.dtype = DType::kFloat64, .threads = 1});
  const Problem p = problem(2, 140, 3, 5, true, 41);
  Segments cut;
  cut.reset = Tensor::zeros({2, 140}, DType::kUInt8);
  for (const std::int64_t t : {0, 1, 63, 64, 65, 139, 140, 150, 200, 204})
    cut.reset.data<std::uint8_t>()[t] = 1;
  const Result reset = run(exec, p, &cut), expected_reset = definition(p, &cut);
  CHECK(error(reset.y, expected_reset.y) < 1e-13);  // double
  CHECK(error(reset.h, expected_reset.h) < 1e-13);
  const Segments padded{.lengths = {77, 0}};
  const Result shorter = run(exec, p, &padded), expected_shorter = definition(p, &padded);
  CHECK(error(shorter.y, expected_shorter.y) < 1e-13);
  CHECK(error(shorter.h, expected_shorter.h) < 1e-13);
  each_target([&] {
    Exec single({.threads = 1});
    const Problem f = to_float(p);
    CHECK(error(run(single, f, &cut).y, expected_reset.y) <
          1e-5);  // inputs rounded to float, |a| near 1
    CHECK(error(run(single, f, &padded).h, expected_shorter.h) < 1e-5);
    CHECK(error(run(single, f, &padded).y, expected_shorter.y) < 1e-5);
  });
}

namespace {

// inputs x, a, w, d, h -> y, final h.
test::TapeFunction recurrence(const Segments& segments, bool convolution = false) {
  return [segments, convolution](Exec& exec, std::span<const Tensor> in) {
    const Sequence sequence = Sequence::from(exec, &segments, in[0].size(0), in[0].size(1));
    Tensor h = in[4];
    const Tensor y = convolution
                         ? diagonal_convolution(exec, in[0], {in[1], in[2]}, in[3], h, sequence)
                         : diagonal_ssm(exec, in[0], in[1], in[2], in[3], h, sequence);
    return std::vector<Tensor>{y, h};
  };
}

std::vector<Tensor> inputs(const Problem& p) { return {p.x, p.a, p.w, p.d, p.h}; }

Segments with_resets(std::int64_t rows, std::int64_t length) {
  Segments segments;
  segments.reset = Tensor::zeros({rows, length}, DType::kUInt8);
  for (std::int64_t t = 3; t < rows * length; t += 29) segments.reset.data<std::uint8_t>()[t] = 1;
  return segments;
}

}  // namespace

TEST_CASE("gradients of diagonal_ssm") {
  for (const bool complex : {true, false})
    for (const std::int64_t length : {1, 5, 70}) {
      INFO("length " << length << ", complex " << complex);
      // 1e-7: central differences in double, h = 1e-5.
      CHECK(test::gradcheck(recurrence({}), inputs(problem(2, length, 2, 3, complex, 51)), 1e-5,
                            24) < 1e-7);
      CHECK(test::gradcheck(recurrence(with_resets(2, length)),
                            inputs(problem(2, length, 2, 3, complex, 52)), 1e-5, 24) < 1e-7);
    }
  CHECK(test::gradcheck(recurrence({.lengths = {0, 66}}), inputs(problem(2, 70, 2, 3, true, 53)),
                        1e-5, 24) < 1e-7);
  // Nothing but the final state is looked at.
  const auto last = [](Exec& exec, std::span<const Tensor> in) {
    return std::vector<Tensor>{{}, recurrence({})(exec, in)[1]};
  };
  CHECK(test::gradcheck(last, inputs(problem(2, 9, 2, 3, true, 54))) < 1e-7);
}

TEST_CASE("float gradients of diagonal_ssm are the double ones") {
  Exec wide({.dtype = DType::kFloat64, .threads = 1});
  each_target([&] {
    Exec exec({.threads = 2});
    for (const bool complex : {true, false})
      for (const std::int64_t modes : kModes)
        for (const Segments& segments : {Segments{}, with_resets(2, 130)}) {
          INFO("modes " << modes << ", complex " << complex);
          const Problem single = to_float(problem(2, 130, 11, modes, complex, 61));
          std::vector<Tensor> narrow_inputs = inputs(single), wide_inputs;
          for (const Tensor& input : narrow_inputs)
            wide_inputs.push_back(input.to(DType::kFloat64));
          const auto function = recurrence(segments);
          // 2e-5: float sums of some hundred terms through decays of 0.999, relative to the
          // largest.
          CHECK(test::relative_error(test::tape_gradients(exec, function, narrow_inputs),
                                     test::tape_gradients(wide, function, wide_inputs)) < 2e-5);
        }
  });
}

TEST_CASE("convolution equals recurrence: outputs, final state, gradients") {
  Exec exec({.dtype = DType::kFloat64, .threads = 2});
  for (const Segments& segments : {Segments{}, Segments{.lengths = {40, 13}}}) {
    const Problem p = problem(2, 40, 3, 4, true, 71);
    const auto a = recurrence(segments)(exec, inputs(problem(2, 40, 3, 4, true, 71)));
    const auto b = recurrence(segments, true)(exec, inputs(problem(2, 40, 3, 4, true, 71)));
    CHECK(test::relative_error(b, a) < 1e-12);  // double, transforms of 80 samples
    CHECK(test::relative_error(test::tape_gradients(exec, recurrence(segments, true), inputs(p)),
                               test::tape_gradients(exec, recurrence(segments), inputs(p))) <
          1e-12);
  }
  CHECK(test::gradcheck(recurrence({}, true), inputs(problem(2, 11, 2, 3, true, 72))) < 1e-7);
  Exec single({.threads = 1});
  const auto a = recurrence({})(single, inputs(to_float(problem(2, 300, 3, 16, true, 73))));
  const auto b = recurrence({}, true)(single, inputs(to_float(problem(2, 300, 3, 16, true, 73))));
  CHECK(test::relative_error(b, a) <
        1e-5);  // the recurrence's float rounding over 1 / (1 - 0.999) steps
}

namespace {

DiagonalParameters parameters(std::int64_t channels, std::int64_t modes, std::int64_t copies,
                              std::uint64_t seed) {
  return {random_tensor({channels, 1}, seed, -5.0, -1.0),
          random_tensor({copies, modes}, seed + 1, -2.0, 0.0),
          random_tensor({copies, modes}, seed + 2, 0.0, 20.0),
          random_tensor({1, copies, modes, 2}, seed + 3),
          random_tensor({1, channels, modes, 2}, seed + 4)};
}

Complex complex_at(const Tensor& t, std::int64_t i) {
  return {t.data<double>()[2 * i], t.data<double>()[2 * i + 1]};
}

}  // namespace

TEST_CASE("discretised kernels are hippo's") {
  Exec exec({.dtype = DType::kFloat64, .threads = 1});
  const std::int64_t channels = 4, modes = 3, copies = 2, length = 150;
  const DiagonalParameters p = parameters(channels, modes, copies, 81);
  for (const DiagonalRule rule : {DiagonalRule::kZeroOrderHold, DiagonalRule::kBilinear}) {
    const DiagonalCoefficients k = discretize_diagonal(exec, p, rule, 1.5);
    const Tensor kernel = diagonal_kernel(exec, k, length);
    for (std::int64_t h = 0; h < channels; ++h) {
      std::vector<Complex> A, B, C;
      for (std::int64_t n = 0; n < modes; ++n) {
        const std::int64_t shared = h % copies * modes + n;
        A.emplace_back(-std::exp(p.a_real.data<double>()[shared]),
                       -p.a_imag.data<double>()[shared]);
        B.push_back(complex_at(p.b, shared));
        C.push_back(complex_at(p.c, h * modes + n));
      }
      const auto expected =
          hippo::diagonal_kernel(A, B, C, 1.5 * std::exp(p.log_dt.data<double>()[h]), length,
                                 rule == DiagonalRule::kBilinear ? hippo::Discretization::kBilinear
                                                                 : hippo::Discretization::kZoh);
      for (std::int64_t l = 0; l < length; ++l)
        // 1e-12: powers up to 150 in double.
        REQUIRE(kernel.data<double>()[h * length + l] ==
                Approx(expected[static_cast<std::size_t>(l)]).margin(1e-12));
    }
  }
}

TEST_CASE("zero-order hold keeps its digits for small steps") {
  Exec exec({.dtype = DType::kFloat64, .threads = 1});
  for (const double size : {1e-12, 1e-8, 1e-4, 1e-3, 0.3, 0.4999, 0.5001, 2.0}) {
    INFO("|z| about " << size);
    // One mode, A = -1 - 2i, B = C = 1: w = dt (e^z - 1) / z, in long double.
    DiagonalParameters p{
        Tensor::full({1, 1}, DType::kFloat64, std::log(size)),
        Tensor::zeros({1, 1}, DType::kFloat64), Tensor::full({1, 1}, DType::kFloat64, 2.0),
        Tensor::zeros({1, 1, 1, 2}, DType::kFloat64), Tensor::zeros({1, 1, 1, 2}, DType::kFloat64)};
    p.b.data<double>()[0] = p.c.data<double>()[0] = 1.0;
    const DiagonalCoefficients k = discretize_diagonal(exec, p, DiagonalRule::kZeroOrderHold);
    const long double dt = std::exp(p.log_dt.data<double>()[0]);
    const std::complex<long double> A(-1.0L, -2.0L);
    std::complex<long double> sum = 0.0L, term = dt;
    for (int j = 1; j < 60; ++j) {
      sum += term;
      term *= dt * A / static_cast<long double>(j + 1);
    }
    const std::complex<long double> w(k.w.data<double>()[0], k.w.data<double>()[1]);
    CHECK(static_cast<double>(std::abs(w - sum) / std::abs(sum)) < 4e-16);  // two roundings
  }
}

TEST_CASE("gradients of discretize_diagonal and diagonal_kernel") {
  for (const DiagonalRule rule : {DiagonalRule::kZeroOrderHold, DiagonalRule::kBilinear}) {
    const auto function = [rule](Exec& exec, std::span<const Tensor> in) {
      const DiagonalCoefficients k =
          discretize_diagonal(exec, {in[0], in[1], in[2], in[3], in[4]}, rule, 1.7);
      return std::vector<Tensor>{k.a, k.w, diagonal_kernel(exec, k, 12)};
    };
    const DiagonalParameters p = parameters(4, 3, 2, 91);
    CHECK(test::gradcheck(function, {p.log_dt, p.a_real, p.a_imag, p.b, p.c}) <
          1e-7);  // central differences
  }
}

TEST_CASE("diagonal_ssm refuses what does not fit") {
  Exec exec({.dtype = DType::kFloat64, .threads = 1});
  const Problem p = problem(2, 4, 3, 5, true, 1);
  const Sequence sequence = Sequence::batch(exec, 2, 4);
  Tensor h = p.h, wrong = random_tensor({2, 3, 5}, 1);
  CHECK_THROWS_AS(diagonal_ssm(exec, p.x, p.a, p.w, p.d, wrong, sequence), Error);
  CHECK_THROWS_AS(diagonal_ssm(exec, random_tensor({2, 4, 2}, 1), p.a, p.w, p.d, h, sequence),
                  Error);
  CHECK_THROWS_AS(diagonal_ssm(exec, p.x, p.a, random_tensor({3, 4, 2}, 1), p.d, h, sequence),
                  Error);
  CHECK_THROWS_AS(diagonal_ssm(exec, p.x, p.a, p.w, random_tensor({2}, 1), h, sequence), Error);
  CHECK_THROWS_AS(diagonal_ssm(exec, p.x.to(DType::kFloat32), p.a, p.w, p.d, h, sequence), Error);
  CHECK_THROWS_AS(discretize_diagonal(exec, parameters(4, 3, 3, 1), DiagonalRule::kBilinear),
                  Error);
  CHECK_THROWS_AS(discretize_diagonal(exec, parameters(4, 3, 2, 1), DiagonalRule::kBilinear, 0.0),
                  Error);
}
