// Gated linear attention (scan/matrix_kernels.h) in bfloat16 and half, chunk by chunk:
//   forward   the states that chunks start from, one after the other (ChunkStatesArgs); then what
//             every chunk gives (ChunkOutputArgs), all chunks at once. The tape keeps the states;
//             without one they lie in the workspace, as many chunks at a time as it holds.
//   backward  the same against time for the state's gradient, whose chunks lie in the scratch; dv
//             and the gain's gradient are an output against time; dq, dk and the decay's gradient
//             are ChunkGradientArgs.
// Chunks at once rather than a block a head through all its time: rows times heads are often fewer
// than a card's multiprocessors, and only one of a chunk's five products needs to wait for the
// chunk before. It costs a write and a read of K V floats every 64 tokens.
#include <rill/scan/cuda/chunk_plan.h>
#include <rill/scan/cuda/chunk_types.h>
#include <rill/scan/cuda/launch_chunk.h>

namespace rill {
namespace {

ChunkDecay decay_of(const LinearAttentionArgs& p) {
  return {static_cast<const float*>(p.decay), p.decay_token, p.decay_head, p.decay_key, p.keys};
}
ChunkWeight gain_of(const LinearAttentionArgs& p) {
  return {static_cast<const float*>(p.gain), nullptr, 1.0f};
}
ChunkWeight scale_of(const LinearAttentionArgs& p) {
  return {nullptr, static_cast<const float*>(p.divisor), static_cast<float>(p.scale)};
}

}  // namespace

template <DType kType>
DeviceStatus launch_chunk_attention(const LinearAttentionArgs& p, const DeviceLaunch& on) {
  const std::int64_t size = p.keys * p.values;
  if (p.sequence.rows * p.heads * size == 0) return 0;
  const std::int64_t bytes = p.kept ? 0 : size * static_cast<std::int64_t>(sizeof(float));
  const ChunkPlan plan = ChunkPlan::of(p.sequence, p.heads, bytes, on.workspace_bytes);
  const ChunkStates states{static_cast<float*>(p.kept ? p.kept : on.workspace), p.kept ? 1 : 0};
  return plan.for_each(false, [&](const ChunkWindow& window, bool first) {
    const DeviceStatus status = launch_chunk_states<kType>(
        {.sequence = p.sequence,
         .heads = p.heads,
         .key = chunk_operand(p.k, p.keys),
         .value = chunk_operand(p.v, p.values),
         .weight = gain_of(p),
         .decay = decay_of(p),
         .initial = static_cast<const float*>(first ? p.initial : p.final_state),
         .last = static_cast<float*>(p.final_state),
         .states = states,
         .window = window},
        on);
    if (status != 0) return status;
    return launch_chunk_output<kType>({.sequence = p.sequence,
                                       .heads = p.heads,
                                       .query = chunk_operand(p.q, p.keys),
                                       .key = chunk_operand(p.k, p.keys),
                                       .value = chunk_operand(p.v, p.values),
                                       .out_weight = scale_of(p),
                                       .in_weight = gain_of(p),
                                       .decay = decay_of(p),
                                       .states = states,
                                       .out = p.out,
                                       .window = window},
                                      on);
  });
}

template <DType kType>
DeviceStatus launch_chunk_attention_backward(const LinearAttentionBackwardArgs& b,
                                             const DeviceLaunch& on) {
  const LinearAttentionArgs& p = b.forward;
  const std::int64_t size = p.keys * p.values;
  if (p.sequence.rows * p.heads * size == 0) return 0;
  const ChunkRoom room = ChunkRoom::of(b.scratch, b.lanes, p.keys, p.values, on);
  const ChunkPlan plan = ChunkPlan::of(p.sequence, p.heads,
                                       size * static_cast<std::int64_t>(sizeof(float)), room.bytes);
  const ChunkStates dstates{room.data, 0};
  const ChunkOperand q = chunk_operand(p.q, p.keys), k = chunk_operand(p.k, p.keys);
  const ChunkOperand v = chunk_operand(p.v, p.values), dout = chunk_operand(b.dout, p.values);
  return plan.for_each(true, [&](const ChunkWindow& window, bool first) {
    DeviceStatus status = launch_chunk_states<kType>(
        {.sequence = p.sequence,
         .heads = p.heads,
         .key = q,
         .value = dout,
         .weight = scale_of(p),
         .decay = decay_of(p),
         .reverse = 1,
         .initial = static_cast<const float*>(first ? b.dfinal : b.dinitial),
         .last = static_cast<float*>(b.dinitial),
         .states = dstates,
         .window = window},
        on);
    if (status != 0) return status;
    status = launch_chunk_output<kType>({.sequence = p.sequence,
                                         .heads = p.heads,
                                         .query = k,
                                         .key = q,
                                         .value = dout,
                                         .dot_with = v,
                                         .out_weight = gain_of(p),
                                         .in_weight = scale_of(p),
                                         .decay = decay_of(p),
                                         .reverse = 1,
                                         .states = dstates,
                                         .out = b.dv,
                                         .dot = static_cast<float*>(b.dgain),
                                         .window = window},
                                        on);
    if (status != 0) return status;
    return launch_chunk_gradient<kType>({.sequence = p.sequence,
                                         .heads = p.heads,
                                         .query = q,
                                         .key = k,
                                         .value = v,
                                         .dout = dout,
                                         .out_weight = scale_of(p),
                                         .in_weight = gain_of(p),
                                         .decay = decay_of(p),
                                         .states = {static_cast<float*>(p.kept), 1},
                                         .dstates = dstates,
                                         .dq = b.dq,
                                         .dk = b.dk,
                                         .dlog_decay = static_cast<float*>(b.dlog_decay),
                                         .window = window},
                                        on);
  });
}

RILL_INSTANTIATE_CHUNKED(launch_chunk_attention, LinearAttentionArgs)
RILL_INSTANTIATE_CHUNKED(launch_chunk_attention_backward, LinearAttentionBackwardArgs)

}  // namespace rill
