// Private: the table of the scan room's kernels. A back end fills one per dtype; null means that it
// has no such kernel. Arguments are pointers and 8-byte scalars only (core/kernel.h). `tokens` =
// sequence.tokens, row r of a state belongs to row r of the sequence. A family with many arguments
// keeps them in a header of its own and adds its lines here.
#pragma once

#include <cstdint>

#include <rill/core/kernel.h>
#include <rill/core/sequence.h>
#include <rill/scan/diagonal_args.h>
#include <rill/scan/matrix_kernels.h>
#include <rill/scan/scan_args.h>

namespace rill {

struct ScanKernels {
  /// How the selective scan is cut; null: SelectivePlan's defaults.
  SelectivePlan (*selective_plan)(std::int64_t rows, std::int64_t channels, std::int64_t states,
                                  std::int64_t max_length) = nullptr;
  Kernel<AffineScanArgs> affine_scan = nullptr;
  Kernel<AffineScanBackwardArgs> affine_scan_backward = nullptr;
  Kernel<TransposeArgs> transpose = nullptr;
  Kernel<CausalConvArgs> causal_conv = nullptr;
  Kernel<CausalConvBackwardArgs> causal_conv_backward = nullptr;
  Kernel<SelectivePrepareArgs> selective_prepare = nullptr;
  Kernel<SelectiveScanArgs> selective_scan = nullptr;
  Kernel<SelectiveScanBackwardArgs> selective_scan_backward = nullptr;
  Kernel<LinearAttentionArgs> linear_attention = nullptr;
  Kernel<LinearAttentionBackwardArgs> linear_attention_backward = nullptr;
  Kernel<DeltaRuleArgs> delta_rule = nullptr;
  Kernel<DeltaRuleBackwardArgs> delta_rule_backward = nullptr;
  Kernel<MlstmGatesArgs> mlstm_gates = nullptr;
  Kernel<MlstmGatesBackwardArgs> mlstm_gates_backward = nullptr;
  Kernel<RotaryArgs> rotary = nullptr;
  Kernel<AdvanceArgs> advance = nullptr;
  Kernel<BlockLinearArgs> block_linear = nullptr;
  Kernel<BlockLinearWeightArgs> block_linear_weight = nullptr;
  Kernel<BlockPackArgs> block_pack = nullptr;
  Kernel<DiagonalPackArgs> diagonal_pack = nullptr;
  Kernel<DiagonalUnpackArgs> diagonal_unpack = nullptr;
  Kernel<DiagonalSsmArgs> diagonal_ssm = nullptr;
  Kernel<DiagonalSsmBackwardArgs> diagonal_ssm_backward = nullptr;
  Kernel<DiagonalDiscretizeArgs> diagonal_discretize = nullptr;
  Kernel<DiagonalDiscretizeBackwardArgs> diagonal_discretize_backward = nullptr;
  Kernel<DiagonalKernelArgs> diagonal_kernel = nullptr;
  Kernel<DiagonalKernelBackwardArgs> diagonal_kernel_backward = nullptr;
  Kernel<DiagonalResponseArgs> diagonal_response = nullptr;
  Kernel<DiagonalResponseBackwardArgs> diagonal_response_backward = nullptr;
  /// Bytes of scratch that such a call needs; null: none.
  std::int64_t (*diagonal_kernel_backward_scratch)(const DiagonalKernelBackwardArgs&) = nullptr;
  std::int64_t (*diagonal_response_scratch)(const DiagonalResponseArgs&) = nullptr;
  std::int64_t (*diagonal_response_backward_scratch)(const DiagonalResponseBackwardArgs&) = nullptr;
};

/// The table for an Exec's device and dtype.
const ScanKernels& scan_kernels(const Exec& exec);

const ScanKernels& cpu_scan_kernels_f32();
const ScanKernels& cpu_scan_kernels_f64();
/// The double's loops in float (PlainKernels).
const ScanKernels& cpu_scan_kernels_plain_f32();
/// Null where the build has no CUDA, or the dtype no CUDA form.
const ScanKernels* cuda_scan_kernels(DType dtype);

}  // namespace rill
