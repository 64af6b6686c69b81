// The delta rule (scan/matrix_kernels.h) in bfloat16 and half, chunk by chunk (chunk_delta.h):
//   forward   T of every chunk; w and the states, chunk after chunk; then the outputs of all chunks
//             at once, of linear attention with w for values. w lies in `out` until its chunk's
//             block overwrites it.
//   backward  T and w again, chunks at once from the states that the tape kept; dw as the outputs
//             of a chunk say, at once; z and the state's gradient, chunk after chunk, against time;
//             dq and dk of linear attention, and what is left, at once. dw and z lie in dv.
#include <rill/scan/cuda/chunk_plan.h>
#include <rill/scan/cuda/chunk_types.h>
#include <rill/scan/cuda/launch_chunk.h>

namespace rill {
namespace {

constexpr std::int64_t kInverseSize = kChunkTokens * kChunkTokens;

/// What a window keeps: floats first, so that 16-byte accesses find their place.
struct DeltaRoom {
  float* states;
  BFloat16 *inverse, *written;  // or half

  /// Bytes a task and chunk: `size` floats, T and `width` columns of w.
  static std::int64_t bytes(std::int64_t size, std::int64_t width) {
    return matrix_padded(size) * 4 + (kInverseSize + kChunkTokens * width) * 2;
  }
  static DeltaRoom of(void* memory, const ChunkPlan& plan, std::int64_t size) {
    const std::int64_t units = plan.tasks * plan.chunks;
    auto* const states = static_cast<float*>(memory);
    auto* const inverse = reinterpret_cast<BFloat16*>(states + units * matrix_padded(size));
    return {states, inverse, inverse + units * kInverseSize};
  }
};

ChunkWeight scale_of(const DeltaRuleArgs& p) {
  return {nullptr, nullptr, static_cast<float>(p.scale)};
}

}  // namespace

template <DType kType>
DeviceStatus launch_chunk_delta(const DeltaRuleArgs& p, const DeviceLaunch& on) {
  const std::int64_t size = p.keys * p.values;
  if (p.sequence.rows * p.heads * size == 0) return 0;
  if (p.keys > kMaxDeltaKeys) return kSizeNotSupported;
  const std::int64_t own = p.kept ? 0 : size;
  const ChunkPlan plan =
      ChunkPlan::of(p.sequence, p.heads, DeltaRoom::bytes(own, 0), on.workspace_bytes);
  const DeltaRoom room = DeltaRoom::of(on.workspace, plan, own);
  const ChunkStates states{p.kept ? static_cast<float*>(p.kept) : room.states, p.kept ? 1 : 0};
  const ChunkOperand k = chunk_operand(p.k, p.keys), out = chunk_operand(p.out, p.values);
  return plan.for_each(false, [&](const ChunkWindow& window, bool first) {
    DeviceStatus status = launch_delta_inverse<kType>({.sequence = p.sequence,
                                                       .heads = p.heads,
                                                       .key = k,
                                                       .beta = p.beta,
                                                       .inverse = room.inverse,
                                                       .window = window},
                                                      on);
    if (status != 0) return status;
    status = launch_delta_states<kType>(
        {.sequence = p.sequence,
         .heads = p.heads,
         .key = k,
         .base = chunk_operand(p.v, p.values),
         .beta = p.beta,
         .inverse = room.inverse,
         .out = out,
         .initial = static_cast<const float*>(first ? p.initial : p.final_state),
         .last = static_cast<float*>(p.final_state),
         .states = states,
         .window = window},
        on);
    if (status != 0) return status;
    return launch_chunk_output<kType>({.sequence = p.sequence,
                                       .heads = p.heads,
                                       .query = chunk_operand(p.q, p.keys),
                                       .key = k,
                                       .value = out,
                                       .out_weight = scale_of(p),
                                       .states = states,
                                       .out = p.out,
                                       .window = window},
                                      on);
  });
}

namespace {

// One window of the way back.
template <DType kType>
struct DeltaBack {
  const DeltaRuleBackwardArgs& b;
  const DeltaRuleArgs& p;
  const DeltaRoom& room;
  const DeviceLaunch& on;
  ChunkOperand k, v, dout, written, z;

