// minGRU against its equations, and its laws in short.
#include <rill/rnn/mingru.h>
#include <rill/tests/unit/layer_support.h>

#include <cmath>
#include <map>

using namespace rill;
using namespace rill::test;

namespace {

double sigmoid_of(double v) { return 1.0 / (1.0 + std::exp(-v)); }

// One step of the paper's appendix B, with h [H].
void step(const std::map<std::string, Tensor>& p, const double* x, std::int64_t width,
          std::vector<double>& h) {
  const auto sum = [&](const std::string& name, std::int64_t row) {
    double total = p.at(name + ".bias").data<double>()[row];
    for (std::int64_t k = 0; k < width; ++k)
      total += p.at(name + ".weight").data<double>()[row * width + k] * x[k];
    return total;
  };
  for (std::size_t i = 0; i < h.size(); ++i) {
    const double z = sigmoid_of(sum("linear_z", static_cast<std::int64_t>(i)));
    const double v = sum("linear_h", static_cast<std::int64_t>(i));
    h[i] = (1.0 - z) * h[i] + z * (v >= 0 ? v + 0.5 : sigmoid_of(v));
  }
}

}  // namespace

TEST_CASE("minGRU is its equations, in both domains") {
  const std::int64_t width = 5, steps = 30;
  for (const bool log_space : {false, true}) {
    const MinGru layer({.input_size = width, .log_space = log_space}, DType::kFloat64, 2);
    std::map<std::string, Tensor> p;
    layer.visit_parameters(
        [&](const std::string& name, const Tensor& value, ParameterGroup) { p[name] = value; });
    Exec exec({.dtype = DType::kFloat64});
    const Tensor x = random_tensor({1, steps, width}, 3, -4.0, 4.0);
    State state = layer.initial_state(exec, 1);
    const Tensor y = layer.forward(exec, x, state);
    std::vector<double> h(width, 0.0);
    for (std::int64_t t = 0; t < steps; ++t) {
      step(p, x.data<double>() + t * width, width, h);
      for (std::int64_t i = 0; i < width; ++i)
        CHECK(y.data<double>()[t * width + i] == Approx(h[i]).epsilon(1e-12));
    }
    const double last = state.fields()[0].data<double>()[0];
    CHECK((log_space ? std::exp(last) : last) == Approx(h[0]).epsilon(1e-12));
  }
}

TEST_CASE("minGRU steps as it runs, on every vector target") {
  on_every_target([] {
    for (const bool log_space : {false, true})
      for (const std::int64_t width : {1, 7, 16, 33}) {
        check_steps(MinGru({.input_size = width, .log_space = log_space}, DType::kFloat32, 3), 2,
                    19);
        check_steps(MinGru({.input_size = width, .hidden_size = 9, .log_space = log_space},
                           DType::kFloat32, 3),
                    1, 5);
      }
  });
  check_steps(MinGru({.input_size = 3}, DType::kFloat64, 3), 2, 9);
}

TEST_CASE("minGRU's gradients equal central differences, the initial state's among them") {
  for (const bool log_space : {false, true})
    for (const std::int64_t hidden : {0, 4})
      // Second differences of order (1e-5)^2 and rounding of 1e-16 / 1e-5.
      CHECK(layer_gradient_error(
                MinGru({.input_size = 3, .hidden_size = hidden, .log_space = log_space},
                       DType::kFloat64, 5),
                2, 7) < 1e-6);
}

TEST_CASE("minGRU's log domain holds for a million steps, tiny states and gates of 40") {
  // Streaming log-sum-exp of a constant input: h -> g as the gates forget; the error does not grow
  // with the steps.
  const MinGru layer({.input_size = 1, .log_space = true}, DType::kFloat32, 4);
  std::map<std::string, Tensor> p;
  layer.visit_parameters(
      [&](const std::string& name, const Tensor& value, ParameterGroup) { p[name] = value; });
  const auto set = [&](const char* name, double value) {
    const Tensor source = Tensor::full(p.at(name).shape(), DType::kFloat32, value);
    p.at(name).copy_from(source);
  };
  Exec exec;
  struct {
    double gate, candidate;
  } const cases[] = {{-5.0, -40.0}, {-7.0, 1.0}, {40.0, -40.0}, {0.0, 40.0}};
  for (const auto& c : cases) {
    set("linear_z.weight", 0.0), set("linear_z.bias", c.gate), set("linear_h.weight", 1.0),
        set("linear_h.bias", 0.0);
    State state = layer.initial_state(exec, 1);
    const Tensor x = Tensor::full({1, 1 << 18, 1}, DType::kFloat32, c.candidate);
    Tensor y;
    for (int part = 0; part < 4; ++part) y = layer.forward(exec, x, state);
    const double expected = c.candidate >= 0 ? c.candidate + 0.5 : sigmoid_of(c.candidate);
    // Half the spacing of log h (2e-6 at -40) times the steps of memory (e^5, e^7) at most: 3e-4.
    CHECK(y.data<float>()[y.numel() - 1] / expected == Approx(1.0).epsilon(3e-4));
  }
  Options options(mingru_layer_type().options);
  CHECK(mingru_layer_type().create(16, options, DType::kFloat32, 1)->parameter_count() ==
        2 * 16 * 17);
  CHECK_THROWS_AS(MinGru({.input_size = 0}, DType::kFloat32, 1), Error);
}
