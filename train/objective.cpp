#include <rill/core/check.h>
#include <rill/core/ops.h>
#include <rill/train/objective.h>

#include <cstring>

namespace rill {
namespace {

Tensor slice_steps(const Tensor& x, std::int64_t batch, std::int64_t length, std::int64_t first,
                   std::int64_t count, const Shape& shape) {
  const Tensor part = Tensor::empty(shape, x.dtype());
  const std::size_t step =
      batch * length == 0 ? 0 : x.bytes() / static_cast<std::size_t>(batch * length);
  for (std::int64_t b = 0; b < batch; ++b)
    std::memcpy(
        static_cast<char*>(part.raw()) + static_cast<std::size_t>(b * count) * step,
        static_cast<const char*>(x.raw()) + static_cast<std::size_t>(b * length + first) * step,
        static_cast<std::size_t>(count) * step);
  return part;
}

Shape with_time(const Shape& shape, std::int64_t count) {
  std::vector<std::int64_t> extents(shape.extents().begin(), shape.extents().end());
  extents[1] = count;
  return Shape(extents);
}

double value_of(const Tensor& scalar) {
  return scalar.to(Device{}).to(DType::kFloat64).span<double>()[0];
}

// How many terms the mean loss of a batch has.
double term_count(const Batch& batch, Task task) {
  const auto rows = static_cast<double>(batch.input.size(0));
  if (task == Task::kClassify) return rows;
  return rows * static_cast<double>(batch.input.size(1));
}

// Forward and backward of one chunk; adds the loss, takes and gives the gradient of the state.
struct ChunkPass {
  Exec& exec;
  const Model& model;
  Tape& tape;
  double count, scale;

  double run(const Batch& part, State& state, bool with_loss, std::vector<Tensor>& d_state) {
    const Task task = model.config().task;
    std::vector<Tensor> initial(state.fields().begin(), state.fields().end());
    for (const Tensor& field : initial)
      if (is_floating(field.dtype())) tape.watch(field);
    double loss = 0;
    std::vector<std::pair<Tensor, Tensor>> seeds;
    {
      const TapeScope scope(exec, &tape);
      const Tensor output = model.forward(exec, part.input, state);
      if (with_loss) {
        const Tensor mean = loss_of(exec, task, output, part.target, count);
        loss = value_of(mean);
        seeds.emplace_back(mean, Tensor::full({1}, mean.dtype(), scale));
      }
    }
    for (std::size_t f = 0; f < d_state.size(); ++f)
      if (d_state[f].defined()) seeds.emplace_back(state.fields()[f], d_state[f]);
    backward(exec, tape, std::move(seeds));
    d_state.clear();
    for (const Tensor& field : initial) d_state.push_back(tape.gradient(field));
    tape.next_part();
    return loss;
  }
};

}  // namespace

Batch slice_time(const Batch& batch, std::int64_t first, std::int64_t count, Task task) {
  const std::int64_t rows = batch.input.size(0);
  const std::int64_t length = batch.input.size(1);
  Batch part{.input = slice_steps(batch.input, rows, length, first, count,
                                  with_time(batch.input.shape(), count)),
             .target = batch.target,
             .continues = true};
  if (task == Task::kLanguageModel)
    part.target = slice_steps(batch.target, rows, length, first, count, {rows * count});
  else if (task != Task::kClassify)
    part.target = slice_steps(batch.target, rows, length, first, count,
                              with_time(batch.target.shape(), count));
  return part;
}

Tensor loss_of(Exec& exec, Task task, const Tensor& output, const Tensor& target, double count) {
  switch (task) {
    case Task::kLanguageModel:
      return cross_entropy(exec,
                           reshape(exec, output, {output.size(0) * output.size(1), output.size(2)}),
                           target, count);
    case Task::kClassify:
      return cross_entropy(exec, output, target, count);
    default:
      return squared_error(exec, output, target, count * static_cast<double>(output.size(-1)));
  }
}

double loss_and_gradients(Exec& exec, const Model& model, const Batch& batch, State& state,
                          std::int64_t time_chunk, Tape& tape, double scale) {
  const TrainingScope training(exec, true);
  const Task task = model.config().task;
  const std::int64_t length = batch.input.size(1);
  const std::int64_t chunk = time_chunk > 0 ? std::min(time_chunk, length) : length;
  const std::int64_t chunks = chunk == 0 ? 1 : (length + chunk - 1) / chunk;
  const std::int64_t start = exec.time();
  ChunkPass pass{exec, model, tape, term_count(batch, task), scale};
  // No gradient leaves the batch: what came before it is a constant.
  std::vector<Tensor> d_state;
  if (chunks <= 1) return pass.run(batch, state, true, d_state);

  std::vector<State> cuts;
  cuts.push_back(state);
  for (std::int64_t c = 0; c + 1 < chunks; ++c) {
    State next = cuts.back();
    exec.set_time(start + c * chunk);
    model.forward_tiles(exec, slice_time(batch, c * chunk, chunk, task).input, next, chunk,
                        [](std::int64_t, const Tensor&) {});
    cuts.push_back(std::move(next));
  }
  double loss = 0;
  for (std::int64_t c = chunks - 1; c >= 0; --c) {
    exec.set_time(start + c * chunk);
    const std::int64_t count = std::min(chunk, length - c * chunk);
    const bool with_loss = task != Task::kClassify || c == chunks - 1;
    State& cut = cuts[static_cast<std::size_t>(c)];
    loss += pass.run(slice_time(batch, c * chunk, count, task), cut, with_loss, d_state);
    if (c == chunks - 1) state = std::move(cut);
    cuts.pop_back();
  }
  exec.set_time(start);
  return loss;
}

}  // namespace rill
