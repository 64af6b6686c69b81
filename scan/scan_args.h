// Private: arguments of the affine scan, the causal convolution and the selective scan, shared by
// every back end and by device code. Pointers and 8-byte scalars only (core/kernel.h).
#pragma once

#include <cstdint>

#include <rill/core/seq_args.h>

namespace rill {

// Where a table's activations are of 16 bits: x, dt, b, c, z, y, h and their gradients. Decays (the
// affine scan's a; in log space its b and h as well), parameters, states, what is kept for the way
// back and scratch are float, and so are gradients of these.

/// h_t = a_t h_{t-1} + b_t (affine_scan.h). Elements are `channels` real numbers a token, or
/// complex pairs (re, im).
struct AffineScanArgs {
  SeqArgs sequence;
  const void *a = nullptr, *b = nullptr;  // [tokens, channels(, 2)]
  const void* initial = nullptr;          // [rows, channels(, 2)]
  void* final_state = nullptr;            // the same shape; may be `initial`
  void* h = nullptr;                      // [tokens, channels(, 2)]
  std::int64_t channels = 0;
  std::int64_t complex = 0, reverse = 0, log_space = 0;
};
struct AffineScanBackwardArgs {
  SeqArgs sequence;
  const void *a = nullptr, *b = nullptr, *h = nullptr;  // b is read in log space alone
  const void* initial = nullptr;
  const void *dh = nullptr, *dfinal = nullptr;  // or null: zero
  void *da = nullptr, *db = nullptr, *dinitial = nullptr;
  std::int64_t channels = 0;
  std::int64_t complex = 0, reverse = 0, log_space = 0;
};

/// [channels, width] -> [width, channels] (taps by channels); accumulate: target += (used for
/// gradients, the other way).
struct TransposeArgs {
  const void* source = nullptr;
  void* target = nullptr;
  std::int64_t rows = 0, columns = 0;  // of source
  std::int64_t accumulate = 0;
};

/// y_t = act(bias + sum_k weight[k] x_{t-K+1+k}) (causal_conv.h).
struct CausalConvArgs {
  SeqArgs sequence;
  const void* x = nullptr;        // [tokens, channels]
  const void* weight = nullptr;   // [width, channels]: transposed
  const void* bias = nullptr;     // [channels] or null
  const void* initial = nullptr;  // [rows, width - 1, channels]
  void* final_state = nullptr;    // the same shape; may be `initial`
  void* y = nullptr;              // [tokens, channels]
  std::int64_t channels = 0, width = 0, silu = 0;
};
struct CausalConvBackwardArgs {
  SeqArgs sequence;
  const void *x = nullptr, *weight = nullptr, *bias = nullptr, *initial = nullptr;
  const void *dy = nullptr, *dfinal = nullptr;  // or null: zero
  void* dpre = nullptr;                         // scratch [tokens, channels]
  void *dx = nullptr, *dinitial = nullptr;      // overwritten
  void* dweight = nullptr;                      // [width, channels], overwritten
  void* dbias = nullptr;                        // [channels], accumulated, or null
  std::int64_t channels = 0, width = 0, silu = 0;
};

/// A[n, e] = -exp(A_log[e, n]), states by channels; float: times log2(e), for exp2.
struct SelectivePrepareArgs {
  const void* a_log = nullptr;
  void* a = nullptr;
  std::int64_t channels = 0, states = 0;
};
/// The selective scan (selective_scan.h).
struct SelectiveScanArgs {
  SeqArgs sequence;
  const void *x = nullptr, *dt = nullptr;  // [tokens, channels], dt before bias and softplus
  const void* dt_bias = nullptr;           // [channels] or null
  const void* a = nullptr;                 // [states, channels], prepared
  const void *b = nullptr, *c = nullptr;   // [tokens, states]
  const void* d = nullptr;                 // [channels] or null
  const void* z = nullptr;                 // [tokens, channels] or null
  const void* initial = nullptr;           // [rows, channels, states]
  void* final_state = nullptr;             // the same shape; may be `initial`
  // Scratch [rows, states, channels]; where the plan cuts time, [rows, segments, states + 1,
  // channels].
  void* work = nullptr;
  void* y = nullptr;  // [tokens, channels]
  void* checkpoints =
      nullptr;  // [tokens / kSelectiveChunk + rows, states, channels], or null: none are kept
  std::int64_t channels = 0, states = 0;
};
struct SelectiveScanBackwardArgs {
  SelectiveScanArgs forward;                    // initial, final_state and y are not read
  const void *dy = nullptr, *dfinal = nullptr;  // or null: zero
  void *dx = nullptr, *ddt = nullptr, *dz = nullptr, *db = nullptr,
       *dc = nullptr;                                       // overwritten; dz may be null
  void* dinitial = nullptr;                                 // overwritten
  void *da_log = nullptr, *dd = nullptr, *dbias = nullptr;  // accumulated; dd, dbias may be null
  // Scratch: sums over channels and rows are finished in a fixed order from a part for every
  // channel tile or row.
  void* parts_bc = nullptr;  // [tiles, 2, tokens, states]
  void* parts_a = nullptr;   // [rows, segments, states, channels]
  void* parts_d = nullptr;   // [rows, segments, 2, channels]: D, dt_bias
  void* carries = nullptr;   // [rows, segments, states + 1, channels] where there are segments
  void* scratch = nullptr;   // [lanes, selective_scratch(states)] of the vector form
  std::int64_t lanes = 1;    // tasks that run at once
};
/// Steps between the states that a tape keeps, and channels of a tile.
constexpr std::int64_t kSelectiveChunk = 32;
constexpr std::int64_t kSelectiveTile = 128;
/// How a back end cuts a selective scan, from sizes alone.
struct SelectivePlan {
  std::int64_t tile = kSelectiveTile;  // channels of a part of dB and dC
  std::int64_t segments = 1;           // of a row's time
  std::int64_t back_segments = 1;
};
/// Elements of scratch that a lane of the way back needs with vectors of up to 16 floats: states,
/// decays and gradients of a chunk, those carried from it, and a cache line to begin at one.
constexpr std::int64_t selective_scratch(std::int64_t states) {
  return states * (4 * kSelectiveChunk * 16 + kSelectiveTile + std::int64_t{2} * 16) + 16;
}
/// The state before step 32 c of a row is checkpoint number selective_checkpoint(sequence, row) +
/// c.
inline std::int64_t selective_checkpoint(const SeqArgs& sequence, std::int64_t row) {
  return sequence.start[row] / kSelectiveChunk + row;
}

}  // namespace rill
