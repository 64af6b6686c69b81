// The training loop: reproducible bit for bit, stoppable and resumable at any instant.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include <rill/model/config.h>
#include <rill/train/dataset.h>
#include <rill/train/optimizer.h>

namespace rill {

struct TrainOptions {
  std::int64_t length = 256;  // T
  std::int64_t batch = 16;    // B
  std::int64_t steps = 1000;
  double minutes = 0;           // > 0: stop after so long; the schedule then follows the clock
  double warmup = 0.05;         // part of the run during which the rate grows from 0
  double final_lr = 0.02;       // the cosine ends at this part of the rate
  double clip = 1.0;            // of the global norm of the gradient; 0: none
  std::int64_t accumulate = 1;  // batches a step
  std::int64_t time_chunk = 0;  // 0: the whole sequence at once
  std::int64_t checkpoint_every = 200;
  std::int64_t keep_checkpoints = 3;  // older ones are removed; 0: keep all
  std::int64_t eval_every = 0;        // steps between held-out losses; 0: ten in a run
  std::int64_t eval_tokens = 16384;   // of the held-out part, for those
  std::uint64_t seed = 0;
  AdamWOptions adam;

  /// As JSON text, and back; Error(kConfig) for a field that is missing or wrong. Kept in
  /// checkpoints.
  std::string to_json() const;
  static TrainOptions from_json(const std::string& text);
};

/// One line of log.jsonl.
struct TrainRecord {
  std::int64_t step = 0;
  std::string split = "train";  // or "heldout"
  double loss = 0;
  double lr = 0;
  double grad_norm = 0;  // before clipping
  double tokens_per_s = 0;
  double seconds = 0;  // of training so far
  std::int64_t peak_rss_bytes = 0;
};

struct TrainResult {
  std::int64_t steps = 0;
  double seconds = 0;
  double tokens_per_s = 0;
  bool stopped = false;  // by `stop`
  double heldout_loss = 0;
};

/// What the caller sees while training runs.
struct TrainHooks {
  std::function<void(const TrainRecord&)> record;
  const std::atomic<bool>* stop = nullptr;  // set: finish the step, save, return
};

/// Trains a model of `config` on `data` into the folder `out`: config.json, model.safetensors,
/// log.jsonl and checkpoints/step-N.safetensors (weights, moments, carried state, position in the
/// data: one file). With `resume` it goes on from the last whole checkpoint, as if never stopped,
/// and drops log lines past it; where there is none it starts fresh. Without, Error(kConfig) where
/// `out` exists; nothing is touched then, nor by Error(kConfig) for options out of range, an illegal
/// `config`, or a run that was trained on other data (Dataset::fingerprint). Error(kValue) where a
/// loss or gradient is no longer finite and Error(kSystem) where a file cannot be written (disk
/// full): the last checkpoint stands. Dropout draws by `options.seed`, whatever the Exec's seed is.
TrainResult train(Exec& exec, const ModelConfig& config, const Dataset& data,
                  const TrainOptions& options, const std::string& out, bool resume,
                  const TrainHooks& hooks = {});

/// The options of the run whose last whole checkpoint lies in `out`; none where there is none.
std::optional<TrainOptions> saved_train_options(const std::string& out);

/// The most memory that this process has held so far, in bytes.
std::int64_t peak_rss_bytes();
/// What it holds now.
std::int64_t rss_bytes();

}  // namespace rill
