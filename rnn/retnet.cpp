#include <rill/core/check.h>
#include <rill/core/ops.h>
#include <rill/rnn/heads.h>
#include <rill/rnn/retnet.h>
#include <rill/scan/linear_attention.h>
#include <rill/scan/rotary.h>

#include <cmath>

namespace rill {
namespace {

// Initial values of the authors: Xavier's with these gains.
const double kGain = std::exp2(-2.5);
const double kOutputGain = std::exp2(-1.0);  // of the paper's output projection
constexpr double kFlaExpandV = 2.0;

// Key channels of a head of the paper's models, and the multiple to which the values of a head are
// rounded up.
constexpr std::int64_t kPaperHead = 256, kPaperValues = 16;

std::int64_t heads_of(const RetNetConfig& config, std::int64_t keys) {
  if (config.num_heads != 0) return config.num_heads;
  const std::int64_t published = config.paper ? std::max<std::int64_t>(1, keys / kPaperHead) : 8;
  // Where V follows from the heads, it does not choose them.
  const bool follows = config.paper && config.expand_v == 0.0;
  const double expand_v = config.expand_v == 0.0 ? kFlaExpandV : config.expand_v;
  const std::int64_t values = follows ? keys : expanded(config.width, expand_v);
  const std::int64_t heads = derive_heads(published, {keys, values}, 16);
  return keys / heads % 2 == 0 ? heads : 1;  // planes of two channels
}

std::int64_t values_of(const RetNetConfig& config, std::int64_t keys) {
  if (config.expand_v != 0.0) return expanded(config.width, config.expand_v);
  if (!config.paper) return expanded(config.width, kFlaExpandV);
  const std::int64_t head = (5 * (keys / config.num_heads) + 2) / 3;  // rounded up
  return config.num_heads * ((head + kPaperValues - 1) / kPaperValues * kPaperValues);
}

// The sizes that were left to the variant, written out.
RetNetConfig sized(RetNetConfig config) {
  const std::int64_t keys = expanded(config.width, config.expand_k);
  config.num_heads = heads_of(config, keys);
  check(config.num_heads >= 1 && keys % config.num_heads == 0, ErrorCode::kConfig,
        "retnet: num_heads divides the layer's channels, {} heads for {} channels came.",
        config.num_heads, keys);
  return config;
}

}  // namespace

RetNet::RetNet(const RetNetConfig& config, DType dtype, std::uint64_t seed)
    : config_(sized(config)),
      dtype_(dtype),
      keys_(expanded(config_.width, config_.expand_k)),
      values_(values_of(config_, keys_)) {
  const std::int64_t heads = config_.num_heads, width = config_.width;
  check_divides("retnet", heads, {keys_, values_});
  if (config_.norm_eps == 0.0) config_.norm_eps = config_.paper ? 1e-6 : 1e-5;
  q_proj_ = xavier_parameter(keys_, width, dtype, seed, "q_proj.weight", kGain);
  k_proj_ = xavier_parameter(keys_, width, dtype, seed, "k_proj.weight", kGain);
  v_proj_ = xavier_parameter(values_, width, dtype, seed, "v_proj.weight", kGain);
  g_proj_ = xavier_parameter(values_, width, dtype, seed, "g_proj.weight", kGain);
  o_proj_ = xavier_parameter(width, values_, dtype, seed, "o_proj.weight",
                             config_.paper ? kOutputGain : kGain);
  if (!config_.paper) norm_ = constant_parameter({values_ / heads}, dtype, 1.0);
  const Tensor log_gamma = Tensor::empty({heads}, DType::kFloat64);
  for (std::int64_t h = 0; h < heads; ++h)
    log_gamma.data<double>()[h] = std::log1p(-std::exp2(-5.0 - static_cast<double>(h)));
  log_gamma_ = log_gamma.to(dtype);
  theta_ = rotary_frequencies(keys_ / heads, 10000.0, config_.paper);
  if (!config_.paper) return;
  const Tensor spread = Tensor::zeros({keys_, heads}, DType::kFloat64);
  for (std::int64_t i = 0; i < keys_; ++i)
    spread.data<double>()[i * heads + i / (keys_ / heads)] = 1.0;
  spread_ = spread.to(dtype);
}

StateSpec RetNet::state_spec() const {
  const std::int64_t heads = config_.num_heads;
  StateSpec spec{"retnet",
                 {{"S", {heads, keys_ / heads, values_ / heads}, dtype_, 0.0},
                  {"position", {1}, DType::kInt64, 0.0}}};
  if (config_.paper) spec.fields.push_back({"normalizer", {heads, 1, 1}, dtype_, 0.0});
  return spec;
}

double RetNet::flops_per_token() const {
  const double d = static_cast<double>(config_.width), k = static_cast<double>(keys_);
  const double v = static_cast<double>(values_), h = static_cast<double>(config_.num_heads);
  return 2.0 * d * (2.0 * k + 3.0 * v) + 5.0 * k * v / h + 6.0 * k + 8.0 * v;
}

void RetNet::visit_parameters(const ParameterVisitor& visitor) const {
  visitor("q_proj.weight", q_proj_, ParameterGroup::kDecay);
  visitor("k_proj.weight", k_proj_, ParameterGroup::kDecay);
  visitor("v_proj.weight", v_proj_, ParameterGroup::kDecay);
  visitor("g_proj.weight", g_proj_, ParameterGroup::kDecay);
  if (norm_.defined()) visitor("g_norm_swish_gate.weight", norm_, ParameterGroup::kNoDecay);
  visitor("o_proj.weight", o_proj_, ParameterGroup::kDecay);
}

void RetNet::visit_buffers(const std::function<void(const Tensor&)>& visitor) const {
  visitor(log_gamma_);
  visitor(theta_);
  if (spread_.defined()) visitor(spread_);
}

// q / sqrt(s): the read-out is linear in q, so that dividing q divides o. s is a recurrence of its
// own, gated linear attention with K = V = 1.
Tensor RetNet::normalized(Exec& exec, const Tensor& q, Tensor& normalizer,
                          const Sequence& sequence) const {
  const std::int64_t heads = config_.num_heads;
  const Tensor ones = affine(exec, exec.zeros(q.shape().with_last(heads)), 1.0, 1.0);
  Tensor s =
      gated_linear_attention(exec, ones, ones, ones, log_gamma_, normalizer, sequence, heads, 1.0);
  // Where no sequence is, s is 0: 1 there, so that no infinity comes into the gradients.
  if (sequence.padded())
    s = add(exec, s, affine(exec, zero_padding(exec, ones, sequence), -1.0, 1.0));
  const Tensor factor = unary(exec, Unary::kReciprocal, unary(exec, Unary::kSqrt, s));
  return multiply(exec, q, linear(exec, factor, spread_));
}

Tensor RetNet::compute(Exec& exec, const Tensor& x, std::span<Tensor> state,
                       const Sequence& sequence) const {
  const std::int64_t heads = config_.num_heads;
  const double scale = 1.0 / std::sqrt(static_cast<double>(keys_ / heads));
  const auto planes = config_.paper ? RotaryPlanes::kPairs : RotaryPlanes::kHalves;
  auto [q, k] = rotary(exec, linear(exec, x, q_proj_), linear(exec, x, k_proj_), theta_, state[1],
                       sequence, heads, planes);
  const Tensor v = linear(exec, x, v_proj_);
  if (config_.paper) q = normalized(exec, q, state[2], sequence);
  Tensor o = gated_linear_attention(exec, q, k, v, log_gamma_, state[0], sequence, heads, scale);
  o = group_norm(exec, o, heads, norm_, {}, config_.norm_eps, true);
  o = gated(exec, o, linear(exec, x, g_proj_), Unary::kSilu);
  return linear(exec, o, o_proj_);
}

const LayerType& retnet_layer_type() {
  static const LayerType type{
      .name = "retnet",
      .family = "linear_attention",
      .options = {OptionSpec::integer("num_heads", 0, 0, 4096,
                                      "heads; 0: 8 (fla), key channels / 256 (paper), or what "
                                      "fits the width"),
                  OptionSpec::number("expand_k", 1.0, 0.01, 16.0, "key channels / width"),
                  OptionSpec::number("expand_v", 0.0, 0.0, 16.0,
                                     "value channels / width; 0: 2 (fla), 5/3 of a head's key "
                                     "channels, up to a multiple of 16 (paper)"),
                  OptionSpec::number("norm_eps", 0.0, 0.0, 1.0, "0: 1e-5 (fla), 1e-6 (paper)"),
                  OptionSpec::choice("variant", "fla", {"fla", "paper"},
                                     "flash-linear-attention's module or the paper's")},
      .create = [](std::int64_t width, const Options& options, DType dtype,
                   std::uint64_t seed) -> std::unique_ptr<SequenceLayer> {
        return std::make_unique<RetNet>(RetNetConfig{.width = width,
                                                     .num_heads = options.integer("num_heads"),
                                                     .expand_k = options.number("expand_k"),
                                                     .expand_v = options.number("expand_v"),
                                                     .norm_eps = options.number("norm_eps"),
                                                     .paper = options.text("variant") == "paper"},
                                        dtype, seed);
      }};
  return type;
}

}  // namespace rill
