#include <rill/rnn/lstm_op.h>
#include <rill/rnn/recurrent_op.h>

namespace rill {

Tensor lstm(Exec& exec, const Tensor& x, const LstmWeights& weights, Tensor& h, Tensor& c,
            const Sequence& sequence) {
  static constexpr RecurrentCell kCell = {.name = "lstm",
                                          .gates = 4,
                                          .has_c = true,
                                          .reset_apart = false,
                                          .forward = &RnnKernels::lstm,
                                          .backward = &RnnKernels::lstm_backward};
  const RecurrentWeights all = {.ih = weights.weight_ih,
                                .hh = weights.weight_hh,
                                .bias_ih = weights.bias_ih,
                                .bias_hh = weights.bias_hh,
                                .hr = weights.weight_hr};
  return recurrent(exec, kCell, x, all, h, &c, sequence);
}

}  // namespace rill
