// Configurations as files, models in both modes, saved and loaded; training in time chunks.
#include <rill/core/core.h>
#include <rill/model/model.h>
#include <rill/model/registry.h>
#include <rill/model/sampler.h>
#include <rill/tests/support/catch.h>
#include <rill/tests/support/compare.h>
#include <rill/tests/support/files.h>
#include <rill/train/objective.h>

#include <cmath>
#include <limits>

using namespace rill;
using namespace rill::test;

namespace {

Tensor tokens(std::int64_t batch, std::int64_t length) {
  Tensor result = Tensor::empty({batch, length}, DType::kUInt8);
  Generator generator(7);
  for (std::uint8_t& token : result.span<std::uint8_t>())
    token = static_cast<std::uint8_t>(generator.below(256));
  return result;
}

std::string parse_error(const std::string& json) {
  return sentence_of(ErrorCode::kConfig, [&] { parse_config(json); });
}

}  // namespace

TEST_CASE("config: what is wrong is named") {
  using Catch::Matchers::Contains;
  CHECK_THAT(parse_error("[1]"), Contains("JSON object"));
  CHECK_THAT(parse_error("{"), Contains("JSON object"));
  CHECK_THAT(parse_error(R"({"hidden_size": 16})"), Contains("model_type"));
  CHECK_THAT(parse_error(R"({"model_type": "mamba", "num_hidden_layers": 1})"),
             Contains("hidden_size"));
  const auto with = [](const std::string& field) {
    return R"({"model_type": "mamba", "hidden_size": 16, "num_hidden_layers": 1, )" + field + "}";
  };
  CHECK_THAT(parse_error(with(R"("vocab_size": "many")")), Contains("vocab_size"));
  CHECK_THAT(parse_error(with(R"("vocab_size": -1)")), Contains("vocab_size"));
  CHECK_THAT(parse_error(with(R"("vocab_size": 18446744073709551615)")), Contains("vocab_size"));
  CHECK_THAT(parse_error(with(R"("state_size": 1.5)")), Contains("state_size"));
  CHECK_THAT(parse_error(with(R"("layer_norm_epsilon": 0)")), Contains("layer_norm_epsilon"));
  CHECK_THAT(parse_error(with(R"("rill": {"layer": "nonesuch"})")), Contains("nonesuch"));
  CHECK_THAT(parse_error(with(R"("rill": 3)")), Contains("rill"));
}

TEST_CASE("config: keys that Rill does not know are kept") {
  const ModelConfig config = parse_config(
      R"({"model_type": "mamba", "hidden_size": 16, "num_hidden_layers": 1, "bos_token_id": 5})");
  CHECK(to_json(config).find("\"bos_token_id\": 5") != std::string::npos);
}

TEST_CASE("config: every layer's model round-trips, and one epsilon serves blocks and layer") {
  for (const LayerType& type : layer_types()) {
    CAPTURE(type.name);
    const Model model(ModelConfig::for_layer(type.name, 32, 1));
    const std::string text = to_json(model.config());
    const ModelConfig read = parse_config(text);
    CHECK(to_json(read) == text);
    CHECK(read.norm_eps == model.config().norm_eps);
    CHECK(text.find("\"num_heads\": 0") == std::string::npos);  // what published readers refuse
  }
}

TEST_CASE("config: published linear-attention files leave the size of the MLP to a rule") {
  const ModelConfig config = parse_config(
      R"({"model_type": "gla", "hidden_size": 2048, "num_hidden_layers": 1, "hidden_ratio": 4,
          "intermediate_size": null, "norm_eps": 1e-6})");
  CHECK(config.mlp_size == 5632);  // 2/3 * 4 * 2048, up to a multiple of 256
  CHECK(config.norm_eps == 1e-6);
  CHECK_FALSE(config.tie_word_embeddings);
}

TEST_CASE("model: tiles and steps give the bits of one pass") {
  const Model model(ModelConfig::for_layer("mamba", 16, 2));
  Exec exec({.threads = 2});
  const Tensor input = tokens(1, 37);
  State whole = model.initial_state(exec, 1), tiled = whole, stepped = whole;
  const Tensor y = model.forward(exec, input, whole);
  model.forward_tiles(exec, input, tiled, 5, [&](std::int64_t first, const Tensor& part) {
    CHECK(std::memcmp(part.raw(), y.data<float>() + first * 256, part.bytes()) == 0);
  });
  Stepper stepper = model.prepare_step(exec, 1);
  const Tensor token = Tensor::empty({1}, DType::kInt32);
  const Tensor out = Tensor::empty({1, 256}, DType::kFloat32);
  for (std::int64_t t = 0; t < 37; ++t) {
    token.data<std::int32_t>()[0] = input.data<std::uint8_t>()[t];
    REQUIRE(stepper.step(token, stepped, out) == StepStatus::kOk);
    CHECK(std::memcmp(out.raw(), y.data<float>() + t * 256, out.bytes()) == 0);
  }
  for (std::size_t f = 0; f < whole.fields().size(); ++f) {
    CHECK(same_bits(whole.fields()[f], tiled.fields()[f]));
    CHECK(same_bits(whole.fields()[f], stepped.fields()[f]));
  }
}

