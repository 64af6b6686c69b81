// Private: the table of the recurrent cells' kernels (LSTM, GRU). Letters: H hidden size, P output
// size (H, or the projection's), G gates a unit (LSTM 4: i, f, g, o; GRU 3: r, z, n), tokens and
// rows as in core/sequence.h.
#pragma once

#include <cstdint>

#include <rill/core/kernel.h>
#include <rill/rnn/cell_args.h>

namespace rill {

struct RnnKernels {
  Kernel<PackRecurrentArgs> pack = nullptr;
  std::int64_t (*packed_count)(std::int64_t hidden, std::int64_t gates,
                               std::int64_t output) = nullptr;
  Kernel<RecurrentArgs> lstm = nullptr;
  Kernel<RecurrentBackwardArgs> lstm_backward = nullptr;
  Kernel<RecurrentArgs> gru = nullptr;
  Kernel<RecurrentBackwardArgs> gru_backward = nullptr;
};

/// The table for an Exec's device and dtype.
const RnnKernels& rnn_kernels(const Exec& exec);

const RnnKernels& cpu_rnn_kernels_f32();
const RnnKernels& cpu_rnn_kernels_f64();
/// The double's loops in float (PlainKernels).
const RnnKernels& cpu_rnn_kernels_plain_f32();
/// Null where the build has no CUDA, or the dtype no CUDA form.
const RnnKernels* cuda_rnn_kernels(DType dtype);

}  // namespace rill
