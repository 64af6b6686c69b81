// Scans over diagonal states: the affine scan, the fused diagonal layer, the causal convolution.
#include <rill/bench/cuda/bench_run.h>
#include <rill/scan/kernels.h>

namespace rill::bench {
namespace {

struct Size {
  std::int64_t batch, length, channels;

  std::int64_t tokens() const { return batch * length; }
  std::int64_t count() const { return tokens() * channels; }
  std::string text() const { return shape_text({batch, length, channels}); }
};
constexpr Size kWide{8, 65536, 1536}, kLong{1, 1048576, 2048}, kNarrow{1, 67108864, 1};

const ScanKernels& float_table() { return *cuda_scan_kernels(DType::kFloat32); }

double bytes_of(std::int64_t count, DType dtype, int arrays) {
  return static_cast<double>(count) * static_cast<double>(size_of(dtype)) * arrays;
}

void affine_row(Run& run, const Size& size, bool complex) {
  const std::int64_t n = size.count() * (complex ? 2 : 1);
  run.row({.name = complex ? "affine_scan complex" : "affine_scan",
           .shape = size.text(),
           .bytes = bytes_of(n, DType::kFloat32, 3),
           .flops = static_cast<double>(n) * (complex ? 4 : 2)},
          [&](Arrays& arrays) -> Run::Call {
            // |a| < 1 for complex numbers too.
            const AffineScanArgs args{.sequence = arrays.sequence(size.batch, size.length),
                                      .a = arrays.uniform(n, 0.5, complex ? 0.7 : 1.0),
                                      .b = arrays.uniform(n, -1, 1),
                                      .initial = arrays.zeros(size.batch * size.channels * 2),
                                      .final_state = arrays.empty(size.batch * size.channels * 2),
                                      .h = arrays.empty(n),
                                      .channels = size.channels,
                                      .complex = complex};
            return [=, &run] { float_table().affine_scan(args, run.on()); };
          });
}

void affine_backward_row(Run& run, const Size& size, bool complex) {
  const std::int64_t n = size.count() * (complex ? 2 : 1);
  run.row({.name = complex ? "affine_scan complex backward" : "affine_scan backward",
           .shape = size.text(),
           .bytes = bytes_of(n, DType::kFloat32, 5),
           .flops = static_cast<double>(n) * (complex ? 8 : 4)},
          [&](Arrays& arrays) -> Run::Call {
            const std::int64_t states = size.batch * size.channels * 2;
            const AffineScanBackwardArgs args{.sequence = arrays.sequence(size.batch, size.length),
                                              .a = arrays.uniform(n, 0.5, complex ? 0.7 : 1.0),
                                              .h = arrays.uniform(n, -1, 1),
                                              .initial = arrays.zeros(states),
                                              .dh = arrays.uniform(n, -1, 1),
                                              .da = arrays.empty(n),
                                              .db = arrays.empty(n),
                                              .dinitial = arrays.empty(states),
                                              .channels = size.channels,
                                              .complex = complex};
            return [=, &run] { float_table().affine_scan_backward(args, run.on()); };
          });
}

constexpr std::int64_t kModes = 32, kWidth = 2 * kModes;  // S4D's state of 64, in conjugate pairs

DiagonalSsmArgs diagonal_arguments(Arrays& arrays, const Size& size, DType dtype, bool keep) {
  DiagonalSsmArgs args{.sequence = arrays.sequence(size.batch, size.length),
                       .x = arrays.uniform(size.count(), -1, 1, dtype),
                       .coefficients = arrays.uniform(size.channels * 3 * kWidth, -0.6, 0.6),
                       .d = arrays.uniform(size.channels, 0, 1),
                       .h_in = arrays.zeros(size.batch * size.channels * kWidth),
                       .h_out = arrays.empty(size.batch * size.channels * kWidth),
                       .y = arrays.empty(size.count(), dtype),
                       .channels = size.channels,
                       .width = kWidth,
                       .padded_width = kWidth,
                       .complex = 1};
  if (keep) args.checkpoints = arrays.empty(diagonal_slots(args.sequence) * size.channels * kWidth);
  return args;
}

void diagonal_rows(Run& run, const Size& size, DType dtype) {
  const ScanKernels& table = *cuda_scan_kernels(dtype);
  const auto n = static_cast<double>(size.count());
  run.row({.name = "diagonal_ssm (S4D)",
           .shape = size.text(),
           .dtype = dtype,
           .bytes = bytes_of(size.count(), dtype, 2),
           .flops = n * kModes * 10},  // h = a h + x and the sum of its real parts with weights
          [&](Arrays& arrays) -> Run::Call {
            if (!table.diagonal_ssm) return {};
            const DiagonalSsmArgs args = diagonal_arguments(arrays, size, dtype, false);
            return [=, &run, &table] { table.diagonal_ssm(args, run.on()); };
          });
  run.row({.name = "diagonal_ssm (S4D) backward",
           .shape = size.text(),
           .dtype = dtype,
           .bytes = bytes_of(size.count(), dtype, 3) + n * kWidth / kDiagonalBlock * 4,
           .flops = n * kModes * 36},
          [&](Arrays& arrays) -> Run::Call {
            if (!table.diagonal_ssm_backward) return {};
            const DiagonalSsmArgs forward = diagonal_arguments(arrays, size, dtype, true);
            table.diagonal_ssm(forward, run.on());
            const DiagonalSsmBackwardArgs args{
                .sequence = forward.sequence,
                .x = forward.x,
                .dy = arrays.uniform(size.count(), -1, 1, dtype),
                .coefficients = forward.coefficients,
                .d = forward.d,
                .checkpoints = forward.checkpoints,
                .dx = arrays.empty(size.count(), dtype),
                .dh_initial = arrays.empty(size.batch * size.channels * kWidth),
                .dcoefficients = arrays.empty(size.channels * 3 * kWidth),
                .dd = arrays.empty(size.channels),
                .channels = size.channels,
                .width = kWidth,
                .padded_width = kWidth,
                .complex = 1};
            return [=, &run, &table] { table.diagonal_ssm_backward(args, run.on()); };
          });
}

constexpr std::int64_t kTaps = 4;

CausalConvArgs conv_arguments(Arrays& arrays, const Size& size, DType dtype) {
  const std::int64_t states = size.batch * (kTaps - 1) * size.channels;
  return {.sequence = arrays.sequence(size.batch, size.length),
          .x = arrays.uniform(size.count(), -1, 1, dtype),
          .weight = arrays.uniform(kTaps * size.channels, -1, 1),
          .bias = arrays.uniform(size.channels, -1, 1),
          .initial = arrays.zeros(states),
          .final_state = arrays.empty(states),
          .y = arrays.empty(size.count(), dtype),
          .channels = size.channels,
          .width = kTaps,
          .silu = 1};
}

void conv_rows(Run& run, const Size& size, DType dtype) {
  const ScanKernels& table = *cuda_scan_kernels(dtype);
  run.row({.name = "causal_conv",
           .shape = size.text(),
           .dtype = dtype,
           .bytes = bytes_of(size.count(), dtype, 2)},
          [&](Arrays& arrays) -> Run::Call {
            if (!table.causal_conv) return {};
            const CausalConvArgs args = conv_arguments(arrays, size, dtype);
            return [=, &run, &table] { table.causal_conv(args, run.on()); };
          });
  run.row({.name = "causal_conv backward",
           .shape = size.text(),
           .dtype = dtype,
           .bytes = bytes_of(size.count(), dtype, 3)},
          [&](Arrays& arrays) -> Run::Call {
            if (!table.causal_conv_backward) return {};
            const CausalConvArgs forward = conv_arguments(arrays, size, dtype);
            const CausalConvBackwardArgs args{
                .sequence = forward.sequence,
                .x = forward.x,
                .weight = forward.weight,
                .bias = forward.bias,
                .initial = forward.initial,
                .dy = arrays.uniform(size.count(), -1, 1, dtype),
                .dpre = arrays.empty(size.count()),
                .dx = arrays.empty(size.count(), dtype),
                .dinitial = arrays.empty(size.batch * (kTaps - 1) * size.channels),
                .dweight = arrays.empty(kTaps * size.channels),
                .dbias = arrays.zeros(size.channels),
                .channels = size.channels,
                .width = kTaps,
                .silu = 1};
            return [=, &run, &table] { table.causal_conv_backward(args, run.on()); };
          });
}

}  // namespace

void scan_rows(Run& run) {
  for (const Size& size : {kWide, kLong})
    for (const bool complex : {false, true}) {
      affine_row(run, size, complex);
      affine_backward_row(run, size, complex);
    }
  affine_row(run, kNarrow, false);
  for (const DType dtype : types_of(cuda_scan_kernels)) {
    for (const Size& size : {kWide, kLong}) diagonal_rows(run, size, dtype);
    for (const Size& size : {Size{16, 4096, 4096}, Size{1, 65536, 4096}})
      conv_rows(run, size, dtype);
  }
}

}  // namespace rill::bench
