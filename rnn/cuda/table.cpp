// The CUDA back end's table of the recurrent cells' kernels; compiled twice, as
// core/cuda/table.cpp.
#include <rill/core/cuda/on_device.h>
#include <rill/rnn/cuda/launch.h>
#include <rill/rnn/kernels.h>

namespace rill {
namespace {

template <class S>
RnnKernels make_table() {
  return {.pack = on_device<PackRecurrentArgs, launch_pack_recurrent<S>>,
          .packed_count = device_packed_count,
          .lstm = on_device<RecurrentArgs, launch_lstm<S>>,
          .lstm_backward = on_device<RecurrentBackwardArgs, launch_lstm_backward<S>>,
          .gru = on_device<RecurrentArgs, launch_gru<S>>,
          .gru_backward = on_device<RecurrentBackwardArgs, launch_gru_backward<S>>};
}

}  // namespace

const RnnKernels* cuda_rnn_kernels([[maybe_unused]] DType dtype) {
#if defined(RILL_DEVICE_MODEL)
  static const RnnKernels f64 = make_table<double>();
  if (dtype == DType::kFloat64) return &f64;
#endif
  static const RnnKernels f32 = make_table<float>();
  static const RnnKernels bf16 = make_table<BFloat16>(), f16 = make_table<Half>();
  switch (dtype) {
    case DType::kFloat32:
      return &f32;
    case DType::kBFloat16:
      return &bf16;
    case DType::kFloat16:
      return &f16;
    default:
      return nullptr;
  }
}

}  // namespace rill
