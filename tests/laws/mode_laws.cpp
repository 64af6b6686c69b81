// Laws 1, 1b, 2, 3, 4, 13: the modes agree, time is causal, rows are alone, every length works.
#include "law.h"

#include <rill/core/kernel.h>

namespace rill::laws {
namespace {

constexpr std::int64_t kBatch = 3;
constexpr std::int64_t kLength = 37;

// What a plain loop in the same precision errs by, and the double-precision result.
struct Reference {
  Run exact;
  double y_bound = 0, state_bound = 0;
};

Reference reference(const Subject& subject, std::int64_t width, const Tensor& x,
                    const State& initial) {
  const auto layer64 = subject.make(width, DType::kFloat64);
  Exec exec64({.dtype = DType::kFloat64, .threads = 1});
  Reference result{.exact = run(exec64, *layer64, x.to(DType::kFloat64),
                                convert(initial, layer64->state_spec()))};
  double y_error = 0, state_err = 0;
  if (subject.dtype == DType::kFloat32) {
    const PlainKernels plain;
    const auto layer = subject.make(width, DType::kFloat32);
    Exec exec({.threads = 1});
    const Run simple = run(exec, *layer, x, initial);
    y_error = test::error_of(simple.y, result.exact.y);
    state_err = state_error(simple.state, result.exact.state);
  }
  result.y_bound = bound_of(y_error, subject.dtype);
  result.state_bound = bound_of(state_err, subject.dtype);
  return result;
}

void compare(Finding& finding, const Run& got, const Reference& expected) {
  finding.add(test::error_of(got.y, expected.exact.y), expected.y_bound);
  finding.add(state_error(got.state, expected.exact.state), expected.state_bound);
}

Finding forward_is_steps(const Subject& subject) {
  Finding finding;
  Exec exec({.dtype = subject.dtype, .threads = 1});
  const auto layer = subject.make();
  const Tensor x = random_input({kBatch, kLength, layer->input_size()}, subject.dtype, 2);
  for (const State& initial :
       {layer->initial_state(exec, kBatch), used_state(exec, *layer, kBatch, 3)}) {
    const Reference expected = reference(subject, layer->input_size(), x, initial);
    compare(finding, run(exec, *layer, x, initial), expected);
    compare(finding, run_steps(exec, *layer, x, initial), expected);
  }
  return finding;
}

Finding forward_is_steps_exactly(const Subject& subject) {
  Finding finding;
  Exec exec({.dtype = subject.dtype, .threads = 2});
  const auto layer = subject.make();
  const Tensor x = random_input({kBatch, kLength, layer->input_size()}, subject.dtype, 2);
  for (const State& initial :
       {layer->initial_state(exec, kBatch), used_state(exec, *layer, kBatch, 3)}) {
    const Run whole = run(exec, *layer, x, initial);
    const Run steps = run_steps(exec, *layer, x, initial);
    finding.add(test::same_bits(whole.y, steps.y));
    finding.add(same_state(whole.state, steps.state));
  }
  return finding;
}

Finding cut_anywhere(const Subject& subject) {
  Finding finding;
  Exec exec({.dtype = subject.dtype, .threads = 1});
  const auto layer = subject.make();
  const Tensor x = random_input({kBatch, kLength, layer->input_size()}, subject.dtype, 4);
  const State initial = used_state(exec, *layer, kBatch, 5);
  const Reference expected = reference(subject, layer->input_size(), x, initial);
  const std::vector<std::vector<std::int64_t>> all_cuts = {
      {1}, {36}, {5, 5, 19}, {2, 3, 5, 8, 13, 21, 34}, {0, 16, 32, 37}};
  for (const auto& cuts : all_cuts) {
    std::vector<std::int64_t> edges = {0};
    edges.insert(edges.end(), cuts.begin(), cuts.end());
    edges.push_back(kLength);
    State state = initial;
    std::vector<Tensor> outputs;
    for (std::size_t i = 0; i + 1 < edges.size(); ++i) {
      Run part =
          run(exec, *layer, steps_of(x, edges[i], edges[i + 1] - edges[i]), std::move(state));
      outputs.push_back(part.y);
      state = std::move(part.state);
    }
    compare(finding, {join_time(outputs), std::move(state)}, expected);
  }
  return finding;
}

Finding causal(const Subject& subject) {
  Finding finding;
  Exec exec({.dtype = subject.dtype, .threads = 1});
  const auto layer = subject.make();
  const Tensor x = random_input({kBatch, kLength, layer->input_size()}, subject.dtype, 6);
  const Tensor changed = random_input(x.shape(), subject.dtype, 7);
  const State initial = used_state(exec, *layer, kBatch, 8);
  const Run before = run(exec, *layer, x, initial);
  for (const std::int64_t at : {0, 1, 7, 16, 36}) {
    const Tensor mixed = join_time({steps_of(x, 0, at), steps_of(changed, at, kLength - at)});
    const Run after = run(exec, *layer, mixed, initial);
    finding.add(test::same_bits(steps_of(before.y, 0, at), steps_of(after.y, 0, at)));
    // What was changed is seen: a layer that ignores its input would be causal, too.
    finding.add(!test::same_bits(steps_of(before.y, at, kLength - at),
                                 steps_of(after.y, at, kLength - at)));
  }
  return finding;
}

Finding rows_alone(const Subject& subject) {
  Finding finding;
  Exec exec({.dtype = subject.dtype, .threads = 2});
  const auto layer = subject.make();
  constexpr std::int64_t kRows = 7;
  const Tensor x = random_input({kRows, kLength, layer->input_size()}, subject.dtype, 9);
  const State initial = used_state(exec, *layer, kRows, 10);
  const Run together = run(exec, *layer, x, initial);
  for (std::int64_t row = kRows - 1; row >= 0; --row) {
    const std::int64_t chosen[] = {row};
    const Run alone = run(exec, *layer, x.rows(row, 1).clone(), initial.select(chosen));
    finding.add(test::same_bits(alone.y, together.y.rows(row, 1)));
    finding.add(same_state(alone.state, together.state.select(chosen)));
  }
  return finding;
}

Finding every_length(const Subject& subject) {
  Finding finding;
  Exec exec({.dtype = subject.dtype, .threads = 2});
  for (const std::int64_t width : {1, 2, 16, 48}) {
    const auto layer = subject.make(width, subject.dtype);
    for (const std::int64_t length :
         {0, 1, 2, 3, 7, 13, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 129}) {
      if (width > 16 && length > 33) continue;
      for (const std::int64_t batch : {0, 1, 2}) {
        if (batch == 0 && length > 3) continue;
        const Tensor x = random_input({batch, length, layer->input_size()}, subject.dtype, 11);
        const State initial = used_state(exec, *layer, batch, 12);
        const Run got = run(exec, *layer, x, initial);
        finding.add(got.y.shape() == Shape({batch, length, layer->output_size()}));
        if (length == 0) finding.add(same_state(got.state, initial));
        compare(finding, got, reference(subject, width, x, initial));
      }
    }
  }
  return finding;
}

bool is_sequential(const LayerType& type) { return type.flags.sequential && type.flags.stepper; }
bool has_stepper(const LayerType& type) { return type.flags.stepper; }
bool is_chunkable(const LayerType& type) { return type.flags.chunkable; }

}  // namespace

void add_mode_laws(std::vector<Law>& laws) {
  laws.push_back({"1", "forward(T) = T steps", true, true, forward_is_steps, has_stepper});
  laws.push_back({"1b", "forward(T) = T steps, bit for bit", true, true, forward_is_steps_exactly,
                  is_sequential});
  laws.push_back(
      {"2", "cut anywhere: same outputs, same state", true, true, cut_anywhere, is_chunkable});
  laws.push_back({"3", "causality", true, true, causal});
  laws.push_back({"4", "batch rows are independent", true, true, rows_alone});
  laws.push_back({"13", "every length, one channel, batch 0 and 1", true, true, every_length});
}

}  // namespace rill::laws
