// Exec, tensors, states, steppers, models and training on a device: the execution model's, whose
// memory host code cannot touch.
#include "train_support.h"

#include <rill/core/cuda/model/memory.h>
#include <rill/core/kernels.h>
#include <rill/core/ops.h>
#include <rill/core/tape.h>
#include <rill/model/registry.h>

#include <atomic>
#include <cmath>
#include <filesystem>

using namespace rill;
using namespace rill::test;
using namespace rill::train_test;
using Catch::Matchers::Contains;

namespace {

constexpr Device kDevice{Device::Type::kCuda, 0};

Tensor values(const Shape& shape, std::uint64_t seed) {
  const Tensor tensor = Tensor::empty(shape, DType::kFloat32);
  Generator generator(seed);
  for (float& value : tensor.span<float>()) value = static_cast<float>(generator.uniform(-1, 1));
  return tensor;
}

ModelConfig language_config() {
  ModelConfig config;
  config.layer = "mamba";
  config.hidden_size = 16;
  config.num_hidden_layers = 2;
  config.vocab_size = 40;
  config.task = Task::kLanguageModel;
  return config;
}

Tensor tokens(std::int64_t batch, std::int64_t length) {
  const Tensor result = Tensor::empty({batch, length}, DType::kInt32);
  Generator generator(5);
  for (std::int32_t& token : result.span<std::int32_t>())
    token = static_cast<std::int32_t>(generator.below(40));
  return result;
}

}  // namespace

TEST_CASE("device: names") {
  CHECK(device_from("cpu") == Device{});
  CHECK(device_from("cuda") == kDevice);
  CHECK(device_from("cuda:12").index == 12);
  for (const char* text : {"", "gpu", "cuda:", "cuda:-1", "cuda:1x", "cuda:99999999999"})
    CHECK_THAT(sentence_of(ErrorCode::kConfig, [&] { device_from(text); }),
               Contains("cpu, cuda or cuda:N"));
  const ExecOptions second{.device = {Device::Type::kCuda, 1}};
  CHECK_THAT(sentence_of(ErrorCode::kDevice, [&] { Exec exec(second); }), Contains("cuda:1"));
  CHECK_THAT(
      sentence_of(ErrorCode::kDevice, [&] { Tensor::zeros({1}, DType::kInt32, second.device); }),
      Contains("cuda:1"));
}

TEST_CASE("device: tensors go there and back, and are not the host's to read") {
  const Tensor here = values({3, 5}, 1);
  const Tensor there = here.to(kDevice);
  CHECK(there.device() == kDevice);
  CHECK(device_model::is_global(reinterpret_cast<std::uintptr_t>(there.raw())));
  CHECK(same_bits(there.to(Device{}), here));
  CHECK(same_bits(there.clone().to(Device{}), here));
  CHECK(same_bits(there.rows(1, 2).to(Device{}), here.rows(1, 2)));
  CHECK(same_bits(there.to(DType::kFloat64).to(Device{}), here.to(DType::kFloat64)));
  CHECK_THAT(sentence_of(ErrorCode::kDevice, [&] { (void)there.span<float>(); }),
             Contains("cuda:0"));
  for (const float value : Tensor::zeros({7}, DType::kFloat32, kDevice).to(Device{}).span<float>())
    CHECK(value == 0.0f);
  const Tensor target = Tensor::zeros({3, 5}, DType::kFloat32, kDevice);
  const auto version = target.storage()->version();
  target.copy_from(here.to(DType::kFloat64));
  CHECK(same_bits(target.to(Device{}), here));
  CHECK(target.storage()->version() > version);

  const Tensor moving = here.clone(), handle = moving, view = moving.rows(0, 1);
  moving.move_to(kDevice);
  CHECK(handle.device() == kDevice);
  CHECK(view.device() == Device{});
  CHECK(same_bits(handle.to(Device{}), here));
}

TEST_CASE("device: a kernel is given no address of the host") {
  Exec exec({.device = kDevice});
  const Tensor here = values({8}, 2), there = here.to(kDevice);
  const UnaryArgs args{here.raw(), there.raw(), static_cast<std::int64_t>(Unary::kTanh),
                       here.numel()};
  CHECK_THAT(sentence_of(ErrorCode::kDevice,
                         [&] { enqueue(exec, core_kernels(exec).unary, args, "tanh"); }),
             Contains("address of the host"));
}

TEST_CASE("device: new memory holds NaN patterns where that is asked for") {
  MemoryPool::fill_with_nan(true);
  for (const Device device : {Device{}, kDevice}) {
    Exec exec({.device = device, .threads = 1});
    for (int again = 0; again < 2; ++again) {  // from the system, then from the pool
      const Tensor fresh = exec.empty({33});
      for (const float value : fresh.to(Device{}).span<float>()) CHECK(std::isnan(value));
      enqueue(exec, core_kernels(exec).fill, {.y = fresh.raw(), .scale = 1.0, .count = 33}, "fill");
    }
  }
  MemoryPool::fill_with_nan(false);
}

