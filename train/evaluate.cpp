#include <rill/core/check.h>
#include <rill/core/ops.h>
#include <rill/train/evaluate.h>
#include <rill/train/objective.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>

namespace rill {
namespace {

constexpr std::int64_t kParallelTile = 2048;
constexpr std::int64_t kStepTile = 1024;  // steps whose outputs are handed on together

template <class T>
void count_right(const Tensor& logits, const Tensor& targets, std::int64_t first,
                 std::int64_t& right) {
  const std::int64_t classes = logits.size(-1);
  const std::int64_t rows = logits.numel() / classes;
  const Tensor near = logits.to(Device{});
  const T* row = near.data<T>();
  for (std::int64_t i = 0; i < rows; ++i, row += classes)
    right += std::max_element(row, row + classes) - row == targets.data<std::int64_t>()[first + i];
}

// Sums of one run over all held-out sequences.
struct Score {
  double loss = 0;
  std::int64_t tokens = 0;
  std::int64_t right = 0;
  std::int64_t steps = 0;  // of the sequences

  void add(Exec& exec, Task task, const Tensor& output, const Tensor& target, std::int64_t first) {
    if (task == Task::kPredictNext || task == Task::kRegress) {
      const Tensor part = target.view({target.size(1), target.size(2)}).rows(first, output.size(1));
      const Tensor sum = squared_error(exec, output, part.view(output.shape()),
                                       static_cast<double>(output.size(2)));
      loss += sum.to(Device{}).to(DType::kFloat64).span<double>()[0];
      tokens += output.size(1);
      return;
    }
    const std::int64_t rows = output.numel() / output.size(-1);
    const Tensor logits = output.view({rows, output.size(-1)});
    const Tensor per_token = exec.empty({rows});
    cross_entropy(exec, logits, target.rows(first, rows), 1.0, per_token);
    const Tensor wide = per_token.to(Device{}).to(DType::kFloat64);
    for (const double value : wide.span<double>()) loss += value;
    tokens += rows;
    if (exec.dtype() == DType::kFloat64)
      count_right<double>(logits, target, first, right);
    else
      count_right<float>(logits, target, first, right);
  }
};

void run_steps(Exec& exec, const Model& model, const Tensor& input, State& state,
               const Model::TileVisitor& visit) {
  const bool language = model.config().task == Task::kLanguageModel;
  const bool pooled = model.config().task == Task::kClassify;
  Stepper stepper = model.prepare_step(exec, 1);
  const Tensor x = Tensor::empty(stepper.input_shape(), language ? DType::kInt32 : model.dtype());
  const Tensor y = Tensor::empty(stepper.output_shape(), model.dtype());
  const std::int64_t length = input.size(1);
  const std::int64_t outputs = y.numel();
  const std::size_t row = length == 0 ? 0 : input.bytes() / static_cast<std::size_t>(length);
  for (std::int64_t first = 0; first < length; first += kStepTile) {
    const std::int64_t count = std::min(kStepTile, length - first);
    const Tensor tile = Tensor::empty({1, count, outputs}, model.dtype());
    for (std::int64_t t = 0; t < count; ++t) {
      const char* source =
          static_cast<const char*>(input.raw()) + static_cast<std::size_t>(first + t) * row;
      if (language) {
        const std::int32_t token = *reinterpret_cast<const std::uint8_t*>(source);
        check(token < model.config().vocab_size, ErrorCode::kValue,
              "evaluate: step {}: a token in [0, {}) was expected, {} came.", first + t,
              model.config().vocab_size, token);
        x.data<std::int32_t>()[0] = token;
      } else {
        std::memcpy(x.raw(), source, row);
      }
      const StepStatus status = stepper.step(x, state, y);
      check(status == StepStatus::kOk, ErrorCode::kState, "evaluate: step {}: {}.", first + t,
            to_string(status));
      std::memcpy(static_cast<char*>(tile.raw()) + static_cast<std::size_t>(t) * y.bytes(), y.raw(),
                  y.bytes());
    }
    if (!pooled) visit(first, tile);
  }
  if (pooled) visit(length, y);
}

// Thrown out of the tiles of a sequence once the caller's stop is set.
struct Stopped {};

// The first `limit` steps of [1, T(, C)].
Tensor first_steps(const Tensor& input, std::int64_t limit) {
  std::vector<std::int64_t> extents(input.shape().extents().begin() + 1,
                                    input.shape().extents().end());
  const Tensor part = input.view(Shape(extents)).rows(0, limit);
  return part.view(part.shape().prepend(1));
}

// Adds every held-out sequence to the score, whose sums hold after a Stopped too.
void score_all(Exec& exec, const Model& model, const Dataset& data, const EvalMode& mode,
               std::int64_t limit, const EvalProgress& progress, const std::atomic<bool>* stop,
               Score& score) {
  const Task task = model.config().task;
  const bool pooled = task == Task::kClassify;
  const auto stop_here = [&] {
    if (stop && stop->load(std::memory_order_relaxed)) throw Stopped();
  };
  std::int64_t sequences = data.heldout_count();
  for (std::int64_t i = 0; i < sequences; ++i) {
    stop_here();
    const Example example = data.heldout(i);
    Tensor input = example.input;
    if (limit > 0 && !pooled && limit < input.size(1)) input = first_steps(input, limit);
    if (limit > 0 && pooled && i == 0)
      sequences =
          std::clamp<std::int64_t>(limit / std::max<std::int64_t>(1, input.size(1)), 1, sequences);
    if (progress && (!pooled || i == 0)) progress(0, pooled ? sequences : input.size(1));
    State state = model.initial_state(exec, 1);
    std::int64_t read = 0;  // of this sequence
    run_mode(exec, model, input, state, mode, [&](std::int64_t first, const Tensor& y) {
      score.add(exec, task, y, example.target, pooled ? 0 : first);
      const std::int64_t end = pooled ? first : first + y.size(1);
      score.steps += end - read;
      read = end;
      if (progress && !pooled) progress(end, input.size(1));
      if (end < input.size(1)) stop_here();
    });
    if (progress && pooled) progress(i + 1, sequences);
  }
}

}  // namespace

EvalMode EvalMode::parse(const std::string& text) {
  if (text == "parallel") return {Kind::kParallel, 0};
  if (text == "step") return {Kind::kStep, 0};
  std::int64_t chunk = 0;
  const char* end = text.data() + text.size();
  if (text.starts_with("chunk:") && std::from_chars(text.data() + 6, end, chunk).ptr == end &&
      chunk >= 1)
    return {Kind::kChunk, chunk};
  fail(ErrorCode::kConfig, "A mode is parallel, step or chunk:K with K >= 1; '{}' came.", text);
}

std::string EvalMode::text() const {
  switch (kind) {
    case Kind::kParallel:
      return "parallel";
    case Kind::kStep:
      return "step";
    default:
      return "chunk:" + std::to_string(chunk);
  }
}

void run_mode(Exec& exec, const Model& model, const Tensor& input, State& state,
              const EvalMode& mode, const Model::TileVisitor& visit) {
  check(input.dtype() == DType::kUInt8 || model.config().task != Task::kLanguageModel,
        ErrorCode::kDType, "evaluate: bytes were expected, {} came.", name_of(input.dtype()));
  if (mode.kind == EvalMode::Kind::kStep) return run_steps(exec, model, input, state, visit);
  const bool pooled = model.config().task == Task::kClassify;
  const std::int64_t tile = mode.kind == EvalMode::Kind::kChunk ? mode.chunk : kParallelTile;
  Tensor last;
  model.forward_tiles(exec, input, state, tile, [&](std::int64_t first, const Tensor& y) {
    if (pooled)
      last = y;
    else
      visit(first, y);
  });
  if (pooled && last.defined()) visit(input.size(1), last);
}

EvalResult evaluate(Exec& exec, const Model& model, const Dataset& data, const EvalMode& mode,
                    std::int64_t limit, const EvalProgress& progress,
                    const std::atomic<bool>* stop) {
  const TrainingScope inference(exec, false);
  const Task task = model.config().task;
  const std::int64_t time = exec.time();
  Score score;
  bool stopped = false;
  try {
    score_all(exec, model, data, mode, limit, progress, stop, score);
  } catch (const Stopped&) {
    exec.set_time(time);
    stopped = true;
  }
  check(stopped || score.tokens > 0, ErrorCode::kValue,
        "evaluate: there is nothing held out to predict.");
  const bool series = task == Task::kPredictNext || task == Task::kRegress;
  const auto tokens = static_cast<double>(score.tokens);
  return {.loss = score.loss / tokens,
          .unit = data.unit(),
          .tokens = score.tokens,
          .accuracy = series ? std::numeric_limits<double>::quiet_NaN()
                             : static_cast<double>(score.right) / tokens,
          .mode = mode.text(),
          .steps = score.steps,
          .stopped = stopped};
}

}  // namespace rill
