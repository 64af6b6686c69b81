// Rotary positions: queries and keys turned by angles that grow with their position, so that their
// product depends on the distance. Su et al., "RoFormer"; in RetNet, Sun et al. 2023.
#pragma once

#include <cstdint>
#include <utility>

#include <rill/core/exec.h>
#include <rill/core/sequence.h>
#include <rill/core/tensor.h>

namespace rill {

/// Which two channels of a head make a plane.
enum class RotaryPlanes {
  kHalves,  // i and i + K / 2
  kPairs    // 2i and 2i + 1
};

/// theta [K / 2] (float64) for heads of `keys` channels: base^(-2i / K), or, `inclusive`,
/// base^(-i / (K / 2 - 1)) (the paper of RetNet).
Tensor rotary_frequencies(std::int64_t keys, double base, bool inclusive);

/// q and k [..., H * K] turned by position * theta[i] in plane i of every head; an odd head's last
/// channel stays. `position` [rows, 1] (int64) is that of the first token of each row on entry, and
/// of the token behind the last on return (overwritten in place without a tape, rebound with one);
/// it restarts from 0 at a reset. Angles are formed in double. Gradients of q and k. Error(kShape),
/// Error(kDType) where an argument does not fit.
std::pair<Tensor, Tensor> rotary(Exec& exec, const Tensor& q, const Tensor& k, const Tensor& theta,
                                 Tensor& position, const Sequence& sequence, std::int64_t heads,
                                 RotaryPlanes planes);

}  // namespace rill
