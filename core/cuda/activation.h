// Activations and their derivatives in device code; the same formulas as the CPU's plain loops
// (core/cpu/elementwise_plain-inl.h), written so that nothing cancels. C is float or double.
#pragma once

#include <rill/core/cuda/device.h>
#include <rill/core/op_kinds.h>

namespace rill {

template <class C>
RILL_DEVICE C sigmoid_of(C x) {
  return C(1) / (C(1) + exp(-x));
}
template <class C>
RILL_DEVICE C sigmoid_derivative_of(C x) {
  const C e = exp(-fabs(x));
  return e / ((C(1) + e) * (C(1) + e));
}
template <class C>
RILL_DEVICE C softplus_of(C x) {
  return (x > C(0) ? x : C(0)) + log1p(exp(-fabs(x)));
}
/// -inf would give -inf * 0.
template <class C>
RILL_DEVICE C finite_below(C x) {
  const C lowest = sizeof(C) == 4 ? C(-3.4028234663852886e38) : C(-1.7976931348623157e308);
  return x < lowest ? lowest : x;
}
template <class C>
RILL_DEVICE C gelu_inner(C x) {
  return tanh(C(0.79788456080286535588) * (x + C(0.044715) * x * x * x));
}

template <class C>
RILL_DEVICE C activate(Unary kind, C x) {
  constexpr C kHalfRoot = C(0.70710678118654752440);
  switch (kind) {
    case Unary::kSilu:
      x = finite_below(x);
      return x / (C(1) + exp(-x));
    case Unary::kGelu:
      x = finite_below(x);
      return x * C(0.5) * erfc(-x * kHalfRoot);
    case Unary::kGeluTanh:
      x = finite_below(x);
      return C(0.5) * x * (C(1) + gelu_inner(x));
    case Unary::kSigmoid:
      return sigmoid_of(x);
    case Unary::kTanh:
      return tanh(x);
    case Unary::kRelu:
      return x < C(0) ? C(0) : x;
    case Unary::kSoftplus:
      return softplus_of(x);
    case Unary::kLogSigmoid:
      return -softplus_of(-x);
    case Unary::kExp:
      return exp(x);
    case Unary::kLog:
      return log(x);
    case Unary::kSquare:
      return x * x;
    case Unary::kSqrt:
      return sqrt(x);
    case Unary::kNegate:
      return -x;
    case Unary::kReciprocal:
      return C(1) / x;
    case Unary::kEluPlusOne:
      return x > C(0) ? x + C(1) : exp(x);
    case Unary::kMinGru:
      return x >= C(0) ? x + C(0.5) : sigmoid_of(x);
  }
  return C(0);
}

/// f'(x), given y = f(x) for those whose derivative is a function of it.
template <class C>
RILL_DEVICE C derivative(Unary kind, C x, C y) {
  constexpr C kHalfRoot = C(0.70710678118654752440), kNormal = C(0.39894228040143267794);
  switch (kind) {
    case Unary::kSilu:
      return sigmoid_of(x) + x * sigmoid_derivative_of(x);
    case Unary::kGelu:
      return C(0.5) * erfc(-x * kHalfRoot) + x * exp(C(-0.5) * x * x) * kNormal;
    case Unary::kGeluTanh: {
      // From 10 on it is 0 or 1 to the last bit, and infinity times 0 would be NaN. NaN passes.
      x = x < C(-10) ? C(-10) : x > C(10) ? C(10) : x;
      const C t = gelu_inner(x);
      return C(0.5) * (C(1) + t) + C(0.5) * x * (C(1) - t * t) * C(0.79788456080286535588) *
                                       (C(1) + C(3) * C(0.044715) * x * x);
    }
    case Unary::kSigmoid:
      return sigmoid_derivative_of(x);
    case Unary::kTanh:
      return C(4) * sigmoid_derivative_of(C(2) * x);
    case Unary::kRelu:
      return x > C(0) ? C(1) : C(0);
    case Unary::kSoftplus:
      return sigmoid_of(x);
    case Unary::kLogSigmoid:
      return sigmoid_of(-x);
    case Unary::kExp:
      return y;
    case Unary::kLog:
      return C(1) / x;
    case Unary::kSquare:
      return C(2) * x;
    case Unary::kSqrt:
      return C(0.5) / y;
    case Unary::kNegate:
      return C(-1);
    case Unary::kReciprocal:
      return -(y * y);
    case Unary::kEluPlusOne:
      return x > C(0) ? C(1) : exp(x);
    case Unary::kMinGru:
      return x >= C(0) ? C(1) : sigmoid_derivative_of(x);
  }
  return C(0);
}

}  // namespace rill
