#include <rill/core/ops.h>
#include <rill/rnn/gla.h>
#include <rill/rnn/heads.h>
#include <rill/scan/linear_attention.h>

#include <cmath>

namespace rill {
namespace {

const double kGain =
    std::exp2(-2.5);  // of Xavier's draw, the authors' initial value of every weight

}  // namespace

Gla::Gla(const GlaConfig& config, DType dtype, std::uint64_t seed)
    : config_(config),
      dtype_(dtype),
      keys_(expanded(config.width, config.expand_k)),
      values_(expanded(config.width, config.expand_v)) {
  if (config_.num_heads == 0) config_.num_heads = derive_heads(4, {keys_, values_}, 8);
  const std::int64_t heads = config_.num_heads, width = config_.width;
  const std::int64_t rank = config_.gate_low_rank_dim;
  check_divides("gla", heads, {keys_, values_});
  q_proj_ = xavier_parameter(keys_, width, dtype, seed, "q_proj.weight", kGain);
  k_proj_ = xavier_parameter(keys_, width, dtype, seed, "k_proj.weight", kGain);
  v_proj_ = xavier_parameter(values_, width, dtype, seed, "v_proj.weight", kGain);
  g_proj_ = xavier_parameter(values_, width, dtype, seed, "g_proj.weight", kGain);
  gk_down_ = xavier_parameter(rank, width, dtype, seed, "gk_proj.0.weight", kGain);
  gk_up_ = xavier_parameter(keys_, rank, dtype, seed, "gk_proj.1.weight", kGain);
  gk_bias_ = constant_parameter({keys_}, dtype, 0.0);
  norm_ = constant_parameter({values_ / heads}, dtype, 1.0);
  o_proj_ = xavier_parameter(width, values_, dtype, seed, "o_proj.weight", kGain);
}

StateSpec Gla::state_spec() const {
  const std::int64_t heads = config_.num_heads;
  return {"gla", {{"S", {heads, keys_ / heads, values_ / heads}, dtype_, 0.0}}};
}

double Gla::flops_per_token() const {
  const double d = static_cast<double>(config_.width), k = static_cast<double>(keys_);
  const double v = static_cast<double>(values_), h = static_cast<double>(config_.num_heads);
  const double rank = static_cast<double>(config_.gate_low_rank_dim);
  return 2.0 * d * (2.0 * k + 3.0 * v + rank) + 2.0 * rank * k + 5.0 * k * v / h + 8.0 * (k + v);
}

void Gla::visit_parameters(const ParameterVisitor& visitor) const {
  visitor("q_proj.weight", q_proj_, ParameterGroup::kDecay);
  visitor("k_proj.weight", k_proj_, ParameterGroup::kDecay);
  visitor("v_proj.weight", v_proj_, ParameterGroup::kDecay);
  visitor("g_proj.weight", g_proj_, ParameterGroup::kDecay);
  visitor("gk_proj.0.weight", gk_down_, ParameterGroup::kDecay);
  visitor("gk_proj.1.weight", gk_up_, ParameterGroup::kDecay);
  visitor("gk_proj.1.bias", gk_bias_, ParameterGroup::kNoDecay);
  visitor("g_norm_swish_gate.weight", norm_, ParameterGroup::kNoDecay);
  visitor("o_proj.weight", o_proj_, ParameterGroup::kDecay);
}

Tensor Gla::compute(Exec& exec, const Tensor& x, std::span<Tensor> state,
                    const Sequence& sequence) const {
  const std::int64_t heads = config_.num_heads;
  const double scale = 1.0 / std::sqrt(static_cast<double>(keys_ / heads));
  const Tensor q = linear(exec, x, q_proj_), k = linear(exec, x, k_proj_);
  const Tensor v = linear(exec, x, v_proj_);
  const Tensor logits = linear(exec, linear(exec, x, gk_down_), gk_up_, gk_bias_);
  const Tensor log_decay =
      affine(exec, unary(exec, Unary::kLogSigmoid, logits), 1.0 / config_.gate_logit_normalizer);
  Tensor o = gated_linear_attention(exec, q, k, v, log_decay, state[0], sequence, heads, scale);
  o = group_norm(exec, o, heads, norm_, {}, config_.norm_eps, true);
  o = gated(exec, o, linear(exec, x, g_proj_), Unary::kSilu);
  return linear(exec, o, o_proj_);
}

const LayerType& gla_layer_type() {
  static const LayerType type{
      .name = "gla",
      .family = "linear_attention",
      .options = {OptionSpec::integer("num_heads", 0, 0, 4096,
                                      "heads; 0: 4 or what fits the width"),
                  OptionSpec::number("expand_k", 0.5, 0.01, 16.0, "key channels / width"),
                  OptionSpec::number("expand_v", 1.0, 0.01, 16.0, "value channels / width"),
                  OptionSpec::integer("gate_low_rank_dim", 16, 1, 65536,
                                      "rank of the decay's projection"),
                  OptionSpec::number("gate_logit_normalizer", 16.0, 1e-3, 1e6,
                                     "divides the logarithm of the decay"),
                  OptionSpec::number("norm_eps", 1e-5, 0.0, 1.0, "epsilon of the norm")},
      .create = [](std::int64_t width, const Options& options, DType dtype,
                   std::uint64_t seed) -> std::unique_ptr<SequenceLayer> {
        return std::make_unique<Gla>(
            GlaConfig{.width = width,
                      .num_heads = options.integer("num_heads"),
                      .expand_k = options.number("expand_k"),
                      .expand_v = options.number("expand_v"),
                      .gate_low_rank_dim = options.integer("gate_low_rank_dim"),
                      .gate_logit_normalizer = options.number("gate_logit_normalizer"),
                      .norm_eps = options.number("norm_eps")},
            dtype, seed);
      }};
  return type;
}

}  // namespace rill
