// Private: what the ops lstm and gru share: the input product, the walk through time, and their
// gradients.
#pragma once

#include <cstdint>

#include <rill/core/kernels.h>
#include <rill/core/ops.h>
#include <rill/rnn/kernels.h>

namespace rill {

/// A cell: its kernels, its number of gates G, whether it has a state c beside h, and whether its
/// last gate sees U h + b_hh through the reset gate: the gradient of that part then lies apart, in
/// `kept`.
struct RecurrentCell {
  const char* name;
  std::int64_t gates;
  bool has_c;
  bool reset_apart;
  Kernel<RecurrentArgs> RnnKernels::*forward;
  Kernel<RecurrentBackwardArgs> RnnKernels::*backward;
};

struct RecurrentWeights {
  Tensor ih;       // [G H, I]
  Tensor hh;       // [G H, P]
  Tensor bias_ih;  // [G H] or undefined
  Tensor bias_hh;  // [G H] or undefined
  Tensor hr;       // [P, H] or undefined (then P = H)
};

/// x [..., I] seen through `sequence` -> [..., P]; h [rows, P] and c [rows, H] (null without one)
/// are initial states on entry and final ones on return.
Tensor recurrent(Exec& exec, const RecurrentCell& cell, const Tensor& x,
                 const RecurrentWeights& weights, Tensor& h, Tensor* c, const Sequence& sequence);

}  // namespace rill
