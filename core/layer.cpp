#include <rill/core/check.h>
#include <rill/core/layer.h>
#include <rill/core/ops.h>

namespace rill {

Tensor SequenceLayer::forward(Exec& exec, const Tensor& x, State& state,
                              const Segments* segments) const {
  const StateSpec spec = state_spec();
  check(x.defined() && x.rank() == 3 && x.size(2) == input_size(), ErrorCode::kShape,
        "{}: x of shape [B, T, {}] was expected, {} came.", spec.layer, input_size(),
        x.defined() ? to_string(x.shape()) : "nothing");
  check(x.dtype() == dtype() && exec.dtype() == dtype(), ErrorCode::kDType,
        "{}: the layer computes in {}, x is {} and the Exec is {}.", spec.layer, name_of(dtype()),
        name_of(x.dtype()), name_of(exec.dtype()));
  check(x.device() == exec.device() && device_ == exec.device(), ErrorCode::kDevice,
        "{}: the Exec is on {}, the layer lies on {} and x on {}.", spec.layer,
        to_string(exec.device()), to_string(device_), to_string(x.device()));
  const Sequence sequence = Sequence::from(exec, segments, x.size(0), x.size(1));
  state.check_fits(spec, sequence.rows(), spec.layer);
  state.check_on(exec.device(), spec.layer);
  const OpNumberScope ops(exec);
  Tensor y = compute(exec, x, state.fields(), sequence);
  return sequence.padded() ? zero_padding(exec, y, sequence) : y;
}

Stepper SequenceLayer::prepare_step(Exec& exec, std::int64_t batch) const {
  check(batch >= 1, ErrorCode::kShape, "prepare_step: a batch of at least 1 was expected, {} came.",
        batch);
  check(exec.dtype() == dtype(), ErrorCode::kDType,
        "prepare_step: the layer computes in {}, the Exec in {}.", name_of(dtype()),
        name_of(exec.dtype()));
  check(exec.device() == device_, ErrorCode::kDevice,
        "prepare_step: the layer lies on {}, the Exec is on {}.", to_string(device_),
        to_string(exec.device()));
  const auto function = [this, batch](Exec& ex, const Tensor& x, std::span<Tensor> state) {
    return compute(ex, x, state, Sequence::batch(ex, batch, 1));
  };
  return Stepper::record(exec, {batch, 1, input_size()}, dtype(), state_spec(), parameters(),
                         function);
}

State SequenceLayer::initial_state(Exec& exec, std::int64_t batch) const {
  return State::fresh(state_spec(), batch).to(exec.device());
}

std::vector<Tensor> SequenceLayer::parameters() const {
  std::vector<Tensor> all;
  visit_parameters(
      [&](const std::string&, const Tensor& value, ParameterGroup) { all.push_back(value); });
  return all;
}

void SequenceLayer::visit_buffers(const std::function<void(const Tensor&)>&) const {}

void SequenceLayer::to(Device device) {
  visit_parameters(
      [&](const std::string&, const Tensor& value, ParameterGroup) { value.move_to(device); });
  visit_buffers([&](const Tensor& value) { value.move_to(device); });
  device_ = device;
}

std::int64_t SequenceLayer::parameter_count() const {
  std::int64_t count = 0;
  for (const Tensor& parameter : parameters()) count += parameter.numel();
  return count;
}

}  // namespace rill
