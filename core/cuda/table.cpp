// The CUDA back end's table of core kernels: each entry hands its arguments to a launcher. Compiled
// twice: beside the kernels that nvcc builds, and beside the execution model's.
#include <rill/core/cuda/launch.h>
#include <rill/core/cuda/on_device.h>
#include <rill/core/kernels.h>

namespace rill {
namespace {

template <class S>
CoreKernels make_table() {
  CoreKernels table;
  // Weights are read where they lie: there is no packed form.
  table.linear = on_device<LinearArgs, launch_linear<S>>;
  table.embedding = on_device<EmbeddingArgs, launch_embedding<S>>;
  table.embedding_backward = on_device<EmbeddingBackwardArgs, launch_embedding_backward<S>>;
  table.unary = on_device<UnaryArgs, launch_unary<S>>;
  table.unary_backward = on_device<UnaryBackwardArgs, launch_unary_backward<S>>;
  table.binary = on_device<BinaryArgs, launch_binary<S>>;
  table.affine = on_device<AffineArgs, launch_affine<S>>;
  table.gated = on_device<GatedArgs, launch_gated<S>>;
  table.gated_backward = on_device<GatedBackwardArgs, launch_gated_backward<S>>;
  table.column_sum = on_device<ColumnSumArgs, launch_column_sum<S>>;
  table.norm = on_device<NormArgs, launch_norm<S>>;
  table.norm_backward = on_device<NormBackwardArgs, launch_norm_backward<S>>;
  table.copy = on_device<CopyArgs, launch_copy>;
  table.add_rows = on_device<AddRowsArgs, launch_add_rows<S>>;
  table.fill = on_device<FillArgs, launch_fill<S>>;
  table.dropout = on_device<DropoutArgs, launch_dropout<S>>;
  table.reorder = on_device<ReorderArgs, launch_reorder<S>>;
  table.mean_pool = on_device<MeanPoolArgs, launch_mean_pool<S>>;
  table.mean_pool_backward = on_device<MeanPoolBackwardArgs, launch_mean_pool_backward<S>>;
  table.last_pool = on_device<LastPoolArgs, launch_last_pool<S>>;
  table.last_pool_backward = on_device<LastPoolBackwardArgs, launch_last_pool_backward<S>>;
  table.cross_entropy = on_device<CrossEntropyArgs, launch_cross_entropy<S>>;
  table.cross_entropy_backward =
      on_device<CrossEntropyBackwardArgs, launch_cross_entropy_backward<S>>;
  table.sum = on_device<SumArgs, launch_sum<S>>;
  table.squared_error_backward =
      on_device<SquaredErrorBackwardArgs, launch_squared_error_backward<S>>;
  table.fft_conv = on_device<FftConvArgs, launch_fft_conv<S>>;
  table.fft_conv_backward = on_device<FftConvBackwardArgs, launch_fft_conv_backward<S>>;
  table.fft_conv_scratch = fft_conv_scratch<S>;
  table.fft_conv_backward_scratch = fft_conv_backward_scratch<S>;
  table.adamw = on_device<AdamWArgs, launch_adamw<S>>;
  table.squared_norm = on_device<SquaredNormArgs, launch_squared_norm<S>>;
  return table;
}

}  // namespace

const CoreKernels* cuda_core_kernels([[maybe_unused]] DType dtype) {
#if defined(RILL_DEVICE_MODEL)
  static const CoreKernels f64 = make_table<double>();
  if (dtype == DType::kFloat64) return &f64;
#endif
  static const CoreKernels f32 = make_table<float>();
  return dtype == DType::kFloat32 ? &f32 : nullptr;
}

}  // namespace rill
