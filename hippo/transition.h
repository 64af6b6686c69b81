// HiPPO transition matrices: x'(t) = A x(t) + B f(t) keeps in x [N] the coefficients of the past of
// f in an orthogonal basis, whose measure names the pair (A [N, N], B [N]). Sources: Gu et al.,
// "HiPPO" (2020), appendix D; Gu et al., "How to Train Your HiPPO" (2022), table 1; Voelker et al.,
// "Legendre Memory Units" (2019). Rows n and columns k count from 0.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include <rill/hippo/matrix.h>

namespace rill::hippo {

/// Which past is kept, and in which basis. r_n stands for sqrt(2n + 1).
enum class Measure {
  kLegs,          // scaled Legendre: all of the past, older parts coarser
  kLegt,          // translated Legendre: the window of the last 2 units of time
  kLmu,           // legt in the basis of the Legendre memory unit: window 1
  kLagt,          // Laguerre: exponentially decaying past
  kTlagt,         // tilted Laguerre
  kGlagt,         // generalised Laguerre
  kFourier,       // truncated Fourier: window 2
  kFourierDecay,  // Fourier with half the low-rank term: the window fades instead of ending
  kFourier2,      // truncated Fourier, orthonormal on a window of 1
  kFourierDiag,   // Fourier without coupling: decaying sines, a normal matrix
  kLegsd,         // the normal part of legs
  kRandom,        // Gaussian entries (ablation)
  kDiagonal       // random negative diagonal (ablation)
};

/// The measure called `name`: "legs", "legt", "lmu", "lagt", "tlagt", "glagt", "fourier" (also
/// "fout"), "fourier_decay", "fourier2", "fourier_diag" (also "foud"), "legsd", "random",
/// "diagonal". Throws Error (kConfig) for another name.
Measure measure_from_name(std::string_view name);

/// The (first) name of a measure.
std::string_view name_of(Measure measure);

/// All measures, in the order of the enumeration.
std::span<const Measure> all_measures();

/// Length of the window that the measure keeps (legt and fourier 2; lmu and fourier2 1), or 0 where
/// nothing ever leaves it.
double natural_window(Measure measure);

struct TransitionOptions {
  double window = 0;  // theta: A and B are scaled so that the window has this length; 0: natural
  double alpha = 0;   // glagt: order of the Laguerre polynomials, -1 < alpha < 1
  double beta = 0;    // >= 0. lagt, tlagt: factor of B and tilt (0: 1); glagt: tilt (0: 0.01)
  std::uint64_t seed = 0;  // random, diagonal
};

struct Transition {
  Matrix A;  // [N, N]
  Vector B;  // [N]
};

/// The pair (A, B) of a measure. Throws Error (kConfig) for state_size < 1 (fourier: odd), for a
/// window where the measure has none, and for alpha or beta out of range.
Transition transition(Measure measure, std::int64_t state_size,
                      const TransitionOptions& options = {});

/// C [N] that reads the other end of the window, f(t - window), from the coefficients: r_n (-1)^n
/// for legt, b for fourier; zeros for measures without one.
Vector initial_c(Measure measure, std::int64_t state_size);

}  // namespace rill::hippo
