// Data sets: bytes of text, rows of series, images as sequences; each with a held-out part.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <rill/core/tensor.h>
#include <rill/model/config.h>

namespace rill {

/// What one training step reads. B rows of T steps.
struct Batch {
  Tensor input;            // language models: uint8 [B, T]; others: [B, T, input_size], scaled
  Tensor target;           // language models: int64 [B * T]; classifiers: int64 [B]; others: [B, T,
                           // output_size], scaled
  bool continues = false;  // the rows go on where those of the batch before ended: its final state
                           // is this one's initial
};

/// A sequence to be evaluated from a fresh state.
struct Example {
  Tensor input;   // [1, T] or [1, T, input_size]
  Tensor target;  // int64 [T] (language models), int64 [1] (classifiers), [1, T, output_size]
};

/// Where examples come from. Batches are a function of (seed, index, batch, length) alone.
class Dataset {
 public:
  virtual ~Dataset() = default;
  /// Sets task, sizes and scaling of a model for this data.
  virtual void describe(ModelConfig& config) const = 0;
  /// Batch number `index` of a run; `length` lies in [1, max_length()]. Error(kConfig) for images
  /// of another length than theirs.
  virtual Batch train_batch(std::uint64_t seed, std::int64_t index, std::int64_t batch,
                            std::int64_t length) const = 0;
  /// Held-out sequences; text and series have one.
  virtual std::int64_t heldout_count() const = 0;
  /// Number `i`, in [0, heldout_count()). Error(kValue) for an image's label that training has not.
  virtual Example heldout(std::int64_t i) const = 0;
  /// Length of a training sequence where the caller has none; the longest that is possible.
  virtual std::int64_t default_length() const = 0;
  virtual std::int64_t max_length() const = 0;
  /// "nats a byte", "nats a sequence" or "squared error (scaled)".
  virtual std::string unit() const = 0;
  /// What tells these data from others: kind, size and a hash of the content. A run is resumed on
  /// data of the same fingerprint alone; an empty one is not compared.
  virtual std::string fingerprint() const { return {}; }
};

struct DatasetOptions {
  Task task = Task::kLanguageModel;
  bool task_given = false;                  // false: the default of the kind of data
  std::vector<std::string> target_columns;  // of kRegress: names or numbers (from 0)
  DType dtype = DType::kFloat32;
  const ModelConfig* trained =
      nullptr;  // scale by what this model was trained with, not by the data
};

/// From "text:FILE", "idx:DIR", "csv:FILE" or "npy:FILE". Error(kConfig) for another kind or a task
/// that does not go with it, Error(kFile) for what the files get wrong, Error(kValue) for too
/// little data.
std::unique_ptr<Dataset> open_dataset(const std::string& spec, const DatasetOptions& options);

}  // namespace rill
