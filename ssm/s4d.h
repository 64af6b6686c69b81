// S4D: a linear, time-invariant, diagonal state space for every channel, then GELU and a gated
// linear unit. Source: Gu, Gupta, Goel, Re, "On the Parameterization and Initialization of Diagonal
// State Space Models" (2022); parameter names and conventions are those of state-spaces/s4
// (models/s4/s4.py).
#pragma once

#include <string>
#include <vector>

#include <rill/core/layer.h>
#include <rill/core/layer_type.h>
#include <rill/core/ops.h>
#include <rill/scan/diagonal_ssm.h>

namespace rill {

struct S4dConfig {
  std::int64_t width = 0;        // H channels
  std::int64_t state_size = 64;  // N real states a channel: N/2 complex modes; even
  std::int64_t copies = 1;    // S copies of (A, B), shared by the channels h = s mod S; divides H
  std::string init = "legs";  // of A and B: hippo::diagonal_init, whose options the next seven are
  bool real_random = false;   // re uniform in [0, 1); for `real` in [0, N/2)
  double real_scale = 1.0;
  bool imag_random = false;  // uniform [0, N/2) in the place of the mode number
  double imag_scale = 1.0;
  std::string b_init = "constant";  // constant, random, alternating, unit-cw, unit-ccw
  double b_scale = 1.0;
  bool normalize = false;               // B for unit variance of the response to a constant input
  double dt_min = 1e-3, dt_max = 1e-1;  // initial steps are log-uniform between these
  DiagonalRule rule = DiagonalRule::kZeroOrderHold;
  double rate = 1.0;  // multiplies dt: 2 for input at half the sampling rate of the training
  /// The recurrence, or a convolution by FFT where a call has more than one step and no resets.
  /// Same results to rounding; kAuto decides by prefers_convolution(), which on a CPU is the
  /// recurrence.
  DiagonalForm form = DiagonalForm::kAuto;
  bool activation = true;  // the GELU before the gated linear unit
  double dropout = 0.0;    // between the two, while the Exec trains
};

/// Parameters (N2 = N/2): layer.D [1, H], layer.kernel.inv_dt [H, 1] (log dt), A_real, A_imag [S,
/// N2] (A = -exp(A_real) - i A_imag), B [1, S, N2, 2], C [1, H, N2, 2], output_linear.0.weight [2H,
/// H], .bias [2H].
///     h_t = a h_{t-1} + x_t ;   y_t = glu(W dropout(gelu(2 Re(C b h_t) + D x_t)) + bias)
/// (a, b: A, B discretised). Initial decays and frequencies below 1e-4 are raised to it, as
/// state-spaces/s4 does before it takes logarithms: the 0 of lin's first mode, too.
/// State: h [H, N2, 2].
class S4d final : public SequenceLayer {
 public:
  /// Error(kConfig) where the sizes contradict each other, and for options out of range.
  S4d(const S4dConfig& config, DType dtype, std::uint64_t seed);

  StateSpec state_spec() const override;
  std::int64_t input_size() const override { return config_.width; }
  std::int64_t output_size() const override { return config_.width; }
  DType dtype() const override { return dtype_; }
  double flops_per_token() const override;
  void visit_parameters(const ParameterVisitor& visitor) const override;

  const S4dConfig& config() const noexcept { return config_; }
  /// What the recurrence runs with: A and B discretised, B folded into w. Error(kDType) where the
  /// Exec computes in another dtype.
  DiagonalCoefficients coefficients(Exec& exec) const;
  /// Impulse response of the state space (without D, GELU and what follows) [H, length].
  /// Error(kShape) for a negative length, Error(kDType) as coefficients().
  Tensor kernel(Exec& exec, std::int64_t length) const;

 private:
  Tensor compute(Exec& exec, const Tensor& x, std::span<Tensor> state,
                 const Sequence& sequence) const override;

  S4dConfig config_;
  DType dtype_;
  DiagonalParameters kernel_;
  Tensor d_, weight_, bias_;
};

/// Registry entry "s4d".
const LayerType& s4d_layer_type();

}  // namespace rill
