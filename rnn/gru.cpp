#include <rill/rnn/gru.h>

#include <rill/core/check.h>
#include <rill/core/init.h>
#include <rill/core/ops.h>

#include <cmath>
#include <string>

namespace rill {
namespace {

constexpr std::int64_t kMaxSize = 1 << 16;

void check_config(const GruConfig& config) {
  const auto check_range = [](const char* name, std::int64_t value, std::int64_t max) {
    check(value >= 1 && value <= max, ErrorCode::kConfig,
          "gru: {} between 1 and {} was expected, {} came.", name, max, value);
  };
  check_range("input_size", config.input_size, kMaxSize);
  check_range("hidden_size", config.hidden_size, kMaxSize);
  check_range("num_layers", config.num_layers, 1024);
  check(config.dropout >= 0.0 && config.dropout < 1.0, ErrorCode::kConfig,
        "gru: dropout in [0, 1) was expected, {} came.", config.dropout);
}

}  // namespace

Gru::Gru(const GruConfig& config, DType dtype, std::uint64_t seed)
    : config_(config), dtype_(dtype) {
  check_config(config);
  const std::int64_t gates = 3 * config.hidden_size;
  const double bound = 1.0 / std::sqrt(static_cast<double>(config.hidden_size));
  for (std::int64_t k = 0; k < config.num_layers; ++k) {
    const auto draw = [&](const char* name, const Shape& shape) {
      return uniform_parameter(shape, dtype, seed, name + std::to_string(k), bound);
    };
    GruWeights layer;
    layer.weight_ih = draw("weight_ih_l", {gates, k == 0 ? config.input_size : config.hidden_size});
    layer.weight_hh = draw("weight_hh_l", {gates, config.hidden_size});
    if (config.bias) layer.bias_ih = draw("bias_ih_l", {gates});
    if (config.bias) layer.bias_hh = draw("bias_hh_l", {gates});
    layers_.push_back(std::move(layer));
  }
}

StateSpec Gru::state_spec() const {
  StateSpec spec{"gru", {}};
  for (std::int64_t k = 0; k < config_.num_layers; ++k)
    spec.fields.push_back({"h_l" + std::to_string(k), {config_.hidden_size}, dtype_, 0.0});
  return spec;
}

double Gru::flops_per_token() const {
  const auto hidden = static_cast<double>(config_.hidden_size),
             layers = static_cast<double>(config_.num_layers);
  const double inputs = static_cast<double>(config_.input_size) + (layers - 1) * hidden;
  // Gates: 3 activations, r q + ...: 2 operations, the mean: 3.
  return 6 * hidden * (inputs + layers * hidden) + layers * 8 * hidden;
}

void Gru::visit_parameters(const ParameterVisitor& visitor) const {
  for (std::size_t k = 0; k < layers_.size(); ++k) {
    const GruWeights& layer = layers_[k];
    const std::string suffix = "_l" + std::to_string(k);
    visitor("weight_ih" + suffix, layer.weight_ih, ParameterGroup::kDecay);
    visitor("weight_hh" + suffix, layer.weight_hh, ParameterGroup::kDecay);
    if (config_.bias) visitor("bias_ih" + suffix, layer.bias_ih, ParameterGroup::kNoDecay);
    if (config_.bias) visitor("bias_hh" + suffix, layer.bias_hh, ParameterGroup::kNoDecay);
  }
}

Tensor Gru::compute(Exec& exec, const Tensor& x, std::span<Tensor> state,
                    const Sequence& sequence) const {
  Tensor y = x;
  for (std::size_t k = 0; k < layers_.size(); ++k) {
    if (k > 0 && config_.dropout > 0.0) y = dropout(exec, y, config_.dropout);
    y = gru(exec, y, layers_[k], state[k], sequence);
  }
  return y;
}

const LayerType& gru_layer_type() {
  static const LayerType type = {
      .name = "gru",
      .family = "rnn",
      .flags = {},
      .options = {OptionSpec::integer("num_layers", 1, 1, 1024, "layers on top of each other"),
                  OptionSpec::flag("bias", true, "biases of the gates"),
                  OptionSpec::number("dropout", 0.0, 0.0, 0.99,
                                     "between the layers, while training")},
      .create = [](std::int64_t width, const Options& options, DType dtype,
                   std::uint64_t seed) -> std::unique_ptr<SequenceLayer> {
        const GruConfig config{.input_size = width,
                               .hidden_size = width,
                               .num_layers = options.integer("num_layers"),
                               .bias = options.flag("bias"),
                               .dropout = options.number("dropout")};
        return std::make_unique<Gru>(config, dtype, seed);
      }};
  return type;
}

}  // namespace rill
