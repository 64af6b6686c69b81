#include <rill/core/check.h>
#include <rill/core/init.h>
#include <rill/hippo/diagonal_init.h>
#include <rill/ssm/s4d.h>

#include <algorithm>
#include <cmath>

namespace rill {
namespace {

// state-spaces/s4 clamps whatever it is about to transform, frequencies too (whose transform is
// none): decays of fourier, frequencies of lin's first mode and of real are not 0.
constexpr double kSmallest = 1e-4;

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
  check(config.dropout >= 0.0 && config.dropout < 1.0, ErrorCode::kConfig,
        "s4d: dropout in [0, 1) was expected, {} came.", config.dropout);
  const hippo::DiagonalInit init = hippo::diagonal_init(config.init, config.state_size, copies,
                                                        {.rank = 2,
                                                         .real_random = config.real_random,
                                                         .real_scale = config.real_scale,
                                                         .imag_random = config.imag_random,
                                                         .imag_scale = config.imag_scale,
                                                         .b_init = config.b_init,
                                                         .b_scale = config.b_scale,
                                                         .normalize = config.normalize,
                                                         .seed = seed});
  std::vector<double> log_re, im, b;
  for (const double re : init.re) log_re.push_back(std::log(std::max(re, kSmallest)));
  for (const double frequency : init.im) im.push_back(std::max(frequency, kSmallest));
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
  const bool wanted = config_.form == DiagonalForm::kAuto
                          ? prefers_convolution(exec.device(), args.max_length)
                          : config_.form == DiagonalForm::kConvolution;
  const bool convolve = wanted && args.max_length > 1 && args.reset == nullptr;
  Tensor y = convolve ? diagonal_convolution(exec, x, k, d_, state[0], sequence)
                      : diagonal_ssm(exec, x, k.a, k.w, d_, state[0], sequence);
  if (config_.activation) y = gelu(exec, y);
  if (config_.dropout > 0.0) y = dropout(exec, y, config_.dropout);
  return glu(exec, linear(exec, y, weight_, bias_));
}

namespace {

DiagonalForm form_of(const std::string& mode) {
  if (mode == "auto") return DiagonalForm::kAuto;
  return mode == "convolution" ? DiagonalForm::kConvolution : DiagonalForm::kRecurrence;
}

// Every initialisation of hippo::diagonal_init by its own name. P has no place here, so that
// "nplr-..." and "dplr-..." would be the same again.
std::vector<std::string> init_names() {
  const std::vector<std::string> diagonal = {"legs", "lin", "inv", "inv2", "quad", "real", "rand"};
  std::vector<std::string> names = diagonal;
  for (const char* measure :
       {"legt", "lagt", "fourier", "fourier_decay", "fourier2", "foud", "legsd"})
    names.emplace_back(measure);
  for (const char* combination : {"hippo", "diag", "all"}) names.emplace_back(combination);
  for (const std::string& name : diagonal) names.push_back("diag-" + name);
  return names;
}

std::vector<OptionSpec> s4d_options() {
  return {
      OptionSpec::integer("state_size", 64, 2, 4096,
                          "real states a channel (even); half as many complex modes"),
      OptionSpec::integer("copies", 1, 1, 1 << 20,
                          "copies of A and B shared by the channels; divides the width"),
      OptionSpec::choice("init", "legs", init_names(),
                         "initial A and B; hippo, diag and all mix inits over the copies"),
      OptionSpec::flag("real_random", false, "initial decays at random"),
      OptionSpec::number("real_scale", 1.0, 0.0, 1e6, "factor of the initial decays"),
      OptionSpec::flag("imag_random", false, "initial frequencies of random mode numbers"),
      OptionSpec::number("imag_scale", 1.0, 0.0, 1e6, "factor of the initial frequencies"),
      OptionSpec::choice("b_init", "constant",
                         {"constant", "random", "alternating", "unit-cw", "unit-ccw"},
                         "initial B of the diagonal inits"),
      OptionSpec::number("b_scale", 1.0, -1e6, 1e6, "factor of that B"),
      OptionSpec::flag("normalize", false, "B for unit variance of the constant response"),
      OptionSpec::number("dt_min", 1e-3, 1e-9, 1e3, "smallest initial step"),
      OptionSpec::number("dt_max", 1e-1, 1e-9, 1e3, "largest initial step"),
      OptionSpec::choice("discretization", "zoh", {"zoh", "bilinear"},
                         "how A and B become a recurrence"),
      OptionSpec::number("rate", 1.0, 1e-6, 1e6,
                         "multiplies the step: 2 for input at half the sampling rate"),
      OptionSpec::choice("mode", "auto", {"auto", "recurrence", "convolution"},
                         "form of a call with many steps; auto is the recurrence on a CPU"),
      OptionSpec::choice("activation", "gelu", {"gelu", "none"}, "before the gated linear unit"),
      OptionSpec::number("dropout", 0.0, 0.0, 0.99,
                         "before the gated linear unit, while training")};
}

}  // namespace

const LayerType& s4d_layer_type() {
  static const LayerType type{.name = "s4d",
                              .family = "ssm",
                              .flags = {},
                              .options = s4d_options(),
                              .create = [](std::int64_t width, const Options& options, DType dtype,
                                           std::uint64_t seed) -> std::unique_ptr<SequenceLayer> {
                                const S4dConfig config{
                                    .width = width,
                                    .state_size = options.integer("state_size"),
                                    .copies = options.integer("copies"),
                                    .init = options.text("init"),
                                    .real_random = options.flag("real_random"),
                                    .real_scale = options.number("real_scale"),
                                    .imag_random = options.flag("imag_random"),
                                    .imag_scale = options.number("imag_scale"),
                                    .b_init = options.text("b_init"),
                                    .b_scale = options.number("b_scale"),
                                    .normalize = options.flag("normalize"),
                                    .dt_min = options.number("dt_min"),
                                    .dt_max = options.number("dt_max"),
                                    .rule = options.text("discretization") == "zoh"
                                                ? DiagonalRule::kZeroOrderHold
                                                : DiagonalRule::kBilinear,
                                    .rate = options.number("rate"),
                                    .form = form_of(options.text("mode")),
                                    .activation = options.text("activation") == "gelu",
                                    .dropout = options.number("dropout")};
                                return std::make_unique<S4d>(config, dtype, seed);
                              }};
  return type;
}

}  // namespace rill