TEST_CASE("device: states") {
  const StateSpec spec{"test", {{"h", {2, 3}}, {"m", {}, DType::kFloat32, -INFINITY}}};
  State state = State::fresh(spec, 4);
  state.fields()[0].copy_from(values({4, 2, 3}, 3));
  const State there = state.to(kDevice);
  CHECK(there.device() == kDevice);
  const State copy = there;
  CHECK(copy.device() == kDevice);
  const std::int64_t rows[] = {3, 0, 3};
  const State picked = there.select(rows), expected = state.select(rows);
  CHECK(picked.device() == kDevice);
  for (std::size_t f = 0; f < 2; ++f) CHECK(same_bits(picked.fields()[f], expected.fields()[f]));
  const State parts[] = {there, picked};
  const State joined = State::gather(parts);
  CHECK(joined.batch() == 7);
  CHECK(same_bits(joined.fields()[0].rows(4, 3), expected.fields()[0]));
  const State mixed[] = {there, state};
  CHECK_THAT(sentence_of(ErrorCode::kState, [&] { State::gather(mixed); }), Contains("cuda:0"));

  SafetensorsWriter writer;
  there.save(writer);
  const std::string bytes = writer.serialize();
  const State loaded = State::load(
      SafetensorsReader::view(std::as_bytes(std::span(bytes.data(), bytes.size()))), spec);
  for (std::size_t f = 0; f < 2; ++f) CHECK(same_bits(loaded.fields()[f], state.fields()[f]));
}

TEST_CASE("device: layer, state, input and Exec lie together, or a sentence says what does not") {
  const auto layer = make_layer("gru", 8);
  Exec cpu({.threads = 1}), exec({.device = kDevice});
  const Tensor x = values({2, 3, 8}, 4), there = x.to(kDevice);
  State state = layer->initial_state(exec, 2);
  CHECK(state.device() == kDevice);
  CHECK_THAT(sentence_of(ErrorCode::kDevice, [&] { layer->forward(exec, there, state); }),
             Contains("the layer lies on cpu"));
  CHECK_THAT(sentence_of(ErrorCode::kDevice, [&] { layer->prepare_step(exec, 1); }),
             Contains("the layer lies on cpu"));
  layer->to(kDevice);
  CHECK(layer->device() == kDevice);
  CHECK_THAT(sentence_of(ErrorCode::kDevice, [&] { layer->forward(exec, x, state); }),
             Contains("x on cpu"));
  State here = State::fresh(layer->state_spec(), 2);
  CHECK_THAT(sentence_of(ErrorCode::kDevice, [&] { layer->forward(exec, there, here); }),
             Contains("a state on cuda:0"));
  CHECK(layer->forward(exec, there, state).device() == kDevice);
  layer->to(Device{});
  CHECK(layer->forward(cpu, x, here).device() == Device{});
}

TEST_CASE("device: a stepper keeps a graph for each place of a state") {
  const auto layer = make_layer("mamba", 8);
  layer->to(kDevice);
  Exec exec({.device = kDevice});
  Stepper stepper = layer->prepare_step(exec, 2);
  constexpr int kStates = 20;  // more than graphs are kept
  std::vector<State> states;
  for (int i = 0; i < kStates; ++i) states.push_back(layer->initial_state(exec, 2));
  const Tensor x = values({2, 8}, 5);
  const Tensor far_x = x.to(kDevice), far_y = Tensor::zeros({2, 8}, DType::kFloat32, kDevice);
  for (int round = 0; round < 3; ++round) {
    Tensor first;
    for (State& state : states) {
      const Tensor y = Tensor::zeros({2, 8}, DType::kFloat32);
      REQUIRE(stepper.step(round == 1 ? far_x : x, state, round == 1 ? far_y : y) ==
              StepStatus::kOk);
      const Tensor got = round == 1 ? far_y.to(Device{}) : y;
      if (first.defined()) CHECK(same_bits(got, first));
      first = got;
    }
  }
  State whole = layer->initial_state(exec, 2);
  const Tensor row = x.view({2, 1, 8}).to(kDevice);
  for (int t = 0; t < 3; ++t) layer->forward(exec, row, whole);
  for (std::size_t f = 0; f < whole.fields().size(); ++f)
    CHECK(error_of(states[0].fields()[f], whole.fields()[f]) < 1e-6);

  // On a mismatch nothing changes.
  const State kept = states[0];
  State here = State::fresh(layer->state_spec(), 2);
  CHECK(stepper.step(far_x, here, far_y) == StepStatus::kState);
  CHECK(stepper.step(Tensor::zeros({2, 9}, DType::kFloat32), states[0], far_y) ==
        StepStatus::kInput);
  for (std::size_t f = 0; f < kept.fields().size(); ++f)
    CHECK(same_bits(kept.fields()[f], states[0].fields()[f]));
  CHECK(stepper.error().empty());
}

