// Gradients of a function on the tape against central differences, in double.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <random>
#include <span>
#include <vector>

#include <rill/core/core.h>

namespace rill::test {

/// A function on an Exec's tape: inputs -> outputs (outputs that are not defined are left out).
using TapeFunction = std::function<std::vector<Tensor>(Exec&, std::span<const Tensor>)>;

/// Uniform draws in [low, high), float64.
inline Tensor random_tensor(const Shape& shape, std::uint64_t seed, double low = -1.0,
                            double high = 1.0) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<double> uniform(low, high);
  Tensor tensor = Tensor::empty(shape, DType::kFloat64);
  for (double& value : tensor.span<double>()) value = uniform(random);
  return tensor;
}

/// The gradients, one per input, of sum_k <outputs[k], directions[k]> with directions drawn from a
/// seed; an input that no gradient reached has zeros. For an Exec of any dtype (inputs of that
/// dtype).
inline std::vector<Tensor> tape_gradients(Exec& exec, const TapeFunction& function,
                                          std::span<const Tensor> inputs) {
  Tape tape;
  for (const Tensor& input : inputs) tape.watch(input);
  std::vector<std::pair<Tensor, Tensor>> seeds;
  {
    const TapeScope scope(exec, &tape);
    std::uint64_t seed = 1000;
    for (const Tensor& output : function(exec, inputs)) {
      ++seed;
      if (output.defined())
        seeds.emplace_back(output, random_tensor(output.shape(), seed).to(exec.dtype()));
    }
  }
  backward(exec, tape, seeds);
  std::vector<Tensor> gradients;
  for (const Tensor& input : inputs) {
    const Tensor gradient = tape.gradient(input);
    gradients.push_back(gradient.defined() ? gradient
                                           : Tensor::zeros(input.shape(), input.dtype()));
  }
  return gradients;
}

/// max |a - b| / max |b| over all tensors, the larger scale of each tensor alone being at least
/// `floor`; NaN counts as infinite.
inline double relative_error(std::span<const Tensor> a, std::span<const Tensor> b,
                             double floor = 1e-6) {
  double worst = 0.0;
  for (std::size_t k = 0; k < a.size(); ++k) {
    const Tensor x = a[k].to(DType::kFloat64), y = b[k].to(DType::kFloat64);
    double difference = 0.0, scale = floor;
    for (std::int64_t i = 0; i < y.numel(); ++i) {
      const double u = x.data<double>()[i], v = y.data<double>()[i];
      if (!std::isfinite(u) || !std::isfinite(v)) return INFINITY;
      difference = std::max(difference, std::abs(u - v));
      scale = std::max(scale, std::abs(v));
    }
    worst = std::max(worst, difference / scale);
  }
  return worst;
}

/// Largest error of the tape's gradients against central differences (step `h`), relative to the
/// largest gradient of each input. Inputs are float64; at most `most` elements of an input, evenly
/// spread, are moved.
inline double gradcheck(const TapeFunction& function, std::span<const Tensor> inputs,
                        double h = 1e-5, std::int64_t most = 64) {
  Exec exec({.dtype = DType::kFloat64, .threads = 1});
  const std::vector<Tensor> gradients = tape_gradients(exec, function, inputs);
  // A tape is on for the differences too: the same code runs. Inputs are cloned, since without
  // gradients in sight a state may be overwritten.
  const auto objective = [&](std::span<const Tensor> at) {
    Tape tape;
    std::vector<Tensor> copies;
    for (const Tensor& input : at) {
      copies.push_back(input.clone());
      tape.watch(copies.back());
    }
    const TapeScope scope(exec, &tape);
    exec.set_op_number(0);
    double total = 0.0;
    std::uint64_t seed = 1000;
    for (const Tensor& output : function(exec, copies)) {
      ++seed;
      if (!output.defined()) continue;
      const Tensor direction = random_tensor(output.shape(), seed);
      for (std::int64_t i = 0; i < output.numel(); ++i)
        total += output.data<double>()[i] * direction.data<double>()[i];
    }
    return total;
  };
  double worst = 0.0;
  for (std::size_t k = 0; k < inputs.size(); ++k) {
    const Tensor& input = inputs[k];
    const std::int64_t count = input.numel(),
                       stride = std::max<std::int64_t>(1, (count + most - 1) / most);
    double difference = 0.0, scale = 1e-6;
    for (const double value : gradients[k].span<double>()) scale = std::max(scale, std::abs(value));
    for (std::int64_t i = 0; i < count; i += stride) {
      double& element = input.data<double>()[i];
      const double kept = element;
      element = kept + h;
      const double above = objective(inputs);
      element = kept - h;
      const double below = objective(inputs);
      element = kept;
      const double error = std::abs((above - below) / (2.0 * h) - gradients[k].data<double>()[i]);
      if (!std::isfinite(error)) return INFINITY;
      difference = std::max(difference, error);
    }
    worst = std::max(worst, difference / scale);
  }
  return worst;
}

inline double gradcheck(const TapeFunction& function, const std::vector<Tensor>& inputs,
                        double h = 1e-5, std::int64_t most = 64) {
  return gradcheck(function, std::span<const Tensor>(inputs), h, most);
}

}  // namespace rill::test
