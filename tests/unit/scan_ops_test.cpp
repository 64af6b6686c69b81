// Affine scan, causal convolution and selective scan: against plain loops, and under the laws of
// sequence ops.
#include <rill/scan/affine_scan.h>
#include <rill/scan/causal_conv.h>
#include <rill/scan/selective_scan.h>
#include <rill/tests/unit/scan_support.h>

#include <cmath>
#include <complex>

using namespace rill;
using namespace rill::test;

namespace {

SequenceCase affine_case(std::int64_t channels, AffineScanOptions options) {
  const Shape tail = options.complex ? Shape({channels, 2}) : Shape({channels});
  SequenceCase c;
  c.name = "affine scan, channels " + std::to_string(channels) +
           (options.complex ? " complex" : "") + (options.reverse ? " reverse" : "") +
           (options.log_space ? " log" : "");
  // Complex decays of at most 0.7 sqrt 2 < 1; logarithms of decays and inputs of any size.
  c.sequences = options.log_space ? std::vector<Draw>{{tail, -3.0, 0.0}, {tail, -5.0, 1.0}}
                                  : std::vector<Draw>{{tail, -0.7, 0.7}, {tail}};
  c.state = {tail};
  c.reverse = options.reverse;
  c.infinite_fresh = options.log_space;
  c.run = [options](Exec& exec, std::span<const Tensor> x, std::span<const Tensor>, Tensor& state,
                    const Sequence& sequence) {
    return affine_scan(exec, x[0], x[1], state, sequence, options);
  };
  return c;
}

std::vector<SequenceCase> affine_cases(std::int64_t channels) {
  std::vector<SequenceCase> cases;
  for (const bool reverse : {false, true}) {
    cases.push_back(affine_case(channels, {.reverse = reverse}));
    cases.push_back(affine_case(channels, {.complex = true, .reverse = reverse}));
    cases.push_back(affine_case(channels, {.reverse = reverse, .log_space = true}));
  }
  return cases;
}

SequenceCase conv_case(std::int64_t channels, std::int64_t width, bool bias,
                       ConvActivation activation) {
  SequenceCase c;
  c.name = "causal conv, channels " + std::to_string(channels) + " width " + std::to_string(width);
  c.sequences = {{Shape({channels})}};
  c.parameters = {{Shape({channels, 1, width})}};
  if (bias) c.parameters.push_back({Shape({channels})});
  c.state = {Shape({width - 1, channels})};
  c.run = [=](Exec& exec, std::span<const Tensor> x, std::span<const Tensor> p, Tensor& state,
              const Sequence& sequence) {
    return causal_conv(exec, x[0], p[0], bias ? p[1] : Tensor(), state, sequence, activation);
  };
  return c;
}

std::vector<SequenceCase> conv_cases(std::int64_t channels) {
  std::vector<SequenceCase> cases;
  for (const std::int64_t width : {1, 2, 3, 4, 7})
    cases.push_back(conv_case(channels, width, width != 3,
                              width % 2 ? ConvActivation::kNone : ConvActivation::kSilu));
  cases.push_back(conv_case(channels, 5, true, ConvActivation::kSilu));
  return cases;
}

SequenceCase selective_case(std::int64_t channels, std::int64_t states, bool all) {
  SequenceCase c;
  c.name = "selective scan, " + std::to_string(channels) + " x " + std::to_string(states);
  const Shape e({channels}), n({states});
  c.sequences = {{e}, {e, -3.0, 1.0}, {n}, {n}};
  c.parameters = {{Shape({channels, states}), -1.0, 1.5}};
  if (all) {
    c.sequences.push_back({e, -2.0, 2.0});
    c.parameters.push_back({e});
    c.parameters.push_back({e});
  }
  c.state = {Shape({channels, states})};
  c.run = [all](Exec& exec, std::span<const Tensor> x, std::span<const Tensor> p, Tensor& state,
                const Sequence& sequence) {
    SelectiveScanInputs in{.x = x[0], .dt = x[1], .a_log = p[0], .b = x[2], .c = x[3]};
    if (all) in.z = x[4], in.dt_bias = p[1], in.d = p[2];
    return selective_scan(exec, in, state, sequence);
  };
  return c;
}

std::vector<SequenceCase> selective_cases() {
  return {selective_case(1, 1, false), selective_case(5, 3, true),   selective_case(16, 16, true),
          selective_case(33, 4, true), selective_case(130, 7, true), selective_case(20, 17, false),
          selective_case(531, 2, true)};
}

std::vector<SequenceCase> all_cases() {
  std::vector<SequenceCase> cases = selective_cases();
  for (const std::int64_t channels : {1, 3, 17}) {
    for (SequenceCase& c : affine_cases(channels)) cases.push_back(std::move(c));
    for (SequenceCase& c : conv_cases(channels)) cases.push_back(std::move(c));
  }
  return cases;
}

}  // namespace