TEST_CASE("model: a pooled classifier's steps are its forward after 2^24 of them") {
  ModelConfig config = ModelConfig::for_layer("mingru", 16, 1);
  config.task = Task::kClassify;
  config.input_size = 3;
  config.output_size = 4;
  Exec exec({.threads = 1});
  for (const char* pooling : {"mean", "last"}) {
    CAPTURE(pooling);
    config.pooling = pooling;
    const Model model(config);
    Stepper stepper = model.prepare_step(exec, 1);
    for (const double before : {0.0, 0x1p24 - 2, 0x1p24, 0x1p24 + 1}) {
      CAPTURE(before);
      const Tensor x = Tensor::empty({1, 7, 3}, DType::kFloat32);
      Generator generator(11);
      for (float& value : x.span<float>()) value = static_cast<float>(generator.normal());
      State whole = model.initial_state(exec, 1);
      if (config.pooling == "mean") {
        whole.fields().back().copy_from(Tensor::full({1, 1}, DType::kInt64, before));
        whole.fields()[whole.fields().size() - 2].copy_from(
            Tensor::full({1, 16}, DType::kFloat64, before / 3));
      }
      State tiled = whole, stepped = whole;
      const Tensor y = model.forward(exec, x, whole);
      Tensor last;
      model.forward_tiles(exec, x, tiled, 3,
                          [&](std::int64_t, const Tensor& part) { last = part; });
      const Tensor out = Tensor::empty({1, 4}, DType::kFloat32);
      for (std::int64_t t = 0; t < 7; ++t)
        REQUIRE(stepper.step(narrow_time(exec, x, t, 1).view({1, 3}), stepped, out) ==
                StepStatus::kOk);
      CHECK(same_bits(last, y));
      CHECK(same_bits(out, y));
      for (std::size_t f = 0; f < whole.fields().size(); ++f) {
        CHECK(same_bits(whole.fields()[f], tiled.fields()[f]));
        CHECK(same_bits(whole.fields()[f], stepped.fields()[f]));
      }
      if (config.pooling == "mean")
        CHECK(static_cast<double>(whole.at("pool.count").data<std::int64_t>()[0]) == before + 7);
    }
  }
}

TEST_CASE("model: saved and loaded it gives the same bits; NaN is refused") {
  for (const LayerType& type : layer_types()) {
    CAPTURE(type.name);
    const TemporaryFolder folder;
    const Model model(ModelConfig::for_layer(type.name, 32, 1), DType::kFloat32, 3);
    save_model(model, folder.path().string());
    const auto loaded = load_model(folder.path().string());
    Exec exec({.threads = 1});
    State a = model.initial_state(exec, 1), b = a;
    CHECK(same_bits(model.forward(exec, tokens(1, 9), a), loaded->forward(exec, tokens(1, 9), b)));
    loaded->visit_parameters([](const std::string&, const Tensor& value, ParameterGroup) {
      value.data<float>()[0] = std::numeric_limits<float>::quiet_NaN();
    });
    save_model(*loaded, folder.path().string());
    sentence_of(ErrorCode::kValue, [&] { load_model(folder.path().string()); });
  }
}

TEST_CASE("sampler: greedy, top-k, top-p, and draws by position") {
  const std::vector<float> logits = {0.f, 2.f, 1.f, 1.9f};
  CHECK(Sampler({.temperature = 0}, 1).sample(logits) == 1);
  Sampler one({.top_k = 1}, 1), nucleus({.top_p = 1e-6}, 1), two({.top_k = 2}, 1), all({}, 5);
  std::vector<std::int64_t> drawn;
  for (int i = 0; i < 50; ++i) {
    CHECK(one.sample(logits) == 1);
    CHECK(nucleus.sample(logits) == 1);
    CHECK(two.sample(logits) % 2 == 1);
    drawn.push_back(all.sample(logits));
  }
  Sampler again({}, 5);
  again.set_position(20);
  for (std::size_t i = 20; i < 50; ++i) CHECK(again.sample(logits) == drawn[i]);
  sentence_of(ErrorCode::kConfig, [] { Sampler({.top_p = 0}, 1); });
  sentence_of(ErrorCode::kConfig, [] { Sampler({.temperature = -1}, 1); });
}

