// The LSTM: the input's product over all tokens, the recurrence, and the way back through it.
#include <rill/bench/cuda/bench_run.h>
#include <rill/core/kernels.h>
#include <rill/rnn/kernels.h>

namespace rill::bench {
namespace {

constexpr std::int64_t kBatch = 16, kLength = 1024, kHidden = 768, kGates = 4;
constexpr std::int64_t kAll = kGates * kHidden;

struct Lstm {
  RecurrentArgs args;
  LinearArgs input;  // x W_ih^T -> gates
};

Lstm lstm_arguments(Arrays& arrays, DType dtype, const SeqArgs& sequence, bool keep) {
  const auto weight = [&](std::int64_t width) {
    return arrays.uniform(kAll * width, -0.03, 0.03, dtype);
  };
  const std::int64_t tokens = sequence.tokens, states = kBatch * kHidden;
  void* const gates = arrays.empty(tokens * kAll, dtype);
  Lstm lstm{.args = {.sequence = sequence,
                     .gates = gates,
                     .weight_hh = weight(kHidden),
                     .bias_hh = arrays.uniform(kAll, -0.1, 0.1),
                     .h0 = arrays.zeros(states),
                     .c0 = arrays.zeros(states),
                     .h = arrays.empty(states),
                     .c = arrays.empty(states),
                     .y = arrays.empty(tokens * kHidden, dtype),
                     .input = kHidden,
                     .hidden = kHidden,
                     .output = kHidden},
            .input = {.x = arrays.uniform(tokens * kHidden, -1, 1, dtype),
                      .packed = weight(kHidden),
                      .y = gates,
                      .m = tokens,
                      .n = kAll,
                      .k = kHidden,
                      .x_row = kHidden,
                      .y_row = kAll,
                      .weight_dtype = static_cast<std::int64_t>(dtype),
                      .weight_row = kHidden}};
  if (keep) lstm.args.kept = arrays.empty(tokens * kHidden);  // float, the widest it may be
  return lstm;
}

/// Lengths 64, 128, ... 1024: what packing saves is nearly half of a batch's padded tokens.
std::vector<std::int64_t> packed_lengths() {
  std::vector<std::int64_t> lengths;
  for (std::int64_t row = 1; row <= kBatch; ++row) lengths.push_back(kLength * row / kBatch);
  return lengths;
}
constexpr std::int64_t kPackedTokens = kLength * (kBatch + 1) / 2;

// `x_arrays` arrays of x's size, `weights` matrices [4 H, H], `products` with one such.
Row row_of(const char* name, DType dtype, std::int64_t tokens, int x_arrays, int weights,
           int products) {
  const double numbers = static_cast<double>(tokens) * kHidden * x_arrays +
                         static_cast<double>(kAll) * kHidden * weights;
  const double flops = 2.0 * static_cast<double>(tokens) * kAll * kHidden * products;
  const bool tensor = dtype != DType::kFloat32;
  return {.name = name,
          .shape = shape_text({kBatch, kLength, kHidden}),
          .dtype = dtype,
          .bytes = numbers * static_cast<double>(size_of(dtype)),
          .flops = tensor ? 0 : flops,
          .tensor_flops = tensor ? flops : 0};
}

struct Tables {
  const CoreKernels* core;
  const RnnKernels* rnn;

  bool whole() const { return core && core->linear && !core->pack && rnn->lstm; }
};

// What a layer takes: product and recurrence.
Run::Call layer_call(Run& run, const Tables& tables, const Lstm& lstm) {
  return [=, &run] {
    tables.core->linear(lstm.input, run.on());
    tables.rnn->lstm(lstm.args, run.on());
  };
}

void forward_rows(Run& run, DType dtype, const Tables& tables) {
  constexpr std::int64_t kTokens = kBatch * kLength;
  run.row(row_of("lstm forward", dtype, kTokens, 2, 2, 2), [&](Arrays& arrays) -> Run::Call {
    if (!tables.whole()) return {};
    const SeqArgs sequence = arrays.sequence(kBatch, kLength);
    return layer_call(run, tables, lstm_arguments(arrays, dtype, sequence, false));
  });
  run.row(row_of("lstm forward packed", dtype, kPackedTokens, 2, 2, 2),
          [&](Arrays& arrays) -> Run::Call {
            if (!tables.whole()) return {};
            const SeqArgs sequence = arrays.packed(packed_lengths());
            return layer_call(run, tables, lstm_arguments(arrays, dtype, sequence, false));
          });
  run.row(row_of("lstm recurrence", dtype, kTokens, 5, 1, 1), [&](Arrays& arrays) -> Run::Call {
    if (!tables.whole()) return {};
    const Lstm lstm = lstm_arguments(arrays, dtype, arrays.sequence(kBatch, kLength), false);
    tables.core->linear(lstm.input, run.on());
    return [=, &run] { tables.rnn->lstm(lstm.args, run.on()); };
  });
}

// Gates are read and written; c, y and dy are read, h of the step before is written.
void backward_row(Run& run, DType dtype, const Tables& tables) {
  constexpr std::int64_t kTokens = kBatch * kLength;
  run.row(row_of("lstm recurrence backward", dtype, kTokens, 12, 1, 1),
          [&](Arrays& arrays) -> Run::Call {
            if (!tables.whole() || !tables.rnn->lstm_backward) return {};
            const Lstm lstm = lstm_arguments(arrays, dtype, arrays.sequence(kBatch, kLength), true);
            layer_call(run, tables, lstm)();
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
            return [=, &run] { tables.rnn->lstm_backward(args, run.on()); };
          });
}

}  // namespace

void recurrent_rows(Run& run) {
  for (const DType dtype : types_of(cuda_rnn_kernels)) {
    const Tables tables{cuda_core_kernels(dtype), cuda_rnn_kernels(dtype)};
    forward_rows(run, dtype, tables);
    backward_row(run, dtype, tables);
  }
}

}  // namespace rill::bench
