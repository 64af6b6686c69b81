// LSTM and GRU: gradients against central differences, across cuts, and of float against double.
#include "rnn_support.h"

using namespace rill;
using namespace rill::rnn_test;

namespace {

const Kind kKinds[] = {{"lstm", true, 2, 3, 1, 0, true},
                       {"lstm, projected", true, 2, 5, 2, 3, true},
                       {"lstm, no bias", true, 1, 1, 1, 0, false},
                       {"gru", false, 2, 3, 1, 0, true},
                       {"gru of 2 layers", false, 3, 4, 2, 0, true},
                       {"gru, no bias", false, 1, 1, 1, 0, false}};
const Kind kWide[] = {{"lstm", true, 4, 21, 2, 0, true},
                      {"lstm, projected", true, 4, 21, 1, 9, true},
                      {"gru", false, 4, 21, 2, 0, true}};

Segments no_segments() { return {}; }
Segments some_lengths() { return {.lengths = {4, 2, 0}}; }
Segments some_resets() {
  Segments segments{.reset = Tensor::zeros({3, 4}, DType::kUInt8)};
  segments.reset.data<std::uint8_t>()[2] = 1;
  segments.reset.data<std::uint8_t>()[4] = 1;
  return segments;
}

// A scalar function of input, parameters and initial state: fixed random weights over outputs and
// final states.
struct Problem {
  const SequenceLayer& layer;
  Tensor x;
  State initial;
  Segments segments;

  Tensor dy() const { return noise(x.shape().with_last(layer.output_size()), layer.dtype(), 100); }
  Tensor dfinal(std::size_t f) const {
    return noise(initial.fields()[f].shape(), layer.dtype(), 200 + f);
  }

  double value() const {
    Exec exec({.dtype = layer.dtype(), .threads = 1});
    State state = initial;
    const Tensor y = layer.forward(exec, x, state, &segments);
    double sum = dot(y, dy());
    for (std::size_t f = 0; f < state.fields().size(); ++f)
      sum += dot(state.fields()[f], dfinal(f));
    return sum;
  }

  static double dot(const Tensor& a, const Tensor& b) {
    double sum = 0.0;
    for (std::size_t i = 0; i < a.span<double>().size(); ++i)
      sum += a.span<double>()[i] * b.span<double>()[i];
    return sum;
  }

  // Gradients of x, the initial state's fields, and all parameters; the sequence cut after `cut`
  // steps (-1: not).
  std::vector<Tensor> gradients(std::int64_t cut = -1) const {
    Exec exec({.dtype = layer.dtype(), .threads = 2});
    Tape tape;
    State state = initial;
    std::vector<Tensor> leaves{x};
    for (const Tensor& field : state.fields()) leaves.push_back(field);
    for (const Tensor& leaf : leaves) tape.watch(leaf);
    for (const Tensor& parameter : layer.parameters()) leaves.push_back(parameter);
    const TapeScope scope(exec, &tape);
    std::vector<std::pair<Tensor, Tensor>> seeds;
    if (cut < 0) {
      seeds.emplace_back(layer.forward(exec, x, state, &segments), dy());
    } else {
      const Tensor parts[] = {steps_of(x, 0, cut), steps_of(x, cut, x.size(1) - cut)};
      for (const Tensor& part : parts) tape.watch(part);
      leaves[0] = parts[0];
      seeds.emplace_back(layer.forward(exec, parts[0], state), steps_of(dy(), 0, cut));
      seeds.emplace_back(layer.forward(exec, parts[1], state),
                         steps_of(dy(), cut, x.size(1) - cut));
    }
    for (std::size_t f = 0; f < state.fields().size(); ++f)
      seeds.emplace_back(state.fields()[f], dfinal(f));
    backward(exec, tape, std::move(seeds));
    std::vector<Tensor> all;
    for (const Tensor& leaf : leaves) all.push_back(tape.gradient(leaf));
    return all;
  }
};

Problem problem_of(const SequenceLayer& layer, const Segments& segments) {
  return {layer, noise({3, 4, layer.input_size()}, layer.dtype(), 7), noisy_state(layer, 3, 8),
          segments};
}

void check_against_differences(const Problem& problem, const Tensor& variable,
                               const Tensor& gradient) {
  REQUIRE(gradient.defined());
  for (std::size_t i = 0; i < variable.span<double>().size(); ++i) {
    double& value = variable.span<double>()[i];
    const double before = value, step = 1e-5;
    const auto at = [&](double moved) {
      value = moved;
      variable.storage()->bump_version();
      return problem.value();
    };
    const double difference = (at(before + step) - at(before - step)) / (2 * step);
    at(before);
    // step^2 of truncation and 1e-16 / step of cancellation, times values of a few tens
    CHECK(std::abs(gradient.span<double>()[i] - difference) <=
          1e-8 * std::max(1.0, std::abs(difference)));
  }
}

}  // namespace

