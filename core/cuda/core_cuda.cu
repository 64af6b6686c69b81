// The CUDA back end's table of core kernels. It is empty: every entry is null, and an op that is
// asked for on a CUDA device says so. Launchers are added here together with their kernels.
#include <cuda_runtime.h>

namespace rill {

struct CoreKernels;

const CoreKernels* cuda_core_kernels() { return nullptr; }

}  // namespace rill
