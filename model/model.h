// Model: an encoder (embedding or projection), a stack of residual blocks, a norm and a head.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include <rill/core/archive.h>
#include <rill/core/layer.h>
#include <rill/model/config.h>
#include <rill/model/stack.h>

namespace rill {

/// A language model (tokens in, logits of the next token out), a predictor of the next row, a
/// classifier of sequences or a regressor, by its ModelConfig. Like a layer it is immutable while
/// used, takes a state and returns one, and has a recurrent mode. Its parameters carry the names of
/// the family's published checkpoints.
class Model {
 public:
  /// Initialised parameters. Error(kConfig) for a configuration that is not legal.
  explicit Model(const ModelConfig& config, DType dtype = DType::kFloat32, std::uint64_t seed = 0);

  const ModelConfig& config() const noexcept { return config_; }
  DType dtype() const noexcept { return dtype_; }

  /// Parallel mode. Language models: tokens [B, T] (uint8, int32 or int64) -> [B, T, vocab_size];
  /// others: x [B, T, input_size] -> [B, T, output_size], classifiers -> [rows, output_size] (after
  /// the last step). Without a tape it walks time in tiles through the whole stack, with segments
  /// too, so that memory besides input and output does not grow with T. Error(kShape / kDType) for
  /// an input that is none of these, Error(kState) for a state of another model or batch,
  /// Error(kValue) for a token out of range, Error(kDevice) where the Exec works on another device
  /// than the model lies on, all before the state has changed. The input may lie on the host or the
  /// Exec's device; reading tokens there, for their range, waits for the device.
  Tensor forward(Exec& exec, const Tensor& input, State& state,
                 const Segments* segments = nullptr) const;

  /// Parallel mode without keeping the outputs: `visit(first, y)` sees those of steps [first, first
  /// + y.size(1)) (of classifiers those so far). Error(kUnsupported) on a tape, Error(kShape) for a
  /// tile below 1; as forward for the input and the state, before either is read.
  using TileVisitor = std::function<void(std::int64_t first, const Tensor& y)>;
  void forward_tiles(Exec& exec, const Tensor& input, State& state, std::int64_t tile,
                     const TileVisitor& visit) const;

  /// Recurrent mode. Its input is [batch] int32 tokens (the caller checks their range) or [batch,
  /// input_size]. Error(kShape) for a batch below 1, Error(kDType) where the Exec computes in
  /// another dtype than the model.
  Stepper prepare_step(Exec& exec, std::int64_t batch) const;

  /// Moves the parameters to another device, as SequenceLayer::to. Error(kDevice).
  void to(Device device);
  Device device() const noexcept { return stack_->device(); }

  StateSpec state_spec() const;
  State initial_state(Exec& exec, std::int64_t batch) const;
  void visit_parameters(const ParameterVisitor& visitor) const;
  std::int64_t parameter_count() const;
  double flops_per_token() const;
  /// Error(kValue) naming the first parameter that holds a NaN or an infinity.
  void check_finite() const;

 private:
  struct Names;
  void check_input(const Exec& exec, const Tensor& input) const;
  void walk(Exec& exec, const Tensor& input, State& state, const Segments* segments,
            std::int64_t tile, const TileVisitor& visit) const;
  Tensor compute(Exec& exec, const Tensor& input, std::span<Tensor> state,
                 const Sequence& sequence) const;
  bool language() const noexcept { return config_.task == Task::kLanguageModel; }
  bool pooled() const noexcept { return config_.task == Task::kClassify; }

  ModelConfig config_;
  DType dtype_;
  std::unique_ptr<Stack> stack_;
  std::unique_ptr<Norm> norm_;
  Tensor embedding_;                      // [vocab_size, D]
  Tensor encoder_weight_, encoder_bias_;  // [D, input_size], [D]
  Tensor head_weight_, head_bias_;        // [outputs, D], [outputs]; undefined where tied
  std::size_t stack_fields_ = 0;
};

/// Writes DIR/config.json and DIR/model.safetensors (each to a temporary name, synced, renamed).
/// The folder is made where it is missing. Error(kSystem) leaves what was there.
void save_model(const Model& model, const std::string& directory);
/// Overwrites the model's parameters with tensors of the same names behind `prefix`, converted
/// where the dtype differs. Error(kFile / kShape) before any has changed.
void load_parameters(const Model& model, const TensorReader& reader, const std::string& prefix);
/// Reads both; Error(kFile / kConfig / kShape / kValue) for files that are damaged, do not fit each
/// other (naming the tensor, what was expected and what came) or hold NaN.
std::unique_ptr<Model> load_model(const std::string& directory, DType dtype = DType::kFloat32);

}  // namespace rill
