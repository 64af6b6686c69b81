// Private: the table of core's kernels. A back end fills one per dtype; null means that it has no
// such kernel. Their arguments: kernel_args.h.
#pragma once

#include <cstdint>

#include <rill/core/kernel.h>
#include <rill/core/kernel_args.h>
#include <rill/core/ops.h>
#include <rill/core/sequence.h>

namespace rill {

struct CoreKernels {
  Kernel<PackArgs> pack = nullptr;  // null: weights are read in place (LinearArgs)
  std::int64_t (*packed_bytes)(std::int64_t n, std::int64_t k, DType weight) = nullptr;
  Kernel<LinearArgs> linear = nullptr;
  Kernel<EmbeddingArgs> embedding = nullptr;
  Kernel<EmbeddingBackwardArgs> embedding_backward = nullptr;
  Kernel<UnaryArgs> unary = nullptr;
  Kernel<UnaryBackwardArgs> unary_backward = nullptr;
  Kernel<BinaryArgs> binary = nullptr;
  Kernel<AffineArgs> affine = nullptr;
  Kernel<GatedArgs> gated = nullptr;
  Kernel<GatedBackwardArgs> gated_backward = nullptr;
  Kernel<ColumnSumArgs> column_sum = nullptr;
  Kernel<NormArgs> norm = nullptr;
  Kernel<NormBackwardArgs> norm_backward = nullptr;
  Kernel<CopyArgs> copy = nullptr;
  Kernel<AddRowsArgs> add_rows = nullptr;
  Kernel<FillArgs> fill = nullptr;
  Kernel<DropoutArgs> dropout = nullptr;
  Kernel<ReorderArgs> reorder = nullptr;
  Kernel<MeanPoolArgs> mean_pool = nullptr;
  Kernel<MeanPoolBackwardArgs> mean_pool_backward = nullptr;
  Kernel<LastPoolArgs> last_pool = nullptr;
  Kernel<LastPoolBackwardArgs> last_pool_backward = nullptr;
  Kernel<CrossEntropyArgs> cross_entropy = nullptr;
  Kernel<CrossEntropyBackwardArgs> cross_entropy_backward = nullptr;
  Kernel<SumArgs> sum = nullptr;
  Kernel<SquaredErrorBackwardArgs> squared_error_backward = nullptr;
  Kernel<FftConvArgs> fft_conv = nullptr;
  Kernel<FftConvBackwardArgs> fft_conv_backward = nullptr;
  /// Bytes of scratch that such a call needs; null: none.
  std::int64_t (*fft_conv_scratch)(const FftConvArgs&) = nullptr;
  std::int64_t (*fft_conv_backward_scratch)(const FftConvBackwardArgs&) = nullptr;
  Kernel<AdamWArgs> adamw = nullptr;
  Kernel<SquaredNormArgs> squared_norm = nullptr;
};

/// The table for an Exec's device and dtype.
const CoreKernels& core_kernels(const Exec& exec);

const CoreKernels& cpu_core_kernels_f32();
const CoreKernels& cpu_core_kernels_f64();
/// The plain loops in float: what the vector kernels are tested against.
const CoreKernels& cpu_core_kernels_plain_f32();
/// Null where the build has no CUDA, or the dtype no CUDA form.
const CoreKernels* cuda_core_kernels(DType dtype);

}  // namespace rill
