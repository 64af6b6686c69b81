// Places of docs/numerics.md that only a whole layer reaches: each fails with the obvious formula.
#include <rill/core/core.h>
#include <rill/rnn/deltanet.h>
#include <rill/ssm/mamba.h>
#include <rill/tests/support/catch.h>
#include <rill/tests/support/gradcheck.h>

#include <cmath>
#include <vector>

using namespace rill;
using test::random_tensor;

namespace {

bool all_zero(const Tensor& tensor) {
  for (const double value : tensor.to(DType::kFloat64).span<double>())
    if (value != 0.0) return false;
  return true;
}

bool all_finite(const Tensor& tensor) {
  for (const double value : tensor.to(DType::kFloat64).span<double>())
    if (!std::isfinite(value)) return false;
  return true;
}

}  // namespace

TEST_CASE("keys of length 0 leave DeltaNet's state as it is, and gradients finite") {
  const std::string before = cpu_target();
  for (const std::string& target : available_cpu_targets())
    for (const DType dtype : {DType::kFloat32, DType::kFloat64})
      for (const double input : {0.0, 1.0}) {  // 0: queries and values are 0 as well
        set_cpu_target(target);
        INFO(target << " " << name_of(dtype) << " input " << input);
        const DeltaNet layer({.width = 48, .num_heads = 3}, dtype, 1);
        layer.visit_parameters([&](const std::string& name, const Tensor& value, ParameterGroup) {
          if (name == "k_proj.weight") value.copy_from(Tensor::zeros(value.shape(), dtype));
        });
        Exec exec({.dtype = dtype, .threads = 2});
        const Tensor x = random_tensor({2, 70, 48}, 2, -input, input).to(dtype);
        State state = layer.initial_state(exec, 2);
        Tape tape;
        tape.watch(x);
        const TapeScope scope(exec, &tape);
        const Tensor y = layer.forward(exec, x, state);
        CHECK(all_zero(y));
        CHECK(all_zero(state.fields()[0]));
        backward(exec, tape, {{y, random_tensor(y.shape(), 3).to(dtype)}});
        CHECK(all_finite(tape.gradient(x)));
        layer.visit_parameters([&](const std::string& name, const Tensor& value, ParameterGroup) {
          INFO(name);
          CHECK(all_finite(tape.gradient(value)));
        });
      }
  set_cpu_target(before);
}

TEST_CASE("the gradient of a normalised vector of length 0 is that of x / sqrt(eps)") {
  Exec exec({.dtype = DType::kFloat64, .threads = 1});
  const Tensor x = Tensor::zeros({1, 2, 8}, DType::kFloat64), dy = random_tensor({1, 2, 8}, 4);
  Tape tape;
  tape.watch(x);
  const TapeScope scope(exec, &tape);
  const Tensor y = l2_norm(exec, x, 2, 1e-6);
  CHECK(all_zero(y));
  backward(exec, tape, {{y, dy}});
  for (std::int64_t i = 0; i < 16; ++i)
    CHECK(tape.gradient(x).data<double>()[i] == Approx(1e3 * dy.data<double>()[i]).epsilon(1e-14));
}

TEST_CASE("Mamba's first steps are what was asked for, however small") {
  for (const double dt : {0.1, 1e-3, 1e-4, 1e-6, 1e-8, 1e-12}) {
    INFO("dt " << dt);
    const Mamba layer(
        {.hidden_size = 8, .time_step_min = dt, .time_step_max = dt, .time_step_floor = dt},
        DType::kFloat64, 7);
    layer.visit_parameters([&](const std::string& name, const Tensor& value, ParameterGroup) {
      if (name != "dt_proj.bias") return;
      for (const double bias : value.span<double>()) {
        const long double step = std::log1p(std::exp(static_cast<long double>(bias)));
        // log dt and b, up to 28, are rounded once each; log(e^dt - 1) would lose 16 - 12 digits
        // at dt = 1e-12, and 4 of them at 1e-4.
        REQUIRE(std::abs(static_cast<double>(step / static_cast<long double>(dt) - 1.0L)) < 1e-14);
      }
    });
  }
}