TEST_CASE("lstm and gru: gradients equal central differences") {
  for (const Kind& kind : kKinds)
    for (const auto& segments : {no_segments(), some_lengths(), some_resets()}) {
      INFO(kind.name << (segments.lengths.empty() ? "" : ", lengths")
                     << (segments.reset.defined() ? ", resets" : ""));
      const auto layer = make_layer(kind, DType::kFloat64);
      const Problem problem = problem_of(*layer, segments);
      const std::vector<Tensor> gradients = problem.gradients();
      std::vector<Tensor> variables{problem.x};
      for (const Tensor& field : problem.initial.fields()) variables.push_back(field);
      for (const Tensor& parameter : layer->parameters()) variables.push_back(parameter);
      for (std::size_t v = 0; v < variables.size(); ++v)
        check_against_differences(problem, variables[v], gradients[v]);
    }
}

TEST_CASE("lstm and gru: gradients through a cut equal those of the whole") {
  for (const Kind& kind : kKinds) {
    INFO(kind.name);
    const auto layer = make_layer(kind, DType::kFloat64);
    const Problem problem = problem_of(*layer, {});
    const std::vector<Tensor> whole = problem.gradients();
    for (const std::int64_t first : {0, 1, 4}) {  // of 4 steps: also a part without any
      const std::vector<Tensor> cut = problem.gradients(first);
      CHECK(error_of(cut[0], steps_of(whole[0], 0, first)) <= 1e-13);  // sums in another order
      for (std::size_t v = 1; v < whole.size(); ++v) CHECK(error_of(cut[v], whole[v]) <= 1e-13);
    }
  }
}

TEST_CASE("lstm and gru: float gradients equal the double ones") {
  for (const Kind& kind : kWide)
    for (const auto& segments : {no_segments(), some_lengths(), some_resets()}) {
      const auto exact_layer = make_layer(kind, DType::kFloat64),
                 layer = make_layer(kind, DType::kFloat32);
      const std::vector<Tensor> exact = problem_of(*exact_layer, segments).gradients();
      on_each_target([&] {
        const std::vector<Tensor> gradients = problem_of(*layer, segments).gradients();
        for (std::size_t v = 0; v < exact.size(); ++v) {
          INFO(kind.name << ", gradient " << v);
          // some fifty roundings a step, two layers, four steps; each is half of 1.2e-7
          CHECK(error_of(gradients[v], exact[v]) <= 3e-6);
        }
      });
    }
}

TEST_CASE("lstm and gru: only what is asked for is differentiated") {
  for (const Kind& kind : {kKinds[1], kKinds[4]}) {
    const auto layer = make_layer(kind, DType::kFloat64);
    const Problem problem = problem_of(*layer, {});
    const std::vector<Tensor> all = problem.gradients();
    for (const Tensor& parameter : layer->parameters()) parameter.set_requires_grad(false);
    const std::vector<Tensor> some = problem.gradients();
    CHECK(same_bits(some[0], all[0]));
    CHECK(same_bits(some[1], all[1]));
    CHECK_FALSE(some.back().defined());
  }
}
