// Laws 7, 8, 14: states and parameters survive files, sequences side by side are sequences alone.
#include "law.h"

#include <rill/core/kernel.h>

#include <cstring>

namespace rill::laws {
namespace {

constexpr std::int64_t kLength = 29;

// A file in memory.
SafetensorsReader written(const SafetensorsWriter& writer, std::string& bytes) {
  bytes = writer.serialize();
  return SafetensorsReader::view(std::as_bytes(std::span(bytes.data(), bytes.size())));
}

Finding save_and_load(const Subject& subject) {
  Finding finding;
  Exec exec({.dtype = subject.dtype, .threads = 1});
  const auto layer = subject.make();
  const Tensor x = random_input({2, kLength, layer->input_size()}, subject.dtype, 31);
  const Run whole = run(exec, *layer, x, layer->initial_state(exec, 2));
  const Run half = run(exec, *layer, steps_of(x, 0, 13), layer->initial_state(exec, 2));
  SafetensorsWriter writer;
  half.state.save(writer);
  std::string bytes;
  const State loaded = State::load(written(writer, bytes), layer->state_spec());
  finding.add(same_state(loaded, half.state));
  const Run rest = run(exec, *layer, steps_of(x, 13, kLength - 13), loaded);
  const Run straight = run(exec, *layer, steps_of(x, 13, kLength - 13), half.state);
  finding.add(test::same_bits(rest.y, straight.y));
  finding.add(same_state(rest.state, straight.state));
  if (subject.type->flags.sequential)
    finding.add(test::same_bits(rest.y, steps_of(whole.y, 13, kLength - 13)));
  // A copy is a value: going on with one does not touch the other.
  const State kept = half.state.clone();
  run(exec, *layer, x, half.state);
  finding.add(same_state(kept, half.state));
  return finding;
}

// Outputs and gradients of sequences of several lengths, packed, padded and reset, against each run
// alone.
Finding segments(const Subject& subject) {
  Finding finding;
  Exec exec({.dtype = subject.dtype, .threads = 2});
  const auto layer = subject.make();
  const std::vector<std::int64_t> lengths = {5, 0, 17, 1, 6};
  std::vector<std::int64_t> offsets = {0};
  for (const std::int64_t length : lengths) offsets.push_back(offsets.back() + length);
  const Tensor packed = random_input({1, offsets.back(), layer->input_size()}, subject.dtype, 32);
  const auto rows = static_cast<std::int64_t>(lengths.size());
  const State initial = used_state(exec, *layer, rows, 33);

  const Segments by_offsets{.offsets = offsets};
  const Run together = run(exec, *layer, packed, initial, &by_offsets);
  Tensor padded = Tensor::full({rows, 17, layer->input_size()}, subject.dtype, 3.0);
  std::vector<Run> alone;
  for (std::int64_t s = 0; s < rows; ++s) {
    const std::int64_t row[] = {s};
    const Tensor x = steps_of(packed, offsets[static_cast<std::size_t>(s)],
                              lengths[static_cast<std::size_t>(s)]);
    std::memcpy(padded.rows(s, 1).raw(), x.raw(), x.bytes());
    alone.push_back(run(exec, *layer, x, initial.select(row)));
    finding.add(test::same_bits(
        steps_of(together.y, offsets[static_cast<std::size_t>(s)], x.size(1)), alone.back().y));
    finding.add(same_state(together.state.select(row), alone.back().state));
  }

  const Segments by_lengths{.lengths = lengths};
  const Run side_by_side = run(exec, *layer, padded, initial, &by_lengths);
  for (std::int64_t s = 0; s < rows; ++s) {
    const std::int64_t row[] = {s};
    const std::int64_t length = lengths[static_cast<std::size_t>(s)];
    const Tensor y = side_by_side.y.rows(s, 1).clone();
    finding.add(test::same_bits(steps_of(y, 0, length), alone[static_cast<std::size_t>(s)].y));
    const Tensor beyond = steps_of(y, length, 17 - length);
    finding.add(test::error_of(beyond, Tensor::zeros(beyond.shape(), beyond.dtype())) == 0);
    finding.add(
        same_state(side_by_side.state.select(row), alone[static_cast<std::size_t>(s)].state));
  }

  // A reset before step t is a fresh state there.
  const Tensor reset = Tensor::zeros({1, offsets.back()}, DType::kUInt8);
  for (const std::int64_t at : {std::int64_t{5}, std::int64_t{22}, std::int64_t{23}})
    reset.data<std::uint8_t>()[at] = 1;
  const Segments by_resets{.reset = reset};
  const std::int64_t first_row[] = {0};
  const Run one = run(exec, *layer, packed, initial.select(first_row), &by_resets);
  State state = initial.select(first_row);
  for (const auto& [first, count] :
       {std::pair<std::int64_t, std::int64_t>{0, 5}, {5, 17}, {22, 1}, {23, 6}}) {
    if (first > 0) state = layer->initial_state(exec, 1);
    Run part = run(exec, *layer, steps_of(packed, first, count), std::move(state));
    finding.add(test::same_bits(steps_of(one.y, first, count), part.y));
    state = std::move(part.state);
  }
  finding.add(same_state(one.state, state));
  return finding;
}

// No gradient passes a reset, and packed gradients are those of the sequences alone.
Finding segment_gradients(const Subject& subject) {
  Finding finding;
  Exec exec({.dtype = DType::kFloat64, .threads = 1});
  const auto layer = subject.make(16, DType::kFloat64);
  const Tensor x = random_input({1, 12, layer->input_size()}, DType::kFloat64, 34);
  const Tensor reset = Tensor::zeros({1, 12}, DType::kUInt8);
  reset.data<std::uint8_t>()[7] = 1;
  const Segments segments{.reset = reset};
  const State initial = used_state(exec, *layer, 1, 35);
  const Tensor weights = random_input({1, 12, layer->output_size()}, DType::kFloat64, 36);
  const auto gradient_of = [&](const Tensor& input, const State& from, const Tensor& seed,
                               const Segments* s) {
    Tape tape;
    State state = from;
    tape.watch(input);
    Tensor y;
    {
      const TapeScope scope(exec, &tape);
      y = layer->forward(exec, input, state, s);
    }
    backward(exec, tape, {{y, seed}});
    return tape.gradient(input);
  };
  const Tensor whole = gradient_of(x, initial, weights, &segments);
  const Tensor head = gradient_of(steps_of(x, 0, 7), initial, steps_of(weights, 0, 7), nullptr);
  const Tensor tail = gradient_of(steps_of(x, 7, 5), layer->initial_state(exec, 1),
                                  steps_of(weights, 7, 5), nullptr);
  finding.add(test::error_of(whole, join_time({head, tail})),
              8 * test::epsilon_of(DType::kFloat64));
  return finding;
}

Finding segments_law(const Subject& subject) {
  Finding finding = segments(subject);
  if (subject.dtype != DType::kFloat64) return finding;
  const Finding gradients = segment_gradients(subject);
  finding.add(gradients.error, gradients.bound);
  return finding;
}

Finding parameters_round_trip(const Subject& subject) {
  Finding finding;
  Exec exec({.dtype = subject.dtype, .threads = 1});
  const auto layer = subject.make();
  SafetensorsWriter writer;
  layer->visit_parameters([&](const std::string& name, const Tensor& value, ParameterGroup) {
    writer.tensor(name, value);
  });
  std::string bytes;
  const SafetensorsReader reader = written(writer, bytes);
  const auto other = subject.make(16, subject.dtype, 99);
  const Tensor x = random_input({1, kLength, layer->input_size()}, subject.dtype, 37);
  const Run expected = run(exec, *layer, x, layer->initial_state(exec, 1));
  finding.add(!test::same_bits(expected.y, run(exec, *other, x, other->initial_state(exec, 1)).y));
  other->visit_parameters([&](const std::string& name, const Tensor& value, ParameterGroup) {
    value.copy_from(reader.tensor(name));
  });
  finding.add(test::same_bits(expected.y, run(exec, *other, x, other->initial_state(exec, 1)).y));
  return finding;
}

bool takes_segments(const LayerType& type) { return type.flags.resets; }

}  // namespace

void add_state_laws(std::vector<Law>& laws) {
  laws.push_back({"7", "save, load, go on: bit for bit", true, true, save_and_load});
  laws.push_back({"8", "resets, packed and padded sequences equal the sequences alone", true, true,
                  segments_law, takes_segments});
  laws.push_back(
      {"14", "parameters round-trip through a file by name", true, true, parameters_round_trip});
}

}  // namespace rill::laws
