// Private: arguments of the recurrent cells' kernels, shared by every back end and by device code.
// Letters: H hidden size, P output size (H, or the projection's), G gates a unit (LSTM 4: i, f, g,
// o; GRU 3: r, z, n), tokens and rows as in core/seq_args.h.
#pragma once

#include <cstdint>

#include <rill/core/seq_args.h>

namespace rill {

/// Lays a weight [G H, K] (W_ih: K = I; W_hh: K = P) out for the step, in the back end's own order.
struct PackRecurrentArgs {
  const void* weight = nullptr;
  void* packed = nullptr;
  std::int64_t hidden = 0, gates = 0, width = 0;
  std::int64_t weight_dtype = 0;  // DType: of 16-bit kernels, whose weights may be float
};

/// Runs a cell over every row. h0 may be h and c0 may be c: states are then overwritten in place.
struct RecurrentArgs {
  SeqArgs sequence;
  // W_ih x + b_ih comes in `gates` [tokens, G H] (where `kept`, the gates' values are left there),
  // or is made in the step from x [tokens, I] (then gates and kept are null).
  void* gates = nullptr;
  const void* x = nullptr;
  const void* weight_ih = nullptr;  // packed
  const void* bias_ih = nullptr;    // [G H], or null
  const void* weight_hh = nullptr;  // packed
  const void* bias_hh = nullptr;    // [G H], or null
  const void* weight_hr = nullptr;  // [P, H] packed for core's linear, or null: no projection
  const void *h0 = nullptr, *c0 = nullptr;  // [rows, P], [rows, H] (LSTM)
  void *h = nullptr, *c = nullptr;
  void* y = nullptr;            // [tokens, P]
  void* kept = nullptr;         // [tokens, H] for the backward: LSTM c, GRU U_n h + b_hn; or null
  const void* zeros = nullptr;  // [P], where there are resets
  void* scratch = nullptr;      // [rows, H + P], where projected
  std::int64_t input = 0, hidden = 0, output = 0;
  std::int64_t weight_hr_dtype = 0;  // as PackRecurrentArgs::weight_dtype
};

/// Goes back through RecurrentArgs. dh, dc are both scratch and the gradients of the initial state.
struct RecurrentBackwardArgs {
  SeqArgs sequence;
  void* gates = nullptr;  // in: the gates' values, out: gradients of W x + b_ih [tokens, G H]
  void* kept = nullptr;   // in: as above, out (GRU): gradient of U_n h + b_hn
  const void* y = nullptr;
  const void *h0 = nullptr, *c0 = nullptr;
  const void *dy = nullptr, *dh_final = nullptr, *dc_final = nullptr;  // or null: zero
  const void* weight_hh = nullptr;    // W_hh packed for core's linear as seen from dgates
  const void* weight_hr = nullptr;    // W_hr packed for core's linear as seen from dh, or null
  void *dh = nullptr, *dc = nullptr;  // out: [rows, P], [rows, H]
  void* h_previous = nullptr;         // out: [tokens, P] the h that each step read
  void* dh_tokens = nullptr;          // out, where projected: [tokens, P] gradient of each step's h
  void* projected = nullptr;          // out, where projected: [tokens, H] what W_hr read
  void* scratch = nullptr;            // [rows, (G + 1) H + 2 P]
  std::int64_t hidden = 0, output = 0;
  std::int64_t weight_hh_dtype = 0, weight_hr_dtype = 0;  // as PackRecurrentArgs::weight_dtype
};

}  // namespace rill
