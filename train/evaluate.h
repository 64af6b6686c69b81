// Evaluation on held-out data, in either mode of the same model.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include <rill/model/model.h>
#include <rill/train/dataset.h>

namespace rill {

/// How a model reads a sequence: at once, step by step, or in chunks of a length.
struct EvalMode {
  enum class Kind { kParallel, kStep, kChunk };
  Kind kind = Kind::kParallel;
  std::int64_t chunk = 0;

  /// "parallel", "step" or "chunk:K"; Error(kConfig) for anything else.
  static EvalMode parse(const std::string& text);
  std::string text() const;
};

struct EvalResult {
  double loss = 0;  // mean
  std::string unit;
  std::int64_t tokens = 0;  // predictions that were scored (sequences, for classifiers)
  double accuracy = 0;      // part of predictions whose largest logit is right; NaN for series
  std::string mode;
  std::string split = "heldout";
};

/// Sees how many of how many steps of a sequence (sequences, for classifiers) are done, first 0.
using EvalProgress = std::function<void(std::int64_t done, std::int64_t total)>;

/// Scores every held-out sequence from a fresh state; `limit` > 0: only that many first steps
/// (sequences, for classifiers). Error(kValue) where nothing is held out, Error(kShape / kDType)
/// where the data do not fit the model.
EvalResult evaluate(Exec& exec, const Model& model, const Dataset& data, const EvalMode& mode,
                    std::int64_t limit = 0, const EvalProgress& progress = nullptr);

/// Runs one sequence [1, T(, C)] through the model in a mode; `visit(first, y)` sees outputs of
/// consecutive steps [1, n, C] (of classifiers the one after the last step [1, C]). Language models
/// read uint8 here: Error(kDType) for other tokens. Other errors are those of Model::forward_tiles.
void run_mode(Exec& exec, const Model& model, const Tensor& input, State& state,
              const EvalMode& mode, const Model::TileVisitor& visit);

}  // namespace rill