TEST_CASE("device: a language model reads tokens of the host and of the device, in both modes") {
  Model here(language_config()), there(language_config());
  there.to(kDevice);
  CHECK(there.device() == kDevice);
  Exec cpu({.threads = 1}), exec({.device = kDevice});
  const Tensor input = tokens(2, 9);
  State state = here.initial_state(cpu, 2), far_state = there.initial_state(exec, 2);
  State again = far_state;
  const Tensor expected = here.forward(cpu, input, state);
  CHECK(error_of(there.forward(exec, input, far_state), expected) < 2e-5);
  CHECK(error_of(there.forward(exec, input.to(kDevice), again), expected) < 2e-5);
  for (std::size_t f = 0; f < state.fields().size(); ++f)
    CHECK(error_of(far_state.fields()[f], state.fields()[f]) < 2e-5);

  Stepper stepper = there.prepare_step(exec, 2);
  State stepped = there.initial_state(exec, 2);
  const Tensor logits = Tensor::empty({2, 40}, DType::kFloat32);
  for (std::int64_t t = 0; t < 9; ++t) {
    const Tensor token = Tensor::empty({2}, DType::kInt32);
    for (std::int64_t b = 0; b < 2; ++b)
      token.data<std::int32_t>()[b] = input.data<std::int32_t>()[b * 9 + t];
    REQUIRE(stepper.step(token, stepped, logits) == StepStatus::kOk);
  }
  for (std::int64_t b = 0; b < 2; ++b)
    CHECK(error_of(logits.rows(b, 1), expected.view({18, 40}).rows(b * 9 + 8, 1)) < 2e-5);

  const Tensor wrong = tokens(2, 9);
  wrong.data<std::int32_t>()[4] = 40;
  for (const Device device : {Device{}, kDevice})
    CHECK_THAT(
        sentence_of(ErrorCode::kValue, [&] { there.forward(exec, wrong.to(device), far_state); }),
        Contains("40 came at position 4"));
  CHECK_THAT(sentence_of(ErrorCode::kDevice, [&] { there.forward(cpu, input, state); }),
             Contains("the model lies on cuda:0"));
}

TEST_CASE("device: tokens and targets that nobody looked at give NaN, not other memory") {
  Exec exec({.device = kDevice});
  const Tensor table = values({4, 3}, 6).to(kDevice);
  const Tensor rows =
      embedding(exec, Tensor::from(std::vector<std::int64_t>{0, 4, -1, 3}, {4}).to(kDevice), table)
          .to(Device{});
  for (std::int64_t t = 0; t < 4; ++t)
    CHECK(std::isnan(rows.data<float>()[3 * t]) == (t == 1 || t == 2));
  const Tensor logits = values({2, 4}, 7).to(kDevice);
  const auto loss = [&](std::int64_t target) {
    const Tensor targets = Tensor::from(std::vector<std::int64_t>{1, target}, {2});
    return cross_entropy(exec, logits, targets.to(kDevice), 2.0).to(Device{}).span<float>()[0];
  };
  CHECK(std::isfinite(loss(3)));
  CHECK(std::isnan(loss(4)));
  CHECK_THAT(
      sentence_of(ErrorCode::kValue,
                  [&] {
                    const Tensor targets = Tensor::from(std::vector<std::int64_t>{1, 4}, {2});
                    cross_entropy(exec, logits, targets, 2.0);
                  }),
      Contains("target 1 is 4"));
}

TEST_CASE("device: training follows the CPU's, and is resumed bit for bit") {
  const TemporaryFolder folder;
  const NoiseData data;
  const ModelConfig config = small_config(data);
  const TrainOptions options = small_options();
  const auto run = [&](Device device, const std::string& name, std::int64_t stop_after = 0) {
    std::atomic<bool> stop{false};
    const TrainHooks hooks{
        .record = [&](const TrainRecord& r) { stop = stop_after > 0 && r.step >= stop_after; },
        .stop = &stop};
    const bool resume = std::filesystem::exists(folder / name);
    Exec exec({.device = device, .threads = 1});
    train(exec, config, data, options, (folder / name).string(), resume, hooks);
    return weights_of(folder / name);
  };
  const std::string whole = run(kDevice, "whole");
  CHECK(run(kDevice, "cut", 2) != whole);
  CHECK(run(kDevice, "cut") == whole);

  run(Device{}, "cpu");
  const auto there = load_model((folder / "whole").string());
  const auto here = load_model((folder / "cpu").string());
  std::vector<Tensor> expected;
  here->visit_parameters(
      [&](const std::string&, const Tensor& value, ParameterGroup) { expected.push_back(value); });
  std::size_t i = 0;
  // AdamW divides by the square root of small second moments: some digits are lost there.
  there->visit_parameters([&](const std::string& name, const Tensor& value, ParameterGroup) {
    INFO(name);
    CHECK(error_of(value, expected[i++]) < 1e-3);
  });
}
