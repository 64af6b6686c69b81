// Private: what the measurements of layers and of kernels share.
#pragma once

#include "bench.h"
#include "timing.h"

#include <limits>

namespace rill::bench {

inline constexpr double kNotMeasured = std::numeric_limits<double>::quiet_NaN();

/// Plain loops are slow: a sequence no longer than this has the same time a token.
inline constexpr std::int64_t kBaselineLength = 1024;

/// float32, uniform in [low, high).
inline Tensor random_tensor(const Shape& shape, std::uint64_t seed, double low = -1,
                            double high = 1) {
  const Tensor values = Tensor::empty(shape, DType::kFloat32);
  Generator generator(seed);
  for (float& value : values.span<float>())
    value = static_cast<float>(generator.uniform(low, high));
  return values;
}

/// What one token costs, forward.
struct Cost {
  double flops = 0;       // a multiply-add counts 2, an exponential 1
  double io_bytes = 0;    // input and output
  double once_bytes = 0;  // of a call: parameters, state in and out
};

/// Times and rates of a row with B and T from samples of calls; `passes` times the cost.
inline void fill(Row& row, Samples& samples, const Cost& cost, double passes = 1) {
  const auto tokens = static_cast<double>(row.B * row.T);
  row.rss_bytes = rss_bytes();
  row.p50_ns = samples.median() / tokens;
  row.p99_ns = samples.quantile(0.99) / tokens;
  row.max_ns = samples.quantile(1.0) / tokens;
  row.ns_per_token = row.p50_ns;
  row.GBps = passes * (cost.io_bytes + cost.once_bytes / tokens) / row.ns_per_token;
  row.GFLOPs = passes * cost.flops / row.ns_per_token;
  row.baseline_ns = row.ratio = kNotMeasured;
}

/// Forward and backward together cost three times the forward.
inline double passes_of(const std::string& mode) { return mode == "backward" ? 3.0 : 1.0; }

/// The same by plain loops: `samples` of calls over B * `length` tokens.
inline void fill_baseline(Row& row, Samples& samples, std::int64_t length) {
  row.baseline_ns = samples.median() / static_cast<double>(row.B * length);
  row.ratio = row.baseline_ns / row.ns_per_token;
}

}  // namespace rill::bench
