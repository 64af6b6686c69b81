// Private: checks that the ops of diagonal_ssm.h share.
#pragma once

#include <string>

#include <rill/core/check.h>
#include <rill/core/exec.h>
#include <rill/core/sequence.h>
#include <rill/core/tensor.h>

namespace rill::diagonal {

inline std::string shape_of(const Tensor& tensor) {
  return tensor.defined() ? to_string(tensor.shape()) : "nothing";
}

/// `tensor` has this shape and the Exec's dtype.
inline void expect(const Exec& exec, const char* op, const char* name, const Tensor& tensor,
                   const Shape& shape) {
  check(tensor.defined() && tensor.shape() == shape, ErrorCode::kShape,
        "{}: {} of shape {} was expected, {} came.", op, name, to_string(shape), shape_of(tensor));
  check(tensor.dtype() == exec.dtype(), ErrorCode::kDType,
        "{}: {} of the Exec's dtype {} was expected, {} came.", op, name, name_of(exec.dtype()),
        name_of(tensor.dtype()));
}

/// x [..., channels] with the sequence's tokens, d undefined or of `channels` elements.
inline void expect_input(const Exec& exec, const char* op, const Tensor& x, const Tensor& d,
                         std::int64_t channels, const Sequence& sequence) {
  check(x.defined() && x.rank() >= 1 && x.size(x.rank() - 1) == channels &&
            x.numel() == sequence.tokens() * channels,
        ErrorCode::kShape, "{}: x of shape [..., {}] with {} tokens was expected, {} came.", op,
        channels, sequence.tokens(), shape_of(x));
  expect(exec, op, "x", x, x.shape());
  if (!d.defined()) return;
  check(d.numel() == channels, ErrorCode::kShape, "{}: d of {} elements was expected, {} came.", op,
        channels, shape_of(d));
  expect(exec, op, "d", d, d.shape());
}

}  // namespace rill::diagonal
