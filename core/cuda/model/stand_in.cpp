#include <rill/core/cuda/model/stand_in.h>
#include <rill/core/kernel.h>

namespace rill {

// Declared in the rooms' kernels.h; here by name, since core includes no other room.
const CoreKernels* cuda_core_kernels(DType dtype);
const ScanKernels* cuda_scan_kernels(DType dtype);
const RnnKernels* cuda_rnn_kernels(DType dtype);

void use_device_model() {
  stand_in_kernels = {cuda_core_kernels, cuda_scan_kernels, cuda_rnn_kernels};
}

}  // namespace rill
