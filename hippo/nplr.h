// Normal plus low rank: A + P P^T = c I + skew, so A is a normal matrix less a low-rank one, and is
// unitarily equivalent to diag(W) - P P^* (DPLR). Kept are the N/2 modes with Im W < 0; the other
// half is their conjugate, so that y = 2 Re(sum over the kept modes). Source: Gu et al.,
// "Efficiently Modeling Long Sequences with Structured State Spaces" (2022), section 3 and appendix
// C.
#pragma once

#include <cstdint>
#include <optional>

#include <rill/hippo/matrix.h>
#include <rill/hippo/transition.h>

namespace rill::hippo {

/// P [N, rank] with A + P P^T = c I + skew; columns beyond those that the measure needs are zero.
/// The measures legs, legt (which needs rank 2), lagt, fourier, fourier_decay, fourier2,
/// fourier_diag and legsd have one. Throws Error (kConfig) for the others, for a rank too small and
/// for sizes that transition() refuses.
Matrix low_rank(Measure measure, std::int64_t state_size, std::int64_t rank);

/// The columns that P needs: 0 (normal measures), 1, or 2 (legt).
std::int64_t natural_rank(Measure measure);

/// The shift c of a measure: -1/2 for legs, legsd and fourier_diag, 0 for the others.
double shift(Measure measure);

struct NplrOptions {
  /// Im B is clamped to [-clip, clip] (the published code's 2, so that B is deliberately not the
  /// measure's own); nullopt keeps it exact.
  std::optional<double> b_clip = 2.0;
};

struct Nplr {
  ComplexVector W;  // [N/2] eigenvalues of A + P P^T with Im W < 0, ascending by Im W
  ComplexMatrix P;  // [N/2, rank] = V^* P
  ComplexVector B;  // [N/2] = V^* B
  ComplexMatrix
      V;  // [N, N/2] eigenvectors, unit columns, the first entry of each real and positive
};

/// The DPLR form of a measure. Eigenvalues come from the Hermitian matrix -i (A + P P^T), never
/// from A: the eigenvectors of legs reach 1e25 at N = 64. Throws Error (kConfig) for an odd
/// state_size and for what low_rank refuses.
Nplr nplr(Measure measure, std::int64_t state_size, std::int64_t rank,
          const NplrOptions& options = {});

}  // namespace rill::hippo
