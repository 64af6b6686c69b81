// The CUDA back end of a build without CUDA: there is none.
#include <rill/core/kernels.h>

namespace rill {

const CoreKernels* cuda_core_kernels() { return nullptr; }

}  // namespace rill