TEST_CASE("the affine scan is its recurrence") {
  Exec exec({.dtype = DType::kFloat64});
  const std::int64_t length = 9;
  const CaseData data = draw(affine_case(1, {.complex = true}), 1, length, DType::kFloat64);
  using C = std::complex<double>;
  const auto at = [](const Tensor& x, std::int64_t t) {
    return C(x.data<double>()[2 * t], x.data<double>()[2 * t + 1]);
  };
  const CaseResult result = run(affine_case(1, {.complex = true}), exec, data, 1, length);
  C h = at(data.state, 0);
  for (std::int64_t t = 0; t < length; ++t) {
    h = at(data.sequences[0], t) * h + at(data.sequences[1], t);
    CHECK(std::abs(at(result.y, t) - h) < 1e-15);  // nine products and sums in another order
  }
  CHECK(std::abs(at(result.state, 0) - h) < 1e-15);
  // The logarithmic form of non-negative numbers is the plain one's logarithm.
  const SequenceCase log_case = affine_case(1, {.log_space = true}),
                     plain_case = affine_case(1, {});
  CaseData logs = draw(log_case, 1, length, DType::kFloat64);
  logs.state.data<double>()[0] = -std::numeric_limits<double>::infinity();  // 0
  logs.sequences[1].data<double>()[0] = -std::numeric_limits<double>::infinity();
  CaseData plain = logs;
  for (Tensor* x : {&plain.sequences[0], &plain.sequences[1], &plain.state}) {
    *x = x->clone();
    for (double& value : x->span<double>()) value = std::exp(value);
  }
  const CaseResult y = run(log_case, exec, logs, 1, length),
                   p = run(plain_case, exec, plain, 1, length);
  CHECK(y.y.data<double>()[0] == -std::numeric_limits<double>::infinity());
  for (std::int64_t t = 0; t < length; ++t)
    CHECK(std::exp(y.y.data<double>()[t]) == Approx(p.y.data<double>()[t]).epsilon(1e-13));
}

TEST_CASE("the causal convolution is its definition, taps newest last") {
  Exec exec({.dtype = DType::kFloat64});
  const Tensor x = Tensor::from(std::vector<double>{1, 10, 100}, {1, 3, 1});
  const Tensor weight = Tensor::from(std::vector<double>{4, 3, 2}, {1, 3});
  const Tensor bias = Tensor::from(std::vector<double>{0.5}, {1});
  Tensor state = Tensor::from(std::vector<double>{0.01, 0.1}, {1, 2, 1});
  const Tensor y = causal_conv(exec, x, weight, bias, state, Sequence::batch(exec, 1, 3));
  CHECK(y.data<double>()[0] == Approx(2 * 1 + 3 * 0.1 + 4 * 0.01 + 0.5));
  CHECK(y.data<double>()[1] == Approx(2 * 10 + 3 * 1 + 4 * 0.1 + 0.5));
  CHECK(y.data<double>()[2] == Approx(2 * 100 + 3 * 10 + 4 * 1 + 0.5));
  CHECK(state.data<double>()[0] == 10);
  CHECK(state.data<double>()[1] == 100);
}

