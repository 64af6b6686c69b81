// Reading a sequence in a mode: what is refused.
#include <vector>

#include <rill/tests/support/catch.h>
#include <rill/train/evaluate.h>

using namespace rill;

namespace {

Model small_model(std::int64_t vocabulary) {
  ModelConfig config = ModelConfig::for_layer("mingru", 16, 1);
  config.vocab_size = vocabulary;
  return Model(config);
}

}  // namespace

TEST_CASE("a token out of range is refused in every mode") {
  const Model model = small_model(100);
  Exec exec({.threads = 1});
  const Tensor tokens = Tensor::from(std::vector<std::uint8_t>{7, 99, 100}, {1, 3});
  for (const char* mode : {"parallel", "step", "chunk:2"}) {
    INFO(mode);
    State state = model.initial_state(exec, 1);
    CHECK_THROWS_AS(run_mode(exec, model, tokens, state, EvalMode::parse(mode),
                             [](std::int64_t, const Tensor&) {}),
                    Error);
    State legal = model.initial_state(exec, 1);
    std::int64_t outputs = 0;
    run_mode(exec, model, tokens.view({3}).rows(0, 2).view({1, 2}), legal, EvalMode::parse(mode),
             [&](std::int64_t, const Tensor& y) { outputs += y.size(1); });
    CHECK(outputs == 2);
  }
}
