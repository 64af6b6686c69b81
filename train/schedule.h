// Private: the learning rate over a run.
#pragma once

#include <algorithm>
#include <cmath>
#include <numbers>

namespace rill {

/// The rate at `part` of a run in [0, 1], as a part of its peak: a linear warm-up over the first
/// `warmup` of the run, which begins at a thousandth of the run, then a cosine down to `final_lr`
/// at its end.
inline double rate_at(double part, double warmup, double final_lr) {
  if (part < warmup) return std::min(1.0, std::max(part, 1e-3) / warmup);
  const double phase = (std::min(part, 1.0) - warmup) / std::max(1e-9, 1 - warmup);
  return final_lr + (1 - final_lr) * 0.5 * (1 + std::cos(std::numbers::pi * phase));
}

}  // namespace rill