TEST_CASE("objective: gradients through time chunks equal those of the whole sequence") {
  for (const Task task : {Task::kLanguageModel, Task::kPredictNext, Task::kClassify}) {
    CAPTURE(to_string(task));
    ModelConfig config = ModelConfig::for_layer("mamba", 16, 2);
    config.task = task;
    if (task != Task::kLanguageModel) config.input_size = config.output_size = 3;
    const Model model(config, DType::kFloat64, 1);
    Batch batch{.input = tokens(2, 23), .target = Tensor::zeros({46}, DType::kInt64)};
    if (task != Task::kLanguageModel) {
      batch.input = Tensor::empty({2, 23, 3}, DType::kFloat64);
      Generator generator(9);
      for (double& value : batch.input.span<double>()) value = generator.normal();
      batch.target =
          task == Task::kClassify ? Tensor::zeros({2}, DType::kInt64) : batch.input.clone();
    }
    Exec exec({.dtype = DType::kFloat64, .threads = 1});
    Tape whole, cut;
    State a = model.initial_state(exec, 2), b = a;
    const double loss = loss_and_gradients(exec, model, batch, a, 0, whole);
    CHECK(loss_and_gradients(exec, model, batch, b, 5, cut) == Approx(loss).epsilon(1e-12));
    model.visit_parameters([&](const std::string& name, const Tensor& value, ParameterGroup) {
      CAPTURE(name);
      // Sums over time in another order, in double.
      CHECK(error_of(cut.gradient(value), whole.gradient(value)) < 1e-12);
    });
  }
}

TEST_CASE("model: tiles with segments give the bits of the sequences alone, in bounded memory") {
  constexpr std::int64_t kLong = 5000;  // more than two tiles
  for (const Task task : {Task::kPredictNext, Task::kClassify}) {
    CAPTURE(to_string(task));
    ModelConfig config = ModelConfig::for_layer("mamba", 8, 2);
    config.task = task;
    config.input_size = config.output_size = 2;
    const Model model(config);
    Exec exec({.threads = 1});
    const auto make = [](std::int64_t batch, std::int64_t length) {
      const Tensor x = Tensor::empty({batch, length, 2}, DType::kFloat32);
      Generator generator(9);
      for (float& value : x.span<float>()) value = static_cast<float>(generator.normal());
      return x;
    };
    // Sequence s at [first, first + count) of row b, run alone: its outputs and its state are those
    // of y [.., kLong, 2] and of row s of `state`.
    const auto check_alone = [&](const Tensor& x, const Tensor& y, const State& state,
                                 std::int64_t s, std::int64_t b, std::int64_t first,
                                 std::int64_t count) {
      const Tensor part = Tensor::empty({1, count, 2}, DType::kFloat32);
      std::memcpy(part.raw(), x.data<float>() + (b * x.size(1) + first) * 2, part.bytes());
      State own = model.initial_state(exec, 1);
      const Tensor expected = model.forward(exec, part, own);
      const float* at = task == Task::kClassify ? y.data<float>() + s * 2
                                                : y.data<float>() + (b * x.size(1) + first) * 2;
      CHECK(std::memcmp(at, expected.raw(), expected.bytes()) == 0);
      const std::int64_t row[] = {s};
      for (std::size_t f = 0; f < own.fields().size(); ++f)
        CHECK(same_bits(state.select(row).fields()[f], own.fields()[f]));
    };
    {
      const Tensor x = make(2, kLong);
      const Segments lengths{.lengths = {kLong, 1500}};
      State state = model.initial_state(exec, 2);
      const Tensor y = model.forward(exec, x, state, &lengths);
      check_alone(x, y, state, 0, 0, 0, kLong);
      check_alone(x, y, state, 1, 1, 0, 1500);
      if (task == Task::kPredictNext)
        CHECK(std::all_of(y.data<float>() + (kLong + 1500) * 2, y.data<float>() + 2 * kLong * 2,
                          [](float value) { return value == 0.0F; }));
    }
    {
      const Tensor x = make(1, kLong);
      const Segments packed{.offsets = {0, 2000, 2000, 2100, kLong}};
      State state = model.initial_state(exec, 4);
      const Tensor y = model.forward(exec, x, state, &packed);
      check_alone(x, y, state, 0, 0, 0, 2000);
      check_alone(x, y, state, 2, 0, 2000, 100);
      check_alone(x, y, state, 3, 0, 2100, kLong - 2100);
      Segments resets;
      resets.reset = Tensor::zeros({1, kLong}, DType::kUInt8);
      resets.reset.data<std::uint8_t>()[2100] = 1;
      State last = model.initial_state(exec, 1);
      const Tensor after = model.forward(exec, x, last, &resets);
      check_alone(x, after, last, 0, 0, 2100, kLong - 2100);
    }
    const auto peak_of = [&](std::int64_t length) {
      const Tensor x = make(1, length);
      const Segments segments{.lengths = {length - 1}};
      Exec fresh({.threads = 1});
      State state = model.initial_state(fresh, 1);
      const Tensor y = model.forward(fresh, x, state, &segments);
      return static_cast<std::int64_t>(fresh.memory()->peak_bytes()) -
             static_cast<std::int64_t>(y.bytes());
    };
    // One block of the pool is rounded up to its size class.
    CHECK(peak_of(4 * kLong) < 1.1 * static_cast<double>(peak_of(kLong)));
  }
}
