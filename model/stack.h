// Residual blocks and stacks of them: sequence layers made of sequence layers.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <rill/core/layer.h>

namespace rill {

/// A norm over channels with its parameters.
class Norm {
 public:
  enum class Kind { kRms, kLayer };
  /// `weight_offset` 1: the stored weight w means 1 + w (xLSTM). `bias`: LayerNorm's.
  Norm(Kind kind, std::int64_t width, double eps, bool bias, double weight_offset, DType dtype);
  Tensor forward(Exec& exec, const Tensor& x) const;  // x [..., width] -> the same shape
  void visit_parameters(const ParameterVisitor& visitor) const;

 private:
  Kind kind_;
  double eps_;
  double weight_offset_;
  Tensor weight_, bias_;
};

/// W_down(silu(W_gate x) * (W_up x)), no biases.
class GatedMlp {
 public:
  GatedMlp(std::int64_t width, std::int64_t hidden, DType dtype, std::uint64_t seed);
  Tensor forward(Exec& exec, const Tensor& x) const;  // x [..., width] -> the same shape
  void visit_parameters(const ParameterVisitor& visitor) const;
  double flops_per_token() const;

 private:
  Tensor gate_, up_, down_;
};

/// What the parts of a block are called in files.
struct BlockNames {
  std::string norm = "norm.";
  std::string layer = "layer.";
  std::string mlp_norm = "mlp_norm.";
  std::string mlp = "mlp.";
};

struct BlockConfig {
  Norm::Kind norm = Norm::Kind::kRms;
  double norm_eps = 1e-5;
  bool norm_bias = true;
  double norm_weight_offset = 0.0;
  std::int64_t mlp_size = 0;  // 0: no MLP
  double dropout = 0.0;       // on what is added to the residual
  BlockNames names;
};

/// x + dropout(layer(norm(x))), then, where there is an MLP, x + dropout(mlp(norm(x))).
class Block final : public SequenceLayer {
 public:
  /// Error(kConfig) where there is no layer, Error(kShape) unless its inputs and outputs are
  /// equally wide.
  Block(std::unique_ptr<SequenceLayer> layer, const BlockConfig& config, DType dtype,
        std::uint64_t seed);

  StateSpec state_spec() const override { return layer_->state_spec(); }
  std::int64_t input_size() const override { return layer_->input_size(); }
  std::int64_t output_size() const override { return layer_->output_size(); }
  DType dtype() const override { return layer_->dtype(); }
  double flops_per_token() const override;
  void visit_parameters(const ParameterVisitor& visitor) const override;
  void visit_buffers(const std::function<void(const Tensor&)>& visitor) const override;

 private:
  Tensor compute(Exec& exec, const Tensor& x, std::span<Tensor> state,
                 const Sequence& sequence) const override;

  std::unique_ptr<SequenceLayer> layer_;
  BlockConfig config_;
  Norm norm_;
  std::unique_ptr<Norm> mlp_norm_;
  std::unique_ptr<GatedMlp> mlp_;
};

/// Layers one after the other. State fields are "N.field"; parameters "N.name" with a prefix of the
/// caller's.
class Stack final : public SequenceLayer {
 public:
  /// Error(kConfig) where a layer is null, Error(kShape) where one layer's outputs do not fit the
  /// next one's inputs, or there is none.
  explicit Stack(std::vector<std::unique_ptr<SequenceLayer>> layers);

  StateSpec state_spec() const override;
  std::int64_t input_size() const override { return layers_.front()->input_size(); }
  std::int64_t output_size() const override { return layers_.back()->output_size(); }
  DType dtype() const override { return layers_.front()->dtype(); }
  double flops_per_token() const override;
  void visit_parameters(const ParameterVisitor& visitor) const override;
  void visit_buffers(const std::function<void(const Tensor&)>& visitor) const override;

 private:
  Tensor compute(Exec& exec, const Tensor& x, std::span<Tensor> state,
                 const Sequence& sequence) const override;

  std::vector<std::unique_ptr<SequenceLayer>> layers_;
  std::vector<std::size_t> field_counts_;
};

/// What the layer against time has seen when it answers for step t.
enum class AntiCausal {
  kFromPresent,  // steps t, t+1, ..., T-1: lag 0 and before (S5, recurrent cells)
  kFromNext      // steps t+1, ..., T-1: lag -1 and before, 0 at the last step (S4's padded kernels)
};

/// Two layers over the same input, one in the order of time and one against it; outputs side by
/// side [B, T, D_forward + D_backward]. It honestly is no SequenceLayer: the output at t needs the
/// whole sequence, so there is no state and no stepper. Both layers start from a fresh state.
/// (S4's kernels: Gu et al. 2021, "Efficiently modeling long sequences with structured state
/// spaces", the authors' code; S5: Smith et al. 2022, section 3.)
class Bidirectional {
 public:
  /// Error(kConfig) where a layer is null, Error(kShape) where the layers' inputs differ in width,
  /// Error(kDType) where they differ in dtype.
  Bidirectional(std::unique_ptr<SequenceLayer> forward, std::unique_ptr<SequenceLayer> backward,
                AntiCausal anti_causal = AntiCausal::kFromPresent);
  /// x [B, T, D_in] -> [B, T, D_forward + D_backward]. With lengths or offsets each sequence is
  /// read backwards from its own end. Error(kShape / kDType) for another x or other segments,
  /// Error(kUnsupported) for resets.
  Tensor forward(Exec& exec, const Tensor& x, const Segments* segments = nullptr) const;
  std::int64_t input_size() const { return forward_->input_size(); }
  std::int64_t output_size() const { return forward_->output_size() + backward_->output_size(); }
  AntiCausal anti_causal() const noexcept { return anti_causal_; }
  /// Names "forward.*" and "backward.*".
  void visit_parameters(const ParameterVisitor& visitor) const;
  /// As SequenceLayer::to.
  void to(Device device);

 private:
  std::unique_ptr<SequenceLayer> forward_, backward_;
  AntiCausal anti_causal_;
  Tensor delay_;  // [D_backward, 2], kFromNext: a convolution that gives the step before
};

}  // namespace rill
