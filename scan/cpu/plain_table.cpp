// The plain loops of the double kernels, in float: what the error and the time of the vector
// kernels are measured against.
#include <rill/scan/cpu/affine_plain-inl.h>
#include <rill/scan/cpu/block_linear_plain-inl.h>
#include <rill/scan/cpu/conv_plain-inl.h>
#include <rill/scan/cpu/delta_rule_plain-inl.h>
#include <rill/scan/cpu/diagonal_ssm_plain-inl.h>
#include <rill/scan/cpu/linear_attention_plain-inl.h>
#include <rill/scan/cpu/mlstm_plain-inl.h>
#include <rill/scan/cpu/selective_plain-inl.h>
#include <rill/scan/kernels.h>

namespace rill {

const ScanKernels& cpu_scan_kernels_plain_f32() {
  static const ScanKernels table = [] {
    ScanKernels t = cpu_scan_kernels_f32();  // what is one code for every type stays
    t.affine_scan = plain::affine_scan<float>;
    t.affine_scan_backward = plain::affine_scan_backward<float>;
    t.block_linear = plain::block_linear<float>;
    t.block_linear_weight = plain::block_linear_weight<float>;
    t.block_pack = plain::block_pack<float>;
    t.causal_conv = plain::causal_conv<float>;
    t.causal_conv_backward = plain::causal_conv_backward<float>;
    t.transpose = plain::transpose<float>;
    t.delta_rule = plain::delta_rule<float>;
    t.delta_rule_backward = plain::delta_rule_backward<float>;
    t.linear_attention = plain::linear_attention<float>;
    t.linear_attention_backward = plain::linear_attention_backward<float>;
    t.mlstm_gates = plain::mlstm_gates<float, plain::PlainArithmetic<float>>;
    t.mlstm_gates_backward = plain::mlstm_gates_backward<float, plain::PlainArithmetic<float>>;
    t.selective_prepare = plain::selective_prepare<float>;
    t.selective_scan = plain::selective_scan<float>;
    t.selective_scan_backward = plain::selective_scan_backward<float>;
    t.diagonal_ssm = diagonal_plain::forward<float>;
    t.diagonal_ssm_backward = diagonal_plain::backward<float>;
    return t;
  }();
  return table;
}

}  // namespace rill
