// The CUDA back end's table of the scan room's kernels; compiled twice, as core/cuda/table.cpp.
#include <rill/core/cuda/on_device.h>
#include <rill/scan/cuda/launch.h>
#include <rill/scan/cuda/launch_chunk.h>
#include <rill/scan/cuda/launch_diagonal.h>
#include <rill/scan/cuda/launch_scan.h>
#include <rill/scan/cuda/selective_plan.h>
#include <rill/scan/kernels.h>

namespace rill {
namespace {

// S: of activations; what is no activation is C.
template <class S>
ScanKernels make_table() {
  using C = Compute<S>;
  ScanKernels table;
  table.selective_plan = selective_plan;
  table.affine_scan = on_device<AffineScanArgs, launch_affine_scan<S>>;
  table.affine_scan_backward = on_device<AffineScanBackwardArgs, launch_affine_scan_backward<S>>;
  table.transpose = on_device<TransposeArgs, launch_transpose<C>>;
  table.causal_conv = on_device<CausalConvArgs, launch_causal_conv<S>>;
  table.causal_conv_backward = on_device<CausalConvBackwardArgs, launch_causal_conv_backward<S>>;
  table.selective_prepare = on_device<SelectivePrepareArgs, launch_selective_prepare<C>>;
  table.selective_scan = on_device<SelectiveScanArgs, launch_selective_scan<S>>;
  table.selective_scan_backward =
      on_device<SelectiveScanBackwardArgs, launch_selective_scan_backward<S>>;
  if constexpr (sizeof(S) != 2) {
    table.linear_attention = on_device<LinearAttentionArgs, launch_linear_attention<S>>;
    table.linear_attention_backward =
        on_device<LinearAttentionBackwardArgs, launch_linear_attention_backward<S>>;
    table.delta_rule = on_device<DeltaRuleArgs, launch_delta_rule<S>>;
    table.delta_rule_backward = on_device<DeltaRuleBackwardArgs, launch_delta_rule_backward<S>>;
  } else {
    constexpr DType kType = std::is_same_v<S, BFloat16> ? DType::kBFloat16 : DType::kFloat16;
    table.linear_attention = on_device<LinearAttentionArgs, launch_chunk_attention<kType>>;
    table.linear_attention_backward =
        on_device<LinearAttentionBackwardArgs, launch_chunk_attention_backward<kType>>;
    table.delta_rule = on_device<DeltaRuleArgs, launch_chunk_delta<kType>>;
    table.delta_rule_backward =
        on_device<DeltaRuleBackwardArgs, launch_chunk_delta_backward<kType>>;
  }
  table.mlstm_gates = on_device<MlstmGatesArgs, launch_mlstm_gates<S>>;
  table.mlstm_gates_backward = on_device<MlstmGatesBackwardArgs, launch_mlstm_gates_backward<S>>;
  table.rotary = on_device<RotaryArgs, launch_rotary<S>>;
  table.advance = on_device<AdvanceArgs, launch_advance>;
  table.block_linear = on_device<BlockLinearArgs, launch_block_linear<S>>;
  table.block_linear_weight = on_device<BlockLinearWeightArgs, launch_block_linear_weight<S>>;
  table.block_pack = on_device<BlockPackArgs, launch_block_pack<C>>;
  table.diagonal_pack = on_device<DiagonalPackArgs, launch_diagonal_pack<C>>;
  table.diagonal_unpack = on_device<DiagonalUnpackArgs, launch_diagonal_unpack<C>>;
  table.diagonal_ssm = on_device<DiagonalSsmArgs, launch_diagonal_ssm<S>>;
  table.diagonal_ssm_backward = on_device<DiagonalSsmBackwardArgs, launch_diagonal_ssm_backward<S>>;
  table.diagonal_discretize = on_device<DiagonalDiscretizeArgs, launch_diagonal_discretize<C>>;
  table.diagonal_discretize_backward =
      on_device<DiagonalDiscretizeBackwardArgs, launch_diagonal_discretize_backward<C>>;
  if constexpr (std::is_same_v<S, C>) {  // a convolution has no 16-bit form yet
    table.diagonal_kernel = on_device<DiagonalKernelArgs, launch_diagonal_kernel<S>>;
    table.diagonal_kernel_backward =
        on_device<DiagonalKernelBackwardArgs, launch_diagonal_kernel_backward<S>>;
    table.diagonal_kernel_backward_scratch = diagonal_kernel_backward_scratch;
    table.diagonal_response = on_device<DiagonalResponseArgs, launch_diagonal_response<S>>;
    table.diagonal_response_scratch = diagonal_response_scratch;
    table.diagonal_response_backward =
        on_device<DiagonalResponseBackwardArgs, launch_diagonal_response_backward<S>>;
    table.diagonal_response_backward_scratch = diagonal_response_backward_scratch;
  }
  return table;
}

}  // namespace

const ScanKernels* cuda_scan_kernels(DType dtype) {
#if defined(RILL_DEVICE_MODEL)
  static const ScanKernels f64 = make_table<double>();
  if (dtype == DType::kFloat64) return &f64;
#endif
  static const ScanKernels f32 = make_table<float>();
  static const ScanKernels bf16 = make_table<BFloat16>(), f16 = make_table<Half>();
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
