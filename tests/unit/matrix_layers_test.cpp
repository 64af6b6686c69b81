// The layers with matrix states: forms of one call, widths, published defaults.
#include <cstring>
#include <memory>

#include "matrix_state_support.h"

#include <rill/model/registry.h>
#include <rill/rnn/rnn.h>
#include <rill/tests/support/catch.h>
#include <rill/tests/support/gradcheck.h>

using namespace rill;
using namespace rill::matrix_test;

namespace {

struct Made {
  std::string name;
  std::unique_ptr<SequenceLayer> layer;
};

std::vector<Made> make_all(std::int64_t width, DType dtype) {
  std::vector<Made> all;
  for (const LayerType* type :
       {&retnet_layer_type(), &gla_layer_type(), &mlstm_layer_type(), &deltanet_layer_type()})
    all.push_back({type->name, type->create(width, Options(type->options), dtype, 3)});
  Options paper(retnet_layer_type().options);
  paper.set("variant", std::string("paper"));
  all.push_back({"retnet paper", retnet_layer_type().create(width, paper, dtype, 3)});
  return all;
}

Tensor input(const Shape& shape, DType dtype, std::uint64_t seed) {
  return draw(shape, seed, -1, 1).to(dtype);
}

}  // namespace

TEST_CASE("layers with matrix states: steps equal forward bit for bit, at every width") {
  for (const DType dtype : {DType::kFloat32, DType::kFloat64})
    for (const std::int64_t width : {1, 3, 16, 48, 80, 128})
      for (const Made& made : make_all(width, dtype)) {
        INFO(made.name << " " << width << " " << name_of(dtype));
        Exec exec({.dtype = dtype, .threads = 2});
        const std::int64_t batch = 2, length = 37;
        const Tensor x = input({batch, length, width}, dtype, 5);
        State whole = made.layer->initial_state(exec, batch);
        const Tensor y = made.layer->forward(exec, x, whole);
        State state = made.layer->initial_state(exec, batch);
        Stepper stepper = made.layer->prepare_step(exec, batch);
        const Tensor x_t = Tensor::zeros({batch, width}, dtype);
        const Tensor y_t = Tensor::zeros({batch, width}, dtype);
        const std::size_t row = static_cast<std::size_t>(width) * size_of(dtype);
        const auto at = [&](const Tensor& all, std::int64_t b, std::int64_t t) {
          return static_cast<char*>(all.raw()) + static_cast<std::size_t>(b * length + t) * row;
        };
        for (std::int64_t t = 0; t < length; ++t) {
          for (std::int64_t b = 0; b < batch; ++b)
            std::memcpy(static_cast<char*>(x_t.raw()) + static_cast<std::size_t>(b) * row,
                        at(x, b, t), row);
          REQUIRE(stepper.step(x_t, state, y_t) == StepStatus::kOk);
          for (std::int64_t b = 0; b < batch; ++b)
            REQUIRE(std::memcmp(static_cast<char*>(y_t.raw()) + static_cast<std::size_t>(b) * row,
                                at(y, b, t), row) == 0);
        }
        for (std::size_t f = 0; f < state.fields().size(); ++f)
          CHECK(same_bits(state.fields()[f], whole.fields()[f]));
      }
}

TEST_CASE("gradients of layers with matrix states equal central differences") {
  for (const Made& made : make_all(6, DType::kFloat64)) {
    INFO(made.name);
    const std::int64_t batch = 2, length = 5;
    std::vector<Tensor> all{input({batch, length, 6}, DType::kFloat64, 5)};
    const StateSpec spec = made.layer->state_spec();
    std::vector<std::size_t> fields;  // those that are no positions
    for (std::size_t f = 0; f < spec.fields.size(); ++f) {
      if (spec.fields[f].dtype != DType::kFloat64) continue;
      fields.push_back(f);
      // Above 0: the paper's normaliser is a sum of positive numbers.
      all.push_back(draw(spec.fields[f].shape.prepend(batch), 40 + f, 0.1, 1));
    }
    const std::vector<Tensor> parameters = made.layer->parameters();
    all.insert(all.end(), parameters.begin(), parameters.end());
    const auto function = [&](Exec& exec, std::span<const Tensor> at) {
      State state = made.layer->initial_state(exec, batch);
      for (std::size_t i = 0; i < fields.size(); ++i) state.fields()[fields[i]] = at[1 + i];
      for (std::size_t i = 0; i < parameters.size(); ++i)
        if (at[1 + fields.size() + i].id() != parameters[i].id())
          parameters[i].copy_from(at[1 + fields.size() + i]);
      std::vector<Tensor> outputs{made.layer->forward(exec, at[0], state)};
      for (const std::size_t f : fields) outputs.push_back(state.fields()[f]);
      return outputs;
    };
    CHECK(test::gradcheck(function, all, 1e-5, 16) < 1e-6);  // differences lose half the digits
  }
}

TEST_CASE("layers with matrix states have their published sizes") {
  const auto shape_of = [](const SequenceLayer& layer, const std::string& wanted) {
    Shape shape;
    layer.visit_parameters([&](const std::string& name, const Tensor& value, ParameterGroup) {
      if (name == wanted) shape = value.shape();
    });
    return shape;
  };
  const RetNet retnet({.width = 1024}, DType::kFloat32, 0);
  CHECK(retnet.config().num_heads == 8);
  CHECK(shape_of(retnet, "g_norm_swish_gate.weight") == Shape({256}));
  const Gla gla({.width = 1024}, DType::kFloat32, 0);
  CHECK(gla.config().num_heads == 4);
  CHECK(shape_of(gla, "gk_proj.0.weight") == Shape({16, 1024}));
  CHECK(shape_of(gla, "gk_proj.1.weight") == Shape({512, 16}));
  CHECK_THROWS_AS(Gla({.width = 48, .num_heads = 5}, DType::kFloat32, 0), Error);
}

TEST_CASE("retnet: the paper's variant has the paper's sizes, and sizes at every width") {
  const auto layer = [](std::int64_t width, const char* variant) {
    return make_layer("retnet", width, {{"variant", std::string(variant)}});
  };
  const auto memory = [&](std::int64_t width, const char* variant) {
    return layer(width, variant)->state_spec().fields[0].shape;
  };
  CHECK(memory(768, "paper") == Shape({3, 256, 432}));
  CHECK(memory(512, "paper") == Shape({2, 256, 432}));  // 864 in all, as the authors' small model
  CHECK(memory(768, "fla") == Shape({8, 96, 192}));
  for (std::int64_t width = 16; width <= 400; width += 16) {
    CAPTURE(width);
    const Shape paper = memory(width, "paper"), fla = memory(width, "fla");
    CHECK(paper[0] * paper[1] == width);
    CHECK(paper[1] % 2 == 0);
    CHECK(static_cast<double>(paper[2]) / static_cast<double>(paper[1]) >= 5.0 / 3.0);
    CHECK(3 * paper[2] < 5 * paper[1] + 3 * 16);
    CHECK(fla[0] * fla[2] == 2 * width);
  }
  CHECK(make_layer("retnet", 768, {{"variant", std::string("paper")}, {"expand_v", 1.5}})
            ->state_spec()
            .fields[0]
            .shape == Shape({3, 256, 384}));
}
