// Differentiable functions on tensors. Each runs on the Exec's device, records itself on the Exec's
// tape where an input is tracked, and throws Error(kShape / kDType) naming the op and the argument
// before anything is computed. Letters: tokens = product of all axes but the last; C = last axis.
// Activations are of the Exec's dtype.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <rill/core/exec.h>
#include <rill/core/op_kinds.h>
#include <rill/core/sequence.h>
#include <rill/core/tensor.h>

namespace rill {

// ---- products
// -------------------------------------------------------------------------------------------------------

/// Which rows of a weight a product uses: [first, first + count); count < 0: all.
struct RowRange {
  std::int64_t first = 0;
  std::int64_t count = -1;
};

/// y = x W^T + b. x [..., K], W [N, K] (the Exec's dtype, or bfloat16 / float16, whose values are
/// taken as they are), b [N] or undefined, y [..., N]; with `rows`, only those rows of W and b. A
/// row's bits depend neither on the number of rows nor on threads.
Tensor linear(Exec& exec, const Tensor& x, const Tensor& weight, const Tensor& bias = {},
              RowRange rows = {});
/// table [V, C] (the Exec's dtype, bfloat16 or float16): its rows at tokens (int32, int64 or uint8,
/// any shape) -> [..., C]. Tokens on the host are checked: Error(kValue) out of [0, V), except
/// while a Stepper runs (its callers check). On a device they are not read by the host: a token out
/// of range gives a row of NaN.
Tensor embedding(Exec& exec, const Tensor& tokens, const Tensor& table);

// ---- element by element
// ---------------------------------------------------------------------------------------------

Tensor unary(Exec& exec, Unary kind, const Tensor& x);
inline Tensor silu(Exec& exec, const Tensor& x) { return unary(exec, Unary::kSilu, x); }
/// Exact form, x Phi(x).
inline Tensor gelu(Exec& exec, const Tensor& x) { return unary(exec, Unary::kGelu, x); }
inline Tensor sigmoid(Exec& exec, const Tensor& x) { return unary(exec, Unary::kSigmoid, x); }
inline Tensor tanh(Exec& exec, const Tensor& x) { return unary(exec, Unary::kTanh, x); }
inline Tensor relu(Exec& exec, const Tensor& x) { return unary(exec, Unary::kRelu, x); }
/// max(x, 0) + log1p(exp(-|x|)).
inline Tensor softplus(Exec& exec, const Tensor& x) { return unary(exec, Unary::kSoftplus, x); }
inline Tensor exp(Exec& exec, const Tensor& x) { return unary(exec, Unary::kExp, x); }
inline Tensor log(Exec& exec, const Tensor& x) { return unary(exec, Unary::kLog, x); }

/// a [..., C] with b of the same shape, or b [C] for every token.
Tensor binary(Exec& exec, Binary kind, const Tensor& a, const Tensor& b);
inline Tensor add(Exec& exec, const Tensor& a, const Tensor& b) {
  return binary(exec, Binary::kAdd, a, b);
}
inline Tensor subtract(Exec& exec, const Tensor& a, const Tensor& b) {
  return binary(exec, Binary::kSubtract, a, b);
}
inline Tensor multiply(Exec& exec, const Tensor& a, const Tensor& b) {
  return binary(exec, Binary::kMultiply, a, b);
}
/// scale * x + shift with constants.
Tensor affine(Exec& exec, const Tensor& x, double scale, double shift = 0.0);
/// act(gate) * x, same shapes, in one pass (SwiGLU: silu; GLU: sigmoid).
Tensor gated(Exec& exec, const Tensor& x, const Tensor& gate, Unary activation);
/// GLU of the last axis: x [..., 2C] -> first half * sigmoid(second half) [..., C].
Tensor glu(Exec& exec, const Tensor& x);
/// target += source, outside of any tape.
void add_in_place(Exec& exec, const Tensor& target, const Tensor& source);
/// Zeroes with probability p and scales the rest by 1/(1-p), only while the Exec trains
/// (Exec::training). x [B, T, C]; the mask is a function of (seed, step, op number, row, absolute
/// t, channel).
Tensor dropout(Exec& exec, const Tensor& x, double p);

// ---- convolution
// ----------------------------------------------------------------------------------------------------

/// Causal convolution of every channel with a kernel of any length, by FFT: y[t, c] = sum_l
/// kernel[c, l] x[t - l, c] within each sequence. x [..., C], kernel [C, L]. Transforms are in
/// double; what a NaN touches is the whole sequence. Allocates: not for steps. Error(kUnsupported)
/// for a sequence with resets.
Tensor fft_conv(Exec& exec, const Tensor& x, const Tensor& kernel, const Sequence& sequence);

// ---- norms
// ----------------------------------------------------------------------------------------------------------

/// x / sqrt(mean(x^2) + eps) * w over the last axis. w [C] or undefined. Sums are float32 (float64
/// in float64).
Tensor rms_norm(Exec& exec, const Tensor& x, const Tensor& weight, double eps);
/// (x - mean) / sqrt(var + eps) * w + b over the last axis (biased variance). w, b [C] or
/// undefined.
Tensor layer_norm(Exec& exec, const Tensor& x, const Tensor& weight, const Tensor& bias,
                  double eps);
/// The last axis in `groups` equal groups, each normalised alone; w, b [C] or undefined, or [C /
/// groups] shared by the groups. RMS where `rms`, else with the mean removed.
Tensor group_norm(Exec& exec, const Tensor& x, std::int64_t groups, const Tensor& weight,
                  const Tensor& bias, double eps, bool rms);
/// x / sqrt(sum x^2 + eps) in groups of the last axis.
Tensor l2_norm(Exec& exec, const Tensor& x, std::int64_t groups, double eps);

// ---- shape
// ----------------------------------------------------------------------------------------------------------

/// The same elements under another shape (shares memory).
Tensor reshape(Exec& exec, const Tensor& x, const Shape& shape);
/// Channels [first, first + count) of the last axis.
Tensor narrow(Exec& exec, const Tensor& x, std::int64_t first, std::int64_t count);
/// Arrays of the same leading shape side by side on the last axis.
Tensor concat(Exec& exec, std::span<const Tensor> parts);
/// x [B, T, C]: steps [first, first + count) of every row -> [B, count, C].
Tensor narrow_time(Exec& exec, const Tensor& x, std::int64_t first, std::int64_t count);
/// x [tokens, C] with every sequence's own steps in reverse order; tokens of no sequence become 0.
Tensor reverse_time(Exec& exec, const Tensor& x, const Sequence& sequence);
/// Tokens that belong to no sequence (beyond `lengths`) become 0.
Tensor zero_padding(Exec& exec, const Tensor& x, const Sequence& sequence);

// ---- pooling, losses
// ------------------------------------------------------------------------------------------------

/// Running mean over time with state: x [tokens, C] seen through `sequence`; `sum` [rows, C]
/// (float64 in every Exec: a float sum stops growing) and `count` [rows, 1] (int64) are updated;
/// returns the mean of all steps so far [rows, C]. A row without steps gives 0. A reset restarts
/// both. Gradients reach x and the sum (in the Exec's dtype); the count is a constant.
Tensor mean_pool(Exec& exec, const Tensor& x, Tensor& sum, Tensor& count, const Sequence& sequence);
/// Last step of every sequence [rows, C]; `last` [rows, C] carries it between calls (what it held
/// stays for an empty row).
Tensor last_pool(Exec& exec, const Tensor& x, Tensor& last, const Sequence& sequence);
/// Softmax cross-entropy in nats. logits [tokens, V], targets [tokens] (int64; a negative one
/// counts nothing); returns the sum over tokens divided by `count` [1]. With `per_token` defined
/// ([tokens]), each token's loss is written there. Error(kValue) for a target that is no class, on
/// the host; of targets on a device it gives a loss of NaN.
Tensor cross_entropy(Exec& exec, const Tensor& logits, const Tensor& targets, double count,
                     Tensor per_token = {});
/// sum((x - target)^2) / count -> [1]. Elements whose target is NaN count nothing.
Tensor squared_error(Exec& exec, const Tensor& x, const Tensor& target, double count);
/// Sum of all elements [1].
Tensor sum(Exec& exec, const Tensor& x);

}  // namespace rill
