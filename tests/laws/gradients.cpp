// What the laws of gradients share: the objective, its gradient through cuts, errors of gradients.
#include "law.h"

#include <cmath>

namespace rill::laws {

// Different ones for each output and each field of the state.
Tensor weights_like(const Tensor& like, std::uint64_t seed) {
  return random_input(like.shape(), like.dtype(), 100 + seed);
}

double largest(const Tensor& array) {
  double value = 0;
  if (!array.defined()) return value;
  for (const double element : array.to(DType::kFloat64).span<double>()) {
    if (!std::isfinite(element)) return std::numeric_limits<double>::infinity();
    value = std::max(value, std::abs(element));
  }
  return value;
}

namespace {

double weighted_sum(const Tensor& y, std::uint64_t seed) {
  const Tensor a = y.to(DType::kFloat64), b = weights_like(y, seed).to(DType::kFloat64);
  double sum = 0;
  for (std::int64_t i = 0; i < a.numel(); ++i) sum += a.data<double>()[i] * b.data<double>()[i];
  return sum;
}

// The gradient of the final state, one array a field.
std::vector<Tensor> final_gradients(const State& state, const Objective& objective) {
  if (!objective.d_final.empty()) return objective.d_final;
  std::vector<Tensor> result(state.fields().size());
  for (std::size_t f = 0; f < result.size(); ++f)
    if (is_floating(state.fields()[f].dtype())) result[f] = weights_like(state.fields()[f], f + 1);
  return result;
}

// States at the cuts, the first of all at the beginning.
std::vector<State> states_at(Exec& exec, const SequenceLayer& layer, const Tensor& x,
                             const State& initial, const std::vector<std::int64_t>& edges) {
  std::vector<State> states = {initial};
  for (std::size_t i = 0; i + 2 < edges.size(); ++i)
    states.push_back(
        run(exec, layer, steps_of(x, edges[i], edges[i + 1] - edges[i]), states.back()).state);
  return states;
}

Tensor near(const Tensor& array) { return array.defined() ? array.to(Device{}) : array; }

}  // namespace

double objective(Exec& exec, const SequenceLayer& layer, const Tensor& x, const State& initial) {
  const Run result = run(exec, layer, x, initial);
  double sum = weighted_sum(result.y, 0);
  for (std::size_t f = 0; f < result.state.fields().size(); ++f)
    if (is_floating(result.state.fields()[f].dtype()))
      sum += weighted_sum(result.state.fields()[f], f + 1);
  return sum;
}

Gradient gradient(Exec& exec, const SequenceLayer& layer, const Tensor& x, const State& initial,
                  const Objective& objective) {
  std::vector<std::int64_t> edges = {0};
  edges.insert(edges.end(), objective.cuts.begin(), objective.cuts.end());
  edges.push_back(x.size(1));
  const std::vector<State> states = states_at(exec, layer, x, initial, edges);
  const Tensor dy =
      objective.dy.defined()
          ? objective.dy
          : weights_like(Tensor::empty({x.size(0), x.size(1), layer.output_size()}, x.dtype()), 0);
  Tape tape;
  std::vector<Tensor> d_state = final_gradients(initial, objective);
  std::vector<Tensor> dx(edges.size() - 1);
  for (std::size_t i = edges.size() - 1; i-- > 0;) {
    const std::int64_t first = edges[i], count = edges[i + 1] - edges[i];
    const Tensor part = steps_of(x, first, count).to(exec.device());
    State state = exec.device() == Device{} ? states[i] : states[i].to(exec.device());
    const std::vector<Tensor> leaves(state.fields().begin(), state.fields().end());
    tape.watch(part);
    for (const Tensor& leaf : leaves)
      if (is_floating(leaf.dtype())) tape.watch(leaf);
    Tensor y;
    {
      const TapeScope scope(exec, &tape);
      y = moved(exec, layer).forward(exec, part, state, objective.segments);
    }
    std::vector<std::pair<Tensor, Tensor>> seeds = {{y, steps_of(dy, first, count)}};
    for (std::size_t f = 0; f < leaves.size(); ++f)
      if (d_state[f].defined()) seeds.emplace_back(state.fields()[f], d_state[f]);
    backward(exec, tape, std::move(seeds));
    dx[i] = near(tape.gradient(part));
    if (!dx[i].defined()) dx[i] = Tensor::zeros(part.shape(), part.dtype());
    d_state.clear();
    for (const Tensor& leaf : leaves) d_state.push_back(near(tape.gradient(leaf)));
    tape.next_part();
  }
  Gradient result{.x = join_time(dx), .state = d_state};
  for (const Tensor& parameter : layer.parameters())
    result.parameters.push_back(near(tape.gradient(parameter)));
  return result;
}

void add(ArrayErrors& errors, const Gradient& got, const Gradient& plain, const Gradient& exact) {
  std::size_t array = 0;
  errors.add(array++, got.x, plain.x, exact.x);
  for (std::size_t f = 0; f < exact.state.size(); ++f)
    errors.add(array++, got.state[f], plain.state[f], exact.state[f]);
  for (std::size_t p = 0; p < exact.parameters.size(); ++p)
    errors.add(array++, got.parameters[p], plain.parameters[p], exact.parameters[p]);
}

}  // namespace rill::laws
