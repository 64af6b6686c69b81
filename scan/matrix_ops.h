// Private: what the ops with matrix states share: checks, and the linear attention that the mLSTM
// is made of as well.
#pragma once

#include <string_view>

#include <rill/core/sequence.h>
#include <rill/core/tape.h>
#include <rill/scan/kernels.h>

namespace rill {

/// Tokens of an array seen as [tokens, channels].
std::int64_t matrix_tokens(const Tensor& x);

/// Error unless `x` is of the Exec's dtype and [tokens..., channels].
void check_tokens(const Exec& exec, std::string_view op, std::string_view name, const Tensor& x,
                  const Sequence& sequence, std::int64_t channels);
/// Error unless `state` is of the Exec's dtype and has the shape.
void check_state(const Exec& exec, std::string_view op, std::string_view name, const Tensor& state,
                 const Shape& shape);
/// Error unless `heads` divides the last axes of q, k and v; q, k and v are checked as well.
void check_heads(const Exec& exec, std::string_view op, const Tensor& q, const Tensor& k,
                 const Tensor& v, const Sequence& sequence, std::int64_t heads);

/// Tasks of a backward kernel that run at once.
std::int64_t matrix_lanes(Exec& exec, const SeqArgs& sequence, std::int64_t heads);

/// True where the tape of `exec`, if any, tracks the tensor.
inline bool tracked(const Exec& exec, const Tensor& tensor) {
  return exec.tape() && tensor.defined() && exec.tape()->tracks(tensor);
}

/// The tensors behind LinearAttentionArgs, with decay as a factor.
struct Attention {
  Sequence sequence;
  Tensor q, k, v;
  Tensor decay, gain, divisor;  // or undefined
  Tensor kept;                  // where the forward keeps states, for the backward
  std::int64_t heads = 0, keys = 0, values = 0;
  std::int64_t decay_token = 0, decay_head = 0, decay_key = 0;
  double scale = 1.0;

  LinearAttentionArgs args() const;
  /// Runs the recurrence; with `keep`, `kept` is made. `state` as in the public ops.
  Tensor forward(Exec& exec, Tensor& state, bool keep, const char* op);
};

struct AttentionGradients {
  Tensor q, k, v, log_decay, gain, initial;
};
/// `dout` and `dfinal` may be undefined: zero. `gates`: also the gradients of log decay ([tokens,
/// H], or [tokens, H * K] where the decay is a key's) and gain.
AttentionGradients attention_backward(Exec& exec, const Attention& attention, const Tensor& dout,
                                      const Tensor& dfinal, bool gates, const char* op);

/// A state field's memory for the final state: its own without a tape, new memory with one.
inline Tensor final_field(Exec& exec, const Tensor& field) {
  return exec.tape() ? exec.empty(field.shape(), field.dtype()) : field;
}

}  // namespace rill
