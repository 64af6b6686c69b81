#include <rill/core/check.h>
#include <rill/core/init.h>
#include <rill/core/ops.h>
#include <rill/model/stack.h>
#include <rill/scan/causal_conv.h>

namespace rill {
namespace {

std::unique_ptr<SequenceLayer> given(std::unique_ptr<SequenceLayer> layer, const char* what) {
  check(layer != nullptr, ErrorCode::kConfig, "{}: a layer was expected, null came.", what);
  return layer;
}

// Taps (1, 0) of a causal convolution: the step before, 0 at the first.
Tensor delay_of_one(std::int64_t channels, DType dtype) {
  const Tensor taps = Tensor::zeros({channels, 2}, DType::kFloat64);
  for (std::int64_t c = 0; c < channels; ++c) taps.data<double>()[2 * c] = 1.0;
  return taps.to(dtype);
}

}  // namespace

// ---- Norm
// -----------------------------------------------------------------------------------------------------------

Norm::Norm(Kind kind, std::int64_t width, double eps, bool bias, double weight_offset, DType dtype)
    : kind_(kind),
      eps_(eps),
      weight_offset_(weight_offset),
      weight_(constant_parameter({width}, dtype, 1.0 - weight_offset)) {
  if (kind == Kind::kLayer && bias) bias_ = constant_parameter({width}, dtype, 0.0);
}

Tensor Norm::forward(Exec& exec, const Tensor& x) const {
  const Tensor weight =
      weight_offset_ == 0.0 ? weight_ : affine(exec, weight_, 1.0, weight_offset_);
  if (kind_ == Kind::kRms) return rms_norm(exec, x, weight, eps_);
  return layer_norm(exec, x, weight, bias_, eps_);
}

void Norm::visit_parameters(const ParameterVisitor& visitor) const {
  visitor("weight", weight_, ParameterGroup::kNoDecay);
  if (bias_.defined()) visitor("bias", bias_, ParameterGroup::kNoDecay);
}

// ---- GatedMlp
// -------------------------------------------------------------------------------------------------------

GatedMlp::GatedMlp(std::int64_t width, std::int64_t hidden, DType dtype, std::uint64_t seed)
    : gate_(linear_parameter(hidden, width, dtype, seed, "mlp.gate")),
      up_(linear_parameter(hidden, width, dtype, seed, "mlp.up")),
      down_(linear_parameter(width, hidden, dtype, seed, "mlp.down")) {}

Tensor GatedMlp::forward(Exec& exec, const Tensor& x) const {
  const Tensor gate = linear(exec, x, gate_);
  return linear(exec, gated(exec, linear(exec, x, up_), gate, Unary::kSilu), down_);
}

void GatedMlp::visit_parameters(const ParameterVisitor& visitor) const {
  visitor("gate_proj.weight", gate_, ParameterGroup::kDecay);
  visitor("up_proj.weight", up_, ParameterGroup::kDecay);
  visitor("down_proj.weight", down_, ParameterGroup::kDecay);
}

double GatedMlp::flops_per_token() const { return 6.0 * static_cast<double>(gate_.numel()); }

// ---- Block
// ----------------------------------------------------------------------------------------------------------

Block::Block(std::unique_ptr<SequenceLayer> layer, const BlockConfig& config, DType dtype,
             std::uint64_t seed)
    : layer_(given(std::move(layer), "Block")),
      config_(config),
      norm_(config.norm, layer_->input_size(), config.norm_eps, config.norm_bias,
            config.norm_weight_offset, dtype) {
  check(layer_->input_size() == layer_->output_size(), ErrorCode::kShape,
        "Block: a layer with as many outputs as inputs was expected, one with {} and {} came.",
        layer_->output_size(), layer_->input_size());
  if (config.mlp_size <= 0) return;
  const std::int64_t width = layer_->output_size();
  mlp_norm_ = std::make_unique<Norm>(config.norm, width, config.norm_eps, config.norm_bias,
                                     config.norm_weight_offset, dtype);
  mlp_ = std::make_unique<GatedMlp>(width, config.mlp_size, dtype, seed);
}

Tensor Block::compute(Exec& exec, const Tensor& x, std::span<Tensor> state,
                      const Sequence& sequence) const {
  const auto add_residual = [&](const Tensor& residual, Tensor update) {
    if (config_.dropout > 0.0) update = dropout(exec, update, config_.dropout);
    return add(exec, residual, update);
  };
  const Tensor y = add_residual(x, layer_->apply(exec, norm_.forward(exec, x), state, sequence));
  if (!mlp_) return y;
  return add_residual(y, mlp_->forward(exec, mlp_norm_->forward(exec, y)));
}

void Block::visit_parameters(const ParameterVisitor& visitor) const {
  norm_.visit_parameters(with_prefix(visitor, config_.names.norm));
  layer_->visit_parameters(with_prefix(visitor, config_.names.layer));
  if (!mlp_) return;
  mlp_norm_->visit_parameters(with_prefix(visitor, config_.names.mlp_norm));
  mlp_->visit_parameters(with_prefix(visitor, config_.names.mlp));
}

void Block::visit_buffers(const std::function<void(const Tensor&)>& visitor) const {
  layer_->visit_buffers(visitor);
}

double Block::flops_per_token() const {
  const double norm = 4.0 * static_cast<double>(input_size());
  return layer_->flops_per_token() + norm + (mlp_ ? mlp_->flops_per_token() + norm : 0.0);
}

// ---- Stack
// ----------------------------------------------------------------------------------------------------------

Stack::Stack(std::vector<std::unique_ptr<SequenceLayer>> layers) : layers_(std::move(layers)) {
  check(!layers_.empty(), ErrorCode::kShape, "Stack: at least one layer was expected.");
  for (auto& layer : layers_) layer = given(std::move(layer), "Stack");
  for (std::size_t i = 1; i < layers_.size(); ++i)
    check(layers_[i]->input_size() == layers_[i - 1]->output_size(), ErrorCode::kShape,
          "Stack: layer {} takes {} inputs, the one before it gives {}.", i,
          layers_[i]->input_size(), layers_[i - 1]->output_size());
  for (const auto& layer : layers_) field_counts_.push_back(layer->state_spec().fields.size());
}

StateSpec Stack::state_spec() const {
  StateSpec spec{.layer = "stack of " + layers_.front()->state_spec().layer};
  for (std::size_t i = 0; i < layers_.size(); ++i)
    spec.append(layers_[i]->state_spec(), std::to_string(i) + ".");
  return spec;
}

Tensor Stack::compute(Exec& exec, const Tensor& x, std::span<Tensor> state,
                      const Sequence& sequence) const {
  Tensor y = x;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    y = layers_[i]->apply(exec, y, state.first(field_counts_[i]), sequence);
    state = state.subspan(field_counts_[i]);
  }
  return y;
}

