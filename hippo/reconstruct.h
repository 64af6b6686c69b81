// The past from its coefficients: f(t - s) ~ sum_n c_n g_n(s), s the age.
//
//   legt       g_n(s) = sqrt(2n + 1) P_n(1 - s)              s <= 2
//   lmu        g_n(s) = P_n(2s - 1)                          s <= 1
//   lagt       g_n(s) = e^(-s/2) L_n(s)                      all s
//   legs       g_n(s) = sqrt(2n + 1) P_n(2 e^-s - 1)         all s (time-invariant use)
//   fourier    g_0 = 1, g_2j = sqrt 2 cos(pi j s), g_2j+1 = sqrt 2 sin(pi j s)    s <= 2
//   fourier2   those of fourier at 2s                        s <= 1
//
// and for the scale-invariant memory f(x t) ~ sum_n c_n sqrt(2n + 1) P_n(2x - 1), x in [0, 1].
// Source: Gu et al., "How to Train Your HiPPO" (2022), sections 3 and 4.
#pragma once

#include <span>

#include <rill/hippo/matrix.h>
#include <rill/hippo/transition.h>

namespace rill::hippo {

/// values [N] = g_0(age) .. g_{N-1}(age). `window` as in TransitionOptions (0: natural).
/// Throws Error (kConfig) for another measure, for a window where there is none, and for a negative
/// age.
void basis(Measure measure, double age, std::span<double> values, double window = 0);

/// [ages] The values of the past at those ages, from c [N]. Throws as basis() does.
Vector reconstruct(Measure measure, std::span<const double> c, std::span<const double> ages,
                   double window = 0);

/// [positions] The values of the whole past from the coefficients c [N] of the scale-invariant
/// memory; position 0 is the start, 1 is now. Throws Error (kConfig) for a position outside 0 .. 1.
Vector reconstruct_history(std::span<const double> c, std::span<const double> positions);

}  // namespace rill::hippo
