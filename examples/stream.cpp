// The third use: a stream processor. Rows of numbers come on stdin; the model's prediction of each
// next row goes out at once. Time and memory a row do not grow, however long it runs.
#include <iostream>

#include <rill/rill.h>

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const auto model = rill::load_model(argv[1]);
  rill::Exec exec({.threads = 1});
  rill::Stepper stepper = model->prepare_step(exec, 1);
  rill::State state = model->initial_state(exec, 1);
  std::vector<float> x(stepper.input_shape()[1]), y(stepper.output_shape()[1]);
  const auto& [x_mean, x_scale] = model->config().input_scaling;
  const auto& [y_mean, y_scale] = model->config().output_scaling;
  for (std::string line; std::getline(std::cin, line);) {
    if (!rill::parse_csv_row<float>(line, x).ok()) continue;  // a header, a gap
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = (x[i] - x_mean[i]) / x_scale[i];
    const auto out = std::as_writable_bytes(std::span(y));
    if (stepper.step(std::as_bytes(std::span(x)), state, out) != rill::StepStatus::kOk) return 1;
    for (std::size_t i = 0; i < y.size(); ++i)
      std::cout << y[i] * y_scale[i] + y_mean[i] << (i + 1 < y.size() ? ',' : '\n') << std::flush;
  }
}
