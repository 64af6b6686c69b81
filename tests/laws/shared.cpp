#include "law.h"

#include <rill/core/kernel.h>
#include <rill/core/ops.h>

#include <cmath>
#include <cstring>

namespace rill::laws {

namespace {

// Small beside the initial values that are not 0, and enough for every data-dependent gate to move.
constexpr double kMoved = 0.1;

std::unique_ptr<SequenceLayer> moved_layer(const Variant& variant, std::int64_t width,
                                           std::uint64_t seed) {
  auto layer = make_layer(variant.layer, width, variant.options, DType::kFloat32, seed);
  layer->visit_parameters([&](const std::string& name, const Tensor& value, ParameterGroup) {
    const Tensor moved = value.clone();
    Generator generator(seed, "moved " + name);
    for (float& element : moved.span<float>())
      element += static_cast<float>(generator.uniform(-kMoved, kMoved));
    value.copy_from(moved);
  });
  return layer;
}

}  // namespace

std::unique_ptr<SequenceLayer> Subject::make(std::int64_t width, DType precision,
                                             std::uint64_t seed) const {
  auto layer = moved_layer(*variant, width, seed);
  if (precision == DType::kFloat64) {
    const auto single = std::move(layer);
    layer = make_layer(variant->layer, width, variant->options, precision, seed);
    const std::vector<Tensor> from = single->parameters(), to = layer->parameters();
    for (std::size_t i = 0; i < to.size(); ++i) to[i].copy_from(from[i]);
  }
  if (fault.empty()) return layer;
  Subject whole = *this;
  whole.fault.clear();
  return with_fault(std::move(layer), whole.make(width, precision, seed), fault);
}

void Finding::add(double e, double b) {
  const double excess =
      std::isfinite(e) && std::isfinite(b) ? e - b : std::numeric_limits<double>::infinity();
  any_ = true;
  if (!(excess > worst_)) return;
  worst_ = excess;
  error = e;
  bound = b;
}

void Finding::add(bool ok) {
  any_ = true;
  if (!ok) add(std::numeric_limits<double>::infinity(), 0.0);
}

Tensor random_input(const Shape& shape, DType dtype, std::uint64_t seed, double scale) {
  const Tensor values = Tensor::empty(shape, DType::kFloat32);
  Generator generator(seed, "input");
  for (float& value : values.span<float>())
    value = static_cast<float>(generator.uniform(-scale, scale));
  return values.to(dtype);
}

// A law has its layer for itself.
const SequenceLayer& moved(Exec& exec, const SequenceLayer& layer) {
  if (layer.device() != exec.device()) const_cast<SequenceLayer&>(layer).to(exec.device());
  return layer;
}

State used_state(Exec& exec, const SequenceLayer& layer, std::int64_t batch, std::uint64_t seed) {
  State state = layer.initial_state(exec, batch);
  const Tensor x = random_input({batch, 5, layer.input_size()}, layer.dtype(), seed);
  moved(exec, layer).forward(exec, x.to(exec.device()), state);
  return state.to(Device{});
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
  State there = state.device() == exec.device() ? std::move(state) : state.to(exec.device());
  const Tensor y = moved(exec, layer).forward(exec, x.to(exec.device()), there, segments);
  if (exec.device() == Device{}) return {y, std::move(there)};
  return {y.to(Device{}), there.to(Device{})};
}

Run run_steps(Exec& exec, const SequenceLayer& layer, const Tensor& x, State state) {
  Stepper stepper = moved(exec, layer).prepare_step(exec, x.size(0));
  if (state.device() != exec.device()) state = state.to(exec.device());
  std::vector<Tensor> outputs;
  for (std::int64_t t = 0; t < x.size(1); ++t) {
    const Tensor y = Tensor::empty({x.size(0), layer.output_size()}, layer.dtype());
    const StepStatus status =
        stepper.step(steps_of(x, t, 1).view({x.size(0), x.size(2)}), state, y);
    if (status != StepStatus::kOk)
      throw Error(ErrorCode::kState,
                  std::string("step: ") + to_string(status) + " " + stepper.error());
    outputs.push_back(y.view({x.size(0), 1, layer.output_size()}));
  }
  if (outputs.empty())
    outputs.push_back(Tensor::empty({x.size(0), 0, layer.output_size()}, layer.dtype()));
  if (exec.device() != Device{}) state = state.to(Device{});
  return {join_time(outputs), std::move(state)};
}

Reference reference(const Subject& subject, std::int64_t width, const Tensor& x,
                    const State& initial, const std::function<void(const SequenceLayer&)>& change) {
  const auto layer64 = subject.make(width, DType::kFloat64);
  if (change) change(*layer64);
  Exec exec64({.dtype = DType::kFloat64, .threads = 1});
  Reference result{.exact = run(exec64, *layer64, x.to(DType::kFloat64),
                                convert(initial, layer64->state_spec()))};
  result.plain = result.exact;
  if (subject.dtype == DType::kFloat32) {
    const PlainKernels plain;
    const auto layer = subject.make(width, DType::kFloat32);
    if (change) change(*layer);
    Exec exec({.threads = 1});
    result.plain = run(exec, *layer, x, initial);
  }
  return result;
}

namespace {

// Largest finite magnitude.
double scale_of(const Tensor& array) {
  double value = 0;
  if (!array.defined()) return value;
  for (const double element : array.to(DType::kFloat64).span<double>())
    if (std::isfinite(element)) value = std::max(value, std::abs(element));
  return value;
}

}  // namespace

void ArrayErrors::add(std::size_t array, const Tensor& got, const Tensor& plain,
                      const Tensor& exact) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  sums_.resize(std::max(sums_.size(), array + 1));
  Sum& sum = sums_[array];
  if (exact.defined() && !is_floating(exact.dtype())) {
    if (!test::same_bits(got, exact)) sum.got = kInfinity;
    return;
  }
  const double scale = scale_of(exact);
  const auto error = [&](const Tensor& tensor) {
    if (!exact.defined()) return largest(tensor) == 0 ? 0.0 : kInfinity;
    if (!tensor.defined()) return scale;
    const double relative = test::error_of(tensor, exact);  // zeros and infinities: exactly
    return relative == 0 ? 0.0 : scale == 0 ? kInfinity : scale * relative;
  };
  sum.reference = std::max(sum.reference, scale);
  sum.got = std::max(sum.got, error(got));
  // A plain loop that finds a little where nothing is does not allow that to others.
  if (scale > 0) sum.plain = std::max(sum.plain, error(plain));
}

