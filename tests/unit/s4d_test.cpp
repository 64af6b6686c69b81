// The S4D layer against PyTorch's values, its modes against each other, and against HiPPO's dense
// systems.
#include <rill/core/core.h>
#include <rill/hippo/kernel.h>
#include <rill/hippo/nplr.h>
#include <rill/hippo/transition.h>
#include <rill/ssm/s4d.h>
#include <rill/tests/support/catch.h>
#include <rill/tests/support/gradcheck.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <cstring>
#include <fstream>
#include <map>
#include <sstream>
#include <vector>

using namespace rill;
using test::random_tensor;

namespace {

struct Case {
  std::string rule;
  double rate = 1.0;
  std::map<std::string, Tensor> values;
};

// Reads what tests/golden/s4d/make.py printed.
std::map<std::string, Case> golden() {
  std::ifstream file(RILL_SOURCE_DIR "/tests/golden/s4d/s4d.txt");
  REQUIRE(file.good());
  std::map<std::string, Case> cases;
  Case* current = nullptr;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string name, word;
    words >> name;
    if (name == "case") {
      words >> word;
      current = &cases[word];
      words >> current->rule >> current->rate;
      continue;
    }
    std::vector<std::int64_t> extents;
    while (words >> word && word != ":") extents.push_back(std::stoll(word));
    std::vector<double> values;
    for (double value = 0.0; words >> value;) values.push_back(value);
    current->values[name] = Tensor::from(values, Shape(extents));
  }
  return cases;
}

S4dConfig config_of(const Case& c) {
  const Shape& shape = c.values.at("layer.kernel.A_real").shape();
  return {.width = c.values.at("x").size(2),
          .state_size = 2 * shape[1],
          .copies = shape[0],
          .init = "lin",
          .rule = c.rule == "zoh" ? DiagonalRule::kZeroOrderHold : DiagonalRule::kBilinear,
          .rate = c.rate};
}

double error(const Tensor& a, const Tensor& b) {
  const std::vector<Tensor> left{a}, right{b};
  return test::relative_error(left, right);
}

void load(const SequenceLayer& layer, const std::map<std::string, Tensor>& values) {
  layer.visit_parameters([&](const std::string& name, const Tensor& value, ParameterGroup) {
    REQUIRE(values.at(name).shape() == value.shape());
    value.copy_from(values.at(name));
  });
}

State state_from(const SequenceLayer& layer, const Tensor& h) {
  State state = State::fresh(layer.state_spec(), h.size(0));
  state.fields()[0].copy_from(h);
  return state;
}

Tensor row_of(Exec& exec, const Tensor& x, std::int64_t t) { return narrow_time(exec, x, t, 1); }

}  // namespace

TEST_CASE("S4D gives PyTorch's outputs, states, kernels and gradients") {
  for (const auto& [name, c] : golden())
    for (const bool convolution : {false, true}) {
      INFO("case " << name << ", convolution " << convolution);
      S4dConfig config = config_of(c);
      config.form = convolution ? DiagonalForm::kConvolution : DiagonalForm::kRecurrence;
      Exec exec({.dtype = DType::kFloat64, .threads = 2});
      const S4d layer(config, DType::kFloat64, 1);
      load(layer, c.values);
      // 1e-12: the same sums in another order, in double.
      CHECK(error(layer.kernel(exec, c.values.at("K").size(1)), c.values.at("K")) < 1e-12);
      State state = state_from(layer, c.values.at("h0"));
      CHECK(error(layer.forward(exec, c.values.at("x"), state), c.values.at("y")) < 1e-12);
      CHECK(error(state.at("h"), c.values.at("h")) < 1e-12);

      Tape tape;
      const Tensor x = c.values.at("x");
      State on_tape = state_from(layer, c.values.at("h0"));
      const Tensor h0 = on_tape.fields()[0];
      tape.watch(x);
      tape.watch(h0);
      {
        const TapeScope scope(exec, &tape);
        const Tensor y = layer.forward(exec, x, on_tape);
        backward(exec, tape, {{y, c.values.at("dy")}, {on_tape.at("h"), c.values.at("dh")}});
      }
      CHECK(error(tape.gradient(x), c.values.at("d:x")) <
            1e-11);  // sums of up to a hundred terms, double
      CHECK(error(tape.gradient(h0), c.values.at("d:h0")) < 1e-11);
      layer.visit_parameters(
          [&](const std::string& parameter, const Tensor& value, ParameterGroup) {
            INFO("parameter " << parameter);
            CHECK(error(tape.gradient(value), c.values.at("d:" + parameter)) < 1e-11);
          });

      Exec single({.threads = 2});
      const S4d narrow_layer(config, DType::kFloat32, 1);
      load(narrow_layer, c.values);
      State narrow_state = state_from(narrow_layer, c.values.at("h0"));
      // 1e-5: parameters and steps in float.
      CHECK(error(narrow_layer.forward(single, x.to(DType::kFloat32), narrow_state),
                  c.values.at("y")) < 1e-5);
    }
}

