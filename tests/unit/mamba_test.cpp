// Mamba against Hugging Face's own results (tests/golden/mamba/make_golden.py), and its laws in
// short.
#include <rill/io/safetensors.h>
#include <rill/ssm/mamba.h>
#include <rill/tests/unit/layer_support.h>

#include <cmath>
#include <map>

using namespace rill;
using namespace rill::test;

namespace {

const std::map<std::string, MambaConfig> kCases = {
    {"mixer", {.hidden_size = 12, .state_size = 5}},
    {"mixer_bias", {.hidden_size = 8, .conv_kernel = 3, .time_step_rank = 3, .use_bias = true}},
    {"mixer_no_conv_bias",
     {.hidden_size = 5,
      .state_size = 2,
      .conv_kernel = 2,
      .time_step_rank = 2,
      .use_conv_bias = false}}};

double error_of(const Tensor& a, const Tensor& b) {
  return relative_error(std::vector{a}, std::vector{b});
}

}  // namespace

TEST_CASE("mamba gives Hugging Face's outputs and gradients, with its names") {
  for (const auto& [name, config] : kCases) {
    const SafetensorsReader file = SafetensorsReader::open(
        std::string(RILL_SOURCE_DIR "/tests/golden/mamba/") + name + ".safetensors");
    for (const DType dtype : {DType::kFloat64, DType::kFloat32}) {
      // Double: two programs summing in their own orders. Float: sums of up to 40 steps and 24
      // channels of some ulp.
      const double bound = dtype == DType::kFloat64 ? 1e-12 : 2e-5;
      INFO(name << " " << name_of(dtype));
      const Mamba layer(config, dtype, 1);
      layer.visit_parameters(
          [&](const std::string& parameter, const Tensor& value, ParameterGroup) {
            value.copy_from(file.tensor("p." + parameter));
          });
      Exec exec({.dtype = dtype, .threads = 1});
      const Tensor x = file.tensor("x").to(dtype);
      State state = layer.initial_state(exec, x.size(0));
      Tape tape;
      tape.watch(x);
      Tensor y;
      {
        const TapeScope scope(exec, &tape);
        y = layer.forward(exec, x, state);
      }
      CHECK(error_of(y, file.tensor("y")) < bound);
      backward(exec, tape, {{y, file.tensor("dy").to(dtype)}});
      CHECK(error_of(tape.gradient(x), file.tensor("dx")) < bound);
      layer.visit_parameters(
          [&](const std::string& parameter, const Tensor& value, ParameterGroup) {
            INFO(parameter);
            CHECK(error_of(tape.gradient(value), file.tensor("g." + parameter)) < bound);
          });
    }
  }
}

TEST_CASE("mamba steps as it runs, on every vector target") {
  on_every_target([] {
    for (const std::int64_t width : {1, 7, 16, 80})
      for (const std::int64_t batch : {1, 3})
        check_steps(Mamba({.hidden_size = width}, DType::kFloat32, 3), batch, 37);
    check_steps(Mamba({.hidden_size = 5, .state_size = 3, .conv_kernel = 1, .use_bias = true},
                      DType::kFloat32, 3),
                2, 5);
  });
  check_steps(Mamba({.hidden_size = 6}, DType::kFloat64, 3), 2, 9);
}

TEST_CASE("mamba's gradients equal central differences, the initial state's among them") {
  // Second differences of order (1e-5)^2 and rounding of 1e-16 / 1e-5.
  CHECK(layer_gradient_error(
            Mamba({.hidden_size = 3, .state_size = 4, .use_bias = true}, DType::kFloat64, 5), 2,
            6) < 1e-6);
}

TEST_CASE("mamba starts as its paper says") {
  const Mamba layer({.hidden_size = 40}, DType::kFloat64, 7),
      again({.hidden_size = 40}, DType::kFloat32, 7);
  CHECK(layer.config().time_step_rank == 3);
  CHECK(layer.config().intermediate_size == 80);
  std::map<std::string, Tensor> named;
  layer.visit_parameters([&](const std::string& name, const Tensor& value, ParameterGroup group) {
    named[name] = value;
    CHECK((group == ParameterGroup::kStateSpace) == (name == "A_log" || name == "dt_proj.bias"));
    CHECK((group == ParameterGroup::kNoDecay) == (name == "D" || name == "conv1d.bias"));
  });
  CHECK(named.at("conv1d.weight").shape() == Shape({80, 1, 4}));
  CHECK(named.at("A_log").data<double>()[16 + 2] == Approx(std::log(3.0)));
  CHECK(named.at("D").data<double>()[79] == 1.0);
  for (const double bias : named.at("dt_proj.bias").span<double>()) {
    const double dt = std::log1p(std::exp(bias));
    CHECK(dt >= 1e-3 * (1 - 1e-9));
    CHECK(dt <= 0.1 * (1 + 1e-9));
  }
  for (const double w : named.at("dt_proj.weight").span<double>())
    CHECK(std::abs(w) <= 1.0 / std::sqrt(3.0));
  // The float layer of the same seed holds the same numbers, rounded.
  again.visit_parameters([&](const std::string& name, const Tensor& value, ParameterGroup) {
    CHECK(same_bits(value, named.at(name).to(DType::kFloat32)));
  });
  CHECK_THROWS_AS(Mamba({.hidden_size = 0}, DType::kFloat32, 1), Error);
  CHECK_THROWS_AS(Mamba({.time_step_min = 1.0}, DType::kFloat32, 1), Error);
  Options options(mamba_layer_type().options);
  options.set_text("expand", "3");
  CHECK(mamba_layer_type().create(16, options, DType::kFloat32, 1)->state_spec().fields[1].shape ==
        Shape({48, 16}));
}
