// The laws that every sequence op with a state obeys, as functions of one description of a case.
#pragma once

#include <rill/core/core.h>
#include <rill/tests/support/catch.h>
#include <rill/tests/support/gradcheck.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

namespace rill::test {

struct Draw {
  Shape tail;  // of one token, of a parameter, or of one row of the state
  double low = -1.0, high = 1.0;
};

/// A sequence op: tokens' arrays, parameters and the state in; outputs, and the state rebound or
/// overwritten.
struct SequenceCase {
  std::string name;
  std::vector<Draw> sequences, parameters;
  Draw state;
  std::function<Tensor(Exec&, std::span<const Tensor> sequences, std::span<const Tensor> parameters,
                       Tensor& state, const Sequence&)>
      run;
  bool reverse = false;
  bool infinite_fresh = false;  // a fresh state is minus infinity, which differences cannot measure
};

struct CaseData {
  std::vector<Tensor> sequences, parameters;
  Tensor state;
};

inline CaseData draw(const SequenceCase& c, std::int64_t rows, std::int64_t tokens, DType dtype) {
  CaseData data;
  std::uint64_t seed = 1;
  for (const Draw& d : c.sequences) {
    std::vector<std::int64_t> shape = {tokens};
    shape.insert(shape.end(), d.tail.extents().begin(), d.tail.extents().end());
    data.sequences.push_back(random_tensor(Shape(shape), ++seed, d.low, d.high).to(dtype));
  }
  for (const Draw& d : c.parameters)
    data.parameters.push_back(random_tensor(d.tail, ++seed, d.low, d.high).to(dtype));
  std::vector<std::int64_t> shape = {rows};
  shape.insert(shape.end(), c.state.tail.extents().begin(), c.state.tail.extents().end());
  data.state = random_tensor(Shape(shape), ++seed, c.state.low, c.state.high).to(dtype);
  return data;
}

struct CaseResult {
  Tensor y, state;
};

inline CaseResult run(const SequenceCase& c, Exec& exec, const CaseData& data, std::int64_t batch,
                      std::int64_t length, const Segments* segments = nullptr) {
  Tensor state = data.state.clone();
  const Sequence sequence = Sequence::from(exec, segments, batch, length);
  const Tensor y = c.run(exec, data.sequences, data.parameters, state, sequence);
  return {y, state};
}

inline bool same_bits(const Tensor& a, const Tensor& b) {
  return a.bytes() == b.bytes() &&
         (a.bytes() == 0 || std::memcmp(a.raw(), b.raw(), a.bytes()) == 0);
}

/// Tokens [first, first + count) of every sequence, one row.
inline CaseData cut(const CaseData& data, std::int64_t first, std::int64_t count) {
  CaseData part = data;
  for (Tensor& x : part.sequences) x = x.rows(first, count);
  return part;
}

/// Any cut into pieces gives the bits of the whole, output and state (laws 1b, 2), with and without
/// resets.
inline void check_cuts(const SequenceCase& c, Exec& exec, std::int64_t length) {
  const CaseData data = draw(c, 1, length, exec.dtype());
  Segments segments;
  segments.reset = Tensor::zeros({1, length}, DType::kUInt8);
  for (std::int64_t t = 0; t < length; ++t)
    segments.reset.data<std::uint8_t>()[t] = t % 11 == 5 || t == 12;
  for (const Segments* with :
       {static_cast<const Segments*>(nullptr), static_cast<const Segments*>(&segments)}) {
    const CaseResult whole = run(c, exec, data, 1, length, with);
    for (const std::int64_t piece : {1, 2, 7, 31}) {
      Tensor state = data.state.clone();
      std::vector<std::int64_t> starts;
      for (std::int64_t t = 0; t < length; t += piece) starts.push_back(t);
      if (c.reverse) std::reverse(starts.begin(), starts.end());
      bool same = true;
      for (const std::int64_t t : starts) {
        CaseData part = cut(data, t, std::min(piece, length - t));
        part.state = state;
        Segments part_segments;
        if (with) {
          part_segments.reset = Tensor::zeros({1, std::min(piece, length - t)}, DType::kUInt8);
          std::copy_n(segments.reset.data<std::uint8_t>() + t, part_segments.reset.numel(),
                      part_segments.reset.data<std::uint8_t>());
        }
        const CaseResult result =
            run(c, exec, part, 1, std::min(piece, length - t), with ? &part_segments : nullptr);
        same = same && same_bits(result.y, whole.y.rows(t, std::min(piece, length - t)));
        state = result.state;
      }
      INFO(c.name << " pieces of " << piece << " resets " << (with != nullptr));
      CHECK(same);
      CHECK(same_bits(state, whole.state));
    }
  }
}

/// Rows of a batch, packed sequences and lengths equal each sequence run alone, bit for bit; tokens
/// beyond are 0.
inline void check_rows(const SequenceCase& c, Exec& exec) {
  const std::vector<std::int64_t> lengths = {3, 0, 7, 1, 5};
  const std::int64_t rows = 5, longest = 7;
  for (const bool packed : {true, false}) {
    Segments segments;
    std::int64_t total = rows * longest;
    if (packed) {
      segments.offsets = {0};
      for (const std::int64_t l : lengths) segments.offsets.push_back(segments.offsets.back() + l);
      total = segments.offsets.back();
    } else {
      segments.lengths = lengths;
    }
    const CaseData data = draw(c, rows, total, exec.dtype());
    const CaseResult all = packed ? run(c, exec, data, 1, total, &segments)
                                  : run(c, exec, data, rows, longest, &segments);
    for (std::int64_t r = 0; r < rows; ++r) {
      const std::int64_t start = packed ? segments.offsets[r] : r * longest, n = lengths[r];
      CaseData one = cut(data, start, n);
      one.state = data.state.rows(r, 1);
      const CaseResult alone = run(c, exec, one, 1, n);
      INFO(c.name << " packed " << packed << " row " << r);
      CHECK(same_bits(alone.y, all.y.rows(start, n)));
      CHECK(same_bits(alone.state, all.state.rows(r, 1)));
      if (packed) continue;
      const Tensor beyond = all.y.rows(start + n, longest - n);
      CHECK(same_bits(beyond, Tensor::zeros(beyond.shape(), beyond.dtype())));
    }
  }
}

/// Outputs as a list: y and the final state, for gradients.
inline TapeFunction on_tape(const SequenceCase& c, std::int64_t batch, std::int64_t length,
                            const Segments* segments) {
  return [=, &c](Exec& exec, std::span<const Tensor> inputs) {
    const std::size_t n = c.sequences.size(), p = c.parameters.size();
    Tensor state = inputs[n + p];
    const Sequence sequence = Sequence::from(exec, segments, batch, length);
    const Tensor y = c.run(exec, inputs.first(n), inputs.subspan(n, p), state, sequence);
    return std::vector<Tensor>{y, state};
  };
}

inline std::vector<Tensor> flat(const CaseData& data) {
  std::vector<Tensor> all = data.sequences;
  all.insert(all.end(), data.parameters.begin(), data.parameters.end());
  all.push_back(data.state);
  return all;
}

/// Three rows of different lengths with resets, among them one at a row's first step (from the
/// right it makes the final state a fresh one).
inline Segments mixed_segments(const SequenceCase& c, std::int64_t length) {
  Segments segments;
  segments.lengths = {length, length / 2, 0};
  segments.reset = Tensor::zeros({3, length}, DType::kUInt8);
  for (const std::int64_t t : {length / 3, length, length + length / 4})
    segments.reset.data<std::uint8_t>()[t] = t != length || !(c.reverse && c.infinite_fresh);
  return segments;
}

inline void check_gradients(const SequenceCase& c, std::int64_t length) {
  const std::vector<Tensor> plain = flat(draw(c, 1, length, DType::kFloat64));
  INFO(c.name << " length " << length);
  // Central differences with a step of 1e-5 in double: 1e-10 of truncation, 1e-11 / 1e-5 of
  // rounding.
  CHECK(gradcheck(on_tape(c, 1, length, nullptr), plain, 1e-5, 24) < 1e-6);
  if (length < 2) return;
  const Segments segments = mixed_segments(c, length);
  const std::vector<Tensor> mixed = flat(draw(c, 3, 3 * length, DType::kFloat64));
  CHECK(gradcheck(on_tape(c, 3, length, &segments), mixed, 1e-5, 24) < 1e-6);
}

inline std::vector<Tensor> as(const std::vector<Tensor>& tensors, DType dtype) {
  std::vector<Tensor> out;
  for (const Tensor& tensor : tensors) out.push_back(tensor.to(dtype));
  return out;
}

/// Float outputs, states and gradients equal the double ones; `bound` relative to the largest of
/// each array.
inline void check_float(const SequenceCase& c, std::int64_t length, double bound) {
  Exec single({.dtype = DType::kFloat32, .threads = 2}),
      oracle({.dtype = DType::kFloat64, .threads = 1});
  const Segments segments = length >= 2 ? mixed_segments(c, length) : Segments{};
  const Segments* with = length >= 2 ? &segments : nullptr;
  const std::int64_t rows = length >= 2 ? 3 : 1;
  const std::vector<Tensor> floats = flat(draw(c, rows, rows * length, DType::kFloat32));
  const std::vector<Tensor> doubles = as(floats, DType::kFloat64);
  INFO(c.name << " length " << length << " target " << cpu_target());
  const auto outputs = [&](Exec& exec, const std::vector<Tensor>& inputs) {
    std::vector<Tensor> copies;
    for (const Tensor& input : inputs) copies.push_back(input.clone());
    return on_tape(c, rows, length, with)(exec, copies);
  };
  CHECK(relative_error(outputs(single, floats), outputs(oracle, doubles)) < bound);
  const auto gradients = tape_gradients(single, on_tape(c, rows, length, with), floats);
  CHECK(relative_error(gradients, tape_gradients(oracle, on_tape(c, rows, length, with), doubles)) <
        bound);
  // Any number of threads gives the same bits.
  Exec one({.dtype = DType::kFloat32, .threads = 1});
  const auto repeated = tape_gradients(one, on_tape(c, rows, length, with), floats);
  bool same = true;
  for (std::size_t k = 0; k < gradients.size(); ++k)
    same = same && same_bits(gradients[k], repeated[k]);
  CHECK(same);
}

/// Runs `body` on every vector target of this machine.
template <class Body>
void on_every_target(const Body& body) {
  const std::string before = cpu_target();
  for (const std::string& target : available_cpu_targets()) {
    set_cpu_target(target);
    body();
  }
  set_cpu_target(before);
}

}  // namespace rill::test
