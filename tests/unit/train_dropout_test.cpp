// Dropout while training: the same masks in cut, recomputed and resumed runs, others elsewhere.
#include "train_support.h"

#include <rill/core/core.h>
#include <rill/rnn/gru.h>
#include <rill/rnn/lstm.h>
#include <rill/train/objective.h>

using namespace rill;
using namespace rill::test;
using namespace rill::train_test;

namespace {

std::unique_ptr<SequenceLayer> two_layers(bool lstm) {
  if (lstm)
    return std::make_unique<Lstm>(
        LstmConfig{.input_size = 3, .hidden_size = 5, .num_layers = 2, .dropout = 0.4},
        DType::kFloat64, 1);
  return std::make_unique<Gru>(
      GruConfig{.input_size = 3, .hidden_size = 5, .num_layers = 2, .dropout = 0.4},
      DType::kFloat64, 1);
}

Tensor normals(const Shape& shape) {
  const Tensor x = Tensor::empty(shape, DType::kFloat64);
  Generator generator(3);
  for (double& value : x.span<double>()) value = generator.normal();
  return x;
}

}  // namespace

TEST_CASE("dropout: gradients through time chunks equal those of the whole sequence") {
  for (const std::string layer : {"mamba", "lstm", "gru"}) {
    CAPTURE(layer);
    ModelConfig config = ModelConfig::for_layer(layer, 16, 2);
    config.dropout = 0.3;
    if (layer != "mamba") {
      config.options["num_layers"] = std::int64_t{2};
      config.options["dropout"] = 0.4;
    }
    config.task = Task::kPredictNext;
    config.input_size = config.output_size = 3;
    const Model model(config, DType::kFloat64, 1);
    const Tensor x = normals({2, 23, 3});
    const Batch batch{.input = x, .target = x.clone()};
    Exec exec({.dtype = DType::kFloat64, .threads = 1, .seed = 7});
    exec.set_time(11);
    Tape whole, cut, inference;
    State a = model.initial_state(exec, 2), b = a, c = a;
    const double loss = loss_and_gradients(exec, model, batch, a, 0, whole);
    CHECK(loss_and_gradients(exec, model, batch, b, 5, cut) == Approx(loss).epsilon(1e-12));
    for (std::size_t f = 0; f < a.fields().size(); ++f)
      CHECK(same_bits(a.fields()[f], b.fields()[f]));
    model.visit_parameters([&](const std::string& name, const Tensor& value, ParameterGroup) {
      CAPTURE(name);
      // Sums over time in another order, in double.
      CHECK(error_of(cut.gradient(value), whole.gradient(value)) < 1e-12);
    });
    // And something was dropped: far more than the rounding of a sum.
    const double kept =
        loss_of(exec, config.task, model.forward(exec, x, c), x, 46).data<double>()[0];
    CHECK(std::abs(kept - loss) > 1e-6);
  }
}

TEST_CASE("dropout between the layers of an LSTM or GRU: cut and recomputed runs draw the same") {
  for (const bool lstm : {true, false}) {
    CAPTURE(lstm);
    const auto layer = two_layers(lstm);
    const Tensor x = normals({1, 12, 3});
    Exec exec({.dtype = DType::kFloat64, .threads = 1, .seed = 7});
    const auto run = [&](State& state, std::int64_t first, std::int64_t count) {
      exec.set_time(first);
      return layer->forward(exec, x.view({12, 3}).rows(first, count).view({1, count, 3}), state);
    };
    State plain = layer->initial_state(exec, 1), whole = plain, again = plain, cut = plain;
    const Tensor kept = run(plain, 0, 12);
    const TrainingScope training(exec, true);
    const Tensor y = run(whole, 0, 12);
    CHECK_FALSE(same_bits(y, kept));
    CHECK(same_bits(run(again, 0, 12), y));
    const Tensor head = run(cut, 0, 5), tail = run(cut, 5, 7);
    CHECK(same_bits(head, y.view({12, 5}).rows(0, 5).view({1, 5, 5})));
    CHECK(same_bits(tail, y.view({12, 5}).rows(5, 7).view({1, 7, 5})));
    for (std::size_t f = 0; f < cut.fields().size(); ++f)
      CHECK(same_bits(cut.fields()[f], whole.fields()[f]));
    // Another start of the op numbers, other masks.
    exec.set_op_number(50);
    State other = layer->initial_state(exec, 1);
    CHECK_FALSE(same_bits(run(other, 0, 12), y));
    CHECK(exec.op_number() == 50);
  }
}

TEST_CASE("dropout is not part of a Stepper, nor of an evaluation") {
  const auto layer = two_layers(true);
  Exec exec({.dtype = DType::kFloat64, .threads = 1, .seed = 7});
  const Tensor x = normals({1, 3});
  const Tensor y = Tensor::empty({1, 5}, DType::kFloat64);
  State state = layer->initial_state(exec, 1), stepped = state;
  const Tensor kept = layer->forward(exec, x.view({1, 1, 3}), state);
  const TrainingScope training(exec, true);
  Stepper stepper = layer->prepare_step(exec, 1);
  REQUIRE(stepper.step(x, stepped, y) == StepStatus::kOk);
  CHECK(same_bits(y.view({1, 1, 5}), kept));
  CHECK(exec.training());
}

TEST_CASE("train: masks follow the run's seed, not the Exec's") {
  const NoiseData data;
  ModelConfig config = small_config(data);
  config.dropout = 0.3;
  TemporaryFolder folder;
  TrainOptions options = small_options();
  options.seed = 5;
  for (const std::uint64_t seed : {0u, 9u}) {
    Exec exec({.threads = 1, .seed = seed});
    train(exec, config, data, options, (folder / std::to_string(seed)).string(), false);
    CHECK(exec.seed() == seed);
  }
  CHECK(weights_of(folder / "0") == weights_of(folder / "9"));
}

TEST_CASE("train: every batch of a step has its own masks") {
  const NoiseData data(DType::kFloat32, true);
  ModelConfig config = small_config(data);
  TemporaryFolder folder;
  std::vector<double> losses;
  const TrainHooks hooks{.record = [&](const TrainRecord& record) {
    if (record.split == "train") losses.push_back(record.loss);
  }};
  for (const double p : {0.0, 0.3})
    for (const std::int64_t batches : {1, 2}) {
      config.dropout = p;
      TrainOptions options = small_options();
      options.steps = 1;
      options.accumulate = batches;
      Exec exec({.threads = 1});
      train(exec, config, data, options, (folder / std::to_string(losses.size())).string(), false,
            hooks);
    }
  REQUIRE(losses.size() == 4);
  CHECK(losses[0] == losses[1]);  // the same batch twice
  CHECK(losses[2] != losses[3]);  // with other masks
}
