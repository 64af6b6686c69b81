// The LSTM: the input's product over all tokens, the recurrence, and the way back through it.
#include <rill/bench/cuda/bench_run.h>
#include <rill/core/kernels.h>
#include <rill/rnn/kernels.h>

namespace rill::bench {
namespace {

constexpr std::int64_t kBatch = 16, kLength = 1024, kHidden = 768, kGates = 4;
constexpr std::int64_t kTokens = kBatch * kLength, kAll = kGates * kHidden;

struct Lstm {
  RecurrentArgs args;
  LinearArgs input;  // x W_ih^T -> gates
};

Lstm lstm_arguments(Arrays& arrays, DType dtype, bool keep) {
  const auto weight = [&](std::int64_t width) {
    return arrays.uniform(kAll * width, -0.03, 0.03, dtype);
  };
  void* const gates = arrays.empty(kTokens * kAll, dtype);
  const std::int64_t states = kBatch * kHidden;
  Lstm lstm{.args = {.sequence = arrays.sequence(kBatch, kLength),
                     .gates = gates,
                     .weight_hh = weight(kHidden),
                     .bias_hh = arrays.uniform(kAll, -0.1, 0.1),
                     .h0 = arrays.zeros(states),
                     .c0 = arrays.zeros(states),
                     .h = arrays.empty(states),
                     .c = arrays.empty(states),
                     .y = arrays.empty(kTokens * kHidden, dtype),
                     .input = kHidden,
                     .hidden = kHidden,
                     .output = kHidden},
            .input = {.x = arrays.uniform(kTokens * kHidden, -1, 1, dtype),
                      .packed = weight(kHidden),
                      .y = gates,
                      .m = kTokens,
                      .n = kAll,
                      .k = kHidden,
                      .x_row = kHidden,
                      .y_row = kAll,
                      .weight_dtype = static_cast<std::int64_t>(dtype),
                      .weight_row = kHidden}};
  if (keep) lstm.args.kept = arrays.empty(kTokens * kHidden);  // float, the widest it may be
  return lstm;
}

Row row_of(const char* name, DType dtype, double numbers, int products) {
  const double flops = 2.0 * kTokens * kAll * kHidden * products;
  const bool tensor = dtype != DType::kFloat32;
  return {.name = name,
          .shape = shape_text({kBatch, kLength, kHidden}),
          .dtype = dtype,
          .bytes = numbers * static_cast<double>(size_of(dtype)),
          .flops = tensor ? 0 : flops,
          .tensor_flops = tensor ? flops : 0};
}

// What a layer takes: product and recurrence, and going back the recurrence alone.
void lstm_rows(Run& run, DType dtype) {
  const CoreKernels* const core = cuda_core_kernels(dtype);
  const RnnKernels& rnn = *cuda_rnn_kernels(dtype);
  const double x = static_cast<double>(kTokens) * kHidden,
               weight = static_cast<double>(kAll) * kHidden;
  run.row(row_of("lstm forward", dtype, 2 * x + 2 * weight, 2), [&](Arrays& arrays) -> Run::Call {
    if (!core || !core->linear || core->pack || !rnn.lstm) return {};
    const Lstm lstm = lstm_arguments(arrays, dtype, false);
    return [=, &run, &rnn] {
      core->linear(lstm.input, run.on());
      rnn.lstm(lstm.args, run.on());
    };
  });
  run.row(row_of("lstm recurrence", dtype, 5 * x + weight, 1), [&](Arrays& arrays) -> Run::Call {
    if (!core || !core->linear || core->pack || !rnn.lstm) return {};
    const Lstm lstm = lstm_arguments(arrays, dtype, false);
    core->linear(lstm.input, run.on());
    return [=, &run, &rnn] { rnn.lstm(lstm.args, run.on()); };
  });
  // Gates are read and written; c, y and dy are read, h of the step before is written.
  run.row(row_of("lstm recurrence backward", dtype, 12 * x + weight, 1),
          [&](Arrays& arrays) -> Run::Call {
            if (!core || !core->linear || core->pack || !rnn.lstm_backward) return {};
            const Lstm lstm = lstm_arguments(arrays, dtype, true);
            core->linear(lstm.input, run.on());
            rnn.lstm(lstm.args, run.on());
            const RecurrentArgs& forward = lstm.args;
            const RecurrentBackwardArgs args{
                .sequence = forward.sequence,
                .gates = forward.gates,
                .kept = forward.kept,
                .y = forward.y,
                .h0 = forward.h0,
                .c0 = forward.c0,
                .dy = arrays.uniform(kTokens * kHidden, -1, 1, dtype),
                .weight_hh = arrays.uniform(kAll * kHidden, -0.03, 0.03, dtype),
                .dh = forward.h,
                .dc = forward.c,
                .h_previous = arrays.empty(kTokens * kHidden),
                .scratch = arrays.empty(kBatch * ((kGates + 1) * kHidden + 2 * kHidden)),
                .hidden = kHidden,
                .output = kHidden};
            return [=, &run, &rnn] { rnn.lstm_backward(args, run.on()); };
          });
}

}  // namespace

void recurrent_rows(Run& run) {
  for (const DType dtype : types_of(cuda_rnn_kernels)) lstm_rows(run, dtype);
}

}  // namespace rill::bench
