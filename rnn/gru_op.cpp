#include <rill/rnn/gru_op.h>
#include <rill/rnn/recurrent_op.h>

namespace rill {

Tensor gru(Exec& exec, const Tensor& x, const GruWeights& weights, Tensor& h,
           const Sequence& sequence) {
  static constexpr RecurrentCell kCell = {.name = "gru",
                                          .gates = 3,
                                          .has_c = false,
                                          .reset_apart = true,
                                          .forward = &RnnKernels::gru,
                                          .backward = &RnnKernels::gru_backward};
  const RecurrentWeights all = {.ih = weights.weight_ih,
                                .hh = weights.weight_hh,
                                .bias_ih = weights.bias_ih,
                                .bias_hh = weights.bias_hh};
  return recurrent(exec, kCell, x, all, h, nullptr, sequence);
}

}  // namespace rill
