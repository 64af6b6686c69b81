// What surrounds scans and products: element-wise kernels, norms, sums, losses, the optimizer.
#include <rill/bench/cuda/bench_run.h>
#include <rill/core/kernels.h>

namespace rill::bench {
namespace {

constexpr std::int64_t kTokens = 65536, kWidth = 4096, kCount = kTokens * kWidth;

// A row on [kTokens, kWidth] that moves `moved` arrays of that shape. `make` gives the arguments of
// `kernel`.
template <class Args, class Make>
void wide_row(Run& run, const char* name, DType dtype, int moved, Kernel<Args> kernel,
              const Make& make) {
  run.row({.name = name,
           .shape = shape_text({kTokens, kWidth}),
           .dtype = dtype,
           .bytes = static_cast<double>(kCount) * static_cast<double>(size_of(dtype)) * moved},
          [&](Arrays& arrays) -> Run::Call {
            if (!kernel) return {};
            const Args args = make(arrays);
            return [=, &run] { kernel(args, run.on()); };
          });
}

void elementwise_rows(Run& run, DType dtype) {
  const CoreKernels& table = *cuda_core_kernels(dtype);
  const auto silu = static_cast<std::int64_t>(Unary::kSilu);
  const auto input = [dtype](Arrays& arrays) { return arrays.uniform(kCount, -2, 2, dtype); };
  const auto output = [dtype](Arrays& arrays) { return arrays.empty(kCount, dtype); };
  wide_row(run, "silu", dtype, 2, table.unary, [&](Arrays& a) {
    return UnaryArgs{.x = input(a), .y = output(a), .kind = silu, .count = kCount};
  });
  wide_row(run, "add", dtype, 3, table.binary, [&](Arrays& a) {
    return BinaryArgs{.a = input(a),
                      .b = input(a),
                      .y = output(a),
                      .kind = static_cast<std::int64_t>(Binary::kAdd),
                      .tokens = kTokens,
                      .channels = kWidth,
                      .b_rows = kTokens};
  });
  wide_row(run, "gated (silu)", dtype, 3, table.gated, [&](Arrays& a) {
    return GatedArgs{.x = input(a),
                     .gate = input(a),
                     .y = output(a),
                     .kind = silu,
                     .tokens = kTokens,
                     .channels = kWidth,
                     .x_row = kWidth,
                     .gate_row = kWidth};
  });
  wide_row(run, "gated (silu) backward", dtype, 5, table.gated_backward, [&](Arrays& a) {
    return GatedBackwardArgs{.x = input(a),
                             .gate = input(a),
                             .dy = input(a),
                             .dx = output(a),
                             .dgate = output(a),
                             .kind = silu,
                             .tokens = kTokens,
                             .channels = kWidth,
                             .x_row = kWidth,
                             .gate_row = kWidth};
  });
}

void reducing_rows(Run& run, DType dtype) {
  const CoreKernels& table = *cuda_core_kernels(dtype);
  const auto input = [dtype](Arrays& arrays) { return arrays.uniform(kCount, -2, 2, dtype); };
  wide_row(run, "rms_norm", dtype, 2, table.norm, [&](Arrays& a) {
    return NormArgs{.x = input(a),
                    .weight = a.uniform(kWidth, 0, 2),
                    .y = a.empty(kCount, dtype),
                    .rows = kTokens,
                    .width = kWidth,
                    .eps = 1e-5};
  });
  wide_row(run, "rms_norm backward", dtype, 3, table.norm_backward, [&](Arrays& a) {
    return NormBackwardArgs{.x = input(a),
                            .weight = a.uniform(kWidth, 0, 2),
                            .dy = input(a),
                            .dx = a.empty(kCount, dtype),
                            .dweight = a.zeros(kWidth),
                            .stats = a.empty(2 * kTokens),
                            .rows = kTokens,
                            .width = kWidth,
                            .eps = 1e-5};
  });
  wide_row(run, "column_sum", dtype, 1, table.column_sum, [&](Arrays& a) {
    return ColumnSumArgs{.x = input(a),
                         .out = a.zeros(kWidth),
                         .tokens = kTokens,
                         .channels = kWidth,
                         .x_row = kWidth};
  });
  wide_row(run, "sum", dtype, 1, table.sum, [&](Arrays& a) {
    return SumArgs{.x = input(a),
                   .partial = a.empty(kCount / kSumTile + 1),
                   .result = a.empty(1),
                   .count = kCount};
  });
}

void loss_row(Run& run, DType dtype) {
  constexpr std::int64_t kRows = 8192, kClasses = 50280;
  const CoreKernels& table = *cuda_core_kernels(dtype);
  run.row({.name = "cross_entropy",
           .shape = shape_text({kRows, kClasses}),
           .dtype = dtype,
           .bytes = static_cast<double>(kRows * kClasses) * static_cast<double>(size_of(dtype)),
           .special = static_cast<double>(kRows * kClasses)},
          [&](Arrays& arrays) -> Run::Call {
            if (!table.cross_entropy) return {};
            const CrossEntropyArgs args{.logits = arrays.uniform(kRows * kClasses, -4, 4, dtype),
                                        .targets = static_cast<const std::int64_t*>(
                                            arrays.uniform(kRows, 0, kClasses, DType::kInt64)),
                                        .per_token = arrays.empty(kRows),
                                        .stats = arrays.empty(2 * kRows),
                                        .loss = arrays.empty(1),
                                        .tokens = kRows,
                                        .classes = kClasses,
                                        .scale = 1.0 / kRows};
            return [=, &run, &table] { table.cross_entropy(args, run.on()); };
          });
}

void optimizer_row(Run& run) {
  constexpr std::int64_t kParameters = 134217728;
  const CoreKernels& table = *cuda_core_kernels(DType::kFloat32);
  run.row({.name = "adamw", .shape = shape_text({kParameters}), .bytes = 28.0 * kParameters},
          [&](Arrays& arrays) -> Run::Call {
            if (!table.adamw) return {};
            const AdamWArgs args{.gradient = arrays.uniform(kParameters, -1, 1),
                                 .value = arrays.uniform(kParameters, -1, 1),
                                 .m = arrays.zeros(kParameters),
                                 .v = arrays.zeros(kParameters),
                                 .count = kParameters,
                                 .gradient_scale = 1,
                                 .beta1 = 0.9,
                                 .beta2 = 0.99,
                                 .step_size = 1e-3,
                                 .v_scale = 1,
                                 .eps = 1e-8,
                                 .keep = 0.999};
            return [=, &run, &table] { table.adamw(args, run.on()); };
          });
}

void linear_row(Run& run, DType dtype) {
  constexpr std::int64_t kSize = 4096;
  const CoreKernels& table = *cuda_core_kernels(dtype);
  const double flops = 2.0 * kSize * kSize * kSize;
  run.row({.name = "linear",
           .shape = shape_text({kSize, kSize, kSize}),
           .dtype = dtype,
           .bytes = 3.0 * kSize * kSize * static_cast<double>(size_of(dtype)),
           .flops = dtype == DType::kFloat32 ? flops : 0,
           .tensor_flops = dtype == DType::kFloat32 ? 0 : flops},
          [&](Arrays& arrays) -> Run::Call {
            if (!table.linear || table.pack) return {};
            const LinearArgs args{.x = arrays.uniform(kSize * kSize, -1, 1, dtype),
                                  .packed = arrays.uniform(kSize * kSize, -1, 1, dtype),
                                  .y = arrays.empty(kSize * kSize, dtype),
                                  .m = kSize,
                                  .n = kSize,
                                  .k = kSize,
                                  .x_row = kSize,
                                  .y_row = kSize,
                                  .weight_dtype = static_cast<std::int64_t>(dtype),
                                  .weight_row = kSize};
            return [=, &run, &table] { table.linear(args, run.on()); };
          });
}

}  // namespace

void core_rows(Run& run) {
  for (const DType dtype : types_of(cuda_core_kernels)) {
    elementwise_rows(run, dtype);
    reducing_rows(run, dtype);
    loss_row(run, dtype);
    linear_row(run, dtype);
  }
  optimizer_row(run);
}

}  // namespace rill::bench
