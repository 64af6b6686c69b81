#include "law.h"

#include <rill/core/kernel.h>
#include <rill/core/ops.h>

#include <cstring>

namespace rill::laws {

std::unique_ptr<SequenceLayer> Subject::make(std::int64_t width, DType precision,
                                             std::uint64_t seed) const {
  auto layer = make_layer(type->name, width, {}, precision, seed);
  if (precision == DType::kFloat64) {
    const auto single = make_layer(type->name, width, {}, DType::kFloat32, seed);
    const std::vector<Tensor> from = single->parameters();
    const std::vector<Tensor> to = layer->parameters();
    for (std::size_t i = 0; i < to.size(); ++i) to[i].copy_from(from[i]);
  }
  return fault.empty() ? std::move(layer) : with_fault(std::move(layer), fault);
}

void Finding::add(double e, double b) {
  const double excess = std::isnan(e) ? std::numeric_limits<double>::infinity() : e - b;
  if (!(excess > worst_)) return;
  worst_ = excess;
  error = e;
  bound = b;
}

Tensor random_input(const Shape& shape, DType dtype, std::uint64_t seed, double scale) {
  const Tensor values = Tensor::empty(shape, DType::kFloat32);
  Generator generator(seed, "input");
  for (float& value : values.span<float>())
    value = static_cast<float>(generator.uniform(-scale, scale));
  return values.to(dtype);
}

State used_state(Exec& exec, const SequenceLayer& layer, std::int64_t batch, std::uint64_t seed) {
  State state = layer.initial_state(exec, batch);
  layer.forward(exec, random_input({batch, 5, layer.input_size()}, layer.dtype(), seed), state);
  return state;
}

State convert(const State& state, const StateSpec& spec) {
  State result = State::fresh(spec, state.batch());
  for (std::size_t f = 0; f < result.fields().size(); ++f)
    result.fields()[f].copy_from(state.fields()[f]);
  return result;
}

Tensor steps_of(const Tensor& x, std::int64_t first, std::int64_t count) {
  const Tensor part = Tensor::empty({x.size(0), count, x.size(2)}, x.dtype());
  const std::size_t step = static_cast<std::size_t>(x.size(2)) * size_of(x.dtype());
  for (std::int64_t b = 0; b < x.size(0); ++b)
    std::memcpy(
        static_cast<char*>(part.raw()) + static_cast<std::size_t>(b * count) * step,
        static_cast<const char*>(x.raw()) + static_cast<std::size_t>(b * x.size(1) + first) * step,
        static_cast<std::size_t>(count) * step);
  return part;
}

Tensor join_time(const std::vector<Tensor>& parts) {
  std::int64_t length = 0;
  for (const Tensor& part : parts) length += part.size(1);
  const Tensor whole =
      Tensor::empty({parts[0].size(0), length, parts[0].size(2)}, parts[0].dtype());
  const std::size_t step = static_cast<std::size_t>(whole.size(2)) * size_of(whole.dtype());
  std::int64_t first = 0;
  for (const Tensor& part : parts) {
    for (std::int64_t b = 0; b < whole.size(0); ++b)
      std::memcpy(
          static_cast<char*>(whole.raw()) + static_cast<std::size_t>(b * length + first) * step,
          static_cast<const char*>(part.raw()) + static_cast<std::size_t>(b * part.size(1)) * step,
          static_cast<std::size_t>(part.size(1)) * step);
    first += part.size(1);
  }
  return whole;
}

bool same_state(const State& a, const State& b) {
  if (a.fields().size() != b.fields().size()) return false;
  for (std::size_t f = 0; f < a.fields().size(); ++f)
    if (!test::same_bits(a.fields()[f], b.fields()[f])) return false;
  return true;
}

double state_error(const State& a, const State& reference) {
  double error = 0;
  for (std::size_t f = 0; f < a.fields().size(); ++f) {
    if (is_floating(a.fields()[f].dtype()))
      error = std::max(error, test::error_of(a.fields()[f], reference.fields()[f]));
    else if (!test::same_bits(a.fields()[f], reference.fields()[f]))
      return std::numeric_limits<double>::infinity();
  }
  return error;
}

Run run(Exec& exec, const SequenceLayer& layer, const Tensor& x, State state,
        const Segments* segments) {
  Run result{.state = std::move(state)};
  result.y = layer.forward(exec, x, result.state, segments);
  return result;
}

Run run_steps(Exec& exec, const SequenceLayer& layer, const Tensor& x, State state) {
  Stepper stepper = layer.prepare_step(exec, x.size(0));
  std::vector<Tensor> outputs;
  for (std::int64_t t = 0; t < x.size(1); ++t) {
    const Tensor y = Tensor::empty({x.size(0), layer.output_size()}, layer.dtype());
    const StepStatus status =
        stepper.step(steps_of(x, t, 1).view({x.size(0), x.size(2)}), state, y);
    if (status != StepStatus::kOk)
      throw Error(ErrorCode::kState, std::string("step: ") + to_string(status));
    outputs.push_back(y.view({x.size(0), 1, layer.output_size()}));
  }
  if (outputs.empty())
    outputs.push_back(Tensor::empty({x.size(0), 0, layer.output_size()}, layer.dtype()));
  return {join_time(outputs), std::move(state)};
}

namespace {

// Fixed weights of the objective: different ones for each output and each field of the state.
Tensor weights_like(const Tensor& y, std::uint64_t seed) {
  return random_input(y.shape(), y.dtype(), 100 + seed);
}

double weighted_sum(const Tensor& y, std::uint64_t seed) {
  const Tensor a = y.to(DType::kFloat64), b = weights_like(y, seed).to(DType::kFloat64);
  double sum = 0;
  for (std::int64_t i = 0; i < a.numel(); ++i) sum += a.data<double>()[i] * b.data<double>()[i];
  return sum;
}

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
                  const std::vector<std::int64_t>& cuts, const Segments* segments) {
  std::vector<std::int64_t> edges = {0};
  edges.insert(edges.end(), cuts.begin(), cuts.end());
  edges.push_back(x.size(1));
  std::vector<State> states = {initial};
  for (std::size_t i = 0; i + 2 < edges.size(); ++i)
    states.push_back(
        run(exec, layer, steps_of(x, edges[i], edges[i + 1] - edges[i]), states.back()).state);
  const Tensor weights =
      weights_like(Tensor::empty({x.size(0), x.size(1), layer.output_size()}, x.dtype()), 0);
  Tape tape;
  std::vector<Tensor> d_state;
  std::vector<Tensor> dx(edges.size() - 1);
  for (std::size_t i = edges.size() - 1; i-- > 0;) {
    const std::int64_t first = edges[i], count = edges[i + 1] - edges[i];
    const Tensor part = steps_of(x, first, count);
    State state = states[i];
    std::vector<Tensor> leaves(state.fields().begin(), state.fields().end());
    tape.watch(part);
    for (const Tensor& leaf : leaves)
      if (is_floating(leaf.dtype())) tape.watch(leaf);
    Tensor y;
    {
      const TapeScope scope(exec, &tape);
      y = layer.forward(exec, part, state, segments);
    }
    std::vector<std::pair<Tensor, Tensor>> seeds = {{y, steps_of(weights, first, count)}};
    const bool last = i + 2 == edges.size();
    for (std::size_t f = 0; f < leaves.size(); ++f) {
      if (!is_floating(leaves[f].dtype())) continue;
      if (last)
        seeds.emplace_back(state.fields()[f], weights_like(leaves[f], f + 1));
      else if (d_state[f].defined())
        seeds.emplace_back(state.fields()[f], d_state[f]);
    }
    backward(exec, tape, std::move(seeds));
    dx[i] = tape.gradient(part);
    if (!dx[i].defined()) dx[i] = Tensor::zeros(part.shape(), part.dtype());
    d_state.clear();
    for (const Tensor& leaf : leaves) d_state.push_back(tape.gradient(leaf));
    tape.next_part();
  }
  Gradient result{.x = join_time(dx), .state = d_state};
  for (const Tensor& parameter : layer.parameters())
    result.parameters.push_back(tape.gradient(parameter));
  return result;
}

double bound_of(double plain_error, DType dtype) {
  return 2 * plain_error + 8 * test::epsilon_of(dtype);
}

const std::vector<Law>& all_laws() {
  static const std::vector<Law> laws = [] {
    std::vector<Law> all;
    add_mode_laws(all);
    add_gradient_laws(all);
    add_state_laws(all);
    add_runtime_laws(all);
    return all;
  }();
  return laws;
}

}  // namespace rill::laws
