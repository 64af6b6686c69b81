// Laws 1, 1b, 2, 3, 4, 13: the modes agree, time is causal, rows are alone, every length works.
#include "law.h"

#include <rill/core/kernel.h>

namespace rill::laws {
namespace {

constexpr std::int64_t kBatch = 3;
constexpr std::int64_t kLength = 37;

Finding forward_is_steps(const Subject& subject) {
  Finding finding;
  Exec exec(under_law(subject.dtype, 1));
  const auto layer = subject.make();
  const Tensor x = random_input({kBatch, kLength, layer->input_size()}, subject.dtype, 2);
  for (const State& initial :
       {layer->initial_state(exec, kBatch), used_state(exec, *layer, kBatch, 3)}) {
    const Reference expected = reference(subject, layer->input_size(), x, initial);
    compare(finding, subject, run(exec, *layer, x, initial), expected);
    compare(finding, subject, run_steps(exec, *layer, x, initial), expected);
  }
  return finding;
}

// The whole in pieces, cut before the steps in `cuts`.
Run run_cut(Exec& exec, const SequenceLayer& layer, const Tensor& x, const State& initial,
            const std::vector<std::int64_t>& cuts) {
  std::vector<std::int64_t> edges = {0};
  edges.insert(edges.end(), cuts.begin(), cuts.end());
  edges.push_back(x.size(1));
  State state = initial;
  std::vector<Tensor> outputs;
  for (std::size_t i = 0; i + 1 < edges.size(); ++i) {
    Run part = run(exec, layer, steps_of(x, edges[i], edges[i + 1] - edges[i]), std::move(state));
    outputs.push_back(part.y);
    state = std::move(part.state);
  }
  return {join_time(outputs), std::move(state)};
}

void same_run(Finding& finding, const Run& a, const Run& b) {
  finding.add(test::same_bits(a.y, b.y));
  finding.add(same_state(a.state, b.state));
}

Finding forward_is_steps_exactly(const Subject& subject) {
  Finding finding;
  Exec exec(under_law(subject.dtype, 2));
  // 24: no multiple of an AVX-512 vector; 64: several heads in the layers that have heads.
  for (const auto& [width, length] : {std::pair<std::int64_t, std::int64_t>{16, 1},
                                      {16, 37},
                                      {16, 300},
                                      {24, 37},
                                      {64, 1},
                                      {64, 70}}) {
    const auto layer = subject.make(width, subject.dtype);
    const Tensor x = random_input({kBatch, length, layer->input_size()}, subject.dtype, 2);
    for (const State& initial :
         {layer->initial_state(exec, kBatch), used_state(exec, *layer, kBatch, 3)}) {
      const Run whole = run(exec, *layer, x, initial);
      same_run(finding, run_steps(exec, *layer, x, initial), whole);
      if (length < 37) continue;
      for (const auto& cuts : std::vector<std::vector<std::int64_t>>{
               {1}, {length - 1}, {16, 32}, {0, 5, 5, 19, length}, {2, 3, 5, 8, 13, 21, 34}})
        same_run(finding, run_cut(exec, *layer, x, initial, cuts), whole);
    }
  }
  return finding;
}

Finding cut_anywhere(const Subject& subject) {
  Finding finding;
  Exec exec(under_law(subject.dtype, 1));
  const auto layer = subject.make();
  const Tensor x = random_input({kBatch, kLength, layer->input_size()}, subject.dtype, 4);
  const State initial = used_state(exec, *layer, kBatch, 5);
  const Reference expected = reference(subject, layer->input_size(), x, initial);
  const std::vector<std::vector<std::int64_t>> all_cuts = {
      {1}, {36}, {5, 5, 19}, {2, 3, 5, 8, 13, 21, 34}, {0, 16, 32, 37}};
  for (const auto& cuts : all_cuts)
    compare(finding, subject, run_cut(exec, *layer, x, initial, cuts), expected);
  return finding;
}

Finding causal(const Subject& subject) {
  Finding finding;
  Exec exec(under_law(subject.dtype, 1));
  const auto layer = subject.make();
  const Tensor x = random_input({kBatch, kLength, layer->input_size()}, subject.dtype, 6);
  const Tensor changed = random_input(x.shape(), subject.dtype, 7);
  const State initial = used_state(exec, *layer, kBatch, 8);
  const Run before = run(exec, *layer, x, initial);
  for (const std::int64_t at : {0, 1, 7, 16, 36}) {
    const Tensor mixed = join_time({steps_of(x, 0, at), steps_of(changed, at, kLength - at)});
    const Run after = run(exec, *layer, mixed, initial);
    const Tensor early = steps_of(after.y, 0, at), same = steps_of(before.y, 0, at);
    if (subject.sequential())
      finding.add(test::same_bits(early, same));
    else  // the transform spreads the rounding of what comes over the whole signal
      finding.add(test::error_of(early, same), bound_of(0, subject.dtype));
    // What was changed is seen: a layer that ignores its input would be causal, too.
    finding.add(!test::same_bits(steps_of(before.y, at, kLength - at),
                                 steps_of(after.y, at, kLength - at)));
  }
  return finding;
}

Finding rows_alone(const Subject& subject) {
  Finding finding;
  Exec exec(under_law(subject.dtype, 2));
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

// One width and length: what comes has the right shape, and is near to double, in forward and by
// steps (in double, forward is the reference's own code, and only steps are another).
void one_length(Finding& finding, const Subject& subject, Exec& exec, std::int64_t width,
                std::int64_t length) {
  const auto layer = subject.make(width, subject.dtype);
  // The rounding errors of a handful of numbers are luck: of those, some draws. A narrow layer's
  // state is a handful after any length.
  const std::uint64_t draws = width <= 2 || width * length < 16 ? 8 : 1;
  ArrayErrors forward, steps;
  for (const std::int64_t batch : {0, 1, 2}) {
    if (batch == 0 && length > 3) continue;
    for (std::uint64_t draw = 0; draw < draws; ++draw) {
      const Tensor x =
          random_input({batch, length, layer->input_size()}, subject.dtype, 11 + 100 * draw);
      const State initial = used_state(exec, *layer, batch, 12 + 100 * draw);
      const Run got = run(exec, *layer, x, initial);
      finding.add(got.y.shape() == Shape({batch, length, layer->output_size()}));
      if (length == 0) finding.add(same_state(got.state, initial));
      const Reference expected = reference(subject, width, x, initial);
      add(forward, got, expected);
      if (batch == 0) continue;
      // Where forward is another algorithm than the steps, so is what plain loops owe.
      Reference expected_steps = expected;
      if (!subject.variant->sequential && subject.dtype == DType::kFloat32) {
        const PlainKernels plain;
        const auto plain_layer = subject.make(width, subject.dtype);
        Exec plain_exec({.threads = 1});
        expected_steps.plain = run_steps(plain_exec, *plain_layer, x, initial);
      }
      add(steps, run_steps(exec, *layer, x, initial), expected_steps);
    }
  }
  forward.judge(finding, subject.dtype);
  steps.judge(finding, subject.dtype);
}

// The execution model takes a microsecond for what a card does in no time: the edges of a warp and
// of a chunk, and one channel, at fewer lengths.
bool worth_a_model(std::int64_t width, std::int64_t length) {
  if (width == 1) return length <= 2 || length == 33;
  return width == 16 && length <= 65;
}

Finding every_length(const Subject& subject) {
  Finding finding;
  Exec exec(under_law(subject.dtype, 2));
  for (const std::int64_t width : {1, 2, 16, 48})
    for (const std::int64_t length :
         {0, 1, 2, 3, 7, 13, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 129})
      if ((width <= 16 || length <= 33) && (!on_device_model() || worth_a_model(width, length)))
        one_length(finding, subject, exec, width, length);
  return finding;
}

bool is_sequential(const Subject& subject) {
  return subject.sequential() && subject.type->flags.stepper;
}
bool has_stepper(const Subject& subject) { return subject.type->flags.stepper; }
bool is_chunkable(const Subject& subject) { return subject.type->flags.chunkable; }

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
