// Private: each family of CPU kernels fills its entries of both tables. One line a family here and
// in scan_table.cpp.
#pragma once

#include <rill/scan/kernels.h>

namespace rill {

void fill_affine_scan(ScanKernels& f32, ScanKernels& f64);
void fill_causal_conv(ScanKernels& f32, ScanKernels& f64);
void fill_selective_scan(ScanKernels& f32, ScanKernels& f64);
void fill_selective_scan_backward(ScanKernels& f32);
void fill_linear_attention(ScanKernels& f32, ScanKernels& f64);
void fill_delta_rule(ScanKernels& f32, ScanKernels& f64);
void fill_mlstm(ScanKernels& f32, ScanKernels& f64);
void fill_rotary(ScanKernels& f32, ScanKernels& f64);
void fill_block_linear(ScanKernels& f32, ScanKernels& f64);
void fill_diagonal_ssm(ScanKernels& f32, ScanKernels& f64);
void fill_diagonal_ssm_backward(ScanKernels& f32, ScanKernels& f64);
void fill_diagonal_pack(ScanKernels& f32, ScanKernels& f64);
void fill_diagonal_discretize(ScanKernels& f32, ScanKernels& f64);
void fill_diagonal_response(ScanKernels& f32, ScanKernels& f64);

}  // namespace rill
