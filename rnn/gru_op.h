// The op of the gated recurrent unit (Cho et al., 2014), in PyTorch's convention (the reset gate
// after the product):
//   r, z = sigmoid of W_ih x + b_ih + W_hh h + b_hh;  n = tanh(W_in x + b_in + r (W_hn h + b_hn));
//   h = (1 - z) n + z h
// H hidden size, I input size, tokens and rows as in core/sequence.h.
#pragma once

#include <rill/core/exec.h>
#include <rill/core/sequence.h>
#include <rill/core/tensor.h>

namespace rill {

/// One layer's parameters, gates in the order r, z, n.
struct GruWeights {
  Tensor weight_ih;  // [3H, I]
  Tensor weight_hh;  // [3H, H]
  Tensor bias_ih;    // [3H], or undefined
  Tensor bias_hh;    // [3H], or undefined
};

/// x [..., I], its tokens seen through `sequence` -> h of every token [..., H]. h [rows, H] holds
/// the initial state on entry and the final one on return (in place without a tape, rebound with
/// one). A reset is a state of zeros; tokens of no row give 0. Differentiable in x, the parameters
/// and h. Error(kShape), Error(kDType).
Tensor gru(Exec& exec, const Tensor& x, const GruWeights& weights, Tensor& h,
           const Sequence& sequence);

}  // namespace rill
