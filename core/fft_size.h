// Private: the transform that a convolution takes, the same on every back end.
#pragma once

#include <cstdint>

namespace rill {

/// The smallest 2^a, 3 2^a or 5 2^a, at least 2, that is at least n.
constexpr std::int64_t good_fft_size(std::int64_t n) {
  std::int64_t best = 2;
  while (best < n) best *= 2;
  for (std::int64_t size : {std::int64_t{3}, std::int64_t{5}}) {
    while (size < n) size *= 2;
    best = size < best ? size : best;
  }
  return best;
}

/// Samples of the transform (an even number) that convolves rows of up to `length` steps with
/// `taps` <= length taps: nothing wraps around into what is kept.
constexpr std::int64_t fft_samples(std::int64_t length, std::int64_t taps) {
  const std::int64_t samples = length + taps - 1 > 2 ? length + taps - 1 : 2;
  return 2 * good_fft_size((samples + 1) / 2);
}

}  // namespace rill
