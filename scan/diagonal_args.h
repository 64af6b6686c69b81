// Private: arguments of the kernels of diagonal_ssm.h (letters there).
#pragma once

#include <cstdint>

#include <rill/core/seq_args.h>

namespace rill {

/// Steps between the states that a tape keeps.
constexpr std::int64_t kDiagonalBlock = 64;
/// Packed coefficients are padded with zeros to a multiple of this many reals.
constexpr std::int64_t kDiagonalPadding = 16;

/// Elements of scratch that a lane of diagonal_ssm_backward needs: the states of a block and before
/// it, zeros, and the gradient of a state.
constexpr std::int64_t diagonal_scratch(std::int64_t width) { return (kDiagonalBlock + 3) * width; }

/// Number of a row's first kept state. Rows ascend and do not overlap, so that the slots of rows do
/// not either; tokens / kDiagonalBlock + rows + 1 of them are enough.
inline std::int64_t diagonal_slot(const SeqArgs& sequence, std::int64_t row) {
  return sequence.start[row] / kDiagonalBlock + row;
}
inline std::int64_t diagonal_slots(const SeqArgs& sequence) {
  return sequence.tokens / kDiagonalBlock + sequence.rows + 1;
}

/// Zeroes the tokens [tokens, channels] that belong to no row; rows of padded sequences ascend.
template <class T>
void zero_gaps(const SeqArgs& sequence, T* values, std::int64_t channels) {
  if (!sequence.padded) return;
  for (std::int64_t row = 0; row < sequence.rows; ++row) {
    const std::int64_t end = row + 1 < sequence.rows ? sequence.start[row + 1] : sequence.tokens;
    for (std::int64_t i = (sequence.start[row] + sequence.length[row]) * channels;
         i < end * channels; ++i)
      values[i] = T(0);
  }
}

/// a, w -> coefficients [channels, 3, padded_width]: p, q, r of diagonal_ssm_plain-inl.h.
struct DiagonalPackArgs {
  const void *a = nullptr, *w = nullptr;
  void* coefficients = nullptr;
  std::int64_t channels = 0, width = 0, padded_width = 0, complex = 0;
};
/// The adjoint: da, dw overwritten.
struct DiagonalUnpackArgs {
  const void* dcoefficients = nullptr;
  void *da = nullptr, *dw = nullptr;
  std::int64_t channels = 0, width = 0, padded_width = 0, complex = 0;
};

struct DiagonalSsmArgs {
  SeqArgs sequence;
  const void* x = nullptr;             // [tokens, channels]
  const void* coefficients = nullptr;  // packed
  const void* d = nullptr;             // [channels] or null
  const void* h_in = nullptr;          // [rows, channels, width]
  void* h_out = nullptr;               // the same shape; may be h_in
  void* y = nullptr;                   // [tokens, channels]
  void* checkpoints = nullptr;         // [slots, channels, width] or null: not kept
  std::int64_t channels = 0, width = 0, padded_width = 0, complex = 0;
};
struct DiagonalSsmBackwardArgs {
  SeqArgs sequence;
  const void *x = nullptr, *dy = nullptr;  // [tokens, channels]
  const void* coefficients = nullptr;
  const void* d = nullptr;            // [channels] or null
  const void* checkpoints = nullptr;  // as kept by the forward
  const void* dh_final = nullptr;     // [rows, channels, width] or null: zero
  void* dx = nullptr;                 // all of these overwritten
  void* dh_initial = nullptr;
  void* dcoefficients = nullptr;
  void* dd = nullptr;       // [channels] or null
  void* scratch = nullptr;  // [lanes, diagonal_scratch(width)]
  std::int64_t channels = 0, width = 0, padded_width = 0, complex = 0;
  std::int64_t lanes = 1;  // channels that run at once
};

/// See discretize_diagonal.
struct DiagonalDiscretizeArgs {
  const void *log_dt = nullptr, *a_real = nullptr, *a_imag = nullptr, *b = nullptr, *c = nullptr;
  void *a = nullptr, *w = nullptr;
  double* exact_a = nullptr;  // or null: not wanted
  double rate = 1.0;
  std::int64_t channels = 0, modes = 0, copies = 0, bilinear = 0;
};
struct DiagonalDiscretizeBackwardArgs {
  const void *log_dt = nullptr, *a_real = nullptr, *a_imag = nullptr, *b = nullptr, *c = nullptr;
  const void *da = nullptr, *dw = nullptr;  // [channels, modes, 2]
  void *dlog_dt = nullptr, *da_real = nullptr, *da_imag = nullptr, *db = nullptr, *dc = nullptr;
  void* parts = nullptr;  // scratch, double [channels, modes, 4]: of A and B by channel
  double rate = 1.0;
  std::int64_t channels = 0, modes = 0, copies = 0, bilinear = 0;
};

/// kernel[h, l] = 2 Re(sum_n w a^l), l < length.
struct DiagonalKernelArgs {
  const void *a = nullptr, *w = nullptr;  // [channels, modes, 2]
  const double* exact_a = nullptr;        // a in double, or null
  void* kernel = nullptr;                 // [channels, length]
  std::int64_t channels = 0, modes = 0, length = 0;
};
struct DiagonalKernelBackwardArgs {
  const void *a = nullptr, *w = nullptr, *dkernel = nullptr;
  const double* exact_a = nullptr;
  void *da = nullptr, *dw = nullptr;  // overwritten
  void* scratch = nullptr;            // where the table asks for it
  std::int64_t channels = 0, modes = 0, length = 0;
};
/// What a convolution leaves out: y = 2 Re(sum_n w a^{t+1} h_in) + d x and the final state.
struct DiagonalResponseArgs {
  SeqArgs sequence;
  const void* x = nullptr;                // [tokens, channels]
  const void *a = nullptr, *w = nullptr;  // [channels, modes, 2]
  const double* exact_a = nullptr;        // a in double, or null
  const void* d = nullptr;                // [channels] or null
  const void* h_in = nullptr;             // [rows, channels, modes, 2]
  void* h_out = nullptr;                  // the same shape; may be h_in
  void* y = nullptr;                      // [tokens, channels]
  void* scratch = nullptr;                // where the table asks for it
  std::int64_t channels = 0, modes = 0;
};
struct DiagonalResponseBackwardArgs {
  SeqArgs sequence;
  const void *x = nullptr, *a = nullptr, *w = nullptr, *d = nullptr, *h_in = nullptr;
  const double* exact_a = nullptr;
  const void *dy = nullptr, *dh_final = nullptr;  // or null: zero
  void *dx = nullptr, *da = nullptr, *dw = nullptr, *dd = nullptr,
       *dh_initial = nullptr;  // overwritten; dd or null
  void* scratch = nullptr;     // where the table asks for it
  std::int64_t channels = 0, modes = 0;
};

}  // namespace rill
