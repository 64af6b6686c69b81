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
  Exec exec(under_law(subject.dtype, 1));
  const auto layer = subject.make();
  const Tensor x = random_input({2, kLength, layer->input_size()}, subject.dtype, 31);
  const Run whole = run(exec, *layer, x, layer->initial_state(exec, 2));
  for (const std::int64_t at : {0, 1, 13, 16, 28, 29}) {
    Run half = run(exec, *layer, steps_of(x, 0, at), layer->initial_state(exec, 2));
    SafetensorsWriter writer;
    half.state.save(writer);
    std::string bytes;
    const State loaded = State::load(written(writer, bytes), layer->state_spec());
    finding.add(same_state(loaded, half.state));
    const Tensor coming = steps_of(x, at, kLength - at);
    const Run rest = run(exec, *layer, coming, loaded);
    const Run straight = run(exec, *layer, coming, half.state);
    finding.add(test::same_bits(rest.y, straight.y));
    finding.add(same_state(rest.state, straight.state));
    if (subject.sequential()) {
      finding.add(test::same_bits(rest.y, steps_of(whole.y, at, kLength - at)));
      finding.add(same_state(rest.state, whole.state));
    }
    // A copy is a value: going on with the one, in place, does not touch the other.
    State going = half.state.to(exec.device());
    const State kept = going.clone();
    layer->forward(exec, x.to(exec.device()), going);
    finding.add(same_state(kept, loaded) && !same_state(kept, going));
  }
  return finding;
}

// The same bits; from a convolution by FFT, whose transform has the longest sequence's size, to
// rounding.
void same(Finding& finding, const Subject& subject, const Tensor& got, const Tensor& alone) {
  if (subject.sequential())
    finding.add(test::same_bits(got, alone));
  else
    finding.add(test::error_of(got, alone), bound_of(0, subject.dtype));
}
void same(Finding& finding, const Subject& subject, const State& got, const State& alone) {
  if (subject.sequential())
    finding.add(same_state(got, alone));
  else
    finding.add(state_error(got, alone), bound_of(0, subject.dtype));
}

// Outputs and states of sequences of several lengths, packed, padded and reset, against each run
// alone.
Finding segments(const Subject& subject) {
  Finding finding;
  Exec exec(under_law(subject.dtype, 2));
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
    same(finding, subject, steps_of(together.y, offsets[static_cast<std::size_t>(s)], x.size(1)),
         alone.back().y);
    same(finding, subject, together.state.select(row), alone.back().state);
  }

  const Segments by_lengths{.lengths = lengths};
  const Run side_by_side = run(exec, *layer, padded, initial, &by_lengths);
  for (std::int64_t s = 0; s < rows; ++s) {
    const std::int64_t row[] = {s};
    const std::int64_t length = lengths[static_cast<std::size_t>(s)];
    const Tensor y = side_by_side.y.rows(s, 1).clone();
    same(finding, subject, steps_of(y, 0, length), alone[static_cast<std::size_t>(s)].y);
    const Tensor beyond = steps_of(y, length, 17 - length);
    finding.add(test::error_of(beyond, Tensor::zeros(beyond.shape(), beyond.dtype())) == 0);
    same(finding, subject, side_by_side.state.select(row),
         alone[static_cast<std::size_t>(s)].state);
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
    same(finding, subject, steps_of(one.y, first, count), part.y);
    state = std::move(part.state);
  }
  same(finding, subject, one.state, state);
  return finding;
}

// A stretch of tokens that is a sequence of its own, or lies between two resets.
struct Piece {
  std::int64_t first, count;
  std::int64_t from;  // row of the initial state, or -1: a fresh one, which no gradient reaches
  std::int64_t into;  // row of the final state, or -1: it is thrown away
};

std::vector<Tensor> row_of(const std::vector<Tensor>& fields, std::int64_t row) {
  std::vector<Tensor> result;
  for (const Tensor& field : fields)
    result.push_back(field.defined() && row >= 0 ? field.rows(row, 1).clone() : Tensor());
  return result;
}

void accumulate(const Tensor& sum, const Tensor& part) {
  if (!part.defined()) return;
  for (std::int64_t i = 0; i < sum.numel(); ++i) sum.data<double>()[i] += part.data<double>()[i];
}

