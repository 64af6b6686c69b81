// linear and embedding with their adjoints:
//   y = x W^T + b;  dx = dy W;  dW += dy^T x;  db += sum over tokens of dy.
// Every sum over tokens is one chain in the order of tokens: bits do not depend on threads.
#include <rill/core/kernels.h>
#include <rill/core/ops.h>
#include <rill/core/tape.h>
#include <rill/core/weight_cache.h>

#include <algorithm>

namespace rill {
namespace {

std::int64_t tokens_of(const Shape& shape) {
  std::int64_t tokens = 1;
  for (int axis = 0; axis + 1 < shape.rank(); ++axis) tokens *= shape[axis];
  return tokens;
}

void check_linear(const Exec& exec, const Tensor& x, const Tensor& weight, const Tensor& bias,
                  RowRange rows) {
  check(x.defined() && x.dtype() == exec.dtype(), ErrorCode::kDType,
        "linear: x is {}, {} was expected.", x.defined() ? name_of(x.dtype()) : "undefined",
        name_of(exec.dtype()));
  check(weight.defined() && weight.rank() == 2, ErrorCode::kShape,
        "linear: the weight has the shape {}, [N, K] was expected.",
        weight.defined() ? to_string(weight.shape()) : "undefined");
  check(x.rank() >= 1 && x.size(-1) == weight.size(1), ErrorCode::kShape,
        "linear: x has the shape {}, a last axis of {} was expected (the weight is {}).",
        to_string(x.shape()), weight.size(1), to_string(weight.shape()));
  check(weight.dtype() == exec.dtype() || weight.dtype() == DType::kBFloat16 ||
            weight.dtype() == DType::kFloat16,
        ErrorCode::kDType, "linear: the weight is {}, {}, bfloat16 or float16 was expected.",
        name_of(weight.dtype()), name_of(exec.dtype()));
  check(rows.first >= 0 && rows.count >= 0 && rows.first <= weight.size(0) - rows.count,
        ErrorCode::kShape, "linear: {} rows from {} on were asked for, the weight is {}.",
        rows.count, rows.first, to_string(weight.shape()));
  if (!bias.defined()) return;
  check(bias.dtype() == exec.dtype(), ErrorCode::kDType, "linear: the bias is {}, {} was expected.",
        name_of(bias.dtype()), name_of(exec.dtype()));
  check(bias.rank() == 1 && bias.size(0) == weight.size(0), ErrorCode::kShape,
        "linear: the bias has the shape {}, [{}] was expected.", to_string(bias.shape()),
        weight.size(0));
}

char* row_of(const Tensor& tensor, std::int64_t row, std::int64_t width) {
  return static_cast<char*>(tensor.raw()) +
         static_cast<std::size_t>(row * width) * size_of(tensor.dtype());
}

// dW[rows] += dy^T x. x is packed in pieces; the chain over tokens goes on from piece to piece.
void add_weight_gradient(Exec& exec, const Tensor& x, const Tensor& dy, const Tensor& dweight,
                         RowRange rows) {
  const std::int64_t k = x.size(-1), tokens = tokens_of(x.shape());
  const CoreKernels& core = core_kernels(exec);
  if (!core.pack) {
    enqueue(exec, core.linear,
            {.x = dy.raw(),
             .packed = x.raw(),
             .y = row_of(dweight, rows.first, k),
             .m = rows.count,
             .n = k,
             .k = tokens,
             .x_row = 1,
             .x_col = rows.count,
             .y_row = k,
             .accumulate = 1,
             .weight_dtype = static_cast<std::int64_t>(x.dtype()),
             .weight_row = 1,
             .weight_col = k},
            "linear backward");
    return;
  }
  const std::int64_t piece = gradient_piece(k);
  const Tensor packed =
      exec.empty({core.packed_bytes(k, std::min(piece, tokens), x.dtype())}, DType::kUInt8);
  for (std::int64_t first = 0; first < tokens; first += piece) {
    const std::int64_t count = std::min(piece, tokens - first);
    enqueue(exec, core.pack,
            {.w = row_of(x, first, k),
             .packed = packed.raw(),
             .n = k,
             .k = count,
             .stride = k,
             .transposed = 1,
             .dtype = static_cast<std::int64_t>(x.dtype())},
            "linear backward");
    enqueue(exec, core.linear,
            {.x = row_of(dy, first, rows.count),
             .packed = packed.raw(),
             .y = row_of(dweight, rows.first, k),
             .m = rows.count,
             .n = k,
             .k = count,
             .x_row = 1,
             .x_col = rows.count,
             .y_row = k,
             .accumulate = 1,
             .weight_dtype = static_cast<std::int64_t>(x.dtype())},
            "linear backward");
  }
}

// y = x (rows of W)^T + bias, or, where `transposed`, y = x (rows of W).
void multiply_by_weight(Exec& exec, const Tensor& x, const Tensor& weight, const Tensor& bias,
                        RowRange rows, bool transposed, const Tensor& y) {
  const Tensor packed = exec.weights().packed(exec, weight, rows.first, rows.count, transposed);
  enqueue(exec, core_kernels(exec).linear,
          {.x = x.raw(),
           .packed = packed.raw(),
           .bias = bias.defined() ? row_of(bias, rows.first, 1) : nullptr,
           .y = y.raw(),
           .m = tokens_of(x.shape()),
           .n = y.size(-1),
           .k = x.size(-1),
           .x_row = x.size(-1),
           .y_row = y.size(-1),
           .weight_dtype = static_cast<std::int64_t>(weight.dtype()),
           .weight_row = transposed ? 1 : weight.size(-1),
           .weight_col = transposed ? weight.size(-1) : 1},
          transposed ? "linear backward" : "linear");
}

// Of tokens on the host; on a device a token out of range gives a row of NaN.
void check_tokens(const Tensor& tokens, std::int64_t vocabulary) {
  if (tokens.device() != Device{}) return;
  const auto check_all = [&](auto values) {
    for (std::size_t i = 0; i < values.size(); ++i)
      check(values[i] >= 0 && static_cast<std::int64_t>(values[i]) < vocabulary, ErrorCode::kValue,
            "embedding: token {} is {}, a value in [0, {}) was expected.", i,
            static_cast<std::int64_t>(values[i]), vocabulary);
  };
  if (tokens.dtype() == DType::kInt32) return check_all(tokens.span<std::int32_t>());
  if (tokens.dtype() == DType::kInt64) return check_all(tokens.span<std::int64_t>());
  check_all(tokens.span<std::uint8_t>());
}

}  // namespace

Tensor linear(Exec& exec, const Tensor& x, const Tensor& weight, const Tensor& bias,
              RowRange rows) {
  if (rows.count < 0 && rows.first >= 0 && weight.defined() && weight.rank() == 2)
    rows.count = weight.size(0) - rows.first;
  check_linear(exec, x, weight, bias, rows);
  Tensor y = exec.empty(x.shape().with_last(rows.count));
  multiply_by_weight(exec, x, weight, bias, rows, false, y);
  Tape* tape = exec.tape();
  if (!tape) return y;
  const bool to_x = tape->tracks(x), to_weight = tape->tracks(weight), to_bias = tape->tracks(bias);
  if (!to_x && !to_weight && !to_bias) return y;
  tape->record({y}, [=](Exec& ex, Gradients& gradients) {
    const Tensor dy = gradients.find(y);
    if (!dy.defined()) return;
    if (to_weight) add_weight_gradient(ex, x, dy, gradients.accumulator(ex, weight), rows);
    if (to_bias) {
      const Tensor dbias = gradients.accumulator(ex, bias);
      enqueue(ex, core_kernels(ex).column_sum,
              {.x = dy.raw(),
               .out = row_of(dbias, rows.first, 1),
               .tokens = tokens_of(dy.shape()),
               .channels = rows.count,
               .x_row = rows.count,
               .accumulate = 1},
              "linear backward");
    }
    if (to_x) {
      Tensor dx = ex.empty(x.shape());
      multiply_by_weight(ex, dy, weight, {}, rows, true, dx);
      gradients.add(ex, x, dx);
    }
  });
  return y;
}

Tensor embedding(Exec& exec, const Tensor& given, const Tensor& table) {
  check(given.defined() && (given.dtype() == DType::kInt32 || given.dtype() == DType::kInt64 ||
                            given.dtype() == DType::kUInt8),
        ErrorCode::kDType, "embedding: tokens are {}, int32, int64 or uint8 was expected.",
        given.defined() ? name_of(given.dtype()) : "undefined");
  check(table.defined() && table.rank() == 2, ErrorCode::kShape,
        "embedding: the table has the shape {}, [V, C] was expected.",
        table.defined() ? to_string(table.shape()) : "undefined");
  check(table.dtype() == exec.dtype() || table.dtype() == DType::kBFloat16 ||
            table.dtype() == DType::kFloat16,
        ErrorCode::kDType, "embedding: the table is {}, {}, bfloat16 or float16 was expected.",
        name_of(table.dtype()), name_of(exec.dtype()));
  if (!exec.recorder()) check_tokens(given, table.size(0));
  const Tensor tokens = exec.upload(given);
  Tensor y = exec.empty(tokens.shape().append(table.size(1)));
  const EmbeddingArgs args{.token = tokens.raw(),
                           .table = table.raw(),
                           .y = y.raw(),
                           .token_dtype = static_cast<std::int64_t>(tokens.dtype()),
                           .table_dtype = static_cast<std::int64_t>(table.dtype()),
                           .tokens = tokens.numel(),
                           .vocabulary = table.size(0),
                           .channels = table.size(1)};
  enqueue(exec, core_kernels(exec).embedding, args, "embedding");
  if (Tape* tape = exec.tape(); tape && tape->tracks(table))
    tape->record({y}, [=](Exec& ex, Gradients& gradients) {
      const Tensor dy = gradients.find(y);
      if (!dy.defined()) return;
      const Tensor dtable = gradients.accumulator(ex, table);
      enqueue(ex, core_kernels(ex).embedding_backward,
              {.token = tokens.raw(),
               .dy = dy.raw(),
               .dtable = dtable.raw(),
               .token_dtype = static_cast<std::int64_t>(tokens.dtype()),
               .tokens = tokens.numel(),
               .vocabulary = table.size(0),
               .channels = table.size(1)},
              "embedding backward");
    });
  return y;
}

}  // namespace rill
