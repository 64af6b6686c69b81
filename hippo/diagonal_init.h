// Initial values of the diagonal (and diagonal plus low-rank) state spaces of S4D and S4: per copy
// N/2 complex modes with A = -re - i * im, re >= 0 and im >= 0, the kept half of conjugate pairs.
//
//   name       re     im (mode n = 0 .. N/2 - 1)             B
//   lin        1/2    pi n                                   1
//   inv        1/2    (N / pi) (N / (2n + 1) - 1)            1
//   inv2       1/2    (N / pi) (N / (n + 1) - 1)             1
//   quad       1/2    (2n + 1)^2 / pi                        1
//   real       n + 1  0                                      1
//   rand       1/2    e^g, g normal                          1
//   legs       1/2    -Im W of nplr(legs)                    V^* B of nplr(legs)
//
// S4D-DFouT (arXiv 2508.20441) is not among them: it puts the poles of the discrete system on the
// grid of a Fourier transform, which no A does that channels of different dt share.
//
// Sources: Gu et al., "On the Parameterization and Initialization of Diagonal State Space Models"
// (2022); the state-spaces/s4 code, whose option names these are.
#pragma once

#include <complex>
#include <cstdint>
#include <string_view>

#include <rill/hippo/matrix.h>

namespace rill::hippo {

struct DiagonalInitOptions {
  std::int64_t rank = 1;     // columns of P
  bool real_random = false;  // re uniform in [0, 1); for `real` in [0, N/2)
  double real_scale = 1.0;
  bool imag_random = false;  // uniform [0, N/2) in the place of the mode number n
  double imag_scale = 1.0;
  std::string_view b_init = "constant";  // constant, random, alternating, unit-cw, unit-ccw
  double b_scale = 1.0;
  double p_scale = 1.0;    // of the random P of "dplr-..."
  bool normalize = false;  // scale B of a copy to unit variance of the output for a constant input
  std::uint64_t seed = 0;
};

struct DiagonalInit {
  std::int64_t copies = 0;  // S
  std::int64_t modes = 0;   // N/2
  std::int64_t rank = 0;    // r
  Vector re;                // [S, N/2] A = -re - i * im
  Vector im;                // [S, N/2]
  ComplexVector B;          // [S, N/2]
  ComplexVector P;          // [r, S, N/2]

  std::complex<double> A(std::int64_t copy, std::int64_t mode) const {
    const auto i = static_cast<std::size_t>(copy * modes + mode);
    return {-re[i], -im[i]};
  }
};

/// Initial values of `copies` state spaces of `state_size` real states (an even number).
/// `name` is one of
/// - a diagonal init: lin, inv, inv2, quad, real, rand, legs (also linear, inverse, inverse2,
/// quadratic,
///   random), alone or as "diag-NAME": P is 0; "dplr-NAME": P is complex normal;
/// - "nplr-MEASURE", or the bare name of a measure with a normal plus low-rank form (legt, fourier,
/// fout,
///   foud, ...): A, B and P of nplr(); "legs" alone is "diag-legs", whose A and B are the same;
/// - a combination, equal shares of the copies in this order: hippo = nplr-legs, nplr-fourier;
///   diag = diag-inv, diag-lin; all = nplr-legs, nplr-fourier, diag-inv, diag-lin.
/// re is never negative, but may be 0 (fourier): layers that store its logarithm clamp it first.
/// Throws Error (kConfig) for an unknown name, an odd state_size, copies that a combination does
/// not divide, a rank too small for nplr, options out of range and more than 2^25 elements of B or
/// P.
DiagonalInit diagonal_init(std::string_view name, std::int64_t state_size, std::int64_t copies,
                           const DiagonalInitOptions& options = {});

}  // namespace rill::hippo
