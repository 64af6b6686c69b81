// GRU: the gated recurrent unit, stacked; equations in gru_op.h. PyTorch's torch.nn.GRU with the
// same names. State of one sequence: per layer h_l{k} [H].
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <rill/core/layer.h>
#include <rill/core/layer_type.h>
#include <rill/rnn/gru_op.h>

namespace rill {

/// Sizes of a Gru, as torch.nn.GRU's.
struct GruConfig {
  std::int64_t input_size = 1;
  std::int64_t hidden_size = 1;
  std::int64_t num_layers = 1;
  bool bias = true;
  double dropout = 0.0;  // between layers, while the Exec trains
};

/// x [B, T, input_size] -> [B, T, H]. Parameters of layer k: weight_ih_l{k} [3H, I or H],
/// weight_hh_l{k} [3H, H], bias_ih_l{k}, bias_hh_l{k} [3H]; gates r, z, n; all uniform with bound
/// H^-1/2.
class Gru final : public SequenceLayer {
 public:
  /// Error(kConfig) for sizes out of range.
  Gru(const GruConfig& config, DType dtype, std::uint64_t seed);

  const GruConfig& config() const noexcept { return config_; }
  StateSpec state_spec() const override;
  std::int64_t input_size() const override { return config_.input_size; }
  std::int64_t output_size() const override { return config_.hidden_size; }
  DType dtype() const override { return dtype_; }
  double flops_per_token() const override;
  void visit_parameters(const ParameterVisitor& visitor) const override;

 private:
  Tensor compute(Exec& exec, const Tensor& x, std::span<Tensor> state,
                 const Sequence& sequence) const override;

  GruConfig config_;
  DType dtype_;
  std::vector<GruWeights> layers_;
};

/// "gru": width -> width, H = width.
const LayerType& gru_layer_type();

}  // namespace rill
