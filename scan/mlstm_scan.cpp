// Two kernels: the scalars m, F, I and the normaliser n (mlstm_gates), then C as gated linear
// attention with decay F, gain K^-1/2 I and the divisor. Going back likewise: first through C, then
// through n, m and the gates (mlstm_plain-inl.h).
#include <rill/core/check.h>
#include <rill/scan/matrix_ops.h>
#include <rill/scan/mlstm_scan.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace rill {
namespace {

constexpr const char* kName = "mlstm_scan";

struct Gates {
  Tensor input, log_forget;
  Tensor dot, chose_input, kept;  // for the backward, or undefined
  Tensor initial_c, initial_n, initial_m;
  Tensor final_c, final_n, final_m;
};

MlstmGatesArgs gates_args(const Attention& a, const Gates& g) {
  return {.sequence = a.sequence.args(),
          .q = a.q.raw(),
          .k = a.k.raw(),
          .input = g.input.raw(),
          .log_forget = g.log_forget.raw(),
          .initial_n = g.initial_n.raw(),
          .initial_m = g.initial_m.raw(),
          .final_n = g.final_n.raw(),
          .final_m = g.final_m.raw(),
          .decay = a.decay.raw(),
          .gain = a.gain.raw(),
          .divisor = a.divisor.raw(),
          .dot = g.dot.raw(),
          .kept = g.kept.raw(),
          .chose_input = g.chose_input.raw(),
          .heads = a.heads,
          .keys = a.keys,
          .key_scale = 1.0 / std::sqrt(static_cast<double>(a.keys))};
}

struct GateGradients {
  Tensor input, log_forget, initial_n, initial_m;
};

GateGradients gates_backward(Exec& exec, const Attention& a, const Gates& g, const Tensor& out,
                             const AttentionGradients& by_c, const Gradients& gradients) {
  const Tensor dout = gradients.find(out);
  const Tensor dfinal_c = gradients.find(g.final_c), dfinal_n = gradients.find(g.final_n);
  const Tensor dfinal_m = gradients.find(g.final_m);
  const std::int64_t lanes = matrix_lanes(exec, a.sequence.args(), a.heads);
  const Tensor scratch = exec.empty({lanes, (kMatrixChunk + 2) * a.keys});
  GateGradients d{.input = exec.empty(g.input.shape()),
                  .log_forget = exec.empty(g.log_forget.shape()),
                  .initial_n = exec.empty(g.initial_n.shape()),
                  .initial_m = exec.empty(g.initial_m.shape())};
  enqueue(exec, scan_kernels(exec).mlstm_gates_backward,
          {.forward = gates_args(a, g),
           .out = out.raw(),
           .dout = dout.raw(),
           .dlog_decay = by_c.log_decay.raw(),
           .dgain = by_c.gain.raw(),
           .dfinal_n = dfinal_n.raw(),
           .dfinal_m = dfinal_m.raw(),
           .final_c = g.final_c.raw(),
           .dfinal_c = dfinal_c.raw(),
           .initial_c = g.initial_c.raw(),
           .dinitial_c = by_c.initial.raw(),
           .dq = by_c.q.raw(),
           .dk = by_c.k.raw(),
           .dinput = d.input.raw(),
           .dlog_forget = d.log_forget.raw(),
           .dinitial_n = d.initial_n.raw(),
           .dinitial_m = d.initial_m.raw(),
           .scratch = scratch.raw(),
           .values = a.values,
           .lanes = lanes},
          kName);
  return d;
}

}  // namespace

Tensor mlstm_scan(Exec& exec, const Tensor& q, const Tensor& k, const Tensor& v,
                  const Tensor& input_gate, const Tensor& log_forget, Tensor& c, Tensor& n,
                  Tensor& m, const Sequence& sequence, std::int64_t heads) {
  check_heads(exec, kName, q, k, v, sequence, heads);
  check_tokens(exec, kName, "input_gate", input_gate, sequence, heads);
  check_tokens(exec, kName, "log_forget", log_forget, sequence, heads);
  Attention a{.sequence = sequence, .q = q, .k = k, .v = v, .heads = heads};
  a.keys = q.size(-1) / heads;
  a.values = v.size(-1) / heads;
  a.decay_token = heads;
  a.decay_head = 1;
  check_state(exec, kName, "C", c, {sequence.rows(), heads, a.keys, a.values});
  check_state(exec, kName, "n", n, {sequence.rows(), heads, a.keys});
  check_state(exec, kName, "m", m, {sequence.rows(), heads});
  const std::array<Tensor, 8> inputs{q, k, v, input_gate, log_forget, c, n, m};
  std::array<bool, 8> wanted{};
  std::ranges::transform(inputs, wanted.begin(), [&](const Tensor& x) { return tracked(exec, x); });
  const bool keep = std::ranges::find(wanted, true) != wanted.end();

  Gates g{.input = input_gate, .log_forget = log_forget};
  g.initial_c = c, g.initial_n = n, g.initial_m = m;
  g.final_n = final_field(exec, n);
  g.final_m = final_field(exec, m);
  const Shape per_head{sequence.tokens(), heads};
  a.decay = exec.empty(per_head);
  a.gain = exec.empty(per_head);
  a.divisor = exec.empty(per_head);
  if (keep) {
    g.dot = exec.empty(per_head);
    g.chose_input = exec.empty(per_head);
    g.kept = exec.empty({matrix_slots(sequence.tokens(), sequence.rows()), heads, a.keys});
  }
  enqueue(exec, scan_kernels(exec).mlstm_gates, gates_args(a, g), kName);
  n = g.final_n;
  m = g.final_m;
  const Tensor out = a.forward(exec, c, keep, kName);
  g.final_c = c;
  if (!keep) return out;
  exec.tape()->record({out, g.final_c, g.final_n, g.final_m}, [=](Exec& ex, Gradients& gradients) {
    const AttentionGradients by_c =
        attention_backward(ex, a, gradients.find(out), gradients.find(g.final_c), true, kName);
    const GateGradients by_gates = gates_backward(ex, a, g, out, by_c, gradients);
    const Tensor all[] = {by_c.q,
                          by_c.k,
                          by_c.v,
                          by_gates.input,
                          by_gates.log_forget,
                          by_c.initial,
                          by_gates.initial_n,
                          by_gates.initial_m};
    for (std::size_t i = 0; i < inputs.size(); ++i)
      if (wanted[i]) gradients.add(ex, inputs[i], all[i]);
  });
  return out;
}

}  // namespace rill
