// Gated linear attention: a matrix S [K, V] per head that decays and takes up k v^T every token.
// Katharopoulos et al. 2020; Sun et al., "Retentive network" (RetNet: a factor a head); Yang et
// al., "Gated linear attention transformers with hardware-efficient training" (GLA: a factor a
// key).
#pragma once

#include <cstdint>

#include <rill/core/exec.h>
#include <rill/core/sequence.h>
#include <rill/core/tensor.h>

namespace rill {

/// S_t = diag(exp(g_t)) S_{t-1} + k_t v_t^T,   out_t = scale S_t^T q_t, for every head.
/// q, k [..., H * K], v [..., H * V] with as many tokens as `sequence` -> [..., H * V]. `log_decay`
/// is g <= 0: [H] the same for every token, [..., H] a token and head, [..., H * K] a token and key
/// channel, or undefined: no decay. `state` [rows, H, K, V] is the initial state on entry and the
/// final one on return (overwritten in place without a tape, rebound with one). Gradients of q, k,
/// v, log_decay and the initial state. The sequential recurrence: cut anywhere, the same bits.
/// Error(kShape), Error(kDType) where an argument does not fit.
Tensor gated_linear_attention(Exec& exec, const Tensor& q, const Tensor& k, const Tensor& v,
                              const Tensor& log_decay, Tensor& state, const Sequence& sequence,
                              std::int64_t heads, double scale);

}  // namespace rill
