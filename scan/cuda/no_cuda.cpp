// The CUDA back end of a build without CUDA: there is none.
#include <rill/scan/kernels.h>

namespace rill {

const ScanKernels* cuda_scan_kernels(DType) { return nullptr; }

}  // namespace rill
