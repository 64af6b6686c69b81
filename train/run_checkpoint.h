// Private: the file of a checkpoint. It holds a hash of all its tensors and texts, so that a
// damaged one is known.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include <rill/io/safetensors.h>

namespace rill {

/// Collects what a checkpoint holds. Parameters ("model.") and moments ("adam.") are finite, and
/// nothing is NaN (a fresh state may hold infinities); what is not so is noted.
class CheckpointWriter final : public TensorWriter {
 public:
  void tensor(std::string_view name, const Tensor& value) override;
  void text(std::string_view key, std::string_view value) override;

  /// "the tensor NAME holds VALUE" of the first that may not be saved; empty: none.
  const std::string& fault() const noexcept { return fault_; }
  /// Error(kSystem) where the file cannot be written.
  void write(const std::filesystem::path& path) const;

 private:
  SafetensorsWriter writer_;
  std::uint64_t hash_ = 0;
  std::string fault_;
};

/// Error(kFile) unless the file is a checkpoint of `step` and all of it is what was written.
SafetensorsReader open_checkpoint(const std::filesystem::path& path, std::int64_t step);

}  // namespace rill
