// Times of repeated calls.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <vector>

namespace rill::bench {

inline double now_ns() {
  return std::chrono::duration<double, std::nano>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

struct Samples {
  std::vector<double> ns;

  /// Of nearest rank: 0 is the smallest sample, 1 the largest. 0 where there is none.
  double quantile(double q) {
    if (ns.empty()) return 0;
    std::sort(ns.begin(), ns.end());
    const double rank = std::ceil(q * static_cast<double>(ns.size()));
    return ns[static_cast<std::size_t>(std::clamp(rank, 1.0, static_cast<double>(ns.size()))) - 1];
  }
  double median() { return quantile(0.5); }
};

/// Calls `action` once to warm up, then at least `least` times and until `seconds` have passed.
template <class Action>
Samples repeat(const Action& action, double seconds, int least = 3) {
  action();
  Samples samples;
  const double end = now_ns() + 1e9 * seconds;
  for (int i = 0; i < least || now_ns() < end; ++i) {
    const double start = now_ns();
    action();
    samples.ns.push_back(now_ns() - start);
  }
  return samples;
}

}  // namespace rill::bench
