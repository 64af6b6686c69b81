// Convolution kernels K_l = C A_bar^l B_bar of state spaces, l = 0 .. L - 1: the dense form, which
// is the oracle of the others, the diagonal form, DPLR by its generating function and by its O(N)
// recurrence. Modes are the kept half of conjugate pairs: y = 2 Re(sum over modes). Sources: Gu et
// al., S4 (2022), appendix C; Gu et al., S4D (2022), section 3; Gupta et al., DSS (2022).
#pragma once

#include <complex>
#include <cstdint>
#include <span>

#include <rill/hippo/discretize.h>
#include <rill/hippo/matrix.h>
#include <rill/hippo/nplr.h>

namespace rill::hippo {

/// K [L] of a dense discrete system, C [N]. O(L N^2). Throws Error (kShape) for a negative length
/// and where the sizes of the arrays differ, as the other functions here do.
Vector krylov_kernel(const Discrete& system, std::span<const double> C, std::int64_t length);

/// K [L] = 2 Re sum_n C_n B_bar_n A_bar_n^l. A, B and C are [N/2]. O(L N).
/// Powers are taken afresh every 64 steps, so rounding does not grow with l.
Vector diagonal_kernel(std::span<const std::complex<double>> A,
                       std::span<const std::complex<double>> B,
                       std::span<const std::complex<double>> C, double dt, std::int64_t length,
                       Discretization method);

/// K [L] of DSS: each mode's powers are normalised by their sum over the length, so that Re A > 0
/// is allowed too: K_l = Re sum_n W_n / A_n * softmax_l(l dt A_n), W = C B [N/2]. No factor 2.
Vector dss_kernel(std::span<const std::complex<double>> A, std::span<const std::complex<double>> W,
                  double dt, std::int64_t length);

/// The bilinear recurrence of diag(W) - P P^* on the kept modes in O(r N) a step: x [N/2] is
/// advanced in place. All modes must have 2 / dt != W.
class DplrRecurrence {
 public:
  /// Throws Error (kConfig) unless dt is positive and finite.
  DplrRecurrence(const Nplr& form, double dt);

  std::int64_t modes() const noexcept { return static_cast<std::int64_t>(B_.size()); }
  /// x = A_bar x + B_bar input. Throws Error (kShape) unless x is [N/2], as step_transposed does.
  void step(std::span<std::complex<double>> x, double input) const;
  /// c = c A_bar, c a row [N/2].
  void step_transposed(std::span<std::complex<double>> c) const;

 private:
  void advance(std::span<std::complex<double>> x, double input, bool transposed) const;

  ComplexVector resolvent_;  // [N/2] D0 = 1 / (2 / dt - W)
  ComplexVector numerator_;  // [N/2] E = 2 / dt + W
  ComplexVector B_;          // [N/2]
  ComplexMatrix P_;          // [N/2, r]
  Matrix core_;              // [r, r] (I + 2 Re(P^* D0 P))^-1
};

/// C~ = C (I - A_bar^L) of the bilinear form, for the generating function. C [N/2]. O(L r N).
/// Throws Error (kConfig) unless dt is positive and finite.
ComplexVector truncated_c(const Nplr& form, std::span<const std::complex<double>> C, double dt,
                          std::int64_t length);

/// The truncated generating function of the bilinear DPLR kernel at the roots of unity
/// w_l = e^(-2 pi i l / L), l = 0 .. L/2: the real Fourier transform of K. c_tilde [N/2] is
/// truncated_c(). O(r^2 N L), without the usual z = 2 (1 - w) / (1 + w), which is infinite at w =
/// -1. No W may be 0: the real part of the Fourier measures' zero mode is clamped first (to -1e-4,
/// say).
ComplexVector dplr_generating_function(const Nplr& form,
                                       std::span<const std::complex<double>> c_tilde, double dt,
                                       std::int64_t length);

}  // namespace rill::hippo
