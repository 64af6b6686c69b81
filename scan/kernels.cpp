#include <rill/scan/kernels.h>

namespace rill {

const ScanKernels& scan_kernels(const Exec& exec) {
  if (exec.device().type == Device::Type::kCuda) {
    const ScanKernels* table = cuda_scan_kernels(exec.dtype());
    check(table != nullptr, ErrorCode::kDevice, "scan: this build has no CUDA form in {}.",
          name_of(exec.dtype()));
    return *table;
  }
  return by_dtype(exec, cpu_scan_kernels_f32(), cpu_scan_kernels_f64(),
                  cpu_scan_kernels_plain_f32());
}

}  // namespace rill
