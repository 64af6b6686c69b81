#include <rill/core/check.h>
#include <rill/core/kernels.h>
#include <rill/core/ops.h>
#include <rill/core/scratch.h>
#include <rill/core/tape.h>

namespace rill {

Tensor fft_conv(Exec& exec, const Tensor& x, const Tensor& kernel, const Sequence& sequence) {
  check(kernel.defined() && kernel.rank() == 2 && kernel.size(1) >= 1, ErrorCode::kShape,
        "fft_conv: a kernel of shape [C, L] with at least one tap was expected, {} came.",
        kernel.defined() ? to_string(kernel.shape()) : "nothing");
  const std::int64_t channels = kernel.size(0);
  check(x.defined() && x.rank() >= 1 && x.size(x.rank() - 1) == channels &&
            x.numel() == sequence.tokens() * channels,
        ErrorCode::kShape, "fft_conv: x of shape [..., {}] with {} tokens was expected, {} came.",
        channels, sequence.tokens(), x.defined() ? to_string(x.shape()) : "nothing");
  check(x.dtype() == exec.dtype() && kernel.dtype() == exec.dtype(), ErrorCode::kDType,
        "fft_conv: x and kernel of the Exec's dtype {} were expected, {} and {} came.",
        name_of(exec.dtype()), name_of(x.dtype()), name_of(kernel.dtype()));
  check(sequence.args().reset == nullptr, ErrorCode::kUnsupported,
        "fft_conv: a convolution cannot be reset inside of a sequence; pass sequences without "
        "resets.");
  const Tensor y = exec.empty(x.shape());
  const CoreKernels& core = core_kernels(exec);
  const auto [call, scratch] = with_scratch(exec, core.fft_conv_scratch,
                                            FftConvArgs{.sequence = sequence.args(),
                                                        .x = x.raw(),
                                                        .kernel = kernel.raw(),
                                                        .y = y.raw(),
                                                        .channels = channels,
                                                        .kernel_length = kernel.size(1)});
  enqueue(exec, core.fft_conv, call, "fft_conv");
  Tape* tape = exec.tape();
  if (!tape) return y;
  const bool track_x = tape->tracks(x), track_kernel = tape->tracks(kernel);
  if (!track_x && !track_kernel) return y;
  tape->record({y}, [=](Exec& ex, Gradients& gradients) {
    const Tensor dx = ex.empty(x.shape()), dkernel = ex.empty(kernel.shape());
    const CoreKernels& back = core_kernels(ex);
    const auto [adjoint, room] = with_scratch(ex, back.fft_conv_backward_scratch,
                                              FftConvBackwardArgs{.sequence = sequence.args(),
                                                                  .x = x.raw(),
                                                                  .kernel = kernel.raw(),
                                                                  .dy = gradients.find(y).raw(),
                                                                  .dx = dx.raw(),
                                                                  .dkernel = dkernel.raw(),
                                                                  .channels = channels,
                                                                  .kernel_length = kernel.size(1)});
    enqueue(ex, back.fft_conv_backward, adjoint, "fft_conv backward");
    if (track_x) gradients.add(ex, x, dx);
    if (track_kernel) gradients.add(ex, kernel, dkernel);
  });
  return y;
}

}  // namespace rill
