// Block-diagonal products: every group of channels has a small matrix of its own (the headwise
// projections of the xLSTM).
#pragma once

#include <rill/core/exec.h>
#include <rill/core/tensor.h>

namespace rill {

/// y[t, g O + o] = sum_i W[g, o, i] x[t, g I + i]. x [..., G * I], weight [G, O, I] -> [..., G *
/// O]. Gradients of both. Error(kShape), Error(kDType) where an argument does not fit.
Tensor block_linear(Exec& exec, const Tensor& x, const Tensor& weight);

}  // namespace rill
