// Private: argument checks and shapes that sequence ops share.
#pragma once

#include <rill/core/check.h>
#include <rill/core/exec.h>
#include <rill/core/op_checks.h>
#include <rill/core/sequence.h>
#include <rill/core/tape.h>
#include <rill/core/tensor.h>

namespace rill {

/// `x` is defined, of the Exec's dtype, and its shape ends in `tail`, with `count` entries of that.
inline void check_array(const Exec& exec, const char* op, const char* name, const Tensor& x,
                        std::int64_t count, const Shape& tail) {
  const auto shape_of = [&] { return x.defined() ? to_string(x.shape()) : std::string("nothing"); };
  bool fits = x.defined() && x.rank() >= tail.rank() && x.numel() == count * tail.numel();
  for (int axis = 0; fits && axis < tail.rank(); ++axis)
    fits = x.size(x.rank() - tail.rank() + axis) == tail[axis];
  check(fits, ErrorCode::kShape, "{}: {} with {} entries of shape {} was expected, {} came.", op,
        name, count, to_string(tail), shape_of());
  check(x.dtype() == exec.dtype(), ErrorCode::kDType, "{}: {} of dtype {} was expected, {} came.",
        op, name, name_of(exec.dtype()), name_of(x.dtype()));
}

/// Where a gradient goes: `tensor` if the tape tracks it, else nothing. A gradient under the
/// identity of a tensor that no tape keeps alive could be found by another.
inline Tensor where_tracked(const Exec& exec, const Tensor& tensor) {
  return tracked(exec, {&tensor}) ? tensor : Tensor();
}

inline void give(Exec& exec, Gradients& gradients, const Tensor& to, const Tensor& gradient) {
  if (to.defined()) gradients.add(exec, to, gradient);
}

/// What a kernel adds the gradient of a parameter of `shape` to.
inline Tensor accumulator_of(Exec& exec, Gradients& gradients, const Tensor& to,
                             const Shape& shape) {
  return to.defined() ? gradients.accumulator(exec, to) : exec.zeros(shape);
}

/// Memory of a tensor that may be undefined.
inline const void* raw_or_null(const Tensor& tensor) {
  return tensor.defined() ? tensor.raw() : nullptr;
}

}  // namespace rill