TEST_CASE("S4D steps give the bits of its forward, and convolution its values") {
  const std::string before = cpu_target();
  for (const std::string& target : available_cpu_targets()) {
    set_cpu_target(target);
    INFO("target " << target);
    for (const std::int64_t width : {1, 5, 32}) {
      Exec exec({.threads = 2});
      S4dConfig config{.width = width, .state_size = 64};
      const S4d layer(config, DType::kFloat32, 3);
      const Tensor x = random_tensor({2, 70, width}, 5).to(DType::kFloat32);
      State whole = layer.initial_state(exec, 2), stepped = layer.initial_state(exec, 2);
      const Tensor y = layer.forward(exec, x, whole);
      Stepper stepper = layer.prepare_step(exec, 2);
      const Tensor out = Tensor::empty({2, width}, DType::kFloat32);
      for (std::int64_t t = 0; t < 70; ++t) {
        REQUIRE(stepper.step(row_of(exec, x, t).view({2, width}), stepped, out) == StepStatus::kOk);
        REQUIRE(std::memcmp(out.raw(), row_of(exec, y, t).raw(), out.bytes()) == 0);
      }
      CHECK(std::memcmp(whole.at("h").raw(), stepped.at("h").raw(), whole.bytes()) == 0);
      config.form = DiagonalForm::kConvolution;
      const S4d convolved(config, DType::kFloat32, 3);
      State other = convolved.initial_state(exec, 2);
      CHECK(error(convolved.forward(exec, x, other), y) <
            1e-4);  // float sums over 70 steps, |a| near 1
      CHECK(error(other.at("h"), whole.at("h")) < 1e-4);
    }
  }
  set_cpu_target(before);
}

TEST_CASE("S4D left to itself is the recurrence on a CPU, whatever the length") {
  CHECK(!prefers_convolution(Device{}, std::int64_t{1} << 40));
}

TEST_CASE("S4D's Stepper has discretised its parameters ahead") {
  Exec exec({.threads = 1});
  const S4d layer({.width = 8}, DType::kFloat32, 3);
  const Tensor x = random_tensor({1, 8}, 5).to(DType::kFloat32);
  const Tensor before = Tensor::empty({1, 8}, DType::kFloat32), after = before.clone();
  Stepper stepper = layer.prepare_step(exec, 1);
  State state = layer.initial_state(exec, 1);
  REQUIRE(stepper.step(x, state, before) == StepStatus::kOk);
  // A change of parameters is not seen: nothing of what they alone decide is left to a step.
  layer.visit_parameters([](const std::string& name, const Tensor& value, ParameterGroup) {
    if (name.starts_with("layer.kernel"))
      value.copy_from(Tensor::zeros(value.shape(), value.dtype()));
  });
  State again = layer.initial_state(exec, 1);
  REQUIRE(stepper.step(x, again, after) == StepStatus::kOk);
  CHECK(std::memcmp(before.raw(), after.raw(), after.bytes()) == 0);
}

