// With e = v - S_{t-1}^T k (the error), w = beta e and dS the gradient of S_t:
//   dS += scale q dout^T,  dq = scale S_t dout,  dw = dS^T k,  dbeta = dw . e,  dv = beta dw,
//   dk = dS w - S_{t-1} dv,  dS_{t-1} = dS - k dv^T.
// States are computed again from those kept every kMatrixChunk tokens.
#include <rill/core/check.h>
#include <rill/scan/delta_rule.h>
#include <rill/scan/matrix_ops.h>

namespace rill {
namespace {

constexpr const char* kName = "delta_rule";

struct Delta {
  Sequence sequence;
  Tensor q, k, v, beta, kept;
  std::int64_t heads = 0;
  double scale = 1.0;

  DeltaRuleArgs args() const {
    return {.sequence = sequence.args(),
            .q = q.raw(),
            .k = k.raw(),
            .v = v.raw(),
            .beta = beta.raw(),
            .kept = kept.raw(),
            .heads = heads,
            .keys = q.size(-1) / heads,
            .values = v.size(-1) / heads,
            .scale = scale};
  }
};

struct DeltaGradients {
  Tensor q, k, v, beta, initial;
};

DeltaGradients delta_backward(Exec& exec, const Delta& delta, const Tensor& dout,
                              const Tensor& dfinal) {
  const DeltaRuleArgs args = delta.args();
  const std::int64_t lanes = matrix_lanes(exec, args.sequence, args.heads);
  const Tensor scratch = exec.empty({lanes, matrix_scratch(args.keys, args.values)});
  DeltaGradients g{.q = exec.empty(delta.q.shape()),
                   .k = exec.empty(delta.k.shape()),
                   .v = exec.empty(delta.v.shape()),
                   .beta = exec.empty(delta.beta.shape()),
                   .initial = exec.empty({args.sequence.rows, args.heads, args.keys, args.values})};
  enqueue(exec, scan_kernels(exec).delta_rule_backward,
          {.forward = args,
           .dout = dout.raw(),
           .dfinal = dfinal.raw(),
           .dq = g.q.raw(),
           .dk = g.k.raw(),
           .dv = g.v.raw(),
           .dbeta = g.beta.raw(),
           .dinitial = g.initial.raw(),
           .scratch = scratch.raw(),
           .lanes = lanes},
          kName);
  return g;
}

}  // namespace

Tensor delta_rule(Exec& exec, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& beta,
                  Tensor& state, const Sequence& sequence, std::int64_t heads, double scale) {
  check_heads(exec, kName, q, k, v, sequence, heads);
  check_tokens(exec, kName, "beta", beta, sequence, heads);
  Delta delta{
      .sequence = sequence, .q = q, .k = k, .v = v, .beta = beta, .heads = heads, .scale = scale};
  DeltaRuleArgs args = delta.args();
  check_state(exec, kName, "S", state, {sequence.rows(), heads, args.keys, args.values});
  const Tensor initial = state;
  const bool by_q = tracked(exec, q), by_k = tracked(exec, k), by_v = tracked(exec, v);
  const bool by_beta = tracked(exec, beta), by_state = tracked(exec, initial);
  const bool keep = by_q || by_k || by_v || by_beta || by_state;
  if (keep)
    delta.kept = exec.empty(
        {matrix_slots(sequence.tokens(), sequence.rows()), heads, args.keys, args.values});
  const Tensor out = exec.empty(v.shape());
  const Tensor final_state = final_field(exec, state);
  args.kept = delta.kept.raw();
  args.initial = initial.raw();
  args.final_state = final_state.raw();
  args.out = out.raw();
  enqueue(exec, scan_kernels(exec).delta_rule, args, kName);
  state = final_state;
  if (!keep) return out;
  exec.tape()->record({out, final_state}, [=](Exec& ex, Gradients& gradients) {
    const DeltaGradients g =
        delta_backward(ex, delta, gradients.find(out), gradients.find(final_state));
    if (by_q) gradients.add(ex, q, g.q);
    if (by_k) gradients.add(ex, k, g.k);
    if (by_v) gradients.add(ex, v, g.v);
    if (by_beta) gradients.add(ex, beta, g.beta);
    if (by_state) gradients.add(ex, initial, g.initial);
  });
  return out;
}

}  // namespace rill