// The gradient in double of all pieces, each run alone. dy [B, T, D_out]; pieces count tokens.
Gradient gradient_of_pieces(const SequenceLayer& layer, const Tensor& x, const State& initial,
                            const std::vector<Piece>& pieces, const Tensor& dy,
                            const std::vector<Tensor>& d_final) {
  Exec exec({.dtype = DType::kFloat64, .threads = 1});
  const auto tokens = [](const Tensor& array) {
    return array.view({1, array.size(0) * array.size(1), array.size(2)});
  };
  Gradient sum{.x = Tensor::zeros(x.shape(), x.dtype())};
  for (const Tensor& field : initial.fields())
    sum.state.push_back(is_floating(field.dtype()) ? Tensor::zeros(field.shape(), field.dtype())
                                                   : Tensor());
  for (const Tensor& parameter : layer.parameters())
    sum.parameters.push_back(Tensor::zeros(parameter.shape(), parameter.dtype()));
  for (const Piece& piece : pieces) {
    const std::int64_t row[] = {piece.from};
    const State from = piece.from < 0 ? layer.initial_state(exec, 1) : initial.select(row);
    const Gradient g = gradient(exec, layer, steps_of(tokens(x), piece.first, piece.count), from,
                                {.dy = steps_of(tokens(dy), piece.first, piece.count),
                                 .d_final = row_of(d_final, piece.into)});
    accumulate(
        tokens(sum.x).view({x.size(0) * x.size(1), x.size(2)}).rows(piece.first, piece.count), g.x);
    for (std::size_t f = 0; f < g.state.size() && piece.from >= 0; ++f)
      if (sum.state[f].defined()) accumulate(sum.state[f].rows(piece.from, 1), g.state[f]);
    for (std::size_t p = 0; p < g.parameters.size(); ++p)
      accumulate(sum.parameters[p], g.parameters[p]);
  }
  return sum;
}

// Gradients of x, parameters and initial state through `segments`, against those of the pieces.
void segment_gradients(Finding& finding, const Subject& subject, const Tensor& x, std::int64_t rows,
                       const Segments& segments, const std::vector<Piece>& pieces) {
  Exec exec(under_law(subject.dtype, 2));
  const auto layer = subject.make(), layer64 = subject.make(16, DType::kFloat64);
  const State initial = used_state(exec, *layer, rows, 35);
  const Tensor dy = random_input({x.size(0), x.size(1), layer->output_size()}, subject.dtype, 36);
  std::vector<Tensor> d_final, d_final64;
  for (const Tensor& field : initial.fields()) {
    const bool floating = is_floating(field.dtype());
    d_final.push_back(floating ? weights_like(field, d_final.size()) : Tensor());
    d_final64.push_back(floating ? d_final.back().to(DType::kFloat64) : Tensor());
  }
  const Gradient exact =
      gradient_of_pieces(*layer64, x.to(DType::kFloat64), convert(initial, layer64->state_spec()),
                         pieces, dy.to(DType::kFloat64), d_final64);
  const Objective objective{.segments = &segments, .dy = dy, .d_final = d_final};
  const Gradient got = gradient(exec, *layer, x, initial, objective);
  Gradient plain = exact;
  if (subject.dtype == DType::kFloat32) {
    const PlainKernels scope;
    Exec plain_exec({.threads = 1});
    plain = gradient(plain_exec, *layer, x, initial, objective);
  }
  ArrayErrors errors;
  add(errors, got, plain, exact);
  errors.judge(finding, subject.dtype);
}

Finding segments_law(const Subject& subject) {
  Finding finding = segments(subject);
  const std::int64_t width = subject.make()->input_size();
  const Tensor packed = random_input({1, 29, width}, subject.dtype, 34);
  segment_gradients(finding, subject, packed, 5, {.offsets = {0, 5, 5, 22, 23, 29}},
                    {{0, 5, 0, 0}, {5, 0, 1, 1}, {5, 17, 2, 2}, {22, 1, 3, 3}, {23, 6, 4, 4}});
  const Tensor padded = random_input({3, 17, width}, subject.dtype, 38);
  segment_gradients(finding, subject, padded, 3, {.lengths = {5, 0, 17}},
                    {{0, 5, 0, 0}, {17, 0, 1, 1}, {34, 17, 2, 2}});
  const Tensor reset = Tensor::zeros({1, 29}, DType::kUInt8);
  for (const std::int64_t at : {5, 22, 23}) reset.data<std::uint8_t>()[at] = 1;
  segment_gradients(finding, subject, packed, 1, {.reset = reset},
                    {{0, 5, 0, -1}, {5, 17, -1, -1}, {22, 1, -1, -1}, {23, 6, -1, 0}});
  return finding;
}

Finding parameters_round_trip(const Subject& subject) {
  Finding finding;
  Exec exec(under_law(subject.dtype, 1));
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

bool takes_segments(const Subject& subject) { return subject.type->flags.resets; }

}  // namespace

void add_state_laws(std::vector<Law>& laws) {
  laws.push_back({"7", "save, load, go on: bit for bit", true, true, save_and_load});
  laws.push_back({"8", "resets, packed and padded sequences equal the sequences alone", true, true,
                  segments_law, takes_segments});
  laws.push_back(
      {"14", "parameters round-trip through a file by name", true, true, parameters_round_trip});
}

}  // namespace rill::laws