TEST_CASE("S4D's kernel is that of HiPPO's dense system") {
  Exec exec({.dtype = DType::kFloat64, .threads = 1});
  const std::int64_t length = 60;
  const S4d layer({.width = 2, .state_size = 8, .init = "lin"}, DType::kFloat64, 4);
  const Tensor kernel = layer.kernel(exec, length);
  std::map<std::string, Tensor> p;
  layer.visit_parameters(
      [&](const std::string& name, const Tensor& value, ParameterGroup) { p[name] = value; });
  for (std::int64_t h = 0; h < 2; ++h) {
    // Each mode and its conjugate as a real 2 x 2 block: y = 2 Re(C x), x' = A x + B u.
    hippo::Matrix A(8, 8);
    hippo::Vector B(8), C(8);
    for (std::int64_t n = 0; n < 4; ++n) {
      const double re = -std::exp(p["layer.kernel.A_real"].data<double>()[n]);
      const double im = -p["layer.kernel.A_imag"].data<double>()[n];
      A(2 * n, 2 * n) = A(2 * n + 1, 2 * n + 1) = re;
      A(2 * n, 2 * n + 1) = -im;
      A(2 * n + 1, 2 * n) = im;
      for (std::int64_t i = 0; i < 2; ++i) {
        B[static_cast<std::size_t>(2 * n + i)] = p["layer.kernel.B"].data<double>()[2 * n + i];
        const double c = p["layer.kernel.C"].data<double>()[(h * 4 + n) * 2 + i];
        C[static_cast<std::size_t>(2 * n + i)] = (i == 0 ? 2.0 : -2.0) * c;
      }
    }
    const double dt = std::exp(p["layer.kernel.inv_dt"].data<double>()[h]);
    const hippo::Vector expected =
        hippo::krylov_kernel(hippo::discretize(A, B, dt, hippo::Discretization::kZoh), C, length);
    for (std::int64_t l = 0; l < length; ++l)
      // 1e-11: a matrix exponential and 60 products of it.
      REQUIRE(kernel.data<double>()[h * length + l] ==
              Approx(expected[static_cast<std::size_t>(l)]).margin(1e-11));
  }
}

TEST_CASE("a rate of 2 reads every other sample") {
  // A smooth input at half the rate gives about the outputs of the full one.
  Exec exec({.dtype = DType::kFloat64, .threads = 1});
  S4dConfig config{.width = 3, .state_size = 4, .init = "real", .dt_min = 1e-3, .dt_max = 1e-3};
  const S4d fine(config, DType::kFloat64, 6);
  config.rate = 2.0;
  const S4d coarse(config, DType::kFloat64, 6);
  const auto signal = [](std::int64_t length, double step) {
    const Tensor x = Tensor::empty({1, length, 3}, DType::kFloat64);
    for (std::int64_t t = 0; t < length; ++t)
      for (std::int64_t c = 0; c < 3; ++c)
        x.data<double>()[t * 3 + c] =
            std::sin(step * static_cast<double>(t) + static_cast<double>(c));
    return x;
  };
  State a = fine.initial_state(exec, 1), b = coarse.initial_state(exec, 1);
  const Tensor full = fine.forward(exec, signal(2000, 1e-3), a),
               half = coarse.forward(exec, signal(1000, 2e-3), b);
  // 1e-2: zero-order hold of a signal that moves by 2e-3 a step.
  CHECK(error(row_of(exec, half, 999), row_of(exec, full, 1998)) < 1e-2);
}

namespace {

std::map<std::string, Tensor> parameters_of(const SequenceLayer& layer) {
  std::map<std::string, Tensor> values;
  layer.visit_parameters(
      [&](const std::string& name, const Tensor& value, ParameterGroup) { values[name] = value; });
  return values;
}

std::map<std::string, Tensor> parameters_with(
    const std::vector<std::pair<std::string, OptionValue>>& set, std::int64_t width = 4) {
  const LayerType& type = s4d_layer_type();
  Options options(type.options);
  for (const auto& [name, value] : set) options.set(name, value);
  return parameters_of(*type.create(width, options, DType::kFloat64, 3));
}

}  // namespace

