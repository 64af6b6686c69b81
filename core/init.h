// Private: how parameters are made. Draws are double and depend on (seed, name) alone, then rounded
// to the dtype.
#pragma once

#include <functional>
#include <string_view>

#include <rill/core/random.h>
#include <rill/core/tensor.h>

namespace rill {

/// A parameter whose elements are draw(generator), in order.
inline Tensor make_parameter(const Shape& shape, DType dtype, std::uint64_t seed,
                             std::string_view name, const std::function<double(Generator&)>& draw) {
  Tensor values = Tensor::empty(shape, DType::kFloat64);
  Generator generator(seed, name);
  for (double& value : values.span<double>()) value = draw(generator);
  const Tensor parameter = values.to(dtype);
  parameter.set_requires_grad(true);
  return parameter;
}

/// Uniform in [-bound, bound].
inline Tensor uniform_parameter(const Shape& shape, DType dtype, std::uint64_t seed,
                                std::string_view name, double bound) {
  return make_parameter(shape, dtype, seed, name,
                        [bound](Generator& g) { return g.uniform(-bound, bound); });
}

inline Tensor normal_parameter(const Shape& shape, DType dtype, std::uint64_t seed,
                               std::string_view name, double deviation) {
  return make_parameter(shape, dtype, seed, name,
                        [deviation](Generator& g) { return deviation * g.normal(); });
}

inline Tensor constant_parameter(const Shape& shape, DType dtype, double value) {
  const Tensor parameter = Tensor::full(shape, dtype, value);
  parameter.set_requires_grad(true);
  return parameter;
}

/// PyTorch's nn.Linear default: weight [N, K] uniform with bound K^-1/2.
inline Tensor linear_parameter(std::int64_t n, std::int64_t k, DType dtype, std::uint64_t seed,
                               std::string_view name) {
  return uniform_parameter({n, k}, dtype, seed, name, 1.0 / std::sqrt(static_cast<double>(k)));
}

}  // namespace rill
