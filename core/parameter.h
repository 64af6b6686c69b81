// Parameters: named tensors with the group that an optimiser treats alike.
#pragma once

#include <functional>
#include <string>

#include <rill/core/tensor.h>

namespace rill {

/// What an optimiser does with a parameter: weights decay; biases, norms and gains do not; A, B and
/// dt of state-space layers do not decay and have their own learning rate (methods: S4 1.5,
/// S5 1.8).
enum class ParameterGroup { kDecay, kNoDecay, kStateSpace };

/// Called once for every parameter with its name ("layers.0.mixer.A_log"), value and group. The
/// value may be written to (copy_from), not rebound.
using ParameterVisitor =
    std::function<void(const std::string& name, const Tensor& value, ParameterGroup group)>;

/// A visitor that puts `prefix` before every name.
inline ParameterVisitor with_prefix(const ParameterVisitor& visitor, std::string prefix) {
  return [&visitor, prefix = std::move(prefix)](const std::string& name, const Tensor& value,
                                                ParameterGroup group) {
    visitor(prefix + name, value, group);
  };
}

}  // namespace rill
