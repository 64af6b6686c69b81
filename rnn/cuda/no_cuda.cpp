// The CUDA back end of a build without CUDA: there is none.
#include <rill/rnn/kernels.h>

namespace rill {

const RnnKernels* cuda_rnn_kernels(DType) { return nullptr; }

}  // namespace rill
