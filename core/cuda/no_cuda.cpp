// The CUDA back end of a build without CUDA: there is none.
#include <rill/core/device_launch.h>
#include <rill/core/kernels.h>

namespace rill {

const CoreKernels* cuda_core_kernels(DType) { return nullptr; }
const DeviceApi* cuda_device_api() { return nullptr; }

}  // namespace rill