TEST_CASE("every initialisation of S4D arrives in its parameters") {
  constexpr double kPi = 3.14159265358979323846;
  const double N = 16;
  const auto frequency = [&](const std::string& name, double n) {
    if (name == "lin") return kPi * n;
    if (name == "inv") return N / kPi * (N / (2 * n + 1) - 1);
    if (name == "inv2") return N / kPi * (N / (n + 1) - 1);
    if (name == "quad") return (1 + 2 * n) * (1 + 2 * n) / kPi;
    return 0.0;  // real
  };
  for (const std::string name : {"lin", "inv", "inv2", "quad", "real"})
    for (const std::string prefix : {"", "diag-"}) {
      INFO(prefix + name);
      auto p = parameters_with({{"state_size", std::int64_t{16}}, {"init", prefix + name}});
      for (std::int64_t n = 0; n < 8; ++n) {
        const double re = name == "real" ? double(n) + 1 : 0.5;
        CHECK(p["layer.kernel.A_real"].data<double>()[n] == Approx(std::log(re)).margin(1e-15));
        // The clamp of state-spaces/s4: lin's mode 0 and real have a frequency of 1e-4.
        CHECK(p["layer.kernel.A_imag"].data<double>()[n] ==
              Approx(std::max(frequency(name, double(n)), 1e-4)).epsilon(1e-14));
        CHECK(p["layer.kernel.B"].data<double>()[2 * n] == 1.0);
        CHECK(p["layer.kernel.B"].data<double>()[2 * n + 1] == 0.0);
      }
    }
  for (const std::string name :
       {"legs", "legt", "lagt", "fourier", "fourier_decay", "fourier2", "foud", "legsd"}) {
    INFO(name);
    auto p = parameters_with({{"state_size", std::int64_t{16}}, {"init", name}});
    const hippo::Nplr form = hippo::nplr(hippo::measure_from_name(name), 16, 2);
    for (std::int64_t n = 0; n < 8; ++n) {
      const std::complex<double> w = form.W[std::size_t(n)], b = form.B[std::size_t(n)];
      CHECK(p["layer.kernel.A_real"].data<double>()[n] ==
            Approx(std::log(std::max(-w.real(), 1e-4))).epsilon(1e-12));
      CHECK(p["layer.kernel.A_imag"].data<double>()[n] ==
            Approx(std::max(-w.imag(), 1e-4)).epsilon(1e-12));
      CHECK(p["layer.kernel.B"].data<double>()[2 * n] == Approx(b.real()).margin(1e-12));
      CHECK(p["layer.kernel.B"].data<double>()[2 * n + 1] == Approx(b.imag()).margin(1e-12));
    }
  }
}

TEST_CASE("S4D's options of the initialisation arrive in its parameters") {
  const auto im = [](auto p, std::int64_t n) {
    return p["layer.kernel.A_imag"].template data<double>()[n];
  };
  const auto re = [](auto p, std::int64_t n) {
    return std::exp(p["layer.kernel.A_real"].template data<double>()[n]);
  };
  const auto b = [](auto p, std::int64_t n) {
    const double* v = p["layer.kernel.B"].template data<double>() + 2 * n;
    return std::complex<double>(v[0], v[1]);
  };
  const std::pair<std::string, OptionValue> lin{"init", std::string("lin")};
  const auto plain = parameters_with({lin});
  CHECK(re(parameters_with({lin, {"real_scale", 3.0}}), 5) == Approx(1.5));
  CHECK(im(parameters_with({lin, {"imag_scale", 3.0}}), 5) == Approx(3.0 * im(plain, 5)));
  const auto random_re = parameters_with({lin, {"real_random", true}});
  const auto random_im = parameters_with({lin, {"imag_random", true}});
  double mean_re = 0.0, mean_im = 0.0;
  for (std::int64_t n = 0; n < 32; ++n) {
    CHECK((re(random_re, n) >= 1e-4 * (1 - 1e-12) && re(random_re, n) < 1.0));
    CHECK((im(random_im, n) >= 1e-4 && im(random_im, n) < im(plain, 1) * 32));
    mean_re += re(random_re, n) / 32;
    mean_im += im(random_im, n) / 32;
  }
  CHECK(mean_re == Approx(0.5).margin(0.26));  // 32 uniform draws: five standard errors
  CHECK(mean_im / im(plain, 16) == Approx(1.0).margin(0.52));  // the same, of mode numbers
  CHECK(im(random_im, 7) != im(plain, 7));
  const auto turned = [&](const char* how) {
    return b(parameters_with({lin, {"b_init", std::string(how)}}), 3);
  };
  const double angle = 2 * 3.14159265358979323846 * 3 / 64;
  CHECK(turned("alternating") == -1.0);
  CHECK(std::abs(turned("unit-cw") - std::polar(1.0, -angle)) < 1e-15);  // rounding
  CHECK(std::abs(turned("unit-ccw") - std::polar(1.0, angle)) < 1e-15);  // rounding
  CHECK(turned("random").imag() != 0.0);
  CHECK(b(parameters_with({lin, {"b_scale", -2.5}}), 3) == -2.5);
  const auto unit = parameters_with({lin, {"normalize", true}});
  double variance = 0.0;
  for (std::int64_t n = 0; n < 32; ++n)
    variance += 2 * std::norm(b(unit, n) / std::complex<double>(re(unit, n), im(unit, n)));
  CHECK(variance == Approx(1.0).epsilon(1e-6));  // of frequencies before mode 0's was clamped
  CHECK_THROWS_AS(S4d({.width = 2, .real_scale = -1.0}, DType::kFloat32, 1), Error);
  CHECK_THROWS_AS(S4d({.width = 2, .init = "lin", .b_init = "ones"}, DType::kFloat32, 1), Error);
  CHECK_THROWS_AS(S4d({.width = 2, .dropout = 1.0}, DType::kFloat32, 1), Error);
}

