// LSTM: the long short-term memory, stacked; equations in lstm_op.h. PyTorch's torch.nn.LSTM with
// the same names. State of one sequence: per layer h_l{k} [P] (H without a projection) and c_l{k}
// [H].
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <rill/core/layer.h>
#include <rill/core/layer_type.h>
#include <rill/rnn/lstm_op.h>

namespace rill {

/// Sizes of an Lstm, as torch.nn.LSTM's.
struct LstmConfig {
  std::int64_t input_size = 1;
  std::int64_t hidden_size = 1;
  std::int64_t num_layers = 1;
  std::int64_t proj_size =
      0;  // 0: no projection; otherwise the output's width, less than hidden_size
  bool bias = true;
  double dropout = 0.0;  // between layers, while the Exec trains
};

/// x [B, T, input_size] -> [B, T, P]. Parameters of layer k: weight_ih_l{k} [4H, I or P],
/// weight_hh_l{k} [4H, P], bias_ih_l{k}, bias_hh_l{k} [4H], weight_hr_l{k} [P, H]; gates i, f, g,
/// o; all uniform with bound H^-1/2.
class Lstm final : public SequenceLayer {
 public:
  /// Error(kConfig) for sizes out of range.
  Lstm(const LstmConfig& config, DType dtype, std::uint64_t seed);

  const LstmConfig& config() const noexcept { return config_; }
  StateSpec state_spec() const override;
  std::int64_t input_size() const override { return config_.input_size; }
  std::int64_t output_size() const override {
    return config_.proj_size ? config_.proj_size : config_.hidden_size;
  }
  DType dtype() const override { return dtype_; }
  double flops_per_token() const override;
  void visit_parameters(const ParameterVisitor& visitor) const override;

 private:
  Tensor compute(Exec& exec, const Tensor& x, std::span<Tensor> state,
                 const Sequence& sequence) const override;

  LstmConfig config_;
  DType dtype_;
  std::vector<LstmWeights> layers_;
};

/// "lstm": width -> width. With hidden_size > width the output is projected back to the width.
const LayerType& lstm_layer_type();

}  // namespace rill
