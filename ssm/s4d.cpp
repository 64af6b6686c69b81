#include <rill/core/check.h>
#include <rill/core/init.h>
#include <rill/hippo/diagonal_init.h>
#include <rill/ssm/s4d.h>

#include <algorithm>
#include <cmath>

namespace rill {
namespace {

// Logarithms are taken of max(value, this): what state-spaces/s4 does with rates of decay that are
// 0 (fourier).
constexpr double kSmallestRate = 1e-4;

Tensor parameter(const std::vector<double>& values, const Shape& shape, DType dtype) {
  const Tensor tensor = Tensor::from(values, shape).to(dtype);
  tensor.set_requires_grad(true);
  return tensor;
}

}  // namespace

S4d::S4d(const S4dConfig& config, DType dtype, std::uint64_t seed)
    : config_(config), dtype_(dtype) {
  const std::int64_t width = config.width, modes = config.state_size / 2, copies = config.copies;
  check(width >= 1, ErrorCode::kConfig, "s4d: a width of at least 1 was expected, {} came.", width);
  check(modes >= 1 && config.state_size % 2 == 0, ErrorCode::kConfig,
        "s4d: state_size is an even number of at least 2, {} came.", config.state_size);
  check(copies >= 1 && width % copies == 0, ErrorCode::kConfig,
        "s4d: copies has to divide the width {}, {} came.", width, copies);
  check(config.dt_min > 0.0 && config.dt_max >= config.dt_min, ErrorCode::kConfig,
        "s4d: 0 < dt_min <= dt_max was expected, {} and {} came.", config.dt_min, config.dt_max);
  check(config.rate > 0.0, ErrorCode::kConfig, "s4d: a rate above 0 was expected, {} came.",
        config.rate);
  const hippo::DiagonalInit init =
      hippo::diagonal_init(config.init, config.state_size, copies, {.rank = 2, .seed = seed});
  std::vector<double> log_re, im = {init.im.begin(), init.im.end()}, b;
  for (const double re : init.re) log_re.push_back(std::log(std::max(re, kSmallestRate)));
  for (const auto& value : init.B) b.insert(b.end(), {value.real(), value.imag()});
  const double low = std::log(config.dt_min), high = std::log(config.dt_max);
  kernel_ = {
      .log_dt = make_parameter({width, 1}, dtype, seed, "layer.kernel.inv_dt",
                               [=](Generator& g) { return g.uniform(low, high); }),
      .a_real = parameter(log_re, {copies, modes}, dtype),
      .a_imag = parameter(im, {copies, modes}, dtype),
      .b = parameter(b, {1, copies, modes, 2}, dtype),
      // Complex normal: E|C|^2 = 1.
      .c = normal_parameter({1, width, modes, 2}, dtype, seed, "layer.kernel.C", std::sqrt(0.5))};
  d_ = normal_parameter({1, width}, dtype, seed, "layer.D", 1.0);
  weight_ = linear_parameter(2 * width, width, dtype, seed, "output_linear.0.weight");
  bias_ = uniform_parameter({2 * width}, dtype, seed, "output_linear.0.bias",
                            1.0 / std::sqrt(static_cast<double>(width)));
}

StateSpec S4d::state_spec() const {
  return {"s4d", {{"h", {config_.width, config_.state_size / 2, 2}, dtype_, 0.0}}};
}

double S4d::flops_per_token() const {
  const double width = static_cast<double>(config_.width),
               modes = 0.5 * static_cast<double>(config_.state_size);
  return width * (12.0 * modes + 2.0) + 4.0 * width * width;
}

void S4d::visit_parameters(const ParameterVisitor& visitor) const {
  visitor("layer.D", d_, ParameterGroup::kDecay);
  visitor("layer.kernel.C", kernel_.c, ParameterGroup::kDecay);
  visitor("layer.kernel.inv_dt", kernel_.log_dt, ParameterGroup::kStateSpace);
  visitor("layer.kernel.B", kernel_.b, ParameterGroup::kStateSpace);
  visitor("layer.kernel.A_real", kernel_.a_real, ParameterGroup::kStateSpace);
  visitor("layer.kernel.A_imag", kernel_.a_imag, ParameterGroup::kStateSpace);
  visitor("output_linear.0.weight", weight_, ParameterGroup::kDecay);
  visitor("output_linear.0.bias", bias_, ParameterGroup::kNoDecay);
}

DiagonalCoefficients S4d::coefficients(Exec& exec) const {
  return discretize_diagonal(exec, kernel_, config_.rule, config_.rate);
}

Tensor S4d::kernel(Exec& exec, std::int64_t length) const {
  return diagonal_kernel(exec, coefficients(exec), length);
}

Tensor S4d::compute(Exec& exec, const Tensor& x, std::span<Tensor> state,
                    const Sequence& sequence) const {
  const DiagonalCoefficients k = coefficients(exec);
  const SeqArgs& args = sequence.args();
  const bool convolve = config_.convolution && args.max_length > 1 && args.reset == nullptr;
  Tensor y = convolve ? diagonal_convolution(exec, x, k, d_, state[0], sequence)
                      : diagonal_ssm(exec, x, k.a, k.w, d_, state[0], sequence);
  if (config_.activation) y = gelu(exec, y);
  return glu(exec, linear(exec, y, weight_, bias_));
}

const LayerType& s4d_layer_type() {
  static const LayerType type{
      .name = "s4d",
      .family = "ssm",
      .options =
          {OptionSpec::integer("state_size", 64, 2, 4096,
                               "real states a channel (even); half as many complex modes"),
           OptionSpec::integer("copies", 1, 1, 1 << 20,
                               "copies of A and B shared by the channels; divides the width"),
           OptionSpec::choice("init", "legs",
                              {"legs", "lin", "inv", "inv2", "quad", "real", "rand", "legt",
                               "fourier", "foud", "hippo", "diag", "all"},
                              "initial A and B; hippo, diag and all mix inits over the copies"),
           OptionSpec::number("dt_min", 1e-3, 1e-9, 1e3, "smallest initial step"),
           OptionSpec::number("dt_max", 1e-1, 1e-9, 1e3, "largest initial step"),
           OptionSpec::choice("discretization", "zoh", {"zoh", "bilinear"},
                              "how A and B become a recurrence"),
           OptionSpec::number("rate", 1.0, 1e-6, 1e6,
                              "multiplies the step: 2 for input at half the sampling rate"),
           OptionSpec::choice("mode", "auto", {"auto", "recurrence", "convolution"},
                              "form of a call with many steps; auto is the recurrence on a CPU"),
           OptionSpec::choice("activation", "gelu", {"gelu", "none"},
                              "before the gated linear unit")},
      .create = [](std::int64_t width, const Options& options, DType dtype,
                   std::uint64_t seed) -> std::unique_ptr<SequenceLayer> {
        const S4dConfig config{.width = width,
                               .state_size = options.integer("state_size"),
                               .copies = options.integer("copies"),
                               .init = options.text("init"),
                               .dt_min = options.number("dt_min"),
                               .dt_max = options.number("dt_max"),
                               .rule = options.text("discretization") == "zoh"
                                           ? DiagonalRule::kZeroOrderHold
                                           : DiagonalRule::kBilinear,
                               .rate = options.number("rate"),
                               .convolution = options.text("mode") == "convolution",
                               .activation = options.text("activation") == "gelu"};
        return std::make_unique<S4d>(config, dtype, seed);
      }};
  return type;
}

}  // namespace rill
