// The CPU's table of recurrent cells in float; that of double is in cells_plain.cpp.
#include <rill/rnn/cpu/cells.h>

namespace rill {
namespace {

// Room for vectors of up to 16 lanes, so that the size does not depend on the target.
std::int64_t packed_count(std::int64_t hidden, std::int64_t gates, std::int64_t width) {
  return (hidden + 15) / 16 * 16 * gates * width;
}

}  // namespace

const RnnKernels& cpu_rnn_kernels_f32() {
  static constexpr RnnKernels kTable = {.pack = pack_recurrent_f32,
                                        .packed_count = packed_count,
                                        .lstm = lstm_f32,
                                        .lstm_backward = lstm_backward_f32,
                                        .gru = gru_f32,
                                        .gru_backward = gru_backward_f32};
  return kTable;
}

}  // namespace rill
