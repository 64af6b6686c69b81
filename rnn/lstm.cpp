#include <rill/rnn/lstm.h>

#include <rill/core/check.h>
#include <rill/core/init.h>
#include <rill/core/ops.h>

#include <cmath>
#include <string>

namespace rill {
namespace {

constexpr std::int64_t kMaxSize = 1 << 16;

void check_config(const LstmConfig& config) {
  const auto check_range = [](const char* name, std::int64_t value, std::int64_t min,
                              std::int64_t max) {
    check(value >= min && value <= max, ErrorCode::kConfig,
          "lstm: {} between {} and {} was expected, {} came.", name, min, max, value);
  };
  check_range("input_size", config.input_size, 1, kMaxSize);
  check_range("hidden_size", config.hidden_size, 1, kMaxSize);
  check_range("num_layers", config.num_layers, 1, 1024);
  check_range("proj_size (0: no projection)", config.proj_size, 0, config.hidden_size - 1);
  check(config.dropout >= 0.0 && config.dropout < 1.0, ErrorCode::kConfig,
        "lstm: dropout in [0, 1) was expected, {} came.", config.dropout);
}

}  // namespace

Lstm::Lstm(const LstmConfig& config, DType dtype, std::uint64_t seed)
    : config_(config), dtype_(dtype) {
  check_config(config);
  const std::int64_t gates = 4 * config.hidden_size;
  const double bound = 1.0 / std::sqrt(static_cast<double>(config.hidden_size));
  for (std::int64_t k = 0; k < config.num_layers; ++k) {
    const auto draw = [&](const char* name, const Shape& shape) {
      return uniform_parameter(shape, dtype, seed, name + std::to_string(k), bound);
    };
    LstmWeights layer;
    layer.weight_ih = draw("weight_ih_l", {gates, k == 0 ? config.input_size : output_size()});
    layer.weight_hh = draw("weight_hh_l", {gates, output_size()});
    if (config.bias) layer.bias_ih = draw("bias_ih_l", {gates});
    if (config.bias) layer.bias_hh = draw("bias_hh_l", {gates});
    if (config.proj_size)
      layer.weight_hr = draw("weight_hr_l", {config.proj_size, config.hidden_size});
    layers_.push_back(std::move(layer));
  }
}

StateSpec Lstm::state_spec() const {
  StateSpec spec{"lstm", {}};
  for (std::int64_t k = 0; k < config_.num_layers; ++k) {
    spec.fields.push_back({"h_l" + std::to_string(k), {output_size()}, dtype_, 0.0});
    spec.fields.push_back({"c_l" + std::to_string(k), {config_.hidden_size}, dtype_, 0.0});
  }
  return spec;
}

double Lstm::flops_per_token() const {
  const auto hidden = static_cast<double>(config_.hidden_size),
             output = static_cast<double>(output_size());
  const auto input = static_cast<double>(config_.input_size),
             layers = static_cast<double>(config_.num_layers);
  const double inputs = input + (layers - 1) * output;
  const double projection = config_.proj_size ? 2 * hidden * output : 0.0;
  // Gates: 4 activations, c: 3 operations, h: 2.
  return 8 * hidden * (inputs + layers * output) + layers * (projection + 9 * hidden);
}

void Lstm::visit_parameters(const ParameterVisitor& visitor) const {
  for (std::size_t k = 0; k < layers_.size(); ++k) {
    const LstmWeights& layer = layers_[k];
    const std::string suffix = "_l" + std::to_string(k);
    visitor("weight_ih" + suffix, layer.weight_ih, ParameterGroup::kDecay);
    visitor("weight_hh" + suffix, layer.weight_hh, ParameterGroup::kDecay);
    if (config_.bias) visitor("bias_ih" + suffix, layer.bias_ih, ParameterGroup::kNoDecay);
    if (config_.bias) visitor("bias_hh" + suffix, layer.bias_hh, ParameterGroup::kNoDecay);
    if (config_.proj_size) visitor("weight_hr" + suffix, layer.weight_hr, ParameterGroup::kDecay);
  }
}

Tensor Lstm::compute(Exec& exec, const Tensor& x, std::span<Tensor> state,
                     const Sequence& sequence) const {
  Tensor y = x;
  for (std::size_t k = 0; k < layers_.size(); ++k) {
    if (k > 0 && config_.dropout > 0.0) y = dropout(exec, y, config_.dropout);
    y = lstm(exec, y, layers_[k], state[2 * k], state[2 * k + 1], sequence);
  }
  return y;
}

const LayerType& lstm_layer_type() {
  static const LayerType type = {
      .name = "lstm",
      .family = "rnn",
      .flags = {},
      .options = {OptionSpec::integer(
                      "hidden_size", 0, 0, kMaxSize,
                      "hidden units; 0: the width; more than the width: projected back to it"),
                  OptionSpec::integer("num_layers", 1, 1, 1024, "layers on top of each other"),
                  OptionSpec::flag("bias", true, "biases of the gates"),
                  OptionSpec::number("dropout", 0.0, 0.0, 0.99,
                                     "between the layers, while training")},
      .create = [](std::int64_t width, const Options& options, DType dtype,
                   std::uint64_t seed) -> std::unique_ptr<SequenceLayer> {
        const std::int64_t asked = options.integer("hidden_size"),
                           hidden = asked == 0 ? width : asked;
        check(hidden >= width, ErrorCode::kConfig,
              "lstm: hidden_size of 0 (the width) or at least the width {} was expected, {} came.",
              width, hidden);
        const LstmConfig config{.input_size = width,
                                .hidden_size = hidden,
                                .num_layers = options.integer("num_layers"),
                                .proj_size = hidden == width ? 0 : width,
                                .bias = options.flag("bias"),
                                .dropout = options.number("dropout")};
        return std::make_unique<Lstm>(config, dtype, seed);
      }};
  return type;
}

}  // namespace rill
