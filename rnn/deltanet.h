// DeltaNet. Schlag et al. 2021; Yang et al., "Parallelizing linear transformers with the delta rule
// over sequence length" (2024), 3.3; negative eigenvalues: Grazzi et al. 2024. Parameters and
// defaults of flash-linear-attention.
#pragma once

#include <cstdint>

#include <rill/core/layer.h>
#include <rill/core/layer_type.h>

namespace rill {

struct DeltaNetConfig {
  std::int64_t width = 0;      // D
  std::int64_t num_heads = 0;  // H; 0: 16, or fewer where 16 does not fit the width
  double expand_k = 1.0;       // K of all heads / D
  double expand_v = 1.0;       // V of all heads / D
  std::int64_t conv_size = 4;
  bool allow_neg_eigval = false;  // beta in (0, 2) instead of (0, 1)
  double norm_eps = 1e-5;
};

/// q, k, v = silu(conv(W x)), depthwise and causal; q and k divided by sqrt(|.|^2 + 1e-6) in every
/// head; beta = sigmoid(W_b x) (times 2 with negative eigenvalues):
///   S_t = (I - beta k k^T) S_{t-1} + beta k v^T,  o_t = (K/H)^-1/2 S_t^T q_t,  y = W_o (RMS(o) w).
/// State: S [H, K/H, V/H] and the convolutions' last inputs conv_q, conv_k, conv_v.
class DeltaNet final : public SequenceLayer {
 public:
  /// Error(kConfig) where heads do not divide the channels.
  DeltaNet(const DeltaNetConfig& config, DType dtype, std::uint64_t seed);

  StateSpec state_spec() const override;
  std::int64_t input_size() const override { return config_.width; }
  std::int64_t output_size() const override { return config_.width; }
  DType dtype() const override { return dtype_; }
  double flops_per_token() const override;
  void visit_parameters(const ParameterVisitor& visitor) const override;
  const DeltaNetConfig& config() const noexcept { return config_; }

 private:
  Tensor compute(Exec& exec, const Tensor& x, std::span<Tensor> state,
                 const Sequence& sequence) const override;

  DeltaNetConfig config_;
  DType dtype_;
  std::int64_t keys_, values_;  // of all heads
  Tensor q_proj_, k_proj_, v_proj_, b_proj_, q_conv_, k_conv_, v_conv_, norm_, o_proj_;
};

/// "deltanet".
const LayerType& deltanet_layer_type();

}  // namespace rill