  DeltaBack(const DeltaRuleBackwardArgs& args, const DeltaRoom& memory, const DeviceLaunch& launch)
      : b(args),
        p(args.forward),
        room(memory),
        on(launch),
        k(chunk_operand(p.k, p.keys)),
        v(chunk_operand(p.v, p.values)),
        dout(chunk_operand(b.dout, p.values)),
        written(chunk_operand(room.written, p.values)),
        z(chunk_operand(b.dv, p.values)) {
    written.windowed = 1;
  }
  ChunkStates kept() const { return {static_cast<float*>(p.kept), 1}; }
  ChunkStates dstates() const { return {room.states, 0}; }

  DeviceStatus make_written(const ChunkWindow& window) const {
    const DeviceStatus status = launch_delta_inverse<kType>({.sequence = p.sequence,
                                                             .heads = p.heads,
                                                             .key = k,
                                                             .beta = p.beta,
                                                             .inverse = room.inverse,
                                                             .window = window},
                                                            on);
    if (status != 0) return status;
    return launch_delta_states<kType>({.sequence = p.sequence,
                                       .heads = p.heads,
                                       .key = k,
                                       .base = v,
                                       .beta = p.beta,
                                       .inverse = room.inverse,
                                       .out = written,
                                       .apart = 1,
                                       .states = kept(),
                                       .window = window},
                                      on);
  }
  DeviceStatus make_states(const ChunkWindow& window, bool first) const {
    const DeviceStatus status = launch_chunk_output<kType>({.sequence = p.sequence,
                                                            .heads = p.heads,
                                                            .query = k,
                                                            .key = chunk_operand(p.q, p.keys),
                                                            .value = dout,
                                                            .in_weight = scale_of(p),
                                                            .reverse = 1,
                                                            .out = b.dv,
                                                            .window = window},
                                                           on);
    if (status != 0) return status;
    return launch_delta_states<kType>(
        {.sequence = p.sequence,
         .heads = p.heads,
         .key = k,
         .base = z,
         .query = chunk_operand(p.q, p.keys),
         .dout = dout,
         .beta = p.beta,
         .inverse = room.inverse,
         .out = z,
         .scale = static_cast<float>(p.scale),
         .reverse = 1,
         .initial = static_cast<const float*>(first ? b.dfinal : b.dinitial),
         .last = static_cast<float*>(b.dinitial),
         .states = dstates(),
         .window = window},
        on);
  }
  DeviceStatus make_gradients(const ChunkWindow& window) const {
    const DeviceStatus status = launch_chunk_gradient<kType>({.sequence = p.sequence,
                                                              .heads = p.heads,
                                                              .query = chunk_operand(p.q, p.keys),
                                                              .key = k,
                                                              .value = written,
                                                              .dout = dout,
                                                              .out_weight = scale_of(p),
                                                              .states = kept(),
                                                              .dstates = dstates(),
                                                              .dq = b.dq,
                                                              .dk = b.dk,
                                                              .window = window},
                                                             on);
    if (status != 0) return status;
    return launch_delta_gradient<kType>({.sequence = p.sequence,
                                         .heads = p.heads,
                                         .key = k,
                                         .value = v,
                                         .written = written,
                                         .z = z,
                                         .beta = p.beta,
                                         .states = kept(),
                                         .dk = b.dk,
                                         .dv = b.dv,
                                         .dbeta = b.dbeta,
                                         .window = window},
                                        on);
  }
};

}  // namespace

template <DType kType>
DeviceStatus launch_chunk_delta_backward(const DeltaRuleBackwardArgs& b, const DeviceLaunch& on) {
  const DeltaRuleArgs& p = b.forward;
  const std::int64_t size = p.keys * p.values;
  if (p.sequence.rows * p.heads * size == 0) return 0;
  if (p.keys > kMaxDeltaKeys) return kSizeNotSupported;
  const ChunkRoom memory = ChunkRoom::of(b.scratch, b.lanes, p.keys, p.values, on);
  const ChunkPlan plan =
      ChunkPlan::of(p.sequence, p.heads, DeltaRoom::bytes(size, p.values), memory.bytes);
  const DeltaRoom room = DeltaRoom::of(memory.data, plan, size);
  const DeltaBack<kType> back(b, room, on);
  return plan.for_each(true, [&](const ChunkWindow& window, bool first) {
    DeviceStatus status = back.make_written(window);
    if (status == 0) status = back.make_states(window, first);
    return status == 0 ? back.make_gradients(window) : status;
  });
}

RILL_INSTANTIATE_CHUNKED(launch_chunk_delta, DeltaRuleArgs)
RILL_INSTANTIATE_CHUNKED(launch_chunk_delta_backward, DeltaRuleBackwardArgs)

}  // namespace rill
