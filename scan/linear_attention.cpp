// The forward is one kernel; going back, states are computed again from those kept every
// kMatrixChunk tokens. With dS_t the gradient of S_t and a = exp(g):
//   dS_t += scale q_t dout_t^T,  dq_t = scale S_t dout_t,  dk_t = dS_t v_t,  dv_t = dS_t^T k_t,
//   dg_t[i] = a_t[i] sum_j dS_t[i, j] S_{t-1}[i, j],  dS_{t-1} = diag(a_t) dS_t.
// The gate's gradient is formed from the states themselves, not as a running sum of q dq - k dk
// (Yang et al., appendix C): that sum cancels where decays are strong.
#include <rill/core/check.h>
#include <rill/core/kernels.h>
#include <rill/scan/linear_attention.h>
#include <rill/scan/matrix_ops.h>

namespace rill {
namespace {

constexpr const char* kName = "gated_linear_attention";

Tensor factors(Exec& exec, const Tensor& log_decay) {
  const Tensor factor = exec.empty(log_decay.shape());
  enqueue(exec, core_kernels(exec).unary,
          {.x = log_decay.raw(),
           .y = factor.raw(),
           .kind = static_cast<std::int64_t>(Unary::kExp),
           .count = log_decay.numel()},
          kName);
  return factor;
}

void set_decay(Exec& exec, Attention& a, const Tensor& log_decay) {
  if (!log_decay.defined()) return;
  if (log_decay.rank() == 1) {
    check(log_decay.size(0) == a.heads && log_decay.dtype() == exec.dtype(), ErrorCode::kShape,
          "{}: a log_decay of {} heads in {} was expected, {} {} came.", kName, a.heads,
          name_of(exec.dtype()), name_of(log_decay.dtype()), to_string(log_decay.shape()));
    a.decay_head = 1;
  } else {
    const bool by_key = log_decay.size(-1) != a.heads;
    check_tokens(exec, kName, "log_decay", log_decay, a.sequence,
                 by_key ? a.heads * a.keys : a.heads);
    a.decay_token = log_decay.size(-1);
    a.decay_head = by_key ? a.keys : 1;
    a.decay_key = by_key ? 1 : 0;
  }
  a.decay = factors(exec, log_decay);
}

// [tokens, H] -> [H] where one decay serves all tokens.
void add_decay_gradient(Exec& exec, Gradients& gradients, const Tensor& log_decay,
                        const Tensor& gradient) {
  if (log_decay.rank() > 1) return gradients.add(exec, log_decay, gradient.view(log_decay.shape()));
  const Tensor sum = gradients.accumulator(exec, log_decay);
  enqueue(exec, core_kernels(exec).column_sum,
          {.x = gradient.raw(),
           .out = sum.raw(),
           .tokens = gradient.size(0),
           .channels = gradient.size(1),
           .x_row = gradient.size(1),
           .accumulate = 1},
          kName);
}

}  // namespace

Tensor gated_linear_attention(Exec& exec, const Tensor& q, const Tensor& k, const Tensor& v,
                              const Tensor& log_decay, Tensor& state, const Sequence& sequence,
                              std::int64_t heads, double scale) {
  check_heads(exec, kName, q, k, v, sequence, heads);
  Attention a{.sequence = sequence, .q = q, .k = k, .v = v, .heads = heads};
  a.keys = q.size(-1) / heads;
  a.values = v.size(-1) / heads;
  a.scale = scale;
  check_state(exec, kName, "S", state, {sequence.rows(), heads, a.keys, a.values});
  set_decay(exec, a, log_decay);
  const Tensor initial = state;
  const bool by_q = tracked(exec, q), by_k = tracked(exec, k), by_v = tracked(exec, v);
  const bool by_decay = tracked(exec, log_decay), by_state = tracked(exec, initial);
  const bool keep = by_q || by_k || by_v || by_decay || by_state;
  const Tensor out = a.forward(exec, state, keep, kName);
  if (!keep) return out;
  const bool whole_decay = a.decay.defined() && a.decay_token != 0;
  if (whole_decay) a.decay = {};  // as long as the sequence: formed again going back
  exec.tape()->record({out, state}, [=, final_state = state](Exec& ex, Gradients& gradients) {
    Attention back = a;
    if (whole_decay) back.decay = factors(ex, log_decay);
    const AttentionGradients g = attention_backward(ex, back, gradients.find(out),
                                                    gradients.find(final_state), by_decay, kName);
    if (by_q) gradients.add(ex, q, g.q);
    if (by_k) gradients.add(ex, k, g.k);
    if (by_v) gradients.add(ex, v, g.v);
    if (by_decay) add_decay_gradient(ex, gradients, log_decay, g.log_decay);
    if (by_state) gradients.add(ex, initial, g.initial);
  });
  return out;
}

}  // namespace rill
