#include <rill/rnn/mingru.h>

#include <rill/core/check.h>
#include <rill/core/init.h>
#include <rill/core/ops.h>
#include <rill/scan/affine_scan.h>

#include <limits>

namespace rill {
namespace {

constexpr std::int64_t kMaxSize = 1 << 20;

MinGruConfig checked(MinGruConfig config) {
  check(config.input_size >= 1 && config.input_size <= kMaxSize, ErrorCode::kConfig,
        "mingru: input_size between 1 and {} was expected, {} came.", kMaxSize, config.input_size);
  check(config.hidden_size >= 0 && config.hidden_size <= kMaxSize, ErrorCode::kConfig,
        "mingru: hidden_size between 0 (input_size) and {} was expected, {} came.", kMaxSize,
        config.hidden_size);
  if (config.hidden_size == 0) config.hidden_size = config.input_size;
  return config;
}

// log g(v) = log(v + 1/2) for v >= 0, else log sigmoid(v): log sigmoid(min(v, 0)) + log(2 max(v, 0)
// + 1). The logarithm of g itself would lose v below -88.
Tensor log_candidate(Exec& exec, const Tensor& v) {
  const Tensor below = affine(exec, relu(exec, affine(exec, v, -1.0)), -1.0);
  return add(exec, unary(exec, Unary::kLogSigmoid, below),
             log(exec, affine(exec, relu(exec, v), 2.0, 1.0)));
}

}  // namespace

MinGru::MinGru(const MinGruConfig& config, DType dtype, std::uint64_t seed)
    : config_(checked(config)), dtype_(dtype) {
  const std::int64_t d = config_.input_size, h = config_.hidden_size;
  const double bound = 1.0 / std::sqrt(static_cast<double>(d));
  z_weight_ = linear_parameter(h, d, dtype, seed, "linear_z.weight");
  z_bias_ = uniform_parameter({h}, dtype, seed, "linear_z.bias", bound);
  h_weight_ = linear_parameter(h, d, dtype, seed, "linear_h.weight");
  h_bias_ = uniform_parameter({h}, dtype, seed, "linear_h.bias", bound);
  if (h != d) out_ = linear_parameter(d, h, dtype, seed, "to_out.weight");
}

StateSpec MinGru::state_spec() const {
  if (config_.log_space)
    return {"mingru",
            {{"log_h", {config_.hidden_size}, dtype_, -std::numeric_limits<double>::infinity()}}};
  return {"mingru", {{"h", {config_.hidden_size}, dtype_, 0.0}}};
}

double MinGru::flops_per_token() const {
  const auto d = static_cast<double>(config_.input_size),
             h = static_cast<double>(config_.hidden_size);
  // Two gates, their product, and one multiply-add of the state.
  return 4 * d * h + 7 * h + (out_.defined() ? 2 * d * h : 0.0);
}

void MinGru::visit_parameters(const ParameterVisitor& visitor) const {
  visitor("linear_z.weight", z_weight_, ParameterGroup::kDecay);
  visitor("linear_z.bias", z_bias_, ParameterGroup::kNoDecay);
  visitor("linear_h.weight", h_weight_, ParameterGroup::kDecay);
  visitor("linear_h.bias", h_bias_, ParameterGroup::kNoDecay);
  if (out_.defined()) visitor("to_out.weight", out_, ParameterGroup::kDecay);
}

Tensor MinGru::compute(Exec& exec, const Tensor& x, std::span<Tensor> state,
                       const Sequence& sequence) const {
  const Tensor gate = linear(exec, x, z_weight_, z_bias_),
               candidate = linear(exec, x, h_weight_, h_bias_);
  Tensor h;
  if (config_.log_space) {
    const Tensor log_a = unary(exec, Unary::kLogSigmoid, unary(exec, Unary::kNegate, gate));
    const Tensor log_b =
        add(exec, unary(exec, Unary::kLogSigmoid, gate), log_candidate(exec, candidate));
    h = exp(exec, affine_scan(exec, log_a, log_b, state[0], sequence, {.log_space = true}));
  } else {
    const Tensor z = sigmoid(exec, gate);
    const Tensor b = multiply(exec, z, unary(exec, Unary::kMinGru, candidate));
    h = affine_scan(exec, affine(exec, z, -1.0, 1.0), b, state[0], sequence);
  }
  return out_.defined() ? linear(exec, h, out_) : h;
}

const LayerType& mingru_layer_type() {
  static const LayerType type = {
      .name = "mingru",
      .family = "rnn",
      .flags = {},
      .options = {OptionSpec::integer("hidden_size", 0, 0, kMaxSize,
                                      "hidden units; 0: the width; otherwise projected back to it"),
                  OptionSpec::flag("log_space", false,
                                   "keep the state as a logarithm and scan in the log domain")},
      .create = [](std::int64_t width, const Options& options, DType dtype,
                   std::uint64_t seed) -> std::unique_ptr<SequenceLayer> {
        const MinGruConfig config{.input_size = width,
                                  .hidden_size = options.integer("hidden_size"),
                                  .log_space = options.flag("log_space")};
        return std::make_unique<MinGru>(config, dtype, seed);
      }};
  return type;
}

}  // namespace rill