TEST_CASE("the selective scan is its definition") {
  Exec exec({.dtype = DType::kFloat64});
  const std::int64_t length = 40, channels = 3, states = 2;
  const SequenceCase c = selective_case(channels, states, true);
  const CaseData data = draw(c, 1, length, DType::kFloat64);
  const CaseResult result = run(c, exec, data, 1, length);
  const auto value = [](const Tensor& x, std::int64_t i) { return x.data<double>()[i]; };
  for (std::int64_t e = 0; e < channels; ++e) {
    std::vector<double> h(states);
    for (std::int64_t n = 0; n < states; ++n) h[n] = value(data.state, e * states + n);
    for (std::int64_t t = 0; t < length; ++t) {
      const std::int64_t at = t * channels + e;
      const double delta =
          std::log1p(std::exp(value(data.sequences[1], at) + value(data.parameters[1], e)));
      double y = value(data.parameters[2], e) * value(data.sequences[0], at);
      for (std::int64_t n = 0; n < states; ++n) {
        const double a = -std::exp(value(data.parameters[0], e * states + n));
        h[n] = std::exp(delta * a) * h[n] +
               delta * value(data.sequences[0], at) * value(data.sequences[2], t * states + n);
        y += h[n] * value(data.sequences[3], t * states + n);
      }
      const double z = value(data.sequences[4], at);
      CHECK(value(result.y, at) == Approx(y * z / (1.0 + std::exp(-z))).epsilon(1e-12));
    }
    for (std::int64_t n = 0; n < states; ++n)
      CHECK(value(result.state, e * states + n) == Approx(h[n]).epsilon(1e-12));
  }
}

TEST_CASE("sequence ops: cut anywhere, the bits stay") {
  on_every_target([] {
    Exec exec({.threads = 1});
    for (const SequenceCase& c : all_cases()) check_cuts(c, exec, 71);
  });
  Exec exec({.dtype = DType::kFloat64, .threads = 1});
  for (const SequenceCase& c : all_cases()) check_cuts(c, exec, 40);
}

TEST_CASE("sequence ops: rows, packed sequences and lengths equal the sequences alone") {
  on_every_target([] {
    Exec exec({.threads = 2});
    for (const SequenceCase& c : all_cases()) check_rows(c, exec);
  });
  Exec exec({.dtype = DType::kFloat64, .threads = 2});
  for (const SequenceCase& c : all_cases()) check_rows(c, exec);
}

TEST_CASE("sequence ops: gradients equal central differences") {
  for (const std::int64_t length : {1, 5, 37}) {
    for (const SequenceCase& c : affine_cases(2)) check_gradients(c, length);
    for (const SequenceCase& c : conv_cases(2)) check_gradients(c, length);
    check_gradients(selective_case(2, 3, true), length);
    check_gradients(selective_case(1, 1, false), length);
  }
}

TEST_CASE("sequence ops: float equals double on every vector target, values and gradients") {
  on_every_target([] {
    // 2e-5: sums of up to 100 terms whose parts cancel, each of some ulp (1.2e-7).
    for (const std::int64_t length : {1, 2, 31, 32, 33, 100})
      for (const SequenceCase& c : selective_cases()) check_float(c, length, 2e-5);
    for (const std::int64_t channels : {1, 3, 17, 33, 1027})
      for (const SequenceCase& c : affine_cases(channels)) check_float(c, 33, 2e-5);
    for (const std::int64_t channels : {1, 3, 17, 65, 300})
      for (const SequenceCase& c : conv_cases(channels)) check_float(c, 33, 2e-5);
  });
}