void Stack::visit_parameters(const ParameterVisitor& visitor) const {
  for (std::size_t i = 0; i < layers_.size(); ++i)
    layers_[i]->visit_parameters(with_prefix(visitor, std::to_string(i) + "."));
}

void Stack::visit_buffers(const std::function<void(const Tensor&)>& visitor) const {
  for (const auto& layer : layers_) layer->visit_buffers(visitor);
}

double Stack::flops_per_token() const {
  double sum = 0.0;
  for (const auto& layer : layers_) sum += layer->flops_per_token();
  return sum;
}

// ---- Bidirectional
// --------------------------------------------------------------------------------------------------

Bidirectional::Bidirectional(std::unique_ptr<SequenceLayer> forward,
                             std::unique_ptr<SequenceLayer> backward, AntiCausal anti_causal)
    : forward_(given(std::move(forward), "Bidirectional, in the order of time")),
      backward_(given(std::move(backward), "Bidirectional, against the order of time")),
      anti_causal_(anti_causal) {
  check(forward_->input_size() == backward_->input_size(), ErrorCode::kShape,
        "Bidirectional: two layers of the same input width were expected, {} and {} came.",
        forward_->input_size(), backward_->input_size());
  check(forward_->dtype() == backward_->dtype(), ErrorCode::kDType,
        "Bidirectional: two layers of the same dtype were expected, {} and {} came.",
        name_of(forward_->dtype()), name_of(backward_->dtype()));
  if (anti_causal == AntiCausal::kFromNext)
    delay_ = delay_of_one(backward_->output_size(), backward_->dtype());
}

Tensor Bidirectional::forward(Exec& exec, const Tensor& x, const Segments* segments) const {
  check(x.defined() && x.rank() == 3 && x.size(2) == input_size(), ErrorCode::kShape,
        "Bidirectional: x of shape [B, T, {}] was expected, {} came.", input_size(),
        x.defined() ? to_string(x.shape()) : "nothing");
  check(segments == nullptr || !segments->reset.defined(), ErrorCode::kUnsupported,
        "Bidirectional: resets are not defined against the order of time; pack the sequences by "
        "offsets instead.");
  const Sequence sequence = Sequence::from(exec, segments, x.size(0), x.size(1));
  State forward_state = forward_->initial_state(exec, sequence.rows());
  State backward_state = backward_->initial_state(exec, sequence.rows());
  // Beyond the numbers that the forward layer's dropout takes.
  constexpr std::int64_t kBackwardOps = std::int64_t{1} << 20;
  const OpNumberScope ops(exec);
  const Tensor there = forward_->forward(exec, x, forward_state, segments);
  exec.set_op_number(exec.op_number() + kBackwardOps);
  Tensor back = backward_->forward(exec, reverse_time(exec, x, sequence), backward_state, segments);
  if (anti_causal_ == AntiCausal::kFromNext) {
    Tensor before = exec.zeros({sequence.rows(), 1, back.size(-1)});
    back = causal_conv(exec, back, delay_, {}, before, sequence);
  }
  const Tensor parts[] = {there, reverse_time(exec, back, sequence)};
  return concat(exec, parts);
}

void Bidirectional::to(Device device) {
  forward_->to(device);
  backward_->to(device);
  if (delay_.defined()) delay_.move_to(device);
}

void Bidirectional::visit_parameters(const ParameterVisitor& visitor) const {
  forward_->visit_parameters(with_prefix(visitor, "forward."));
  backward_->visit_parameters(with_prefix(visitor, "backward."));
}

}  // namespace rill
