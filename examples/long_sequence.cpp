// The second use: long sequences. A language model of fresh weights reads ever longer inputs in
// both modes; time a token and memory stay where they are.
//
//   long_sequence [LAYER [LONGEST]]        for example: long_sequence lstm 1048576
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>

#include <rill/rill.h>

int main(int argc, char** argv) try {
  using namespace rill;
  const std::string layer = argc > 1 ? argv[1] : "mamba";
  const std::int64_t longest = argc > 2 ? std::atoll(argv[2]) : 1 << 16;

  Exec exec({.threads = 1});
  const Model model(ModelConfig::for_layer(layer, 64, 2));
  Stepper stepper = model.prepare_step(exec, 1);
  const Tensor token = Tensor::zeros({1}, DType::kInt32);
  const Tensor logits = Tensor::empty({1, model.config().vocab_size}, DType::kFloat32);

  std::printf("%s, ns a token\n%10s %10s %10s %12s\n", layer.c_str(), "T", "parallel", "step",
              "memory MiB");
  const auto nanoseconds_a_token = [](std::int64_t length, const auto& run) {
    const auto start = std::chrono::steady_clock::now();
    run();
    const std::chrono::duration<double, std::nano> time = std::chrono::steady_clock::now() - start;
    return time.count() / static_cast<double>(length);
  };
  for (std::int64_t length = 1024; length <= longest; length *= 4) {
    const Tensor bytes = Tensor::zeros({1, length}, DType::kUInt8);
    State state = model.initial_state(exec, 1);
    const double parallel = nanoseconds_a_token(length, [&] {
      model.forward_tiles(exec, bytes, state, 1024, [](std::int64_t, const Tensor&) {});
    });
    bool ok = true;
    const double step = nanoseconds_a_token(length, [&] {
      for (std::int64_t t = 0; t < length; ++t)
        ok = ok && stepper.step(token, state, logits) == StepStatus::kOk;
    });
    if (!ok) return 1;
    std::printf("%10lld %10.0f %10.0f %12.1f\n", static_cast<long long>(length), parallel, step,
                static_cast<double>(rss_bytes()) / 1048576.0);
  }
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
