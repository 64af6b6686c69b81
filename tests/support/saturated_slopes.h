// Derivatives of activations far from 0, where the powers of x are past the largest number and its
// exponential is below the smallest: finite all the same, and the limits.
#pragma once

#include <rill/core/kernel_args.h>
#include <rill/core/op_kinds.h>
#include <rill/tests/support/catch.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace rill::test {

struct SaturatedSlope {
  Unary kind;
  double below, above;  // f'(x) for x far below and far above 0
};
inline constexpr SaturatedSlope kSaturatedSlopes[] = {
    {Unary::kSilu, 0, 1},       {Unary::kGelu, 0, 1},     {Unary::kGeluTanh, 0, 1},
    {Unary::kSigmoid, 0, 0},    {Unary::kTanh, 0, 0},     {Unary::kRelu, 0, 1},
    {Unary::kSoftplus, 0, 1},   {Unary::kMinGru, 0, 1},   {Unary::kEluPlusOne, 0, 1},
    {Unary::kLogSigmoid, 1, 0}, {Unary::kNegate, -1, -1},
};

/// `unary`, `backward` run a kernel on the Args of arrays of T, vectors and tails alike.
template <class T, class Forward, class Backward>
void check_saturated_slopes(const Forward& unary, const Backward& backward) {
  constexpr T kLargest = std::numeric_limits<T>::max();
  std::vector<T> x;
  for (const T size : {T(1e3), T(1e4), T(1e13), T(1e19), T(1e30), std::sqrt(kLargest) * T(1.1),
                       T(std::numeric_limits<float>::max()), kLargest, kLargest / 2})
    x.insert(x.end(), {size, -size});
  const auto count = static_cast<std::int64_t>(x.size());
  for (const auto& [kind, below, above] : kSaturatedSlopes) {
    std::vector<T> y(x.size()), dx(x.size());
    const std::vector<T> dy(x.size(), T(0.5));
    const auto k = static_cast<std::int64_t>(kind);
    unary(UnaryArgs{x.data(), y.data(), k, count});
    backward(UnaryBackwardArgs{x.data(), y.data(), dy.data(), dx.data(), k, count});
    for (std::size_t i = 0; i < x.size(); ++i) {
      INFO("kind " << k << " at " << x[i]);
      CHECK(dx[i] == T(0.5 * (x[i] < 0 ? below : above)));
    }
  }
}

}  // namespace rill::test
