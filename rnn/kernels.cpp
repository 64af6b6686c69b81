#include <rill/rnn/kernels.h>

namespace rill {

const RnnKernels& rnn_kernels(const Exec& exec) {
  if (exec.device().type == Device::Type::kCuda) {
    const RnnKernels* table = cuda_rnn_kernels(exec.dtype());
    check(table != nullptr, ErrorCode::kDevice, "rnn: this build has no CUDA form in {}.",
          name_of(exec.dtype()));
    return *table;
  }
  return by_dtype(exec, cpu_rnn_kernels_f32(), cpu_rnn_kernels_f64(), cpu_rnn_kernels_plain_f32());
}

}  // namespace rill
