#include <rill/core/check.h>
#include <rill/model/sampler.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace rill {

Sampler::Sampler(const SamplerOptions& options, std::uint64_t seed)
    : options_(options), seed_(seed), generator_(seed, "sampler") {
  check(options.temperature >= 0 && std::isfinite(options.temperature), ErrorCode::kConfig,
        "Sampler: a temperature of at least 0 was expected, {} came.", options.temperature);
  check(options.top_k >= 0, ErrorCode::kConfig,
        "Sampler: a top_k of at least 0 was expected, {} came.", options.top_k);
  check(options.top_p > 0 && options.top_p <= 1, ErrorCode::kConfig,
        "Sampler: a top_p in (0, 1] was expected, {} came.", options.top_p);
}

std::int64_t Sampler::sample(std::span<const float> logits) {
  const auto largest = std::max_element(logits.begin(), logits.end());
  if (options_.temperature == 0) return largest - logits.begin();
  const std::size_t size = logits.size();
  order_.resize(size);
  weights_.resize(size);
  std::iota(order_.begin(), order_.end(), 0);
  // Ties by number, so that the order is one.
  std::sort(order_.begin(), order_.end(), [&](std::int64_t a, std::int64_t b) {
    const float la = logits[static_cast<std::size_t>(a)], lb = logits[static_cast<std::size_t>(b)];
    return la != lb ? la > lb : a < b;
  });
  std::size_t kept =
      options_.top_k > 0 ? std::min(size, static_cast<std::size_t>(options_.top_k)) : size;
  double total = 0;
  for (std::size_t i = 0; i < kept; ++i) {
    const double logit = logits[static_cast<std::size_t>(order_[i])];
    weights_[i] = std::exp((logit - static_cast<double>(*largest)) / options_.temperature);
    total += weights_[i];
  }
  double nucleus = 0;
  std::size_t in_nucleus = 0;
  while (in_nucleus < kept && (in_nucleus == 0 || nucleus < options_.top_p * total))
    nucleus += weights_[in_nucleus++];
  kept = in_nucleus;
  double point = generator_.uniform() * nucleus;
  for (std::size_t i = 0; i < kept; ++i) {
    point -= weights_[i];
    if (point < 0) return order_[i];
  }
  return order_[kept - 1];
}

}  // namespace rill
