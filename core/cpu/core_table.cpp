// The CPU's tables of core kernels, one per dtype.
#include <rill/core/cpu/linear.h>

namespace rill {

const CoreKernels& cpu_core_kernels_f32() {
  static constexpr CoreKernels kTable{
      .pack = pack_f32,
      .packed_bytes = packed_bytes_f32,
      .linear = linear_f32,
      .embedding = embedding_f32,
      .embedding_backward = embedding_backward_f32,
  };
  return kTable;
}

const CoreKernels& cpu_core_kernels_f64() {
  static constexpr CoreKernels kTable{
      .pack = pack_f64,
      .packed_bytes = packed_bytes_f64,
      .linear = linear_f64,
      .embedding = embedding_f64,
      .embedding_backward = embedding_backward_f64,
  };
  return kTable;
}

}  // namespace rill
