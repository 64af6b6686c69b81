// The diagonal state-space recurrence, and the discretisation that yields its coefficients.
// Letters: H channels, N modes of a channel. Complex arrays have a last axis of 2 (real,
// imaginary).
#pragma once

#include <cstdint>

#include <rill/core/exec.h>
#include <rill/core/sequence.h>
#include <rill/core/tensor.h>

namespace rill {

/// For every channel c of x [..., H], modes n, step t (S4D: Gu et al. 2022, "On the
/// Parameterization and Initialization of Diagonal State Space Models", eq. 2; the input
/// coefficient b is folded into w, since all modes of a channel see the same x):
///     h_t[n] = a[c, n] h_{t-1}[n] + x_t ;    y_t = 2 Re(sum_n w[c, n] h_t[n]) + d[c] x_t
/// a, w [H, N, 2] (complex: each mode stands for itself and its conjugate), h [rows, H, N, 2]; or,
/// real, a, w [H, N], h [rows, H, N], and y without the factor 2. d [H] (or [1, H]) or undefined.
/// Returns y, shaped like x; h holds the initial state on entry and the final one on return.
/// Differentiable in x, a, w, d and h; steps are recomputed from states kept every 64 steps.
/// Error(kShape, kDType) where shapes do not fit.
Tensor diagonal_ssm(Exec& exec, const Tensor& x, const Tensor& a, const Tensor& w, const Tensor& d,
                    Tensor& h, const Sequence& sequence);

enum class DiagonalRule { kZeroOrderHold, kBilinear };

/// Parameters of a diagonal state-space layer as state-spaces/s4 stores them. S copies of (A, B), S
/// divides H: channel h uses copy h mod S. A = -exp(a_real) - i a_imag.
struct DiagonalParameters {
  Tensor log_dt;  // [H, 1] logarithm of the step
  Tensor a_real;  // [S, N] logarithm of -Re A
  Tensor a_imag;  // [S, N] -Im A
  Tensor b;       // [1, S, N, 2]
  Tensor c;       // [1, H, N, 2]
};

/// What diagonal_ssm takes.
struct DiagonalCoefficients {
  Tensor a;  // [H, N, 2]
  Tensor w;  // [H, N, 2] C times the discretised B
  /// [H, N, 2] in double: a before it was rounded to float. Undefined: a is all there is. Powers
  /// are taken of it, since a^l multiplies the rounding of a by l.
  Tensor exact_a = {};
};

/// dt = rate * exp(log_dt), z = dt A; zero-order hold: a = e^z, w = C B dt expm1(z)/z; bilinear: a
/// = (1 + z/2)/(1 - z/2), w = C B dt/(1 - z/2). Computed in double whatever the dtype;
/// differentiable in every parameter. A `rate` of 2 steps twice as far: a layer trained at one
/// sampling rate then reads input at half of it. Error(kShape) where shapes do not fit,
/// Error(kValue) unless rate > 0.
DiagonalCoefficients discretize_diagonal(Exec& exec, const DiagonalParameters& parameters,
                                         DiagonalRule rule, double rate = 1.0);

/// K[h, l] = 2 Re(sum_n w[h, n] a[h, n]^l), l = 0 .. length-1 -> [H, length]: the impulse response
/// of diagonal_ssm without d (complex a, w). Powers are double, of exact_a where there is one: in
/// float, too, a kernel of 2^17 steps of weakly damped modes is right to float's rounding.
/// Differentiable in a and w.
Tensor diagonal_kernel(Exec& exec, const DiagonalCoefficients& coefficients, std::int64_t length);

/// diagonal_ssm by convolution: y = irfft(rfft(x) rfft(K)) + d x + 2 Re(sum_n w a^{t+1} h_0), and
/// the final state a^L h_0 + sum_l a^{L-1-l} x_l in closed form, powers as in diagonal_kernel.
/// Arguments, results and gradients as diagonal_ssm's, complex only; Error(kUnsupported) for a
/// sequence with resets.
Tensor diagonal_convolution(Exec& exec, const Tensor& x, const DiagonalCoefficients& coefficients,
                            const Tensor& d, Tensor& h, const Sequence& sequence);

/// Which of the two computes a diagonal state space: the same results to rounding.
enum class DiagonalForm { kAuto, kRecurrence, kConvolution };

/// Whether kAuto is diagonal_convolution for sequences of up to `length` steps on that device: a
/// rule on the length alone, so that an element's bits depend neither on the batch nor on threads.
bool prefers_convolution(const Device& device, std::int64_t length) noexcept;

}  // namespace rill
