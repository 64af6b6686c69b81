// Private: what ops check of their arguments, and small helpers that all of them share.
#pragma once

#include <rill/core/check.h>
#include <rill/core/exec.h>
#include <rill/core/tape.h>
#include <rill/core/tensor.h>

namespace rill {

/// An activation or weight of the Exec's dtype on its device.
inline void check_activation(const Exec& exec, const Tensor& tensor, const char* op,
                             const char* argument) {
  check(tensor.defined(), ErrorCode::kShape, "{}: {} holds nothing.", op, argument);
  check(tensor.dtype() == exec.dtype(), ErrorCode::kDType, "{}: {} is {}, the Exec computes in {}.",
        op, argument, name_of(tensor.dtype()), name_of(exec.dtype()));
  check(tensor.device() == exec.device(), ErrorCode::kDevice,
        "{}: {} lies on {}, the Exec is on {}.", op, argument, to_string(tensor.device()),
        to_string(exec.device()));
}

inline void check_shape(const Tensor& tensor, const Shape& expected, const char* op,
                        const char* argument) {
  check(tensor.shape() == expected, ErrorCode::kShape, "{}: {} of shape {} was expected, {} came.",
        op, argument, to_string(expected), to_string(tensor.shape()));
}

/// Extent of the last axis; Error(kShape) for a scalar.
inline std::int64_t last_axis(const Tensor& tensor, const char* op, const char* argument) {
  check(tensor.rank() >= 1, ErrorCode::kShape, "{}: {} has no last axis.", op, argument);
  return tensor.size(-1);
}

/// Product of all axes but the last.
inline std::int64_t tokens_of(const Tensor& tensor) {
  std::int64_t tokens = 1;
  for (int axis = 0; axis + 1 < tensor.rank(); ++axis) tokens *= tensor.size(axis);
  return tokens;
}

/// True where an op has to record itself.
inline bool tracked(const Exec& exec, std::initializer_list<const Tensor*> inputs) {
  if (!exec.tape()) return false;
  for (const Tensor* input : inputs)
    if (input->defined() && exec.tape()->tracks(*input)) return true;
  return false;
}

}  // namespace rill
