// W_ih x + b_ih, then the recurrence, row by row. On a tape the
// gates' values overwrite W_ih x + b_ih and their gradients overwrite them in turn: (G + 1) H + P
// numbers a token are kept in all. Backwards only dgates U is a product a step; the gradient of
// W_hh is one product over all tokens.
#include <rill/rnn/recurrent_op.h>

#include <rill/core/check.h>
#include <rill/core/tape.h>
#include <rill/core/weight_cache.h>

#include <algorithm>
#include <cstddef>

namespace rill {
namespace {

bool has_16_bits(const Exec& exec) { return size_of(exec.dtype()) == 2; }
// Of states, biases and everything else that has to be exact where activations have 16 bits.
DType exact_dtype(const Exec& exec) { return has_16_bits(exec) ? DType::kFloat32 : exec.dtype(); }

std::int64_t dtype_number(const Tensor& tensor) {
  return tensor.defined() ? static_cast<std::int64_t>(tensor.dtype()) : 0;
}

void check_shape(const RecurrentCell& cell, const char* name, DType dtype, const Tensor& tensor,
                 const Shape& expected) {
  check(tensor.defined() && tensor.shape() == expected, ErrorCode::kShape,
        "{}: {} of shape {} was expected, {} came.", cell.name, name, to_string(expected),
        tensor.defined() ? to_string(tensor.shape()) : "nothing");
  check(tensor.dtype() == dtype, ErrorCode::kDType, "{}: {} is {}, {} was expected.", cell.name,
        name, name_of(tensor.dtype()), name_of(dtype));
}

// Weights may be float where activations have 16 bits.
void check_weight(const RecurrentCell& cell, const char* name, const Exec& exec,
                  const Tensor& weight, const Shape& expected) {
  const bool is_float = has_16_bits(exec) && weight.defined() && weight.dtype() == DType::kFloat32;
  check_shape(cell, name, is_float ? DType::kFloat32 : exec.dtype(), weight, expected);
}

void check_arguments(const Exec& exec, const RecurrentCell& cell, const Tensor& x,
                     const RecurrentWeights& w, const Tensor& h, const Tensor* c,
                     const Sequence& sequence) {
  check(
      x.defined() && x.rank() >= 1 && x.size(-1) > 0 && x.numel() == sequence.tokens() * x.size(-1),
      ErrorCode::kShape, "{}: x with {} tokens was expected, {} came.", cell.name,
      sequence.tokens(), x.defined() ? to_string(x.shape()) : "nothing");
  check(w.hh.defined() && w.hh.rank() == 2 && w.hh.size(0) > 0 && w.hh.size(0) % cell.gates == 0,
        ErrorCode::kShape, "{}: weight_hh of shape [{} H, P] was expected, {} came.", cell.name,
        cell.gates, w.hh.defined() ? to_string(w.hh.shape()) : "nothing");
  const std::int64_t all = w.hh.size(0), hidden = all / cell.gates,
                     output = w.hr.defined() ? w.hh.size(1) : hidden;
  const DType exact = exact_dtype(exec);
  check_weight(cell, "weight_hh", exec, w.hh, {all, output});
  check_weight(cell, "weight_ih", exec, w.ih, {all, x.size(-1)});
  if (w.bias_ih.defined()) check_shape(cell, "bias_ih", exact, w.bias_ih, {all});
  if (w.bias_hh.defined()) check_shape(cell, "bias_hh", exact, w.bias_hh, {all});
  if (w.hr.defined()) check_weight(cell, "weight_hr", exec, w.hr, {output, hidden});
  check_shape(cell, "h", exact, h, {sequence.rows(), output});
  if (c) check_shape(cell, "c", exact, *c, {sequence.rows(), hidden});
}

void* raw_or_null(const Tensor& tensor) { return tensor.defined() ? tensor.raw() : nullptr; }

Tensor pack_recurrent(Exec& exec, const RecurrentCell& cell, const Tensor& weight) {
  const RnnKernels& kernels = rnn_kernels(exec);
  const std::int64_t hidden = weight.size(0) / cell.gates, width = weight.size(1);
  const Tensor packed = exec.empty({kernels.packed_count(hidden, cell.gates, width)});
  enqueue(exec, kernels.pack,
          {.weight = weight.raw(),
           .packed = packed.raw(),
           .hidden = hidden,
           .gates = cell.gates,
           .width = width,
           .weight_dtype = dtype_number(weight)},
          cell.name);
  return packed;
}

// Narrow inputs are multiplied within the step, and so are those of a Stepper, whose weights are
// packed once; otherwise one product over all tokens comes first. The sums are the same chains, the
// bits do not depend on it.
bool multiplies_input_in_step(const Exec& exec, std::int64_t input) {
  constexpr std::int64_t kNarrow = 16;
  return !exec.tape() && (exec.recorder() || input <= kNarrow);
}

// One call of a cell, as its backward needs it.
struct Call {
  const RecurrentCell* cell;
  RecurrentWeights weights;
  Sequence sequence;
  std::int64_t hidden, output;
  Tensor gates, kept, y, h0, c0, h, c;
  bool to_gates, to_h, to_c, to_hh, to_bias, to_hr;

