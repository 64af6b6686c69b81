#include <rill/core/check.h>
#include <rill/core/kernels.h>
#include <rill/scan/matrix_ops.h>

#include <algorithm>

namespace rill {

std::int64_t matrix_tokens(const Tensor& x) {
  std::int64_t tokens = 1;
  for (int axis = 0; axis + 1 < x.rank(); ++axis) tokens *= x.size(axis);
  return tokens;
}

void check_tokens(const Exec& exec, std::string_view op, std::string_view name, const Tensor& x,
                  const Sequence& sequence, std::int64_t channels) {
  check(x.defined() && x.rank() >= 2 && x.size(-1) == channels &&
            matrix_tokens(x) == sequence.tokens(),
        ErrorCode::kShape, "{}: {} of {} tokens and {} channels was expected, {} came.", op, name,
        sequence.tokens(), channels, x.defined() ? to_string(x.shape()) : "nothing");
  check(x.dtype() == exec.dtype(), ErrorCode::kDType, "{}: {} is {}, {} was expected.", op, name,
        name_of(x.dtype()), name_of(exec.dtype()));
}

void check_state(const Exec& exec, std::string_view op, std::string_view name, const Tensor& state,
                 const Shape& shape) {
  check(state.defined() && state.shape() == shape, ErrorCode::kShape,
        "{}: the state {} of shape {} was expected, {} came.", op, name, to_string(shape),
        state.defined() ? to_string(state.shape()) : "nothing");
  check(state.dtype() == exec.dtype(), ErrorCode::kDType,
        "{}: the state {} is {}, {} was expected.", op, name, name_of(state.dtype()),
        name_of(exec.dtype()));
}

void check_heads(const Exec& exec, std::string_view op, const Tensor& q, const Tensor& k,
                 const Tensor& v, const Sequence& sequence, std::int64_t heads) {
  check(q.defined() && q.rank() >= 2 && v.defined() && v.rank() >= 2, ErrorCode::kShape,
        "{}: q and v of shape [tokens, channels] were expected.", op);
  check(heads >= 1 && q.size(-1) % heads == 0 && v.size(-1) % heads == 0, ErrorCode::kShape,
        "{}: heads divide the channels of q and v, {} heads for {} and {} channels came.", op,
        heads, q.size(-1), v.size(-1));
  check_tokens(exec, op, "q", q, sequence, q.size(-1));
  check_tokens(exec, op, "k", k, sequence, q.size(-1));
  check_tokens(exec, op, "v", v, sequence, v.size(-1));
}

std::int64_t matrix_lanes(Exec& exec, const SeqArgs& sequence, std::int64_t heads) {
  const std::int64_t tasks = std::max<std::int64_t>(sequence.rows * heads, 1);
  // A device runs all rows and heads at once (and reads weights in place, which tells it apart).
  return core_kernels(exec).pack ? std::min<std::int64_t>(tasks, exec.threads()) : tasks;
}

LinearAttentionArgs Attention::args() const {
  return {.sequence = sequence.args(),
          .q = q.raw(),
          .k = k.raw(),
          .v = v.raw(),
          .decay = decay.raw(),
          .gain = gain.raw(),
          .divisor = divisor.raw(),
          .kept = kept.raw(),
          .heads = heads,
          .keys = keys,
          .values = values,
          .decay_token = decay_token,
          .decay_head = decay_head,
          .decay_key = decay_key,
          .scale = scale};
}

Tensor Attention::forward(Exec& exec, Tensor& state, bool keep, const char* op) {
  const Tensor out = exec.empty(v.shape());
  const Tensor final_state = final_field(exec, state);
  if (keep)
    kept = exec.empty({matrix_slots(sequence.tokens(), sequence.rows()), heads, keys, values});
  LinearAttentionArgs a = args();
  a.initial = state.raw();
  a.final_state = final_state.raw();
  a.out = out.raw();
  enqueue(exec, scan_kernels(exec).linear_attention, a, op);
  state = final_state;
  return out;
}

AttentionGradients attention_backward(Exec& exec, const Attention& attention, const Tensor& dout,
                                      const Tensor& dfinal, bool gates, const char* op) {
  const Attention& a = attention;
  const std::int64_t lanes = matrix_lanes(exec, a.sequence.args(), a.heads);
  const std::int64_t tokens = a.sequence.tokens();
  const Tensor scratch = exec.empty({lanes, matrix_scratch(a.keys, a.values)});
  AttentionGradients g{.q = exec.empty(a.q.shape()),
                       .k = exec.empty(a.k.shape()),
                       .v = exec.empty(a.v.shape()),
                       .initial = exec.empty({a.sequence.rows(), a.heads, a.keys, a.values})};
  if (gates) {
    g.log_decay = exec.empty({tokens, a.decay_key ? a.heads * a.keys : a.heads});
    if (a.gain.defined()) g.gain = exec.empty({tokens, a.heads});
  }
  enqueue(exec, scan_kernels(exec).linear_attention_backward,
          {.forward = a.args(),
           .dout = dout.raw(),
           .dfinal = dfinal.raw(),
           .dq = g.q.raw(),
           .dk = g.k.raw(),
           .dv = g.v.raw(),
           .dinitial = g.initial.raw(),
           .dlog_decay = g.log_decay.raw(),
           .dgain = g.gain.raw(),
           .scratch = scratch.raw(),
           .lanes = lanes},
          op);
  return g;
}

}  // namespace rill
