#include <rill/core/kernels.h>

namespace rill {

const CoreKernels& core_kernels(const Exec& exec) {
  if (exec.device().type == Device::Type::kCuda) {
    const CoreKernels* table = cuda_core_kernels(exec.dtype());
    check(table != nullptr, ErrorCode::kDevice, "core: this build has no CUDA form in {}.",
          name_of(exec.dtype()));
    return *table;
  }
  return by_dtype(exec, cpu_core_kernels_f32(), cpu_core_kernels_f64(),
                  cpu_core_kernels_plain_f32());
}

}  // namespace rill
