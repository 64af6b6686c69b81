// Short forms of the laws for one layer: steps, cuts, gradients by central differences.
#pragma once

#include <rill/core/core.h>
#include <rill/tests/support/catch.h>
#include <rill/tests/unit/scan_support.h>

namespace rill::test {

/// forward over T steps, T steps of a Stepper and T calls of forward give the same bits, outputs
/// and states.
inline void check_steps(const SequenceLayer& layer, std::int64_t batch, std::int64_t steps) {
  Exec exec({.dtype = layer.dtype(), .threads = 2});
  const std::int64_t in = layer.input_size(), out = layer.output_size();
  const Tensor x = random_tensor({batch, steps, in}, 5).to(layer.dtype());
  State whole = layer.initial_state(exec, batch);
  const Tensor y = layer.forward(exec, x, whole);
  State stepped = layer.initial_state(exec, batch), called = layer.initial_state(exec, batch);
  Stepper stepper = layer.prepare_step(exec, batch);
  const std::size_t size = size_of(layer.dtype());
  const auto row = [&](const Tensor& tensor, std::int64_t b, std::int64_t t, std::int64_t width) {
    return static_cast<std::byte*>(tensor.raw()) +
           static_cast<std::size_t>((b * steps + t) * width) * size;
  };
  bool same = true;
  for (std::int64_t t = 0; t < steps; ++t) {
    const Tensor x_t = Tensor::empty({batch, 1, in}, layer.dtype()),
                 y_t = Tensor::empty({batch, out}, layer.dtype());
    for (std::int64_t b = 0; b < batch; ++b)
      std::memcpy(static_cast<std::byte*>(x_t.raw()) + static_cast<std::size_t>(b * in) * size,
                  row(x, b, t, in), static_cast<std::size_t>(in) * size);
    REQUIRE(stepper.step(x_t.view({batch, in}), stepped, y_t) == StepStatus::kOk);
    const Tensor called_y = layer.forward(exec, x_t, called);
    same = same && same_bits(called_y, y_t);
    for (std::int64_t b = 0; b < batch; ++b)
      same = same && std::memcmp(static_cast<std::byte*>(y_t.raw()) +
                                     static_cast<std::size_t>(b * out) * size,
                                 row(y, b, t, out), static_cast<std::size_t>(out) * size) == 0;
  }
  CHECK(same);
  for (std::size_t f = 0; f < whole.fields().size(); ++f) {
    CHECK(same_bits(whole.fields()[f], stepped.fields()[f]));
    CHECK(same_bits(whole.fields()[f], called.fields()[f]));
  }
}

/// Gradients of <y, direction> for x, every parameter and every field of the initial state, at up
/// to `most` elements of each, against central differences; the layer is float64. Returns the
/// largest error relative to the largest gradient of its array.
inline double layer_gradient_error(const SequenceLayer& layer, std::int64_t batch,
                                   std::int64_t steps, double low_state = -1.0,
                                   std::int64_t most = 12) {
  Exec exec({.dtype = DType::kFloat64, .threads = 1});
  const Tensor x = random_tensor({batch, steps, layer.input_size()}, 21);
  State initial = layer.initial_state(exec, batch);
  for (const Tensor& field : initial.fields())
    field.copy_from(random_tensor(field.shape(), 22, low_state, 1.0));
  const Tensor direction = random_tensor({batch, steps, layer.output_size()}, 23);
  const auto loss = [&] {
    State state = initial;
    const Tensor y = layer.forward(exec, x, state);
    double total = 0.0;
    for (std::int64_t i = 0; i < y.numel(); ++i)
      total += y.data<double>()[i] * direction.data<double>()[i];
    return total;
  };
  Tape tape;
  State state = initial;
  std::vector<Tensor> leaves = layer.parameters();
  leaves.push_back(x);
  tape.watch(x);
  std::vector<Tensor> moved = leaves;
  for (std::size_t f = 0; f < state.fields().size(); ++f) {
    leaves.push_back(state.fields()[f]);
    moved.push_back(initial.fields()[f]);
    tape.watch(state.fields()[f]);
  }
  Tensor y;
  {
    const TapeScope scope(exec, &tape);
    y = layer.forward(exec, x, state);
  }
  backward(exec, tape, {{y, direction}});
  double worst = 0.0;
  for (std::size_t k = 0; k < leaves.size(); ++k) {
    const Tensor gradient = tape.gradient(leaves[k]);
    if (!gradient.defined()) return INFINITY;
    double scale = 1e-6, difference = 0.0;
    for (const double value : gradient.span<double>()) {
      if (!std::isfinite(value)) return INFINITY;
      scale = std::max(scale, std::abs(value));
    }
    const std::int64_t stride = std::max<std::int64_t>(1, gradient.numel() / most);
    for (std::int64_t i = 0; i < gradient.numel(); i += stride) {
      // copy_from, since it tells packed weights that they are out of date.
      const Tensor kept = moved[k].clone(), changed = moved[k].clone();
      double sides[2];
      for (const int side : {0, 1}) {
        changed.data<double>()[i] = kept.data<double>()[i] + (side ? 1e-5 : -1e-5);
        moved[k].copy_from(changed);
        sides[side] = loss();
      }
      moved[k].copy_from(kept);
      const double error = std::abs((sides[1] - sides[0]) / 2e-5 - gradient.data<double>()[i]);
      if (!std::isfinite(error)) return INFINITY;
      difference = std::max(difference, error);
    }
    worst = std::max(worst, difference / scale);
  }
  return worst;
}

}  // namespace rill::test
