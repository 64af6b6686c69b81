#include <rill/ssm/mamba.h>

#include <rill/core/check.h>
#include <rill/core/init.h>
#include <rill/core/ops.h>
#include <rill/scan/causal_conv.h>
#include <rill/scan/selective_scan.h>

#include <algorithm>
#include <cmath>

namespace rill {
namespace {

constexpr std::int64_t kMaxSize = 1 << 20;

MambaConfig checked(MambaConfig config) {
  const auto check_range = [](const char* name, std::int64_t value, std::int64_t min,
                              std::int64_t max) {
    check(value >= min && value <= max, ErrorCode::kConfig,
          "mamba: {} between {} and {} was expected, {} came.", name, min, max, value);
  };
  check_range("hidden_size", config.hidden_size, 1, kMaxSize);
  check_range("state_size", config.state_size, 1, 4096);
  check_range("conv_kernel", config.conv_kernel, 1, 4096);
  check_range("intermediate_size (0: twice hidden_size)", config.intermediate_size, 0,
              16 * kMaxSize);
  check_range("time_step_rank (0: a sixteenth of hidden_size)", config.time_step_rank, 0, kMaxSize);
  check(config.time_step_min > 0.0 && config.time_step_min <= config.time_step_max &&
            config.time_step_floor > 0.0 && std::isfinite(config.time_step_max) &&
            std::isfinite(config.time_step_floor),
        ErrorCode::kConfig,
        "mamba: 0 < time_step_min <= time_step_max and 0 < time_step_floor were expected, {}, {} "
        "and {} came.",
        config.time_step_min, config.time_step_max, config.time_step_floor);
  check(config.time_step_scale > 0.0 && std::isfinite(config.time_step_scale), ErrorCode::kConfig,
        "mamba: time_step_scale > 0 was expected, {} came.", config.time_step_scale);
  if (config.intermediate_size == 0) config.intermediate_size = 2 * config.hidden_size;
  if (config.time_step_rank == 0) config.time_step_rank = (config.hidden_size + 15) / 16;
  return config;
}

// The b with softplus(b) = dt, dt log-uniform: b = dt + log(-expm1(-dt)), without the cancellation
// of log(exp(dt) - 1).
double draw_dt_bias(const MambaConfig& config, Generator& generator) {
  const double low = std::log(config.time_step_min), high = std::log(config.time_step_max);
  const double dt = std::max(std::exp(generator.uniform(low, high)), config.time_step_floor);
  return dt + std::log(-std::expm1(-dt));
}

// A = -(1, 2, ..., N) for every channel (S4D-Real).
Tensor initial_a_log(std::int64_t channels, std::int64_t states, DType dtype) {
  std::int64_t index = 0;
  return make_parameter({channels, states}, dtype, 0, "A_log", [&](Generator&) {
    return std::log(static_cast<double>(index++ % states + 1));
  });
}

}  // namespace

Mamba::Mamba(const MambaConfig& config, DType dtype, std::uint64_t seed)
    : config_(checked(config)), dtype_(dtype) {
  const std::int64_t d = config_.hidden_size, e = config_.intermediate_size, n = config_.state_size;
  const std::int64_t k = config_.conv_kernel, r = config_.time_step_rank;
  const double conv_bound = 1.0 / std::sqrt(static_cast<double>(k));
  in_proj_ = linear_parameter(2 * e, d, dtype, seed, "in_proj.weight");
  if (config_.use_bias) in_bias_ = constant_parameter({2 * e}, dtype, 0.0);
  conv_ = uniform_parameter({e, 1, k}, dtype, seed, "conv1d.weight", conv_bound);
  if (config_.use_conv_bias)
    conv_bias_ = uniform_parameter({e}, dtype, seed, "conv1d.bias", conv_bound);
  x_proj_ = linear_parameter(r + 2 * n, e, dtype, seed, "x_proj.weight");
  dt_proj_ = uniform_parameter({e, r}, dtype, seed, "dt_proj.weight",
                               config_.time_step_scale / std::sqrt(static_cast<double>(r)));
  dt_bias_ = make_parameter({e}, dtype, seed, "dt_proj.bias",
                            [&](Generator& g) { return draw_dt_bias(config_, g); });
  a_log_ = initial_a_log(e, n, dtype);
  d_ = constant_parameter({e}, dtype, 1.0);
  out_proj_ = linear_parameter(d, e, dtype, seed, "out_proj.weight");
  if (config_.use_bias) out_bias_ = constant_parameter({d}, dtype, 0.0);
}

StateSpec Mamba::state_spec() const {
  return {"mamba",
          {{"conv", {config_.conv_kernel - 1, config_.intermediate_size}, dtype_, 0.0},
           {"ssm", {config_.intermediate_size, config_.state_size}, dtype_, 0.0}}};
}

double Mamba::flops_per_token() const {
  const auto d = static_cast<double>(config_.hidden_size),
             e = static_cast<double>(config_.intermediate_size);
  const auto n = static_cast<double>(config_.state_size),
             r = static_cast<double>(config_.time_step_rank);
  const double products = 2 * (3 * e * d + e * (r + 2 * n) + r * e);
  // Per state: the exponent and its exponential, the update, the readout; per channel: gates and
  // skip.
  return products + 2 * static_cast<double>(config_.conv_kernel) * e + 7 * e * n + 8 * e;
}

void Mamba::visit_parameters(const ParameterVisitor& visitor) const {
  visitor("in_proj.weight", in_proj_, ParameterGroup::kDecay);
  if (config_.use_bias) visitor("in_proj.bias", in_bias_, ParameterGroup::kNoDecay);
  visitor("conv1d.weight", conv_, ParameterGroup::kDecay);
  if (config_.use_conv_bias) visitor("conv1d.bias", conv_bias_, ParameterGroup::kNoDecay);
  visitor("x_proj.weight", x_proj_, ParameterGroup::kDecay);
  // B, C and the input's part of dt are projections of the input and decay as such; what S4 calls
  // dt is the bias alone.
  visitor("dt_proj.weight", dt_proj_, ParameterGroup::kDecay);
  visitor("dt_proj.bias", dt_bias_, ParameterGroup::kStateSpace);
  visitor("A_log", a_log_, ParameterGroup::kStateSpace);
  visitor("D", d_, ParameterGroup::kNoDecay);
  visitor("out_proj.weight", out_proj_, ParameterGroup::kDecay);
  if (config_.use_bias) visitor("out_proj.bias", out_bias_, ParameterGroup::kNoDecay);
}

Tensor Mamba::compute(Exec& exec, const Tensor& u, std::span<Tensor> state,
                      const Sequence& sequence) const {
  const std::int64_t e = config_.intermediate_size, n = config_.state_size,
                     r = config_.time_step_rank;
  const Tensor projected = linear(exec, u, in_proj_, in_bias_, {.first = 0, .count = e});
  const Tensor z = linear(exec, u, in_proj_, in_bias_, {.first = e, .count = e});
  const Tensor x =
      causal_conv(exec, projected, conv_, conv_bias_, state[0], sequence, ConvActivation::kSilu);
  const Tensor low_rank = linear(exec, x, x_proj_, {}, {.first = 0, .count = r});
  const SelectiveScanInputs inputs{.x = x,
                                   .dt = linear(exec, low_rank, dt_proj_),
                                   .dt_bias = dt_bias_,
                                   .a_log = a_log_,
                                   .b = linear(exec, x, x_proj_, {}, {.first = r, .count = n}),
                                   .c = linear(exec, x, x_proj_, {}, {.first = r + n, .count = n}),
                                   .d = d_,
                                   .z = z};
  return linear(exec, selective_scan(exec, inputs, state[1], sequence), out_proj_, out_bias_);
}

const LayerType& mamba_layer_type() {
  static const LayerType type = {
      .name = "mamba",
      .family = "ssm",
      .flags = {},
      .options = {OptionSpec::integer("state_size", 16, 1, 4096, "states per channel"),
                  OptionSpec::integer("conv_kernel", 4, 1, 4096, "taps of the causal convolution"),
                  OptionSpec::integer("expand", 2, 1, 64,
                                      "inner channels per channel of the width"),
                  OptionSpec::integer("time_step_rank", 0, 0, kMaxSize,
                                      "rank of the step's projection; 0: width / 16, rounded up"),
                  OptionSpec::flag("use_bias", false, "biases of the input and output projections"),
                  OptionSpec::flag("use_conv_bias", true, "bias of the convolution"),
                  OptionSpec::number("time_step_min", 1e-3, 1e-9, 1e3, "smallest initial step"),
                  OptionSpec::number("time_step_max", 0.1, 1e-9, 1e3, "largest initial step"),
                  OptionSpec::number("time_step_floor", 1e-4, 1e-9, 1e3,
                                     "initial steps are at least this"),
                  OptionSpec::number("time_step_scale", 1.0, 1e-9, 1e3,
                                     "scale of the step projection's initial weight")},
      .create = [](std::int64_t width, const Options& options, DType dtype,
                   std::uint64_t seed) -> std::unique_ptr<SequenceLayer> {
        const MambaConfig config{.hidden_size = width,
                                 .state_size = options.integer("state_size"),
                                 .conv_kernel = options.integer("conv_kernel"),
                                 .intermediate_size = width * options.integer("expand"),
                                 .time_step_rank = options.integer("time_step_rank"),
                                 .use_bias = options.flag("use_bias"),
                                 .use_conv_bias = options.flag("use_conv_bias"),
                                 .time_step_min = options.number("time_step_min"),
                                 .time_step_max = options.number("time_step_max"),
                                 .time_step_floor = options.number("time_step_floor"),
                                 .time_step_scale = options.number("time_step_scale")};
        return std::make_unique<Mamba>(config, dtype, seed);
      }};
  return type;
}

}  // namespace rill
