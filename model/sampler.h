// Sampling of tokens from logits.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <rill/core/random.h>

namespace rill {

struct SamplerOptions {
  double temperature = 1.0;  // 0: the largest logit
  std::int64_t top_k = 0;    // 0: all
  double top_p = 1.0;        // the fewest tokens whose probabilities reach this
};

/// Draws tokens; draw number n is a function of (seed, n) and the logits.
class Sampler {
 public:
  /// Error(kConfig) for a negative temperature or top_k, or a top_p outside of (0, 1].
  Sampler(const SamplerOptions& options, std::uint64_t seed);
  std::int64_t sample(std::span<const float> logits);  // [V], V >= 1 -> in [0, V)

  std::uint64_t seed() const noexcept { return seed_; }
  std::uint64_t position() const noexcept { return generator_.position(); }
  void set_position(std::uint64_t position) noexcept { generator_.set_position(position); }

 private:
  SamplerOptions options_;
  std::uint64_t seed_;
  Generator generator_;
  std::vector<std::int64_t> order_;
  std::vector<double> weights_;
};

}  // namespace rill
