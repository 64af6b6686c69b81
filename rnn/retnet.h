// RetNet's multi-scale retention. Sun et al., "Retentive network: a successor to transformer for
// large language models" (2023), 2.3; parameters and defaults of flash-linear-attention.
#pragma once

#include <cstdint>

#include <rill/core/layer.h>
#include <rill/core/layer_type.h>

namespace rill {

struct RetNetConfig {
  std::int64_t width = 0;      // D
  std::int64_t num_heads = 0;  // H; 0: the variant's (below)
  double expand_k = 1.0;       // K of all heads / D
  double expand_v = 0.0;       // V of all heads / D; 0: the variant's (below)
  double norm_eps = 0.0;       // 0: the variant's, 1e-5 (fla) or 1e-6 (paper)
  bool paper = false;          // the paper's variant (methods below) instead of fla's
};

/// For every head h, with q, k turned by their position (rotary.h):
///   S_t = gamma_h S_{t-1} + k_t v_t^T,  gamma_h = 1 - 2^(-5-h),  o_t = K^-1/2 S_t^T q_t,
///   y = W_o (RMS(o) w * silu(g)),  q, k, v, g = W_q x, W_k x, W_v x, W_g x.
/// fla's variant turns the planes (i, i + K/2) with theta_i = 10000^(-2i/K) and has a norm weight
/// [V / H]. The paper's turns (2i, 2i + 1) with theta_i = 10000^(-i/(K/2-1)), divides o by the root
/// of s_t = gamma_h s_{t-1} + 1, and its norm has no weight.
/// Sizes where they are not given: fla's has 8 heads, or what fits the width, and V = 2 D; the
/// paper's has K / 256 heads, or what fits, and 5/3 of K in every head, up to a multiple of 16: at
/// D = 768 the authors' 3 heads of 256, with 432 values each, as in their larger models. (Their
/// code's V = 1280 at that width is 5/3 D, which 3 heads do not divide.)
/// State: S [H, K/H, V/H], position [1] (int64); paper: normalizer s [H, 1, 1].
class RetNet final : public SequenceLayer {
 public:
  /// Error(kConfig) where heads do not divide the channels.
  RetNet(const RetNetConfig& config, DType dtype, std::uint64_t seed);

  StateSpec state_spec() const override;
  std::int64_t input_size() const override { return config_.width; }
  std::int64_t output_size() const override { return config_.width; }
  DType dtype() const override { return dtype_; }
  double flops_per_token() const override;
  void visit_parameters(const ParameterVisitor& visitor) const override;
  void visit_buffers(const std::function<void(const Tensor&)>& visitor) const override;
  const RetNetConfig& config() const noexcept { return config_; }

 private:
  Tensor compute(Exec& exec, const Tensor& x, std::span<Tensor> state,
                 const Sequence& sequence) const override;
  Tensor normalized(Exec& exec, const Tensor& q, Tensor& normalizer,
                    const Sequence& sequence) const;

  RetNetConfig config_;
  DType dtype_;
  std::int64_t keys_, values_;  // of all heads
  Tensor q_proj_, k_proj_, v_proj_, g_proj_, o_proj_, norm_;
  Tensor log_gamma_;  // [H]
  Tensor theta_;      // [K/H / 2]
  Tensor spread_;     // paper: [K, H], 1 where the key channel is the head's
};

/// "retnet".
const LayerType& retnet_layer_type();

}  // namespace rill
