// Online memories: N coefficients of the past of a signal, brought up to date sample by sample.
// Both are values: a copy is a snapshot. reconstruct.h reads the past back.
//
//   scale-invariant (legs)   c' = (A c + B f) / t     all of the past, however long, at one
//   resolution time-invariant           c' = A c + B f           a sliding window or a fading past
//
// Source: Gu et al., "HiPPO" (2020), sections 2.3 and 2.4.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include <rill/hippo/discretize.h>
#include <rill/hippo/matrix.h>
#include <rill/hippo/structured.h>
#include <rill/hippo/transition.h>

namespace rill::hippo {

/// What the first samples do in a scale-invariant memory.
enum class FirstSample {
  kFromZero,  // (paper) c = 0 before the first; sample k = 1, 2, .. steps by 1/k
  kSets       // the first sample sets c = [f, 0, .., 0]; sample k = 1, 2, .. after it steps by 1/k
};

struct ScaleInvariantOptions {
  Discretization method = Discretization::kBilinear;  // kMamba is refused
  FirstSample first_sample = FirstSample::kFromZero;
};

/// HiPPO-LegS: c_n are the coefficients of the whole past in p_n(x) = sqrt(2n + 1) P_n(2x - 1), x =
/// s / t. Generalised bilinear updates cost O(N). Zero-order hold costs O(N^2) and is exact for a
/// signal that is constant between samples: its coefficients are the orthogonal projection of that
/// step function. Forward Euler is unstable at first: |c| passes 1e9 at N = 16.
class ScaleInvariantMemory {
 public:
  /// Throws Error (kConfig) for kMamba and for a state_size outside 1 .. 2^14.
  explicit ScaleInvariantMemory(std::int64_t state_size, const ScaleInvariantOptions& options = {});

  /// The next sample of a signal at regular times 1, 2, ...
  void update(double f);
  /// The signal is f between time() and `until`, for irregular samples: steps by (until - time()) /
  /// until. Throws Error (kValue) unless until > time().
  void update_until(double f, double until);

  /// End of what was seen: the number of regular samples, or the last `until`.
  double time() const noexcept { return time_; }
  std::span<const double> coefficients() const noexcept { return c_; }
  void reset();

  /// The past at `positions` in 0 .. 1 of what was seen. Throws Error (kConfig) for another
  /// position.
  Vector reconstruct(std::span<const double> positions) const;

 private:
  void step_gbt(double f, double d, double alpha);
  void step_zoh(double f, double r);

  ScaleInvariantOptions options_;
  double time_ = 0;
  Vector c_;         // [N]
  Vector work_;      // [N + 1] at least
  Vector nodes_;     // [N] of the quadrature (zoh)
  Matrix weighted_;  // [N, N] w_q p_m(y_q) (zoh)
};

struct TimeInvariantOptions {
  Discretization method = Discretization::kBilinear;
  TransitionOptions transition;
};

/// A memory with a measure of section 1 of the methods: legt, lmu, fourier, fourier2 keep a sliding
/// window, lagt and legs a fading past. Generalised bilinear updates cost O(N) where the measure
/// has structure (structured.h), others O(N^2) with the matrices of the last time step kept.
class TimeInvariantMemory {
 public:
  /// dt: time between regular samples, in the units of the window. Throws Error (kConfig) as
  /// transition() does and for a dt that is not positive.
  TimeInvariantMemory(Measure measure, std::int64_t state_size, double dt,
                      const TimeInvariantOptions& options = {});

  /// The next sample, dt after the last.
  void update(double f) { update_after(f, dt_); }
  /// The next sample, `dt` after the last. Throws Error (kValue) unless dt > 0.
  void update_after(double f, double dt);

  std::span<const double> coefficients() const noexcept { return c_; }
  void reset();

  /// The values at those ages (time before the last sample). Throws as basis() does.
  Vector reconstruct(std::span<const double> ages) const;

 private:
  Measure measure_;
  TimeInvariantOptions options_;
  double dt_;
  std::optional<StructuredTransition> structured_;
  Transition dense_;   // where there is no structure
  Discrete discrete_;  // of dense_, for the time step discrete_dt_
  double discrete_dt_ = 0;
  Vector c_;     // [N]
  Vector work_;  // [2 N]
};

}  // namespace rill::hippo
