#include <rill/core/ops.h>
#include <rill/rnn/heads.h>
#include <rill/rnn/mlstm.h>
#include <rill/scan/block_linear.h>
#include <rill/scan/causal_conv.h>
#include <rill/scan/mlstm_scan.h>

#include <cmath>
#include <limits>

namespace rill {
namespace {

constexpr std::int64_t kBlock = 4;  // of the block-diagonal projections
constexpr double kNormEps = 1e-5;
constexpr double kForgetFirst = 3.0, kForgetLast = 6.0;  // forget biases over the heads

Tensor forget_bias(std::int64_t heads, DType dtype) {
  const Tensor bias = Tensor::empty({heads}, DType::kFloat64);
  const double step =
      (kForgetLast - kForgetFirst) / static_cast<double>(std::max<std::int64_t>(heads - 1, 1));
  for (std::int64_t h = 0; h < heads; ++h)
    bias.data<double>()[h] = kForgetFirst + step * static_cast<double>(h);
  const Tensor parameter = bias.to(dtype);
  parameter.set_requires_grad(true);
  return parameter;
}

}  // namespace

Mlstm::Mlstm(const MlstmConfig& config, DType dtype, std::uint64_t seed)
    : config_(config),
      dtype_(dtype),
      inner_((expanded(config.width, config.proj_factor) + 63) / 64 * 64) {
  if (config_.num_heads == 0) config_.num_heads = 4;
  const std::int64_t heads = config_.num_heads, width = config_.width;
  const std::int64_t taps = config_.conv1d_kernel_size;
  check_divides("mlstm", heads, {inner_});
  const double d = static_cast<double>(width);
  const double small = std::sqrt(2.0 / (5.0 * d));  // Nguyen and Salazar 2019
  const double wang = 2.0 / static_cast<double>(config_.num_blocks) / std::sqrt(d);
  const double conv_bound = 1.0 / std::sqrt(static_cast<double>(taps));
  const Shape blocks{inner_ / kBlock, kBlock, kBlock};
  proj_up_ = normal_parameter({2 * inner_, width}, dtype, seed, "proj_up.weight", small);
  q_proj_ = normal_parameter(blocks, dtype, seed, "q_proj.weight", small);
  k_proj_ = normal_parameter(blocks, dtype, seed, "k_proj.weight", small);
  v_proj_ = normal_parameter(blocks, dtype, seed, "v_proj.weight", small);
  conv_weight_ =
      uniform_parameter({inner_, 1, taps}, dtype, seed, "conv1d.conv.weight", conv_bound);
  conv_bias_ = uniform_parameter({inner_}, dtype, seed, "conv1d.conv.bias", conv_bound);
  igate_weight_ = constant_parameter({heads, 3 * inner_}, dtype, 0.0);
  igate_bias_ = normal_parameter({heads}, dtype, seed, "mlstm_cell.igate.bias", 0.1);
  fgate_weight_ = constant_parameter({heads, 3 * inner_}, dtype, 0.0);
  fgate_bias_ = forget_bias(heads, dtype);
  norm_ = constant_parameter({inner_}, dtype, 0.0);
  skip_ = constant_parameter({inner_}, dtype, 1.0);
  proj_down_ = normal_parameter({width, inner_}, dtype, seed, "proj_down.weight", wang);
}

StateSpec Mlstm::state_spec() const {
  const std::int64_t heads = config_.num_heads, size = inner_ / heads;
  return {"mlstm",
          {{"C", {heads, size, size}, dtype_, 0.0},
           {"n", {heads, size}, dtype_, 0.0},
           {"m", {heads}, dtype_, -std::numeric_limits<double>::infinity()},
           {"conv", {config_.conv1d_kernel_size - 1, inner_}, dtype_, 0.0}}};
}

double Mlstm::flops_per_token() const {
  const double d = static_cast<double>(config_.width), i = static_cast<double>(inner_);
  const double h = static_cast<double>(config_.num_heads);
  const double taps = static_cast<double>(config_.conv1d_kernel_size);
  return 6.0 * d * i + 2.0 * i * (3.0 * kBlock + taps) + 12.0 * i * h + 5.0 * i * i / h + 24.0 * i;
}

void Mlstm::visit_parameters(const ParameterVisitor& visitor) const {
  visitor("proj_up.weight", proj_up_, ParameterGroup::kDecay);
  visitor("q_proj.weight", q_proj_, ParameterGroup::kDecay);
  visitor("k_proj.weight", k_proj_, ParameterGroup::kDecay);
  visitor("v_proj.weight", v_proj_, ParameterGroup::kDecay);
  visitor("conv1d.conv.weight", conv_weight_, ParameterGroup::kDecay);
  visitor("conv1d.conv.bias", conv_bias_, ParameterGroup::kNoDecay);
  visitor("mlstm_cell.igate.weight", igate_weight_, ParameterGroup::kDecay);
  visitor("mlstm_cell.igate.bias", igate_bias_, ParameterGroup::kNoDecay);
  visitor("mlstm_cell.fgate.weight", fgate_weight_, ParameterGroup::kDecay);
  visitor("mlstm_cell.fgate.bias", fgate_bias_, ParameterGroup::kNoDecay);
  visitor("mlstm_cell.outnorm.weight", norm_, ParameterGroup::kNoDecay);
  visitor("learnable_skip", skip_, ParameterGroup::kNoDecay);
  visitor("proj_down.weight", proj_down_, ParameterGroup::kDecay);
}

Tensor Mlstm::compute(Exec& exec, const Tensor& x, std::span<Tensor> state,
                      const Sequence& sequence) const {
  const std::int64_t heads = config_.num_heads;
  const Tensor memory = linear(exec, x, proj_up_, {}, {0, inner_});  // x_m
  const Tensor gate = linear(exec, x, proj_up_, {}, {inner_, inner_});
  const Tensor c = causal_conv(exec, memory, conv_weight_, conv_bias_, state[3], sequence,
                               ConvActivation::kSilu);
  const Tensor q = block_linear(exec, c, q_proj_), k = block_linear(exec, c, k_proj_);
  const Tensor v = block_linear(exec, memory, v_proj_);
  const Tensor parts[] = {q, k, v};
  const Tensor qkv = concat(exec, parts);
  const Tensor input = linear(exec, qkv, igate_weight_, igate_bias_);
  const Tensor log_forget =
      unary(exec, Unary::kLogSigmoid, linear(exec, qkv, fgate_weight_, fgate_bias_));
  Tensor h =
      mlstm_scan(exec, q, k, v, input, log_forget, state[0], state[1], state[2], sequence, heads);
  h = group_norm(exec, h, heads, affine(exec, norm_, 1.0, 1.0), {}, kNormEps, false);
  h = add(exec, h, multiply(exec, c, skip_));
  return linear(exec, gated(exec, h, gate, Unary::kSilu), proj_down_);
}

const LayerType& mlstm_layer_type() {
  static const LayerType type{
      .name = "mlstm",
      .family = "linear_attention",
      .options = {OptionSpec::integer("num_heads", 0, 0, 4096, "heads; 0: 4"),
                  OptionSpec::number("proj_factor", 2.0, 0.01, 16.0,
                                     "inner channels / width, rounded up to a multiple of 64"),
                  OptionSpec::integer("conv1d_kernel_size", 4, 1, 1024,
                                      "taps of the causal convolution"),
                  OptionSpec::integer("num_blocks", 0, 0, 65536,
                                      "blocks of the stack, by which the initial output projection "
                                      "is divided; 0: the model's, 1 for a layer alone")},
      .create = [](std::int64_t width, const Options& options, DType dtype,
                   std::uint64_t seed) -> std::unique_ptr<SequenceLayer> {
        return std::make_unique<Mlstm>(
            MlstmConfig{.width = width,
                        .num_heads = options.integer("num_heads"),
                        .proj_factor = options.number("proj_factor"),
                        .conv1d_kernel_size = options.integer("conv1d_kernel_size"),
                        .num_blocks = std::max<std::int64_t>(1, options.integer("num_blocks"))},
            dtype, seed);
      }};
  return type;
}

}  // namespace rill
