// Depthwise causal convolution with state, any width.
#pragma once

#include <rill/core/exec.h>
#include <rill/core/sequence.h>
#include <rill/core/tensor.h>

namespace rill {

enum class ConvActivation { kNone, kSilu };

/// y_t[c] = act(bias[c] + sum_k weight[c, k] x_{t-K+1+k}[c]) for any K >= 1: tap K-1 multiplies the
/// newest input. x [..., C] (tokens in all); weight [C, K] or [C, 1, K]; bias [C] or undefined;
/// `state` [rows, K-1, C]: the inputs before the first step, newest last, zeros when fresh; initial
/// in, final out (overwritten in place without a tape, rebound with one). Inputs before a reset
/// count as zeros. Returns y of x's shape. Differentiable in all arguments. Error(kShape / kDType).
Tensor causal_conv(Exec& exec, const Tensor& x, const Tensor& weight, const Tensor& bias,
                   Tensor& state, const Sequence& sequence,
                   ConvActivation activation = ConvActivation::kNone);

}  // namespace rill
