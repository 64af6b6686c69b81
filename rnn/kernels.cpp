#include <rill/rnn/kernels.h>

namespace rill {

const RnnKernels& rnn_kernels(const Exec& exec) {
  check(exec.device().type == Device::Type::kCpu, ErrorCode::kUnsupported,
        "rnn: there is no LSTM or GRU on {}; run it on the CPU.", to_string(exec.device()));
  return by_dtype(exec, cpu_rnn_kernels_f32(), cpu_rnn_kernels_f64(), cpu_rnn_kernels_plain_f32());
}

}  // namespace rill
