// A user's program: a GRU that streams.
#include <rill/rill.h>

#include <cstdio>

int main() {
  rill::Exec exec;
  const auto layer = rill::make_layer("gru", 16);
  rill::State state = layer->initial_state(exec, 1);
  rill::Stepper stepper = layer->prepare_step(exec, 1);
  const rill::Tensor x = rill::Tensor::full({1, 16}, rill::DType::kFloat32, 0.5);
  const rill::Tensor y = rill::Tensor::empty({1, 16}, rill::DType::kFloat32);
  for (int t = 0; t < 3; ++t)
    if (stepper.step(x, state, y) != rill::StepStatus::kOk) return 1;
  std::printf("rill %s: %g\n", rill::version(), static_cast<double>(y.data<float>()[0]));
  return 0;
}
