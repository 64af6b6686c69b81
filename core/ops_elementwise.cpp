#include <rill/core/kernels.h>
#include <rill/core/op_checks.h>
#include <rill/core/ops.h>
#include <rill/core/random.h>

namespace rill {
namespace {

const char* name_of_unary(Unary kind) {
  switch (kind) {
    case Unary::kSilu:
      return "silu";
    case Unary::kGelu:
      return "gelu";
    case Unary::kGeluTanh:
      return "gelu_tanh";
    case Unary::kSigmoid:
      return "sigmoid";
    case Unary::kTanh:
      return "tanh";
    case Unary::kRelu:
      return "relu";
    case Unary::kSoftplus:
      return "softplus";
    case Unary::kLogSigmoid:
      return "log_sigmoid";
    case Unary::kExp:
      return "exp";
    case Unary::kLog:
      return "log";
    case Unary::kSquare:
      return "square";
    case Unary::kSqrt:
      return "sqrt";
    case Unary::kNegate:
      return "negate";
    case Unary::kReciprocal:
      return "reciprocal";
    case Unary::kEluPlusOne:
      return "elu_plus_one";
    case Unary::kMinGru:
      return "min_gru";
  }
  return "unary";
}

const char* name_of_binary(Binary kind) {
  switch (kind) {
    case Binary::kAdd:
      return "add";
    case Binary::kSubtract:
      return "subtract";
    case Binary::kMultiply:
      return "multiply";
  }
  return "binary";
}

// Those whose derivative is a function of the result: the argument need not be kept.
bool from_result(Unary kind) {
  return kind == Unary::kExp || kind == Unary::kSqrt || kind == Unary::kReciprocal;
}

Tensor multiply_untracked(Exec& exec, const Tensor& a, const Tensor& b, std::int64_t b_rows) {
  Tensor y = exec.empty(a.shape());
  const std::int64_t channels = a.size(-1);
  enqueue(exec, core_kernels(exec).binary,
          {.a = a.raw(),
           .b = b.raw(),
           .y = y.raw(),
           .kind = static_cast<std::int64_t>(Binary::kMultiply),
           .tokens = tokens_of(a),
           .channels = channels,
           .b_rows = b_rows},
          "multiply");
  return y;
}

Tensor negated(Exec& exec, const Tensor& x) {
  Tensor y = exec.empty(x.shape());
  enqueue(exec, core_kernels(exec).affine,
          {.x = x.raw(), .y = y.raw(), .scale = -1.0, .count = x.numel()}, "negate");
  return y;
}

// The gradient of b [C] that stood for every token: sums over tokens of dy (times a).
void add_column_sums(Exec& exec, Gradients& gradients, Binary kind, const Tensor& dy,
                     const Tensor& a, const Tensor& b) {
  const std::int64_t channels = b.numel();
  const auto sum_into = [&](const Tensor& out, bool accumulate) {
    enqueue(exec, core_kernels(exec).column_sum,
            {.x = dy.raw(),
             .z = kind == Binary::kMultiply ? a.raw() : nullptr,
             .out = out.raw(),
             .tokens = tokens_of(dy),
             .channels = channels,
             .x_row = channels,
             .accumulate = accumulate},
            "column_sum");
  };
  if (kind != Binary::kSubtract) return sum_into(gradients.accumulator(exec, b), true);
  const Tensor sums = exec.empty(b.shape());
  sum_into(sums, false);
  gradients.add(exec, b, negated(exec, sums));
}

}  // namespace

Tensor unary(Exec& exec, Unary kind, const Tensor& x) {
  const char* name = name_of_unary(kind);
  check_activation(exec, x, name, "x");
  Tensor y = exec.empty(x.shape());
  enqueue(exec, core_kernels(exec).unary,
          {.x = x.raw(), .y = y.raw(), .kind = static_cast<std::int64_t>(kind), .count = x.numel()},
          name);
  if (!tracked(exec, {&x})) return y;
  const Tensor read = from_result(kind) ? y : x;
  exec.tape()->record({y}, [=](Exec& ex, Gradients& gradients) {
    const Tensor dy = gradients.find(y);
    Tensor dx = ex.empty(x.shape());
    enqueue(ex, core_kernels(ex).unary_backward,
            {.x = read.raw(),
             .y = read.raw(),
             .dy = dy.raw(),
             .dx = dx.raw(),
             .kind = static_cast<std::int64_t>(kind),
             .count = x.numel()},
            name);
    gradients.add(ex, x, dx);
  });
  return y;
}

Tensor binary(Exec& exec, Binary kind, const Tensor& a, const Tensor& b) {
  const char* name = name_of_binary(kind);
  check_activation(exec, a, name, "a");
  check_activation(exec, b, name, "b");
  const std::int64_t channels = last_axis(a, name, "a");
  const bool same = a.shape() == b.shape();
  check(same || b.shape() == Shape({channels}), ErrorCode::kShape,
        "{}: b of shape {} or {} was expected, {} came.", name, to_string(a.shape()),
        to_string(Shape({channels})), to_string(b.shape()));
  const std::int64_t tokens = tokens_of(a), b_rows = same ? tokens : 1;
  Tensor y = exec.empty(a.shape());
  enqueue(exec, core_kernels(exec).binary,
          {.a = a.raw(),
           .b = b.raw(),
           .y = y.raw(),
           .kind = static_cast<std::int64_t>(kind),
           .tokens = tokens,
           .channels = channels,
           .b_rows = b_rows},
          name);
  if (!tracked(exec, {&a, &b})) return y;
  const bool to_a = exec.tape()->tracks(a), to_b = exec.tape()->tracks(b);
  exec.tape()->record({y}, [=](Exec& ex, Gradients& gradients) {
    const Tensor dy = gradients.find(y);
    const bool product = kind == Binary::kMultiply;
    if (to_a) gradients.add(ex, a, product ? multiply_untracked(ex, dy, b, b_rows) : dy);
    if (!to_b) return;
    if (!same) return add_column_sums(ex, gradients, kind, dy, a, b);
    if (product)
      gradients.add(ex, b, multiply_untracked(ex, dy, a, tokens));
    else
      gradients.add(ex, b, kind == Binary::kSubtract ? negated(ex, dy) : dy);
  });
  return y;
}

Tensor affine(Exec& exec, const Tensor& x, double scale, double shift) {
  check_activation(exec, x, "affine", "x");
  Tensor y = exec.empty(x.shape());
  enqueue(exec, core_kernels(exec).affine,
          {.x = x.raw(), .y = y.raw(), .scale = scale, .shift = shift, .count = x.numel()},
          "affine");
  if (!tracked(exec, {&x})) return y;
  exec.tape()->record({y}, [=](Exec& ex, Gradients& gradients) {
    Tensor dx = ex.empty(x.shape());
    enqueue(ex, core_kernels(ex).affine,
            {.x = gradients.find(y).raw(), .y = dx.raw(), .scale = scale, .count = x.numel()},
            "affine backward");
    gradients.add(ex, x, dx);
  });
  return y;
}

Tensor gated(Exec& exec, const Tensor& x, const Tensor& gate, Unary activation) {
  check_activation(exec, x, "gated", "x");
  check_activation(exec, gate, "gated", "gate");
  check_shape(gate, x.shape(), "gated", "gate");
  const std::int64_t channels = last_axis(x, "gated", "x"), tokens = tokens_of(x);
  const std::int64_t kind = static_cast<std::int64_t>(activation);
  Tensor y = exec.empty(x.shape());
  enqueue(exec, core_kernels(exec).gated,
          {.x = x.raw(),
           .gate = gate.raw(),
           .y = y.raw(),
           .kind = kind,
           .tokens = tokens,
           .channels = channels,
           .x_row = channels,
           .gate_row = channels},
          "gated");
  if (!tracked(exec, {&x, &gate})) return y;
  const bool to_x = exec.tape()->tracks(x), to_gate = exec.tape()->tracks(gate);
  exec.tape()->record({y}, [=](Exec& ex, Gradients& gradients) {
    Tensor dx = ex.empty(x.shape()), dgate = ex.empty(x.shape());
    enqueue(ex, core_kernels(ex).gated_backward,
            {.x = x.raw(),
             .gate = gate.raw(),
             .dy = gradients.find(y).raw(),
             .dx = dx.raw(),
             .dgate = dgate.raw(),
             .kind = kind,
             .tokens = tokens,
             .channels = channels,
             .x_row = channels,
             .gate_row = channels},
            "gated backward");
    if (to_x) gradients.add(ex, x, dx);
    if (to_gate) gradients.add(ex, gate, dgate);
  });
  return y;
}

Tensor glu(Exec& exec, const Tensor& x) {
  check_activation(exec, x, "glu", "x");
  const std::int64_t width = last_axis(x, "glu", "x"), channels = width / 2, tokens = tokens_of(x);
  check(width % 2 == 0, ErrorCode::kShape, "glu: an even last axis was expected, {} came.", width);
  const std::int64_t kind = static_cast<std::int64_t>(Unary::kSigmoid);
  // The second half of a row.
  const auto second = [channels](const Tensor& tensor) {
    return static_cast<char*>(tensor.raw()) +
           static_cast<std::size_t>(channels) * size_of(tensor.dtype());
  };
  Tensor y = exec.empty(x.shape().with_last(channels));
  enqueue(exec, core_kernels(exec).gated,
          {.x = x.raw(),
           .gate = second(x),
           .y = y.raw(),
           .kind = kind,
           .tokens = tokens,
           .channels = channels,
           .x_row = width,
           .gate_row = width},
          "glu");
  if (!tracked(exec, {&x})) return y;
  exec.tape()->record({y}, [=](Exec& ex, Gradients& gradients) {
    Tensor dx = ex.empty(x.shape());
    enqueue(ex, core_kernels(ex).gated_backward,
            {.x = x.raw(),
             .gate = second(x),
             .dy = gradients.find(y).raw(),
             .dx = dx.raw(),
             .dgate = second(dx),
             .kind = kind,
             .tokens = tokens,
             .channels = channels,
             .x_row = width,
             .gate_row = width},
            "glu backward");
    gradients.add(ex, x, dx);
  });
  return y;
}

void add_in_place(Exec& exec, const Tensor& target, const Tensor& source) {
  check_activation(exec, target, "add_in_place", "target");
  check_activation(exec, source, "add_in_place", "source");
  check_shape(source, target.shape(), "add_in_place", "source");
  enqueue(exec, core_kernels(exec).binary,
          {.a = target.raw(),
           .b = source.raw(),
           .y = target.raw(),
           .kind = static_cast<std::int64_t>(Binary::kAdd),
           .tokens = target.numel(),
           .channels = 1,
           .b_rows = target.numel()},
          "add_in_place");
}

Tensor dropout(Exec& exec, const Tensor& x, double p) {
  check_activation(exec, x, "dropout", "x");
  check(x.rank() == 3, ErrorCode::kShape, "dropout: x of shape [B, T, C] was expected, {} came.",
        to_string(x.shape()));
  check(p >= 0.0 && p < 1.0, ErrorCode::kConfig,
        "dropout: a probability in [0, 1) was expected, {} came.", p);
  if (!exec.training() || p == 0.0) return x;
  const std::uint64_t step = static_cast<std::uint64_t>(exec.step()), seed = exec.seed();
  const auto words =
      philox({static_cast<std::uint32_t>(step), static_cast<std::uint32_t>(step >> 32),
              static_cast<std::uint32_t>(exec.next_op_number()),
              static_cast<std::uint32_t>(stream_of("dropout"))},
             {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
  DropoutArgs args{.key = (std::uint64_t{words[1]} << 32) | words[0],
                   .batch = x.size(0),
                   .length = x.size(1),
                   .channels = x.size(2),
                   .time = exec.time(),
                   .p = p};
  Tensor y = exec.empty(x.shape());
  args.x = x.raw();
  args.y = y.raw();
  enqueue(exec, core_kernels(exec).dropout, args, "dropout");
  if (!tracked(exec, {&x})) return y;
  exec.tape()->record({y}, [=](Exec& ex, Gradients& gradients) {
    Tensor dx = ex.empty(x.shape());
    DropoutArgs back = args;
    back.x = gradients.find(y).raw();
    back.y = dx.raw();
    enqueue(ex, core_kernels(ex).dropout, back, "dropout backward");
    gradients.add(ex, x, dx);
  });
  return y;
}

}  // namespace rill