  bool any() const { return to_gates || to_h || to_c || to_hh || to_bias || to_hr; }
};

// Columns [first, first + count) of an array [tokens, width].
struct Columns {
  const Tensor& array;
  std::int64_t width, first, count;

  const char* raw() const {
    return static_cast<const char*>(array.raw()) +
           static_cast<std::size_t>(first) * size_of(array.dtype());
  }
};

// target[row0 + i, k] += sum over tokens of d[t, i] x[t, k], and sums[row0 + i] += sum of d[t, i],
// either undefined: none.
void add_gradients(Exec& exec, const char* op, std::int64_t tokens, const Columns& d,
                   const Tensor& x, const Tensor& target, const Tensor& sums, std::int64_t row0) {
  const CoreKernels& core = core_kernels(exec);
  const auto offset = [&](const Tensor& tensor, std::int64_t elements) {
    return static_cast<char*>(tensor.raw()) +
           static_cast<std::size_t>(elements) * size_of(tensor.dtype());
  };
  if (sums.defined())
    enqueue(exec, core.column_sum,
            {.x = d.raw(),
             .out = offset(sums, row0),
             .tokens = tokens,
             .channels = d.count,
             .x_row = d.width,
             .accumulate = 1},
            op);
  if (!target.defined() || tokens == 0) return;
  const std::int64_t k = target.size(1);
  if (!core.pack) {
    enqueue(exec, core.linear,
            {.x = offset(d.array, d.first),
             .packed = x.raw(),
             .y = offset(target, row0 * k),
             .m = d.count,
             .n = k,
             .k = tokens,
             .x_row = 1,
             .x_col = d.width,
             .y_row = k,
             .accumulate = 1,
             .weight_dtype = static_cast<std::int64_t>(x.dtype()),
             .weight_row = 1,
             .weight_col = k},
            op);
    return;
  }
  // In pieces, so that the packed copy of x stays small; the chain over tokens goes on from piece
  // to piece.
  const std::int64_t piece =
      std::min(tokens, std::clamp<std::int64_t>((std::int64_t{1} << 22) / k, 256, 16384));
  const Tensor packed = exec.empty({core.packed_bytes(k, piece, x.dtype())}, DType::kUInt8);
  const auto dtype = static_cast<std::int64_t>(x.dtype());
  for (std::int64_t first = 0; first < tokens; first += piece) {
    const std::int64_t count = std::min(piece, tokens - first);
    enqueue(exec, core.pack,
            {.w = offset(x, first * k),
             .packed = packed.raw(),
             .n = k,
             .k = count,
             .stride = k,
             .transposed = 1,
             .dtype = dtype},
            op);
    enqueue(exec, core.linear,
            {.x = offset(d.array, first * d.width + d.first),
             .packed = packed.raw(),
             .y = offset(target, row0 * k),
             .m = d.count,
             .n = k,
             .k = count,
             .x_row = 1,
             .x_col = d.width,
             .y_row = k,
             .accumulate = 1,
             .weight_dtype = dtype},
            op);
  }
}

void add_parameter_gradients(Exec& exec, Gradients& gradients, const Call& call,
                             const Tensor& h_previous, const Tensor& dh_tokens,
                             const Tensor& projected) {
  const RecurrentWeights& w = call.weights;
  const auto accumulator = [&](bool wanted, const Tensor& parameter) {
    return wanted ? gradients.accumulator(exec, parameter) : Tensor();
  };
  const Tensor dhh = accumulator(call.to_hh, w.hh), dbias = accumulator(call.to_bias, w.bias_hh);
  const Tensor dhr = accumulator(call.to_hr, w.hr);
  const std::int64_t all = call.cell->gates * call.hidden, tokens = call.sequence.tokens();
  const std::int64_t summed = call.cell->reset_apart ? all - call.hidden : all;
  add_gradients(exec, call.cell->name, tokens, {call.gates, all, 0, summed}, h_previous, dhh, dbias,
                0);
  if (summed < all)
    add_gradients(exec, call.cell->name, tokens, {call.kept, call.hidden, 0, call.hidden},
                  h_previous, dhh, dbias, summed);
  if (dhr.defined())
    add_gradients(exec, call.cell->name, tokens, {dh_tokens, call.output, 0, call.output},
                  projected, dhr, {}, 0);
}

void go_back(Exec& exec, Gradients& gradients, const Call& call) {
  const RecurrentWeights& w = call.weights;
  const std::int64_t tokens = call.sequence.tokens(), rows = call.sequence.rows();
  const bool has_projection = w.hr.defined(), has_c = call.cell->has_c;
  const std::int64_t all = call.cell->gates * call.hidden;
  const Tensor dy = gradients.find(call.y), dh_final = gradients.find(call.h);
  const Tensor dc_final = has_c ? gradients.find(call.c) : Tensor();
  const Tensor dh = exec.empty({rows, call.output}, call.h0.dtype());
  const Tensor dc = has_c ? exec.empty({rows, call.hidden}, call.c0.dtype()) : Tensor();
  const Tensor h_previous = exec.empty({tokens, call.output});
  const Tensor dh_tokens = has_projection ? exec.empty({tokens, call.output}) : Tensor();
  const Tensor projected = has_projection ? exec.empty({tokens, call.hidden}) : Tensor();
  const Tensor scratch = exec.empty({rows, all + call.hidden + 2 * call.output});
  const Tensor packed_hh = exec.weights().packed(exec, w.hh, 0, all, true);
  const Tensor packed_hr =
      has_projection ? exec.weights().packed(exec, w.hr, 0, call.output, true) : Tensor();
  enqueue(exec, rnn_kernels(exec).*(call.cell->backward),
          {.sequence = call.sequence.args(),
           .gates = call.gates.raw(),
           .kept = call.kept.raw(),
           .y = call.y.raw(),
           .h0 = call.h0.raw(),
           .c0 = raw_or_null(call.c0),
           .dy = raw_or_null(dy),
           .dh_final = raw_or_null(dh_final),
           .dc_final = raw_or_null(dc_final),
           .weight_hh = packed_hh.raw(),
           .weight_hr = raw_or_null(packed_hr),
           .dh = dh.raw(),
           .dc = raw_or_null(dc),
           .h_previous = h_previous.raw(),
           .dh_tokens = raw_or_null(dh_tokens),
           .projected = raw_or_null(projected),
           .scratch = scratch.raw(),
           .hidden = call.hidden,
           .output = call.output,
           .weight_hh_dtype = dtype_number(w.hh),
           .weight_hr_dtype = dtype_number(w.hr)},
          call.cell->name);
  add_parameter_gradients(exec, gradients, call, h_previous, dh_tokens, projected);
  if (call.to_h) gradients.add(exec, call.h0, dh);
  if (call.to_c) gradients.add(exec, call.c0, dc);
  if (call.to_gates) gradients.add(exec, call.gates, call.gates);
}

}  // namespace

Tensor recurrent(Exec& exec, const RecurrentCell& cell, const Tensor& x,
                 const RecurrentWeights& weights, Tensor& h, Tensor* c, const Sequence& sequence) {
  check_arguments(exec, cell, x, weights, h, c, sequence);
  const std::int64_t hidden = weights.hh.size(0) / cell.gates, output = weights.hh.size(1);
  Tape* const tape = exec.tape();
  const bool in_step = multiplies_input_in_step(exec, x.size(-1));
  const bool has_projection = weights.hr.defined();
  const Tensor gates = in_step ? Tensor() : linear(exec, x, weights.ih, weights.bias_ih);
  const Tensor packed_ih = in_step ? pack_recurrent(exec, cell, weights.ih) : Tensor();
  const Tensor packed_hh = pack_recurrent(exec, cell, weights.hh);
  const Tensor packed_hr =
      has_projection ? exec.weights().packed(exec, weights.hr, 0, output, false) : Tensor();
  const Tensor scratch = has_projection ? exec.empty({sequence.rows(), hidden + output}) : Tensor();
  const Tensor zeros = sequence.args().reset ? exec.zeros({output}) : Tensor();
  const DType kept_dtype = c ? c->dtype() : exec.dtype();
  const Tensor kept = tape ? exec.empty({sequence.tokens(), hidden}, kept_dtype) : Tensor();
  const Tensor y = exec.empty(x.shape().with_last(output));
  const Tensor h0 = h, c0 = c ? *c : Tensor();
  if (tape) {
    h = exec.empty(h0.shape(), h0.dtype());
    if (c) *c = exec.empty(c0.shape(), c0.dtype());
  }
  enqueue(exec, rnn_kernels(exec).*(cell.forward),
          {.sequence = sequence.args(),
           .gates = raw_or_null(gates),
           .x = in_step ? x.raw() : nullptr,
           .weight_ih = raw_or_null(packed_ih),
           .bias_ih = raw_or_null(weights.bias_ih),
           .weight_hh = packed_hh.raw(),
           .bias_hh = raw_or_null(weights.bias_hh),
           .weight_hr = raw_or_null(packed_hr),
           .h0 = h0.raw(),
           .c0 = raw_or_null(c0),
           .h = h.raw(),
           .c = c ? c->raw() : nullptr,
           .y = y.raw(),
           .kept = raw_or_null(kept),
           .zeros = raw_or_null(zeros),
           .scratch = raw_or_null(scratch),
           .input = x.size(-1),
           .hidden = hidden,
           .output = output,
           .weight_hr_dtype = dtype_number(weights.hr)},
          cell.name);
  if (!tape) return y;
  const Call call{.cell = &cell,
                  .weights = weights,
                  .sequence = sequence,
                  .hidden = hidden,
                  .output = output,
                  .gates = gates,
                  .kept = kept,
                  .y = y,
                  .h0 = h0,
                  .c0 = c0,
                  .h = h,
                  .c = c ? *c : Tensor(),
                  .to_gates = tape->tracks(gates),
                  .to_h = tape->tracks(h0),
                  .to_c = tape->tracks(c0),
                  .to_hh = tape->tracks(weights.hh),
                  .to_bias = tape->tracks(weights.bias_hh),
                  .to_hr = tape->tracks(weights.hr)};
  if (!call.any()) return y;
  tape->record({y, call.h, call.c},
               [call](Exec& ex, Gradients& gradients) { go_back(ex, gradients, call); });
  return y;
}

}  // namespace rill
