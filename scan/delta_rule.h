// The delta rule: a matrix S [K, V] per head in which the value found at key k is replaced.
// Schlag et al., "Linear transformers are secretly fast weight programmers"; Yang et al.,
// "Parallelizing linear transformers with the delta rule over sequence length".
#pragma once

#include <cstdint>

#include <rill/core/exec.h>
#include <rill/core/sequence.h>
#include <rill/core/tensor.h>

namespace rill {

/// S_t = (I - beta_t k_t k_t^T) S_{t-1} + beta_t k_t v_t^T,   out_t = scale S_t^T q_t, for every
/// head. q, k [..., H * K], v [..., H * V], beta [..., H] with as many tokens as `sequence` ->
/// [..., H * V]. Stable for |k| = 1 (ops.h l2_norm) and beta in [0, 2]. `state` [rows, H, K, V] is
/// the initial state on entry and the final one on return (overwritten in place without a tape,
/// rebound with one). Gradients of q, k, v, beta and the initial state. The sequential recurrence:
/// cut anywhere, the same bits. Error(kShape), Error(kDType) where an argument does not fit.
Tensor delta_rule(Exec& exec, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& beta,
                  Tensor& state, const Sequence& sequence, std::int64_t heads, double scale);

}  // namespace rill
