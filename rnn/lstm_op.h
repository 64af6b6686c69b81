// The op of the long short-term memory (Hochreiter and Schmidhuber, 1997), in PyTorch's convention:
//   i, f, o = sigmoid, g = tanh of W_ih x + b_ih + W_hh h + b_hh;  c = f c + i g;  h = o tanh(c)
// and with a projection (Sak et al., 2014): h = W_hr (o tanh(c)).
// H hidden size, P output size (H without a projection), I input size, tokens and rows as in
// core/sequence.h.
#pragma once

#include <rill/core/exec.h>
#include <rill/core/sequence.h>
#include <rill/core/tensor.h>

namespace rill {

/// One layer's parameters, gates in the order i, f, g, o.
struct LstmWeights {
  Tensor weight_ih;  // [4H, I]
  Tensor weight_hh;  // [4H, P]
  Tensor bias_ih;    // [4H], or undefined
  Tensor bias_hh;    // [4H], or undefined
  Tensor weight_hr;  // [P, H], or undefined: no projection
};

/// x [..., I], its tokens seen through `sequence` -> h of every token [..., P]. h [rows, P] and c
/// [rows, H] hold the initial state on entry and the final one on return (in place without a tape,
/// rebound with one). A reset is a state of zeros; tokens of no row give 0. Differentiable in x,
/// the parameters, h and c. Error(kShape), Error(kDType).
Tensor lstm(Exec& exec, const Tensor& x, const LstmWeights& weights, Tensor& h, Tensor& c,
            const Sequence& sequence);

}  // namespace rill
