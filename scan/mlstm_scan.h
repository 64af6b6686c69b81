// The recurrence of the mLSTM: matrix memory with exponential gates, kept in range by a running
// maximum m. Beck et al., "xLSTM: Extended long short-term memory", 2.3.
#pragma once

#include <cstdint>

#include <rill/core/exec.h>
#include <rill/core/sequence.h>
#include <rill/core/tensor.h>

namespace rill {

/// For every head, with k' = K^-1/2 k:
///   m_t = max(log f_t + m_{t-1}, i_t),  F = exp(log f_t + m_{t-1} - m_t),  I = exp(i_t - m_t),
///   C_t = F C_{t-1} + I k' v^T,  n_t = F n_{t-1} + I k',  out_t = C_t^T q / max(|n_t . q|,
///   exp(-m_t)).
/// The output does not depend on m (no epsilon is added to the divisor, unlike in the reference
/// code, where it would). q, k [..., H * K], v [..., H * V], `input_gate` i and `log_forget` log f
/// <= 0 [..., H] with as many tokens as `sequence` -> [..., H * V]. State: c [rows, H, K, V], n
/// [rows, H, K], m [rows, H]; fresh: 0, 0, -infinity. It is the initial state on entry and the
/// final one on return (overwritten in place without a tape, rebound with one). Gradients of all
/// inputs and of the initial state. The sequential recurrence: cut anywhere, the same bits.
/// Error(kShape), Error(kDType) where an argument does not fit.
Tensor mlstm_scan(Exec& exec, const Tensor& q, const Tensor& k, const Tensor& v,
                  const Tensor& input_gate, const Tensor& log_forget, Tensor& c, Tensor& n,
                  Tensor& m, const Sequence& sequence, std::int64_t heads);

}  // namespace rill