void ArrayErrors::judge(Finding& finding, DType dtype, double factor) const {
  for (const Sum& sum : sums_) {
    const double scale = sum.reference == 0 ? 1.0 : sum.reference;
    finding.add(sum.got / scale, bound_of(sum.plain / scale, dtype, factor));
  }
}

void add(ArrayErrors& errors, const Run& got, const Reference& expected) {
  errors.add(0, got.y, expected.plain.y, expected.exact.y);
  for (std::size_t f = 0; f < got.state.fields().size(); ++f)
    errors.add(f + 1, got.state.fields()[f], expected.plain.state.fields()[f],
               expected.exact.state.fields()[f]);
}

void compare(Finding& finding, const Subject& subject, const Run& got, const Reference& expected) {
  ArrayErrors errors;
  add(errors, got, expected);
  errors.judge(finding, subject.dtype);
}

double bound_of(double plain_error, DType dtype, double factor) {
  // A float loop whose own error is above 1e-3 computes something else: it bounds nothing.
  constexpr double kWorstPlain = 1e-3;
  if (!std::isfinite(plain_error)) return std::numeric_limits<double>::infinity();
  return factor * std::min(plain_error, kWorstPlain) + 8 * test::epsilon_of(dtype);
}

const std::vector<Law>& all_laws() {
  static const std::vector<Law> laws = [] {
    std::vector<Law> all;
    add_mode_laws(all);
    add_gradient_laws(all);
    add_state_laws(all);
    add_runtime_laws(all);
    add_extreme_laws(all);
    return all;
  }();
  return laws;
}

}  // namespace rill::laws
