// Gated linear attention. Yang et al., "Gated linear attention transformers with hardware-efficient
// training" (2024), 4; parameters and defaults of flash-linear-attention.
#pragma once

#include <cstdint>

#include <rill/core/layer.h>
#include <rill/core/layer_type.h>

namespace rill {

struct GlaConfig {
  std::int64_t width = 0;      // D
  std::int64_t num_heads = 0;  // H; 0: 4, or fewer where 4 does not fit the width
  double expand_k = 0.5;       // K of all heads / D
  double expand_v = 1.0;       // V of all heads / D
  std::int64_t gate_low_rank_dim = 16;
  double gate_logit_normalizer = 16.0;
  double norm_eps = 1e-5;
};

/// For every head, with q, k, v = W_q x, W_k x, W_v x and decays of every key channel
///   g = logsigmoid(W_2 W_1 x + b) / 16:
///   S_t = diag(exp(g_t)) S_{t-1} + k_t v_t^T,  o_t = (K/H)^-1/2 S_t^T q_t,
///   y = W_o (RMS(o) w * silu(W_g x)).
/// State: S [H, K/H, V/H].
class Gla final : public SequenceLayer {
 public:
  /// Error(kConfig) where heads do not divide the channels.
  Gla(const GlaConfig& config, DType dtype, std::uint64_t seed);

  StateSpec state_spec() const override;
  std::int64_t input_size() const override { return config_.width; }
  std::int64_t output_size() const override { return config_.width; }
  DType dtype() const override { return dtype_; }
  double flops_per_token() const override;
  void visit_parameters(const ParameterVisitor& visitor) const override;
  const GlaConfig& config() const noexcept { return config_; }

 private:
  Tensor compute(Exec& exec, const Tensor& x, std::span<Tensor> state,
                 const Sequence& sequence) const override;

  GlaConfig config_;
  DType dtype_;
  std::int64_t keys_, values_;  // of all heads
  Tensor q_proj_, k_proj_, v_proj_, g_proj_, gk_down_, gk_up_, gk_bias_, norm_, o_proj_;
};

/// "gla".
const LayerType& gla_layer_type();

}  // namespace rill
