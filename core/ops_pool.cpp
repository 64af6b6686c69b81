#include <rill/core/kernels.h>
#include <rill/core/op_checks.h>
#include <rill/core/ops.h>

namespace rill {
namespace {

void check_pool(const Exec& exec, const Tensor& x, const Sequence& sequence, const char* op) {
  check_activation(exec, x, op, "x");
  last_axis(x, op, "x");
  check(tokens_of(x) == sequence.tokens(), ErrorCode::kShape,
        "{}: x of {} tokens was expected, the shape {} came.", op, sequence.tokens(),
        to_string(x.shape()));
}

// The state of mean_pool is wider than its activations: a float stops counting at 2^24.
void check_mean_state(const Exec& exec, const Tensor& tensor, DType dtype, const Shape& shape,
                      const char* argument) {
  check(tensor.defined() && tensor.dtype() == dtype && tensor.shape() == shape, ErrorCode::kShape,
        "mean_pool: {} {} {} was expected, {} {} came.", argument, name_of(dtype), to_string(shape),
        tensor.defined() ? name_of(tensor.dtype()) : "nothing",
        tensor.defined() ? to_string(tensor.shape()) : "");
  check(tensor.device() == exec.device(), ErrorCode::kDevice,
        "mean_pool: {} lies on {}, the Exec is on {}.", argument, to_string(tensor.device()),
        to_string(exec.device()));
}

// Where the new value of a state goes: over the old one, or, on a tape, beside it.
Tensor next_state(Exec& exec, const Tensor& state) {
  return exec.tape() ? exec.empty(state.shape(), state.dtype()) : state;
}

}  // namespace

Tensor mean_pool(Exec& exec, const Tensor& x, Tensor& sum, Tensor& count,
                 const Sequence& sequence) {
  check_pool(exec, x, sequence, "mean_pool");
  const std::int64_t channels = x.size(-1), rows = sequence.rows();
  check_mean_state(exec, sum, DType::kFloat64, {rows, channels}, "sum");
  check_mean_state(exec, count, DType::kInt64, {rows, 1}, "count");
  const Tensor sum_in = sum, count_in = count;
  sum = next_state(exec, sum_in);
  count = next_state(exec, count_in);
  Tensor y = exec.empty({rows, channels});
  enqueue(exec, core_kernels(exec).mean_pool,
          {.x = x.raw(),
           .sum_in = sum_in.data<double>(),
           .count_in = count_in.data<std::int64_t>(),
           .sum_out = sum.data<double>(),
           .count_out = count.data<std::int64_t>(),
           .y = y.raw(),
           .channels = channels,
           .sequence = sequence.args()},
          "mean_pool");
  if (!tracked(exec, {&x, &sum_in})) return y;
  const bool to_x = exec.tape()->tracks(x), to_sum = exec.tape()->tracks(sum_in);
  exec.tape()->record({y, sum},
                      [=, sum_out = sum, count_out = count](Exec& ex, Gradients& gradients) {
                        Tensor dx = to_x ? ex.empty(x.shape()) : Tensor();
                        Tensor dsum = to_sum ? ex.empty(sum_in.shape()) : Tensor();
                        enqueue(ex, core_kernels(ex).mean_pool_backward,
                                {.dy = gradients.find(y).raw(),
                                 .dsum_out = gradients.find(sum_out).raw(),
                                 .count_out = count_out.data<std::int64_t>(),
                                 .dx = dx.raw(),
                                 .dsum_in = dsum.raw(),
                                 .channels = channels,
                                 .sequence = sequence.args()},
                                "mean_pool backward");
                        if (to_x) gradients.add(ex, x, dx);
                        if (to_sum) gradients.add(ex, sum_in, dsum);
                      });
  return y;
}

Tensor last_pool(Exec& exec, const Tensor& x, Tensor& last, const Sequence& sequence) {
  check_pool(exec, x, sequence, "last_pool");
  const std::int64_t channels = x.size(-1), rows = sequence.rows();
  check_activation(exec, last, "last_pool", "last");
  check_shape(last, {rows, channels}, "last_pool", "last");
  const Tensor last_in = last;
  last = next_state(exec, last_in);
  Tensor y = exec.empty({rows, channels});
  enqueue(exec, core_kernels(exec).last_pool,
          {.x = x.raw(),
           .last_in = last_in.raw(),
           .last_out = last.raw(),
           .y = y.raw(),
           .channels = channels,
           .sequence = sequence.args()},
          "last_pool");
  if (!tracked(exec, {&x, &last_in})) return y;
  const bool to_x = exec.tape()->tracks(x);
  const bool to_last = exec.tape()->tracks(last_in);
  exec.tape()->record({y, last}, [=, last_out = last](Exec& ex, Gradients& gradients) {
    Tensor dx = to_x ? ex.empty(x.shape()) : Tensor();
    Tensor dlast = to_last ? ex.empty(last_in.shape()) : Tensor();
    enqueue(ex, core_kernels(ex).last_pool_backward,
            {.dy = gradients.find(y).raw(),
             .dlast_out = gradients.find(last_out).raw(),
             .dx = dx.raw(),
             .dlast_in = dlast.raw(),
             .channels = channels,
             .sequence = sequence.args()},
            "last_pool backward");
    if (to_x) gradients.add(ex, x, dx);
    if (to_last) gradients.add(ex, last_in, dlast);
  });
  return y;
}

}  // namespace rill
