#include <rill/core/kernels.h>
#include <rill/core/op_checks.h>
#include <rill/core/ops.h>

namespace rill {
namespace {

// A block of `rows` rows of `columns` elements inside a larger array.
struct Block {
  std::int64_t rows, columns, first, stride;
};

void copy_block(Exec& exec, const Tensor& source, std::int64_t source_first,
                std::int64_t source_stride, const Tensor& target, std::int64_t target_first,
                std::int64_t target_stride, std::int64_t rows, std::int64_t columns,
                const char* op) {
  const std::int64_t bytes = static_cast<std::int64_t>(size_of(source.dtype()));
  enqueue(exec, core_kernels(exec).copy,
          {.source = static_cast<const char*>(source.raw()) + source_first * bytes,
           .target = static_cast<char*>(target.raw()) + target_first * bytes,
           .rows = rows,
           .bytes = columns * bytes,
           .source_stride = source_stride * bytes,
           .target_stride = target_stride * bytes},
          op);
}

// y = the block of x, as an array of `shape`; back: dy is added to that block of dx.
Tensor take(Exec& exec, const char* op, const Tensor& x, const Shape& shape, const Block& block) {
  Tensor y = exec.empty(shape);
  copy_block(exec, x, block.first, block.stride, y, 0, block.columns, block.rows, block.columns,
             op);
  if (!tracked(exec, {&x})) return y;
  exec.tape()->record({y}, [=](Exec& ex, Gradients& gradients) {
    const Tensor dx = gradients.accumulator(ex, x);
    enqueue(ex, core_kernels(ex).add_rows,
            {.source = gradients.find(y).raw(),
             .target = static_cast<char*>(dx.raw()) +
                       block.first * static_cast<std::int64_t>(size_of(dx.dtype())),
             .rows = block.rows,
             .columns = block.columns,
             .source_stride = block.columns,
             .target_stride = block.stride},
            op);
  });
  return y;
}

void check_range(std::int64_t first, std::int64_t count, std::int64_t size, const char* op,
                 const char* what) {
  check(first >= 0 && count >= 0 && first <= size - count, ErrorCode::kShape,
        "{}: {} {} from {} on were asked for, there are {}.", op, count, what, first, size);
}

void check_sequence(const Tensor& x, const Sequence& sequence, const char* op) {
  last_axis(x, op, "x");
  check(tokens_of(x) == sequence.tokens(), ErrorCode::kShape,
        "{}: x of {} tokens was expected, the shape {} came.", op, sequence.tokens(),
        to_string(x.shape()));
}

// Reverses every row (or keeps its order) and zeroes what belongs to none; its own transpose.
Tensor reorder(Exec& exec, const char* op, const Tensor& x, const Sequence& sequence,
               bool reverse) {
  check_activation(exec, x, op, "x");
  check_sequence(x, sequence, op);
  Tensor y = exec.empty(x.shape());
  const ReorderArgs args{.x = x.raw(),
                         .y = y.raw(),
                         .channels = x.size(-1),
                         .reverse = reverse,
                         .sequence = sequence.args()};
  enqueue(exec, core_kernels(exec).reorder, args, op);
  if (!tracked(exec, {&x})) return y;
  exec.tape()->record({y}, [=](Exec& ex, Gradients& gradients) {
    Tensor dx = ex.empty(x.shape());
    enqueue(ex, core_kernels(ex).reorder,
            {.x = gradients.find(y).raw(),
             .y = dx.raw(),
             .channels = x.size(-1),
             .reverse = reverse,
             .sequence = sequence.args()},
            op);
    gradients.add(ex, x, dx);
  });
  return y;
}

}  // namespace

Tensor reshape(Exec& exec, const Tensor& x, const Shape& shape) {
  check_activation(exec, x, "reshape", "x");
  check(shape.numel() == x.numel(), ErrorCode::kShape,
        "reshape: the shape {} was asked for, x is {}.", to_string(shape), to_string(x.shape()));
  Tensor y = x.view(shape);
  if (!tracked(exec, {&x})) return y;
  exec.tape()->record({y}, [=](Exec& ex, Gradients& gradients) {
    gradients.add(ex, x, gradients.find(y).view(x.shape()));
  });
  return y;
}

Tensor narrow(Exec& exec, const Tensor& x, std::int64_t first, std::int64_t count) {
  check_activation(exec, x, "narrow", "x");
  const std::int64_t channels = last_axis(x, "narrow", "x");
  check_range(first, count, channels, "narrow", "channels");
  return take(exec, "narrow", x, x.shape().with_last(count),
              {tokens_of(x), count, first, channels});
}

Tensor narrow_time(Exec& exec, const Tensor& x, std::int64_t first, std::int64_t count) {
  check_activation(exec, x, "narrow_time", "x");
  check(x.rank() == 3, ErrorCode::kShape,
        "narrow_time: x of shape [B, T, C] was expected, {} came.", to_string(x.shape()));
  check_range(first, count, x.size(1), "narrow_time", "steps");
  const std::int64_t channels = x.size(2);
  return take(exec, "narrow_time", x, {x.size(0), count, channels},
              {x.size(0), count * channels, first * channels, x.size(1) * channels});
}

Tensor concat(Exec& exec, std::span<const Tensor> parts) {
  check(!parts.empty(), ErrorCode::kShape, "concat: at least one part was expected.");
  std::int64_t width = 0;
  for (const Tensor& part : parts) {
    check_activation(exec, part, "concat", "a part");
    const std::int64_t channels = last_axis(part, "concat", "a part");
    check_shape(part, parts[0].shape().with_last(channels), "concat", "a part");
    width += channels;
  }
  const std::int64_t tokens = tokens_of(parts[0]);
  Tensor y = exec.empty(parts[0].shape().with_last(width));
  // What goes back to which channels: only to parts that are on the tape.
  std::vector<std::pair<Tensor, std::int64_t>> back;
  std::int64_t first = 0;
  for (const Tensor& part : parts) {
    copy_block(exec, part, 0, part.size(-1), y, first, width, tokens, part.size(-1), "concat");
    if (tracked(exec, {&part})) back.emplace_back(part, first);
    first += part.size(-1);
  }
  if (back.empty()) return y;
  exec.tape()->record({y}, [=](Exec& ex, Gradients& gradients) {
    const Tensor dy = gradients.find(y);
    for (const auto& [part, offset] : back) {
      Tensor dx = ex.empty(part.shape());
      copy_block(ex, dy, offset, width, dx, 0, part.size(-1), tokens, part.size(-1),
                 "concat backward");
      gradients.add(ex, part, dx);
    }
  });
  return y;
}

Tensor reverse_time(Exec& exec, const Tensor& x, const Sequence& sequence) {
  return reorder(exec, "reverse_time", x, sequence, true);
}

Tensor zero_padding(Exec& exec, const Tensor& x, const Sequence& sequence) {
  if (!sequence.padded()) return x;
  return reorder(exec, "zero_padding", x, sequence, false);
}

}  // namespace rill