TEST_CASE("S4D drops elements between GELU and linear map, in training") {
  const std::int64_t width = 16;
  const S4d layer({.width = width, .activation = false, .dropout = 0.25}, DType::kFloat64, 2);
  auto p = parameters_of(layer);
  // glu(y, 40) = y: the first half of the map is the identity, the gate is open.
  double* weight = p["output_linear.0.weight"].data<double>();
  std::fill_n(weight, 2 * width * width, 0.0);
  for (std::int64_t i = 0; i < width; ++i) weight[i * width + i] = 1.0;
  p["output_linear.0.weight"].storage()->bump_version();
  double* bias = p["output_linear.0.bias"].data<double>();
  for (std::int64_t i = 0; i < 2 * width; ++i) bias[i] = i < width ? 0.0 : 40.0;
  Exec exec({.dtype = DType::kFloat64, .threads = 1});
  const Tensor x = random_tensor({2, 50, width}, 5);
  State first = layer.initial_state(exec, 2), second = layer.initial_state(exec, 2);
  const Tensor whole = layer.forward(exec, x, first);
  const TrainingScope training(exec, true);
  const Tensor dropped = layer.forward(exec, x, second);
  std::int64_t zeros = 0;
  for (std::int64_t i = 0; i < whole.numel(); ++i) {
    const double y = dropped.data<double>()[i];
    zeros += y == 0.0;
    if (y != 0.0) REQUIRE(y == Approx(whole.data<double>()[i] / 0.75).epsilon(1e-12));
  }
  CHECK(double(zeros) / 1600 == Approx(0.25).margin(0.055));  // 1600 draws: five standard errors
  CHECK(error(second.at("h"), first.at("h")) == 0.0);
}

TEST_CASE("every option of S4D makes a layer") {
  const LayerType& type = s4d_layer_type();
  Exec exec({.threads = 1});
  for (const OptionSpec& spec : type.options) {
    for (const std::string& choice : spec.choices) {
      INFO(spec.name << " = " << choice);
      Options options(type.options);
      options.set("copies", std::int64_t{4});
      options.set(spec.name, choice);
      const auto layer = type.create(16, options, DType::kFloat32, 1);
      State state = layer->initial_state(exec, 1);
      const Tensor y =
          layer->forward(exec, random_tensor({1, 9, 16}, 1).to(DType::kFloat32), state);
      for (const float value : y.span<float>()) REQUIRE(std::isfinite(value));
    }
  }
  Options options(type.options);
  options.set("copies", std::int64_t{3});
  CHECK_THROWS_AS(type.create(16, options, DType::kFloat32, 1), Error);
  options.set("copies", std::int64_t{1});
  options.set("state_size", std::int64_t{7});
  CHECK_THROWS_AS(type.create(16, options, DType::kFloat32, 1), Error);
}

TEST_CASE("S4D draws the same values in both dtypes and keeps its groups") {
  const S4d a({.width = 6}, DType::kFloat32, 9), b({.width = 6}, DType::kFloat64, 9);
  std::map<std::string, Tensor> wide;
  b.visit_parameters(
      [&](const std::string& name, const Tensor& value, ParameterGroup) { wide[name] = value; });
  int state_space = 0;
  a.visit_parameters([&](const std::string& name, const Tensor& value, ParameterGroup group) {
    const Tensor rounded = wide.at(name).to(DType::kFloat32);
    CHECK(std::memcmp(rounded.raw(), value.raw(), value.bytes()) == 0);
    CHECK(value.requires_grad());
    state_space += group == ParameterGroup::kStateSpace;
  });
  CHECK(state_space == 4);
}
