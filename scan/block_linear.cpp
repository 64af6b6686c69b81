#include <rill/core/check.h>
#include <rill/scan/block_linear.h>
#include <rill/scan/matrix_ops.h>

namespace rill {
namespace {

constexpr const char* kName = "block_linear";

Tensor packed(Exec& exec, const Tensor& weight, bool transposed) {
  const Tensor pack = exec.empty({weight.numel()});
  enqueue(exec, scan_kernels(exec).block_pack,
          {.weight = weight.raw(),
           .packed = pack.raw(),
           .groups = weight.size(0),
           .inputs = weight.size(2),
           .outputs = weight.size(1),
           .transposed = transposed ? 1 : 0},
          kName);
  return pack;
}

// x times every block, or its transpose: a block of O x I seen from behind is one of I x O.
Tensor product(Exec& exec, const Tensor& x, const Tensor& weight, bool transposed) {
  const std::int64_t inputs = weight.size(transposed ? 1 : 2);
  const std::int64_t outputs = weight.size(transposed ? 2 : 1);
  const Tensor pack = packed(exec, weight, transposed);
  const Tensor y = exec.empty(x.shape().with_last(weight.size(0) * outputs));
  enqueue(exec, scan_kernels(exec).block_linear,
          {.x = x.raw(),
           .weight = pack.raw(),
           .y = y.raw(),
           .tokens = matrix_tokens(x),
           .groups = weight.size(0),
           .inputs = inputs,
           .outputs = outputs},
          kName);
  return y;
}

}  // namespace

Tensor block_linear(Exec& exec, const Tensor& x, const Tensor& weight) {
  check(weight.defined() && weight.rank() == 3 && weight.dtype() == exec.dtype(), ErrorCode::kShape,
        "{}: a weight of shape [G, O, I] in {} was expected.", kName, name_of(exec.dtype()));
  check(x.defined() && x.rank() >= 1 && x.size(-1) == weight.size(0) * weight.size(2) &&
            x.dtype() == exec.dtype(),
        ErrorCode::kShape, "{}: x of {} channels in {} was expected, {} came.", kName,
        weight.size(0) * weight.size(2), name_of(exec.dtype()),
        x.defined() ? to_string(x.shape()) : "nothing");
  const Tensor y = product(exec, x, weight, false);
  const bool by_x = tracked(exec, x), by_weight = tracked(exec, weight);
  if (by_x || by_weight)
    exec.tape()->record({y}, [=](Exec& ex, Gradients& gradients) {
      const Tensor dy = gradients.find(y);
      if (by_x) gradients.add(ex, x, product(ex, dy, weight, true));
      if (!by_weight) return;
      const Tensor dweight = gradients.accumulator(ex, weight);
      enqueue(ex, scan_kernels(ex).block_linear_weight,
              {.x = x.raw(),
               .dy = dy.raw(),
               .dweight = dweight.raw(),
               .tokens = matrix_tokens(x),
               .groups = weight.size(0),
               .inputs = weight.size(2),
               .outputs = weight.size(1)},
              kName);
    });
  return y;
}

}  // namespace rill
