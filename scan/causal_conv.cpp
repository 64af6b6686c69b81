#include <rill/scan/causal_conv.h>
#include <rill/scan/kernels.h>
#include <rill/scan/op_checks.h>

namespace rill {
namespace {

struct Saved {
  Tensor x, taps, bias, initial, last, y;
  Tensor to_x, to_weight, to_bias, to_initial;  // where gradients go
  Shape weight_shape;
  Sequence sequence;
  std::int64_t channels, width;
  bool silu;
};

void go_back(Exec& exec, Gradients& gradients, const Saved& saved) {
  const ScanKernels& kernels = scan_kernels(exec);
  const Tensor dy = gradients.find(saved.y), dlast = gradients.find(saved.last);
  const Tensor dpre = exec.empty(saved.x.shape()), dx = exec.empty(saved.x.shape());
  const Tensor dinitial = exec.empty(saved.initial.shape()), dtaps = exec.empty(saved.taps.shape());
  const Tensor dweight = accumulator_of(exec, gradients, saved.to_weight, saved.weight_shape);
  const Tensor dbias =
      saved.to_bias.defined() ? gradients.accumulator(exec, saved.to_bias) : Tensor();
  enqueue(exec, kernels.causal_conv_backward,
          {.sequence = saved.sequence.args(),
           .x = saved.x.raw(),
           .weight = saved.taps.raw(),
           .bias = raw_or_null(saved.bias),
           .initial = saved.initial.raw(),
           .dy = raw_or_null(dy),
           .dfinal = raw_or_null(dlast),
           .dpre = dpre.raw(),
           .dx = dx.raw(),
           .dinitial = dinitial.raw(),
           .dweight = dtaps.raw(),
           .dbias = dbias.defined() ? dbias.raw() : nullptr,
           .channels = saved.channels,
           .width = saved.width,
           .silu = saved.silu},
          "causal_conv backward");
  enqueue(exec, kernels.transpose,
          {.source = dtaps.raw(),
           .target = dweight.raw(),
           .rows = saved.width,
           .columns = saved.channels,
           .accumulate = 1},
          "causal_conv backward");
  give(exec, gradients, saved.to_x, dx);
  give(exec, gradients, saved.to_initial, dinitial);
}

}  // namespace

Tensor causal_conv(Exec& exec, const Tensor& x, const Tensor& weight, const Tensor& bias,
                   Tensor& state, const Sequence& sequence, ConvActivation activation) {
  check(weight.defined() && (weight.rank() == 2 || (weight.rank() == 3 && weight.size(1) == 1)) &&
            weight.size(weight.rank() - 1) >= 1,
        ErrorCode::kShape,
        "causal_conv: a weight of shape [C, K] or [C, 1, K] with K >= 1 was expected, {} came.",
        weight.defined() ? to_string(weight.shape()) : "nothing");
  const std::int64_t channels = weight.size(0), width = weight.size(weight.rank() - 1);
  check_array(exec, "causal_conv", "weight", weight, 1, weight.shape());
  check_array(exec, "causal_conv", "x", x, sequence.tokens(), {channels});
  check_array(exec, "causal_conv", "state", state, sequence.rows(), {width - 1, channels});
  if (bias.defined()) check_array(exec, "causal_conv", "bias", bias, 1, {channels});
  const ScanKernels& kernels = scan_kernels(exec);
  const Tensor taps = exec.empty({width, channels});
  enqueue(exec, kernels.transpose,
          {.source = weight.raw(),
           .target = taps.raw(),
           .rows = channels,
           .columns = width,
           .accumulate = 0},
          "causal_conv");
  const bool silu = activation == ConvActivation::kSilu;
  const Tensor initial = state;
  const Tensor last = exec.tape() ? exec.empty(state.shape()) : state;
  const Tensor y = exec.empty(x.shape());
  enqueue(exec, kernels.causal_conv,
          {.sequence = sequence.args(),
           .x = x.raw(),
           .weight = taps.raw(),
           .bias = raw_or_null(bias),
           .initial = initial.raw(),
           .final_state = last.raw(),
           .y = y.raw(),
           .channels = channels,
           .width = width,
           .silu = silu},
          "causal_conv");
  state = last;
  if (tracked(exec, {&x, &weight, &bias, &initial}))
    exec.tape()->record(
        {y, last},
        [saved = Saved{x, taps, bias, initial, last, y, where_tracked(exec, x),
                       where_tracked(exec, weight), where_tracked(exec, bias),
                       where_tracked(exec, initial), weight.shape(), sequence, channels, width,
                       silu}](Exec& ex, Gradients& gradients) { go_back(ex, gradients, saved); });
  return y;
}

}  // namespace rill
