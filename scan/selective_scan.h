// The selective scan of Mamba (Gu and Dao, arXiv:2312.00752, algorithm 2), fused: the states of all
// steps are never written to memory, forward or backward.
#pragma once

#include <rill/core/exec.h>
#include <rill/core/sequence.h>
#include <rill/core/tensor.h>

namespace rill {

/// Inputs of selective_scan; E channels, N >= 1 states a channel. Sequences may have any leading
/// axes (tokens in all).
struct SelectiveScanInputs {
  Tensor x;        // [tokens, E]
  Tensor dt;       // [tokens, E], before bias and softplus
  Tensor dt_bias;  // [E] or undefined
  Tensor a_log;    // [E, N]: A = -exp(a_log)
  Tensor b, c;     // [tokens, N]
  Tensor d;        // [E] or undefined: no skip
  Tensor z;        // [tokens, E] or undefined: no gate
};

/// With delta = softplus(dt + dt_bias):
///   h_t = exp(delta_t A) h_{t-1} + delta_t x_t B_t,   y_t = (C_t . h_t + D x_t) * silu(z_t).
/// `state` h [rows, E, N]: initial in, final out (overwritten in place without a tape, rebound with
/// one). Returns y of x's shape. Differentiable in every input, `state` and the final state; a tape
/// keeps the states at every 32nd step. T steps of one give the bits of one call of T. Error(kShape
/// / kDType).
Tensor selective_scan(Exec& exec, const SelectiveScanInputs& inputs, Tensor& state,
                      const Sequence& sequence);

}  // namespace rill
