// minGRU (Feng et al., "Were RNNs all we needed?", arXiv:2410.01201, section 3.1 and appendix B): a
// GRU whose gates do not see the state, so that the state is an affine scan.
//   z = sigmoid(W_z x + b_z),  h~ = g(W_h x + b_h),  h_t = (1 - z) h_{t-1} + z h~
// g(v) = v + 1/2 for v >= 0, else sigmoid(v): candidates, and with them all states, are positive.
#pragma once

#include <cstdint>

#include <rill/core/layer.h>
#include <rill/core/layer_type.h>

namespace rill {

struct MinGruConfig {
  std::int64_t input_size = 1;
  std::int64_t hidden_size =
      0;  // 0: input_size; where it differs the output is projected back to input_size
  /// The state is log h and the scan runs in the log domain, for states beyond float's range on
  /// either side. The same function otherwise.
  bool log_space = false;
};

/// x [B, T, D] -> [B, T, D]. State of one sequence: h [H], or log_h [H] in log space (fresh: minus
/// infinity). Parameters, named as in the paper's listing: linear_z.weight, linear_h.weight [H, D],
/// linear_z.bias, linear_h.bias [H], and to_out.weight [D, H] where H != D.
/// (lucidrains/minGRU-pytorch keeps both weights in one, to_hidden_and_gate.weight [2H, D], those
/// of h first, without biases.)
class MinGru final : public SequenceLayer {
 public:
  /// Error(kConfig) for sizes out of range.
  MinGru(const MinGruConfig& config, DType dtype, std::uint64_t seed);

  const MinGruConfig& config() const noexcept { return config_; }
  StateSpec state_spec() const override;
  std::int64_t input_size() const override { return config_.input_size; }
  std::int64_t output_size() const override { return config_.input_size; }
  DType dtype() const override { return dtype_; }
  double flops_per_token() const override;
  void visit_parameters(const ParameterVisitor& visitor) const override;

 private:
  Tensor compute(Exec& exec, const Tensor& x, std::span<Tensor> state,
                 const Sequence& sequence) const override;

  MinGruConfig config_;
  DType dtype_;
  Tensor z_weight_, z_bias_, h_weight_, h_bias_, out_;
};

/// "mingru": width -> width.
const LayerType& mingru_layer_type();

}  // namespace rill