TEST_CASE("sequence ops: no steps leave the state alone") {
  for (const DType dtype : {DType::kFloat32, DType::kFloat64}) {
    Exec exec({.dtype = dtype});
    for (const SequenceCase& c : all_cases()) {
      const CaseData data = draw(c, 2, 0, dtype);
      const CaseResult result = run(c, exec, data, 2, 0);
      INFO(c.name);
      CHECK(result.y.numel() == 0);
      CHECK(same_bits(result.state, data.state));
      const CaseData none = draw(c, 0, 0, dtype);
      CHECK(run(c, exec, none, 0, 5).y.numel() == 0);
      // Gradients pass through unchanged.
      const auto gradients = tape_gradients(exec, on_tape(c, 2, 0, nullptr), flat(data));
      CHECK(relative_error(
                std::vector<Tensor>{gradients.back()},
                std::vector<Tensor>{random_tensor(data.state.shape(), 1002).to(dtype)}) == 0.0);
    }
  }
}

TEST_CASE("the selective scan stays finite with extreme steps and decays") {
  on_every_target([] {
    Exec exec({.threads = 1});
    SequenceCase c = selective_case(20, 16, true);
    c.sequences[1] = {Shape({20}), -200.0, 100.0};    // steps from 0 to 100
    c.parameters[0] = {Shape({20, 16}), -20.0, 8.0};  // decays down to e^-300000
    check_cuts(c, exec, 40);
    check_float(c, 64,
                1e-4);  // steps of 100: the largest states hide nothing, rounding grows with them
  });
}

TEST_CASE("sequence ops name what does not fit") {
  Exec exec;
  const Sequence sequence = Sequence::batch(exec, 1, 4);
  const Tensor x = exec.zeros({4, 3});
  Tensor state = exec.zeros({1, 3}), wrong = exec.zeros({1, 2});
  CHECK_THROWS_AS(affine_scan(exec, x, x, wrong, sequence), Error);
  CHECK_THROWS_AS(affine_scan(exec, x, exec.zeros({3, 3}), state, sequence), Error);
  CHECK_THROWS_AS(affine_scan(exec, x, x, state, sequence, {.complex = true, .log_space = true}),
                  Error);
  Tensor window = exec.zeros({1, 3, 3});
  CHECK_THROWS_AS(causal_conv(exec, x, exec.zeros({3, 2, 4}), {}, window, sequence), Error);
  CHECK_THROWS_AS(causal_conv(exec, x, exec.zeros({3, 3}), {}, window, sequence), Error);
  CHECK_THROWS_AS(causal_conv(exec, x, exec.zeros({3, 4}), exec.zeros({2}), window, sequence),
                  Error);
  Tensor h = exec.zeros({1, 3, 2});
  SelectiveScanInputs in{.x = x,
                         .dt = x,
                         .a_log = exec.zeros({3, 2}),
                         .b = exec.zeros({4, 2}),
                         .c = exec.zeros({4, 1})};
  CHECK_THROWS_AS(selective_scan(exec, in, h, sequence), Error);
}

TEST_CASE("sequence ops: gradients go to what is tracked, and to nothing else") {
  Exec exec({.dtype = DType::kFloat64});
  for (const SequenceCase& c : {affine_case(2, {}), conv_case(2, 3, true, ConvActivation::kSilu),
                                selective_case(2, 3, true)}) {
    const std::vector<Tensor> all = flat(draw(c, 1, 4, DType::kFloat64));
    const std::vector<Tensor> expected = tape_gradients(exec, on_tape(c, 1, 4, nullptr), all);
    for (std::size_t only = 0; only < all.size(); ++only) {
      Tape tape;
      tape.watch(all[only]);
      std::vector<Tensor> outputs;
      {
        const TapeScope scope(exec, &tape);
        outputs = on_tape(c, 1, 4, nullptr)(exec, all);
      }
      backward(exec, tape,
               {{outputs[0], random_tensor(outputs[0].shape(), 1001)},
                {outputs[1], random_tensor(outputs[1].shape(), 1002)}});
      INFO(c.name << " input " << only);
      for (std::size_t k = 0; k < all.size(); ++k)
        CHECK(tape.gradient(all[k]).defined() == (k == only));
      CHECK(same_bits(tape.gradient(all[only]), expected[only]));
    }
  }
}
