// The first use: layers from C++. One layer in both modes, and its gradients.
#include <cmath>
#include <cstdio>
#include <exception>

#include <rill/rill.h>

int main() try {
  using namespace rill;
  Exec exec;  // where and how calls run: device, threads, memory
  const auto layer = make_layer("mamba", 64, {{"state_size", std::int64_t{8}}});

  const Tensor x = Tensor::empty({2, 100, 64}, DType::kFloat32);  // [B, T, D]
  Generator random(1);
  for (float& value : x.span<float>()) value = static_cast<float>(random.normal());

  // Parallel mode: a sequence and the state it arrives with; the state it leaves with comes back.
  State state = layer->initial_state(exec, 2);
  const Tensor y = layer->forward(exec, x, state);

  // Recurrent mode goes on from there: step 101 of both streams. step() allocates nothing.
  Stepper stepper = layer->prepare_step(exec, 2);
  const Tensor x_t = Tensor::full({2, 64}, DType::kFloat32, 0.5);
  const Tensor y_t = Tensor::empty({2, 64}, DType::kFloat32);
  if (stepper.step(x_t, state, y_t) != StepStatus::kOk) return 1;

  // Gradients: what runs while a tape records can be gone back through.
  Tape tape;
  tape.watch(x);  // parameters are watched by themselves
  State fresh = layer->initial_state(exec, 2);
  Tensor loss;
  {
    const TapeScope recording(exec, &tape);
    loss = squared_error(exec, layer->forward(exec, x, fresh), x, static_cast<double>(x.numel()));
  }
  backward(exec, tape, {{loss, Tensor::full({1}, DType::kFloat32, 1.0)}});
  layer->visit_parameters([&](const std::string& name, const Tensor& value, ParameterGroup) {
    double square = 0;
    for (const float g : tape.gradient(value).span<float>()) square += double{g} * double{g};
    std::printf("%-16s %-14s |gradient| %.3g\n", name.c_str(), to_string(value.shape()).c_str(),
                std::sqrt(square));
  });
  std::printf("loss %.4f, state %zu bytes a stream\n", static_cast<double>(*loss.data<float>()),
              layer->state_spec().bytes());
} catch (
    const std::exception& error) {  // rill::Error: one sentence, what was expected and what came
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
