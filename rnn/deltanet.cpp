#include <rill/core/ops.h>
#include <rill/rnn/deltanet.h>
#include <rill/rnn/heads.h>
#include <rill/scan/causal_conv.h>
#include <rill/scan/delta_rule.h>

#include <cmath>

namespace rill {
namespace {

const double kGain =
    std::exp2(-2.5);               // of Xavier's draw, the authors' initial value of every weight
constexpr double kNormEps = 1e-6;  // of the l2 norm of queries and keys

Tensor conv_parameter(std::int64_t channels, std::int64_t size, DType dtype, std::uint64_t seed,
                      std::string_view name) {
  return uniform_parameter({channels, 1, size}, dtype, seed, name,
                           1.0 / std::sqrt(static_cast<double>(size)));
}

}  // namespace

DeltaNet::DeltaNet(const DeltaNetConfig& config, DType dtype, std::uint64_t seed)
    : config_(config),
      dtype_(dtype),
      keys_(expanded(config.width, config.expand_k)),
      values_(expanded(config.width, config.expand_v)) {
  if (config_.num_heads == 0) config_.num_heads = derive_heads(16, {keys_, values_}, 32);
  const std::int64_t heads = config_.num_heads, width = config_.width, size = config_.conv_size;
  check_divides("deltanet", heads, {keys_, values_});
  q_proj_ = xavier_parameter(keys_, width, dtype, seed, "q_proj.weight", kGain);
  k_proj_ = xavier_parameter(keys_, width, dtype, seed, "k_proj.weight", kGain);
  v_proj_ = xavier_parameter(values_, width, dtype, seed, "v_proj.weight", kGain);
  b_proj_ = xavier_parameter(heads, width, dtype, seed, "b_proj.weight", kGain);
  q_conv_ = conv_parameter(keys_, size, dtype, seed, "q_conv1d.weight");
  k_conv_ = conv_parameter(keys_, size, dtype, seed, "k_conv1d.weight");
  v_conv_ = conv_parameter(values_, size, dtype, seed, "v_conv1d.weight");
  norm_ = constant_parameter({values_ / heads}, dtype, 1.0);
  o_proj_ = xavier_parameter(width, values_, dtype, seed, "o_proj.weight", kGain);
}

StateSpec DeltaNet::state_spec() const {
  const std::int64_t heads = config_.num_heads, kept = config_.conv_size - 1;
  return {"deltanet",
          {{"S", {heads, keys_ / heads, values_ / heads}, dtype_, 0.0},
           {"conv_q", {kept, keys_}, dtype_, 0.0},
           {"conv_k", {kept, keys_}, dtype_, 0.0},
           {"conv_v", {kept, values_}, dtype_, 0.0}}};
}

double DeltaNet::flops_per_token() const {
  const double d = static_cast<double>(config_.width), k = static_cast<double>(keys_);
  const double v = static_cast<double>(values_), h = static_cast<double>(config_.num_heads);
  const double size = static_cast<double>(config_.conv_size);
  return 2.0 * d * (2.0 * k + 2.0 * v + h) + 2.0 * size * (2.0 * k + v) + 6.0 * k * v / h +
         8.0 * (k + v);
}

void DeltaNet::visit_parameters(const ParameterVisitor& visitor) const {
  visitor("q_proj.weight", q_proj_, ParameterGroup::kDecay);
  visitor("k_proj.weight", k_proj_, ParameterGroup::kDecay);
  visitor("v_proj.weight", v_proj_, ParameterGroup::kDecay);
  visitor("b_proj.weight", b_proj_, ParameterGroup::kDecay);
  visitor("q_conv1d.weight", q_conv_, ParameterGroup::kDecay);
  visitor("k_conv1d.weight", k_conv_, ParameterGroup::kDecay);
  visitor("v_conv1d.weight", v_conv_, ParameterGroup::kDecay);
  visitor("o_norm.weight", norm_, ParameterGroup::kNoDecay);
  visitor("o_proj.weight", o_proj_, ParameterGroup::kDecay);
}

Tensor DeltaNet::compute(Exec& exec, const Tensor& x, std::span<Tensor> state,
                         const Sequence& sequence) const {
  const std::int64_t heads = config_.num_heads;
  const double scale = 1.0 / std::sqrt(static_cast<double>(keys_ / heads));
  const auto convolved = [&](const Tensor& projection, const Tensor& weight, Tensor& field) {
    return causal_conv(exec, linear(exec, x, projection), weight, {}, field, sequence,
                       ConvActivation::kSilu);
  };
  const Tensor q = l2_norm(exec, convolved(q_proj_, q_conv_, state[1]), heads, kNormEps);
  const Tensor k = l2_norm(exec, convolved(k_proj_, k_conv_, state[2]), heads, kNormEps);
  const Tensor v = convolved(v_proj_, v_conv_, state[3]);
  Tensor beta = sigmoid(exec, linear(exec, x, b_proj_));
  if (config_.allow_neg_eigval) beta = affine(exec, beta, 2.0);
  Tensor o = delta_rule(exec, q, k, v, beta, state[0], sequence, heads, scale);
  o = group_norm(exec, o, heads, norm_, {}, config_.norm_eps, true);
  return linear(exec, o, o_proj_);
}

const LayerType& deltanet_layer_type() {
  static const LayerType type{
      .name = "deltanet",
      .family = "linear_attention",
      .options = {OptionSpec::integer("num_heads", 0, 0, 4096,
                                      "heads; 0: 16 or what fits the width"),
                  OptionSpec::number("expand_k", 1.0, 0.01, 16.0, "key channels / width"),
                  OptionSpec::number("expand_v", 1.0, 0.01, 16.0, "value channels / width"),
                  OptionSpec::integer("conv_size", 4, 1, 1024, "taps of the causal convolutions"),
                  OptionSpec::flag("allow_neg_eigval", false, "beta up to 2: negative eigenvalues"),
                  OptionSpec::number("norm_eps", 1e-5, 0.0, 1.0, "epsilon of the norm")},
      .create = [](std::int64_t width, const Options& options, DType dtype,
                   std::uint64_t seed) -> std::unique_ptr<SequenceLayer> {
        return std::make_unique<DeltaNet>(
            DeltaNetConfig{.width = width,
                           .num_heads = options.integer("num_heads"),
                           .expand_k = options.number("expand_k"),
                           .expand_v = options.number("expand_v"),
                           .conv_size = options.integer("conv_size"),
                           .allow_neg_eigval = options.flag("allow_neg_eigval"),
                           .norm_eps = options.number("norm_eps")},
            dtype, seed);
      }};
  return type;
}

}  // namespace rill
