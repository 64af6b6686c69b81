// Layers whose state is a matrix: gated linear attention (GLA: a decay a key; RetNet: one a head)
// and the delta rule, 65,536 tokens of 16 heads.
#include <rill/bench/cuda/bench_run.h>
#include <rill/scan/kernels.h>

namespace rill::bench {
namespace {

constexpr std::int64_t kBatch = 16, kLength = 4096, kHeads = 16, kKeys = 128, kValues = 128;
constexpr std::int64_t kTokens = kBatch * kLength, kCount = kTokens * kHeads * kKeys;
static_assert(kKeys == kValues);  // kCount is of q, k and v alike
constexpr std::int64_t kStates = kBatch * kHeads * kKeys * kValues;
constexpr double kUpdates = static_cast<double>(kCount) * kValues;

Row row_of(std::string name, DType dtype, double activations, bool keeps) {
  return {.name = std::move(name),
          .shape = shape_text({kBatch, kLength, kHeads, kKeys, kValues}),
          .dtype = dtype,
          .bytes = activations * static_cast<double>(size_of(dtype)) + 8.0 * kStates +
                   (keeps ? 4.0 * kStates * kLength / kMatrixChunk : 0)};
}

std::int64_t kept_count() { return matrix_slots(kTokens, kBatch) * kHeads * kKeys * kValues; }
std::int64_t scratch_count() { return kBatch * kHeads * matrix_scratch(kKeys, kValues); }

LinearAttentionArgs attention_arguments(Arrays& arrays, DType dtype, bool by_key, bool keep) {
  LinearAttentionArgs args{.sequence = arrays.sequence(kBatch, kLength),
                           .q = arrays.uniform(kCount, -0.1, 0.1, dtype),
                           .k = arrays.uniform(kCount, -0.1, 0.1, dtype),
                           .v = arrays.uniform(kCount, -1, 1, dtype),
                           .decay = arrays.uniform(by_key ? kCount : kHeads, 0.8, 1.0),
                           .initial = arrays.zeros(kStates),
                           .final_state = arrays.empty(kStates),
                           .out = arrays.empty(kCount, dtype),
                           .heads = kHeads,
                           .keys = kKeys,
                           .values = kValues,
                           .decay_token = by_key ? kHeads * kKeys : 0,
                           .decay_head = by_key ? kKeys : 1,
                           .decay_key = by_key ? 1 : 0,
                           .scale = 0.088};
  if (keep) args.kept = arrays.empty(kept_count());
  return args;
}

void attention_rows(Run& run, DType dtype, bool by_key) {
  const ScanKernels& table = *cuda_scan_kernels(dtype);
  const std::string name = by_key ? "linear_attention (GLA)" : "linear_attention (RetNet)";
  Row forward = row_of(name, dtype, (by_key ? 5.0 : 4.0) * kCount, false);
  forward.flops = 6 * kUpdates;
  run.row(forward, [&](Arrays& arrays) -> Run::Call {
    if (!table.linear_attention) return {};
    const LinearAttentionArgs args = attention_arguments(arrays, dtype, by_key, false);
    return [=, &run, &table] { table.linear_attention(args, run.on()); };
  });
  Row backward = row_of(name + " backward", dtype, (by_key ? 9.0 : 7.0) * kCount, true);
  backward.flops = 14 * kUpdates;
  run.row(backward, [&](Arrays& arrays) -> Run::Call {
    if (!table.linear_attention_backward) return {};
    const LinearAttentionArgs kept = attention_arguments(arrays, dtype, by_key, true);
    table.linear_attention(kept, run.on());
    const LinearAttentionBackwardArgs args{
        .forward = kept,
        .dout = arrays.uniform(kCount, -1, 1, dtype),
        .dq = arrays.empty(kCount, dtype),
        .dk = arrays.empty(kCount, dtype),
        .dv = arrays.empty(kCount, dtype),
        .dinitial = arrays.empty(kStates),
        .dlog_decay = arrays.empty(by_key ? kCount : kTokens * kHeads),
        .scratch = arrays.empty(scratch_count()),
        .lanes = kBatch * kHeads};
    return [=, &run, &table] { table.linear_attention_backward(args, run.on()); };
  });
}

DeltaRuleArgs delta_arguments(Arrays& arrays, DType dtype, bool keep) {
  // |k|^2 is below one in the mean, so that the state stays bounded.
  DeltaRuleArgs args{.sequence = arrays.sequence(kBatch, kLength),
                     .q = arrays.uniform(kCount, -0.1, 0.1, dtype),
                     .k = arrays.uniform(kCount, -0.1, 0.1, dtype),
                     .v = arrays.uniform(kCount, -1, 1, dtype),
                     .beta = arrays.uniform(kTokens * kHeads, 0, 1, dtype),
                     .initial = arrays.zeros(kStates),
                     .final_state = arrays.empty(kStates),
                     .out = arrays.empty(kCount, dtype),
                     .heads = kHeads,
                     .keys = kKeys,
                     .values = kValues,
                     .scale = 0.088};
  if (keep) args.kept = arrays.empty(kept_count());
  return args;
}

void delta_rows(Run& run, DType dtype) {
  const ScanKernels& table = *cuda_scan_kernels(dtype);
  Row forward = row_of("delta_rule", dtype, 4.0 * kCount, false);
  forward.flops = 6 * kUpdates;
  run.row(forward, [&](Arrays& arrays) -> Run::Call {
    if (!table.delta_rule) return {};
    const DeltaRuleArgs args = delta_arguments(arrays, dtype, false);
    return [=, &run, &table] { table.delta_rule(args, run.on()); };
  });
  Row backward = row_of("delta_rule backward", dtype, 7.0 * kCount, true);
  backward.flops = 16 * kUpdates;
  run.row(backward, [&](Arrays& arrays) -> Run::Call {
    if (!table.delta_rule_backward) return {};
    const DeltaRuleArgs kept = delta_arguments(arrays, dtype, true);
    table.delta_rule(kept, run.on());
    const DeltaRuleBackwardArgs args{.forward = kept,
                                     .dout = arrays.uniform(kCount, -1, 1, dtype),
                                     .dq = arrays.empty(kCount, dtype),
                                     .dk = arrays.empty(kCount, dtype),
                                     .dv = arrays.empty(kCount, dtype),
                                     .dbeta = arrays.empty(kTokens * kHeads, dtype),
                                     .dinitial = arrays.empty(kStates),
                                     .scratch = arrays.empty(scratch_count()),
                                     .lanes = kBatch * kHeads};
    return [=, &run, &table] { table.delta_rule_backward(args, run.on()); };
  });
}

}  // namespace

void matrix_rows(Run& run) {
  for (const DType dtype : types_of(cuda_scan_kernels)) {
    attention_rows(run, dtype, true);
    attention_rows(run, dtype, false);
    delta_rows(run, dtype);
  }
}

}  // namespace rill::bench
