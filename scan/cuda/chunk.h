// The chunked kernels of matrix states (chunk_tile.h says what a chunk is), as parts that linear
// attention and the delta rule are put together from: arguments and launchers. S of each launcher
// is bfloat16 or half; it is named by its DType, which host compilers and nvcc call the same.
#pragma once

#include <cstdint>

#include <rill/core/device_launch.h>
#include <rill/core/dtype.h>
#include <rill/core/seq_args.h>
#include <rill/scan/matrix_kernels.h>

namespace rill {

constexpr std::int64_t kChunkTokens = 64;
/// Largest K of the delta rule: a block holds the state of all keys in registers.
constexpr std::int64_t kMaxDeltaKeys = 256;

/// [tokens, H, width] of S, or a window's own [tasks, chunks, 64, width]; null: zeros.
struct ChunkOperand {
  const void* data = nullptr;
  std::int64_t width = 0;
  std::int64_t aligned = 0;  // 1: eight elements lie in 16 bytes
  std::int64_t windowed = 0;
};

/// gain times scale over divisor of a token and head; gain and divisor [tokens, H], or null: 1.
struct ChunkWeight {
  const float *gain = nullptr, *divisor = nullptr;
  float scale = 1.0f;
};

/// Factors of LinearAttentionArgs; null: 1.
struct ChunkDecay {
  const float* factor = nullptr;
  std::int64_t token = 0, head = 0, key = 0;  // strides
  std::int64_t keys = 0;
};

/// Which rows and heads (tasks) and which chunks of them a launch works on.
struct ChunkWindow {
  std::int64_t first_task = 0, tasks = 0;
  std::int64_t first_chunk = 0, chunks = 0;
};

/// A state a chunk: `kept` of a tape, numbered by kept_chunk(), or a window's own; null: zeros.
struct ChunkStates {
  float* data = nullptr;
  std::int64_t kept = 0;
};

/// Number of row r's chunk c among the kept states; there is room, as for matrix_slot().
RILL_HOST_DEVICE constexpr std::int64_t kept_chunk(std::int64_t start, std::int64_t row,
                                                   std::int64_t chunk) {
  return start / kChunkTokens + row + chunk;
}

/// State by state through the chunks of a window, the last first where `reverse`:
/// S = decay^chunk S + sum_t (weight_t decay key_t) value_t^T. `states` gets the state that each
/// chunk starts from, in its order. `initial` null: zeros.
struct ChunkStatesArgs {
  SeqArgs sequence;
  std::int64_t heads = 0;
  ChunkOperand key, value;
  ChunkWeight weight;
  ChunkDecay decay;
  std::int64_t reverse = 0;
  const float* initial = nullptr;  // [rows, H, K, V]
  float* last = nullptr;           // may be `initial`
  ChunkStates states;
  ChunkWindow window;
};

/// out_p = out_weight_p (S^T (decay query_p) + sum_{r <= p} in_weight_r decay (query_p . key_r)
/// value_r), S the state that the chunk starts from, a chunk a block; and, where `dot` is not null,
/// dot_p = dot_with_p . (out_p without its weight).
struct ChunkOutputArgs {
  SeqArgs sequence;
  std::int64_t heads = 0;
  ChunkOperand query, key, value, dot_with;
  ChunkWeight out_weight, in_weight;
  ChunkDecay decay;
  std::int64_t reverse = 0;
  ChunkStates states;
  void* out = nullptr;  // may be value.data
  float* dot = nullptr;
  ChunkWindow window;
};

/// Gradients of query and key, and of log decay (chunk_gradient.h), a chunk a block.
struct ChunkGradientArgs {
  SeqArgs sequence;
  std::int64_t heads = 0;
  ChunkOperand query, key, value, dout;
  ChunkWeight out_weight, in_weight;
  ChunkDecay decay;
  ChunkStates states, dstates;  // dstates: the gradient of what a chunk ends with
  void *dq = nullptr, *dk = nullptr;
  float* dlog_decay = nullptr;  // or null: not wanted
  ChunkWindow window;
};

/// The delta rule's triangular inverse of every chunk (chunk_delta.h), [tasks, chunks, 64, 64] of
/// S.
struct DeltaInverseArgs {
  SeqArgs sequence;
  std::int64_t heads = 0;
  ChunkOperand key;
  const void* beta = nullptr;
  void* inverse = nullptr;
  ChunkWindow window;
};

/// What a chunk writes, w, and the states, or both gradients against time (chunk_delta.h).
struct DeltaStatesArgs {
  SeqArgs sequence;
  std::int64_t heads = 0;
  ChunkOperand key, base;    // base: v, or what the outputs of a chunk say of dw
  ChunkOperand query, dout;  // against time
  const void* beta = nullptr;
  const void* inverse = nullptr;
  ChunkOperand out;  // w, or z; may be `base`
  float scale = 1.0f;
  std::int64_t reverse = 0;
  std::int64_t apart = 0;  // 1: every chunk from the state that is there; only `out` is made
  const float* initial = nullptr;
  float* last = nullptr;
  ChunkStates states;
  ChunkWindow window;
};

/// What is left of the delta rule's gradients when w is taken for values (chunk_delta.h).
struct DeltaGradientArgs {
  SeqArgs sequence;
  std::int64_t heads = 0;
  ChunkOperand key, value, written, z;  // written: w
  const void* beta = nullptr;
  ChunkStates states;
  void *dk = nullptr, *dv = nullptr, *dbeta = nullptr;  // dk is added to; dv may be z.data
  ChunkWindow window;
};

template <DType kType>
DeviceStatus launch_chunk_states(const ChunkStatesArgs&, const DeviceLaunch&);
template <DType kType>
DeviceStatus launch_chunk_output(const ChunkOutputArgs&, const DeviceLaunch&);
template <DType kType>
DeviceStatus launch_chunk_gradient(const ChunkGradientArgs&, const DeviceLaunch&);
template <DType kType>
DeviceStatus launch_delta_inverse(const DeltaInverseArgs&, const DeviceLaunch&);
template <DType kType>
DeviceStatus launch_delta_states(const DeltaStatesArgs&, const DeviceLaunch&);
template <DType kType>
DeviceStatus launch_delta_gradient(const DeltaGradientArgs&, const DeviceLaunch&);

}  // namespace rill
