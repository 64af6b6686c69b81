// The affine scan h_t = a_t h_{t-1} + b_t, channel by channel: the recurrence of every diagonal
// linear RNN.
#pragma once

#include <rill/core/exec.h>
#include <rill/core/sequence.h>
#include <rill/core/tensor.h>

namespace rill {

struct AffineScanOptions {
  /// Arrays have a last axis of 2 (re, im).
  bool complex = false;
  /// h_t = a_t h_{t+1} + b_t: the state comes in after a row's last step and leaves before its
  /// first one.
  bool reverse = false;
  /// a, b, the state and the result are logarithms of non-negative numbers (minus infinity is 0,
  /// and a fresh state): log h_t = log(e^(log a_t + log h_{t-1}) + e^(log b_t)), as a streaming
  /// log-sum-exp. It holds no cumulative sums, whose rounding grows with the length; what remains
  /// is the spacing of log h: a relative error of up to eps |log h| / 2 a step, over the steps that
  /// the decays remember. Not with `complex`.
  bool log_space = false;
};

/// Returns all states h [tokens, C] (complex: [tokens, C, 2]) of a, b of the same shape, any
/// leading axes. `state` [rows, C(, 2)]: initial in, final out (overwritten in place without a
/// tape, rebound with one). A reset before token t cuts between t-1 and t, in either direction.
/// Time is never split: T steps of one give the bits of one call of T. Differentiable in a, b,
/// `state` and the final state. Error(kShape / kDType / kConfig).
Tensor affine_scan(Exec& exec, const Tensor& a, const Tensor& b, Tensor& state,
                   const Sequence& sequence, const AffineScanOptions& options = {});

}  // namespace rill
