// Private: arguments of the kernels whose state is a matrix S [rows, H, K, V] (keys by values), and
// of their small companions. Letters: H heads, K key channels a head, V value channels a head;
// q, k [tokens, H * K], v, out [tokens, H * V]. Row r of a state belongs to row r of the sequence.
#pragma once

#include <cstdint>

#include <rill/core/seq_args.h>

// Device code calls the few functions below too.
#if defined(__CUDACC__)
#define RILL_HOST_DEVICE __host__ __device__
#else
#define RILL_HOST_DEVICE
#endif

namespace rill {

/// Steps between the states that a tape keeps; the steps between are computed again going back.
constexpr std::int64_t kMatrixChunk = 32;

/// Kept states are numbered so that neither a row's start nor its length need be known to find room
/// for all: row r's chunk c has number start[r] / kMatrixChunk + r + c.
RILL_HOST_DEVICE constexpr std::int64_t matrix_slots(std::int64_t tokens, std::int64_t rows) {
  return tokens / kMatrixChunk + rows + 1;
}
RILL_HOST_DEVICE constexpr std::int64_t matrix_slot(std::int64_t start, std::int64_t row) {
  return start / kMatrixChunk + row;
}

/// S_t = a_t S_{t-1} + c_t k_t v_t^T, out_t = scale S_t^T q_t / d_t.
/// The factor a of token t, head h and key channel i is decay[t * decay_token + h * decay_head + i
/// * decay_key] (strides in elements, 0 where it does not depend on that); gain c and divisor d are
/// [tokens, H]. Each of the three may be null: 1.
struct LinearAttentionArgs {
  SeqArgs sequence;
  const void *q = nullptr, *k = nullptr, *v = nullptr;
  const void *decay = nullptr, *gain = nullptr, *divisor = nullptr;
  const void* initial = nullptr;  // [rows, H, K, V]
  void* final_state = nullptr;    // the same shape; may be `initial`
  void* out = nullptr;
  void* kept = nullptr;  // [matrix_slots, H, K, V] or null
  std::int64_t heads = 0, keys = 0, values = 0;
  std::int64_t decay_token = 0, decay_head = 0, decay_key = 0;
  double scale = 1.0;
};
struct LinearAttentionBackwardArgs {
  LinearAttentionArgs forward;                    // initial, final_state and out are not read
  const void *dout = nullptr, *dfinal = nullptr;  // or null: zero
  void *dq = nullptr, *dk = nullptr, *dv = nullptr, *dinitial = nullptr;  // overwritten
  // Gradient of log a, [tokens, H] where decay_key is 0, else [tokens, H * K]; of c, [tokens, H].
  void *dlog_decay = nullptr, *dgain = nullptr;  // or null: not wanted
  void* scratch = nullptr;                       // lanes * matrix_scratch elements
  std::int64_t lanes = 1;                        // tasks that run at once
};

/// S_t = S_{t-1} + k_t w_t^T, w_t = beta_t (v_t - S_{t-1}^T k_t), out_t = scale S_t^T q_t.
struct DeltaRuleArgs {
  SeqArgs sequence;
  const void *q = nullptr, *k = nullptr, *v = nullptr, *beta = nullptr;  // beta [tokens, H]
  const void* initial = nullptr;
  void* final_state = nullptr;
  void* out = nullptr;
  void* kept = nullptr;
  std::int64_t heads = 0, keys = 0, values = 0;
  double scale = 1.0;
};
struct DeltaRuleBackwardArgs {
  DeltaRuleArgs forward;
  const void *dout = nullptr, *dfinal = nullptr;
  void *dq = nullptr, *dk = nullptr, *dv = nullptr, *dbeta = nullptr, *dinitial = nullptr;
  void* scratch = nullptr;
  std::int64_t lanes = 1;
};

/// Elements of scratch that one task of a backward kernel needs: the states of a chunk, transposed
/// and padded to whole vectors, the state's gradient, and rows of working space.
RILL_HOST_DEVICE constexpr std::int64_t matrix_padded(std::int64_t size) {
  return (size + 15) / 16 * 16;
}
RILL_HOST_DEVICE constexpr std::int64_t matrix_scratch(std::int64_t keys, std::int64_t values) {
  const std::int64_t k = matrix_padded(keys), v = matrix_padded(values);
  return (kMatrixChunk + 2) * v * k + (kMatrixChunk + 8) * v + 16 * v + 8 * k;
}

/// The scalars and the normaliser of the mLSTM: m_t = max(log f_t + m_{t-1}, i_t),
/// f' = exp(log f_t + m_{t-1} - m_t), i' = exp(i_t - m_t), n_t = f' n_{t-1} + i' key_scale k_t,
/// divisor_t = max(|n_t . q_t|, exp(-m_t)).
struct MlstmGatesArgs {
  SeqArgs sequence;
  const void *q = nullptr, *k = nullptr;                  // [tokens, H * K]
  const void *input = nullptr, *log_forget = nullptr;     // i, log f [tokens, H]
  const void *initial_n = nullptr, *initial_m = nullptr;  // [rows, H, K], [rows, H]
  void *final_n = nullptr, *final_m = nullptr;            // may be the initial ones
  void *decay = nullptr, *gain = nullptr,
       *divisor = nullptr;               // f', i' key_scale, divisor [tokens, H]
  void *dot = nullptr, *kept = nullptr;  // n . q [tokens, H] and [matrix_slots, H, K], or null
  void* chose_input = nullptr;           // 1 where m = i, else 0 [tokens, H], or null
  std::int64_t heads = 0, keys = 0;
  double key_scale = 1.0;
};
struct MlstmGatesBackwardArgs {
  MlstmGatesArgs forward;                                  // the final fields are not read
  const void *out = nullptr, *dout = nullptr;              // [tokens, H * V]; dout may be null
  const void *dlog_decay = nullptr, *dgain = nullptr;      // from the matrix state [tokens, H]
  const void *dfinal_n = nullptr, *dfinal_m = nullptr;     // or null: zero
  const void *final_c = nullptr, *dfinal_c = nullptr;      // [rows, H, K, V]; dfinal_c may be null
  const void *initial_c = nullptr, *dinitial_c = nullptr;  // [rows, H, K, V]
  void *dq = nullptr, *dk = nullptr;                       // added to
  void *dinput = nullptr, *dlog_forget = nullptr;          // overwritten
  void *dinitial_n = nullptr, *dinitial_m = nullptr;
  void* scratch = nullptr;  // lanes * (kMatrixChunk + 2) * K elements
  std::int64_t values = 0;
  std::int64_t lanes = 1;
};

/// y = x rotated by the angle position * theta[i] in the planes i < K / 2 of every head (rotary.h).
struct RotaryArgs {
  SeqArgs sequence;
  const void* x = nullptr;                 // [tokens, H * K]
  const double* theta = nullptr;           // [K / 2]
  const std::int64_t* position = nullptr;  // [rows]
  void* y = nullptr;
  std::int64_t heads = 0, keys = 0;
  std::int64_t pairs = 0;    // 1: planes (2i, 2i + 1), 0: (i, i + K / 2)
  std::int64_t inverse = 0;  // 1: by the negative angle
};
/// final[r] = position[r] + length[r], counted from the last reset.
struct AdvanceArgs {
  SeqArgs sequence;
  const std::int64_t* position = nullptr;
  std::int64_t* final_position = nullptr;  // may be `position`
};

/// y[t, g * O + o] = sum_i W[g, o, i] x[t, g * I + i].
struct BlockLinearArgs {
  const void *x = nullptr, *weight = nullptr;  // weight packed: [I, G * O]
  void* y = nullptr;
  std::int64_t tokens = 0, groups = 0, inputs = 0, outputs = 0;
};
/// dW[g, o, i] += sum_t dy[t, g * O + o] x[t, g * I + i].
struct BlockLinearWeightArgs {
  const void *x = nullptr, *dy = nullptr;
  void* dweight = nullptr;
  std::int64_t tokens = 0, groups = 0, inputs = 0, outputs = 0;
};
/// W [G, O, I] -> [I, G * O], or, transposed: [O, G * I] (for dx).
struct BlockPackArgs {
  const void* weight = nullptr;
  void* packed = nullptr;
  std::int64_t groups = 0, inputs = 0, outputs = 0, transposed = 0;
};

}  // namespace rill
