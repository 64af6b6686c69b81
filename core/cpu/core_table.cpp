// The CPU's tables of core kernels, one per dtype.
#include <rill/core/cpu/core_cpu.h>
#include <rill/core/cpu/fft_conv.h>
#include <rill/core/cpu/linear.h>

namespace rill {

const CoreKernels& cpu_core_kernels_f32() {
  static const CoreKernels table = [] {
    CoreKernels kernels;
    kernels.pack = pack_f32;
    kernels.packed_bytes = packed_bytes_f32;
    kernels.linear = linear_f32;
    kernels.embedding = embedding_f32;
    kernels.embedding_backward = embedding_backward_f32;
    kernels.fft_conv = fft_conv_f32;
    kernels.fft_conv_backward = fft_conv_backward_f32;
    cpu::add_movement<float>(kernels);
    cpu::add_optimizer<float>(kernels);
    cpu::add_activations(kernels);
    cpu::add_arithmetic(kernels);
    cpu::add_norms(kernels);
    cpu::add_losses(kernels);
    return kernels;
  }();
  return table;
}

const CoreKernels& cpu_core_kernels_f64() {
  static const CoreKernels table = [] {
    CoreKernels kernels;
    kernels.pack = pack_f64;
    kernels.packed_bytes = packed_bytes_f64;
    kernels.linear = linear_f64;
    kernels.embedding = embedding_f64;
    kernels.embedding_backward = embedding_backward_f64;
    kernels.fft_conv = fft_conv_f64;
    kernels.fft_conv_backward = fft_conv_backward_f64;
    cpu::add_movement<double>(kernels);
    cpu::add_optimizer<double>(kernels);
    cpu::add_plain<double>(kernels);
    return kernels;
  }();
  return table;
}

const CoreKernels& cpu_core_kernels_plain_f32() {
  static const CoreKernels table = [] {
    CoreKernels kernels;
    kernels.pack = pack_plain_f32;
    kernels.packed_bytes = packed_bytes_plain_f32;
    kernels.linear = linear_plain_f32;
    kernels.embedding = embedding_f32;
    kernels.embedding_backward = embedding_backward_f32;
    // Plain loops already, on transforms in double.
    kernels.fft_conv = fft_conv_f32;
    kernels.fft_conv_backward = fft_conv_backward_f32;
    cpu::add_movement<float>(kernels);
    cpu::add_optimizer<float>(kernels);
    cpu::add_plain<float>(kernels);
    return kernels;
  }();
  return table;
}

}  // namespace rill
