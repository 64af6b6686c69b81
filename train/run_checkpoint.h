// Private: the file of a checkpoint, and what a run takes from it. The file holds a hash of all its
// tensors and texts, so that a damaged one is known.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include <rill/core/state.h>
#include <rill/io/safetensors.h>
#include <rill/model/model.h>
#include <rill/train/optimizer.h>
#include <rill/train/trainer.h>

namespace rill {

/// Collects what a checkpoint holds. Parameters ("model.") and moments ("adam.") are finite, and
/// nothing is NaN (a fresh state may hold infinities); what is not so is noted.
class CheckpointWriter final : public TensorWriter {
 public:
  void tensor(std::string_view name, const Tensor& value) override;
  void text(std::string_view key, std::string_view value) override;

  /// "the tensor NAME holds VALUE" of the first that may not be saved; empty: none.
  const std::string& fault() const noexcept { return fault_; }
  /// The file's bytes.
  std::string serialize() const { return whole().serialize(); }
  /// Error(kSystem) where the file cannot be written.
  void write(const std::filesystem::path& path) const { whole().write(path); }

 private:
  SafetensorsWriter whole() const;

  SafetensorsWriter writer_;
  std::uint64_t hash_ = 0;
  std::string fault_;
};

/// Error(kFile), which calls the file `name`, unless it is a checkpoint of `step` and all of it is
/// what was written.
void check_checkpoint(const SafetensorsReader& reader, std::int64_t step, const std::string& name);
/// Opens and checks.
SafetensorsReader open_checkpoint(const std::filesystem::path& path, std::int64_t step);

/// Where a run stands, beside its weights, moments and carried state.
struct RunPosition {
  std::int64_t step = 0;
  std::int64_t time = 0;  // steps since the state was fresh
  double seconds = 0;     // of training
};
void save_position(const RunPosition& position, CheckpointWriter& writer);
/// Overwrites weights, moments and the carried state. Error(kFile / kShape / kState) where
/// something is missing or belongs to another model or batch; some of them may have changed by
/// then.
RunPosition load_run(const TensorReader& reader, const Model& model, AdamW& adam, State& state);
/// What the checkpoint says of its run; Error(kFile / kConfig) where it does not.
SavedRun saved_run_in(const TensorReader& reader);

}  // namespace rill
