// The CPU's tables of scan kernels.
#include <rill/scan/cpu/families.h>

namespace rill {
namespace {

struct Tables {
  ScanKernels f32, f64;
};

const Tables& tables() {
  static const Tables all = [] {
    Tables t;
    fill_affine_scan(t.f32, t.f64);
    fill_causal_conv(t.f32, t.f64);
    fill_selective_scan(t.f32, t.f64);
    fill_selective_scan_backward(t.f32);
    fill_linear_attention(t.f32, t.f64);
    fill_delta_rule(t.f32, t.f64);
    fill_mlstm(t.f32, t.f64);
    fill_rotary(t.f32, t.f64);
    fill_block_linear(t.f32, t.f64);
    fill_diagonal_ssm(t.f32, t.f64);
    fill_diagonal_ssm_backward(t.f32, t.f64);
    fill_diagonal_pack(t.f32, t.f64);
    fill_diagonal_discretize(t.f32, t.f64);
    fill_diagonal_response(t.f32, t.f64);
    return t;
  }();
  return all;
}

}  // namespace

const ScanKernels& cpu_scan_kernels_f32() { return tables().f32; }
const ScanKernels& cpu_scan_kernels_f64() { return tables().f64; }

}  // namespace rill
