// Mamba (Gu and Dao, "Mamba: linear-time sequence modeling with selective state spaces",
// arXiv:2312.00752, section 3.4 and algorithm 2): the mixer of one block, under the names of
// Hugging Face's MambaMixer.
//   x, z = W_in u;  x = silu(conv(x));  dt_r, B, C = W_x x;  dt = softplus(W_dt dt_r + b_dt)
//   h = exp(dt A) h + dt x B;  y = (C . h + D x) silu(z);  out = W_out y,  A = -exp(A_log)
#pragma once

#include <cstdint>

#include <rill/core/layer.h>
#include <rill/core/layer_type.h>

namespace rill {

/// Sizes and initial values of a Mamba mixer, named as in config.json.
struct MambaConfig {
  std::int64_t hidden_size = 16;       // D
  std::int64_t state_size = 16;        // N
  std::int64_t conv_kernel = 4;        // K
  std::int64_t intermediate_size = 0;  // E; 0: 2 D
  std::int64_t time_step_rank = 0;     // R; 0: ceil(D / 16)
  bool use_bias = false;               // of in_proj and out_proj
  bool use_conv_bias = true;
  // Steps dt of a fresh layer: log-uniform in [time_step_min, time_step_max], at least
  // time_step_floor; the weight of dt_proj is uniform with bound time_step_scale R^-1/2.
  double time_step_min = 1e-3, time_step_max = 0.1, time_step_floor = 1e-4, time_step_scale = 1.0;
};

/// x [B, T, D] -> [B, T, D]. State of one sequence: conv [K-1, E], the last inputs of the
/// convolution, newest last, and ssm [E, N]. Parameters: in_proj.weight [2E, D] (rows of x, then of
/// z), conv1d.weight [E, 1, K], conv1d.bias [E], x_proj.weight [R + 2N, E] (dt, B, C),
/// dt_proj.weight [E, R], dt_proj.bias [E], A_log [E, N], D [E], out_proj.weight [D, E]; with
/// use_bias in_proj.bias [2E] and out_proj.bias [D].
class Mamba final : public SequenceLayer {
 public:
  /// Error(kConfig) for sizes and steps out of range.
  Mamba(const MambaConfig& config, DType dtype, std::uint64_t seed);

  /// With intermediate_size and time_step_rank as they came out.
  const MambaConfig& config() const noexcept { return config_; }
  StateSpec state_spec() const override;
  std::int64_t input_size() const override { return config_.hidden_size; }
  std::int64_t output_size() const override { return config_.hidden_size; }
  DType dtype() const override { return dtype_; }
  double flops_per_token() const override;
  void visit_parameters(const ParameterVisitor& visitor) const override;

 private:
  Tensor compute(Exec& exec, const Tensor& x, std::span<Tensor> state,
                 const Sequence& sequence) const override;

  MambaConfig config_;
  DType dtype_;
  Tensor in_proj_, in_bias_, conv_, conv_bias_, x_proj_, dt_proj_, dt_bias_, a_log_, d_, out_proj_,
      out_bias_;
};

/// "mamba": width -> width.
const LayerType& mamba_layer_type();

}  // namespace rill
