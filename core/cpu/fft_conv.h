// Private: the CPU's convolution by FFT.
#pragma once

#include <rill/core/kernels.h>

namespace rill {

void fft_conv_f32(const FftConvArgs& args, const KernelContext& context);
void fft_conv_f64(const FftConvArgs& args, const KernelContext& context);
void fft_conv_backward_f32(const FftConvBackwardArgs& args, const KernelContext& context);
void fft_conv_backward_f64(const FftConvBackwardArgs& args, const KernelContext& context);

}  // namespace rill
