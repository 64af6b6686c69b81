#include <rill/core/kernels.h>
#include <rill/core/op_checks.h>
#include <rill/core/ops.h>

namespace rill {
namespace {

enum NormKind : std::int64_t { kRms = 0, kLayer = 1, kL2 = 2 };

// One kernel for all norms: rows of `width`, weights repeating every weight_rows rows.
Tensor norm(Exec& exec, const char* name, const Tensor& x, const Tensor& weight, const Tensor& bias,
            std::int64_t width, std::int64_t weight_rows, std::int64_t kind, double eps) {
  const NormArgs args{.x = x.raw(),
                      .weight = weight.raw(),
                      .bias = bias.raw(),
                      .rows = width ? x.numel() / width : 0,
                      .width = width,
                      .weight_rows = weight_rows,
                      .kind = kind,
                      .eps = eps};
  Tensor y = exec.empty(x.shape());
  NormArgs forward = args;
  forward.y = y.raw();
  enqueue(exec, core_kernels(exec).norm, forward, name);
  if (!tracked(exec, {&x, &weight, &bias})) return y;
  const bool to_x = exec.tape()->tracks(x);
  const bool to_weight = exec.tape()->tracks(weight), to_bias = exec.tape()->tracks(bias);
  exec.tape()->record({y}, [=](Exec& ex, Gradients& gradients) {
    const Tensor dy = gradients.find(y);
    Tensor dx = ex.empty(x.shape());
    const Tensor stats = ex.empty({args.rows, 2});
    const Tensor dweight = to_weight ? gradients.accumulator(ex, weight) : Tensor();
    const Tensor dbias = to_bias ? gradients.accumulator(ex, bias) : Tensor();
    enqueue(ex, core_kernels(ex).norm_backward,
            {.x = x.raw(),
             .weight = weight.raw(),
             .dy = dy.raw(),
             .dx = dx.raw(),
             .dweight = dweight.raw(),
             .dbias = dbias.raw(),
             .stats = stats.raw(),
             .rows = args.rows,
             .width = width,
             .weight_rows = weight_rows,
             .kind = kind,
             .eps = eps},
            name);
    if (to_x) gradients.add(ex, x, dx);
  });
  return y;
}

void check_vector(const Exec& exec, const Tensor& tensor, std::int64_t size, const char* op,
                  const char* argument) {
  if (!tensor.defined()) return;
  check_activation(exec, tensor, op, argument);
  check_shape(tensor, {size}, op, argument);
}

std::int64_t group_width(const Tensor& x, std::int64_t groups, const char* op) {
  const std::int64_t channels = last_axis(x, op, "x");
  check(groups >= 1 && channels % groups == 0, ErrorCode::kShape,
        "{}: a number of groups that divides the last axis {} was expected, {} came.", op, channels,
        groups);
  return channels / groups;
}

}  // namespace

Tensor rms_norm(Exec& exec, const Tensor& x, const Tensor& weight, double eps) {
  check_activation(exec, x, "rms_norm", "x");
  const std::int64_t width = last_axis(x, "rms_norm", "x");
  check_vector(exec, weight, width, "rms_norm", "weight");
  return norm(exec, "rms_norm", x, weight, {}, width, 1, kRms, eps);
}

Tensor layer_norm(Exec& exec, const Tensor& x, const Tensor& weight, const Tensor& bias,
                  double eps) {
  check_activation(exec, x, "layer_norm", "x");
  const std::int64_t width = last_axis(x, "layer_norm", "x");
  check_vector(exec, weight, width, "layer_norm", "weight");
  check_vector(exec, bias, width, "layer_norm", "bias");
  return norm(exec, "layer_norm", x, weight, bias, width, 1, kLayer, eps);
}

Tensor group_norm(Exec& exec, const Tensor& x, std::int64_t groups, const Tensor& weight,
                  const Tensor& bias, double eps, bool rms) {
  check_activation(exec, x, "group_norm", "x");
  const std::int64_t width = group_width(x, groups, "group_norm");
  // The shared form has one group's size; weight and bias must have the same form.
  const Tensor& sized = weight.defined() ? weight : bias;
  const bool shared = sized.defined() && sized.numel() == width;
  const std::int64_t weight_rows = shared ? 1 : groups;
  check_vector(exec, weight, weight_rows * width, "group_norm", "weight");
  check_vector(exec, bias, weight_rows * width, "group_norm", "bias");
  return norm(exec, "group_norm", x, weight, bias, width, weight_rows, rms ? kRms : kLayer, eps);
}

Tensor l2_norm(Exec& exec, const Tensor& x, std::int64_t groups, double eps) {
  check_activation(exec, x, "l2_norm", "x");
  return norm(exec, "l2_norm", x, {}, {}, group_width(x, groups, "l2_norm"), 1, kL2, eps);
}

}  // namespace rill
