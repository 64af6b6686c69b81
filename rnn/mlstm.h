// The mLSTM layer. Beck et al., "xLSTM: Extended long short-term memory" (2024), 2.3 and figure 11;
// parameters and defaults of the block layer of NX-AI/xlstm's small models.
#pragma once

#include <cstdint>

#include <rill/core/layer.h>
#include <rill/core/layer_type.h>

namespace rill {

struct MlstmConfig {
  std::int64_t width = 0;      // D
  std::int64_t num_heads = 0;  // 0: 4
  double proj_factor = 2.0;    // I = proj_factor * D rounded up to a multiple of 64
  std::int64_t conv1d_kernel_size = 4;
  std::int64_t num_blocks = 1;  // of the stack; the initial proj_down shrinks with it
};

/// x_m, z = W_up x;  c = silu(conv(x_m) + b);  q, k = blocks of 4 of c, v = blocks of 4 of x_m;
/// gates i, log f = W_i [q, k, v] + b_i, logsigmoid(W_f [q, k, v] + b_f) of every head;
/// h = mLSTM(q, k, v, i, f) (scan/mlstm_scan.h);
/// y = W_down ((LayerNorm_head(h) (1 + w) + skip * c) * silu(z)).
/// State: C [H, I/H, I/H], n [H, I/H], m [H] (fresh: 0, 0, -infinity), conv [kernel - 1, I].
class Mlstm final : public SequenceLayer {
 public:
  /// Error(kConfig) where heads do not divide I.
  Mlstm(const MlstmConfig& config, DType dtype, std::uint64_t seed);

  StateSpec state_spec() const override;
  std::int64_t input_size() const override { return config_.width; }
  std::int64_t output_size() const override { return config_.width; }
  DType dtype() const override { return dtype_; }
  double flops_per_token() const override;
  void visit_parameters(const ParameterVisitor& visitor) const override;
  const MlstmConfig& config() const noexcept { return config_; }

 private:
  Tensor compute(Exec& exec, const Tensor& x, std::span<Tensor> state,
                 const Sequence& sequence) const override;

  MlstmConfig config_;
  DType dtype_;
  std::int64_t inner_;  // I
  Tensor proj_up_, q_proj_, k_proj_, v_proj_, conv_weight_, conv_bias_, skip_, proj_down_;
  Tensor igate_weight_, igate_bias_, fgate_weight_, fgate_bias_, norm_;
};

/// "mlstm".
const LayerType& mlstm_layer_type();

}  // namespace rill
