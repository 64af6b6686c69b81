// The delta rule in chunks, by its WY form. With e^{H} of chunk_tile.h (here the resets alone: 1 or
// 0), S the state that the chunk starts from and B_jl = beta_j e^{H_j - H_l} k_j . k_l for l < j:
//   (I + B) w = x,  x_j = beta_j (v_j - e^{H_j} S^T k_j),
//   out_i = scale (e^{H_i} S^T q_i + sum_{j <= i} e^{H_i - H_j} (q_i . k_j) w_j),
//   S' = e^{total} S + sum_j e^{total - H_j} k_j w_j^T,
// so that with w for values the rest is linear attention. T = (I + B)^-1 comes from forward
// substitution in float (delta_inverse.cu); w = T x is a product, which is rounded less than
// T beta v - (T beta e^H K) S would be: errors v - S^T k are formed before they are rounded.
//
// Against time, D the gradient of S' and dw what the outputs of the chunk say of w:
//   z = T^T (dw + e^{total - H} K D),   dS = e^{total} D + sum_i scale e^{H_i} q_i dout_i^T
//                                            - sum_j beta_j e^{H_j} k_j z_j^T,
//   dv_j = beta_j z_j,   dbeta_j = z_j . (v_j - e^{H_j} S^T k_j - sum_{l<j} B_jl / beta_j w_l),
//   dk_j = what linear attention says - beta_j e^{H_j} S z_j + sum_{l<j} E_jl k_l
//          + sum_{i>j} E_ij k_i,   E_jl = -beta_j e^{H_j - H_l} z_j . w_l.
// Source: Yang et al., Parallelizing Linear Transformers with the Delta Rule over Sequence Length
// (2024), whose W and U are not formed here.
#pragma once

#include <rill/scan/cuda/chunk_tile.h>
#include <rill/scan/cuda/chunk_types.h>

namespace rill {

/// beta of the chunk's tokens, 0 where there is none.
template <class S>
RILL_DEVICE void stage_beta(Shared<float> to, const void* beta, const ChunkRows& rows) {
  for (int p = thread_index(); p < kTile; p += kTileThreads)
    to[p] = p < rows.count ? load<S>(beta, rows.at(p)) : 0.0f;
}

}  // namespace rill
