// Plain loops for losses: softmax cross-entropy, -log softmax(logits)[target] = log(sum exp(z -
// max)) - (z[target] - max), and sums.
#pragma once

#include <cmath>

#include <rill/core/cpu/core_cpu.h>

namespace rill::cpu::plain {

template <class T>
void cross_entropy(const CrossEntropyArgs& args, const KernelContext& context) {
  T* per_token = static_cast<T*>(args.per_token);
  for_tiles(context, args.tokens, row_tile(args.classes),
            [&](std::int64_t first, std::int64_t last) {
              for (std::int64_t t = first; t < last; ++t) {
                const T* z = static_cast<const T*>(args.logits) + t * args.classes;
                T maximum = z[0];
                for (std::int64_t c = 1; c < args.classes; ++c) maximum = std::max(maximum, z[c]);
                T sum = 0;
                for (std::int64_t c = 0; c < args.classes; ++c) sum += std::exp(z[c] - maximum);
                T* stats = static_cast<T*>(args.stats) + 2 * t;
                stats[0] = maximum;
                stats[1] = T(1) / sum;
                const std::int64_t target = args.targets[t];
                per_token[t] = target < 0 ? T(0) : std::log(sum) - (z[target] - maximum);
              }
            });
  double total = 0.0;
  for (std::int64_t t = 0; t < args.tokens; ++t) total += static_cast<double>(per_token[t]);
  *static_cast<T*>(args.loss) = static_cast<T>(total * args.scale);
}

template <class T>
void cross_entropy_backward(const CrossEntropyBackwardArgs& args, const KernelContext& context) {
  const T factor = *static_cast<const T*>(args.dloss) * static_cast<T>(args.scale);
  for_tiles(context, args.tokens, row_tile(args.classes),
            [&](std::int64_t first, std::int64_t last) {
              for (std::int64_t t = first; t < last; ++t) {
                const T* z = static_cast<const T*>(args.logits) + t * args.classes;
                const T* stats = static_cast<const T*>(args.stats) + 2 * t;
                T* dz = static_cast<T*>(args.dlogits) + t * args.classes;
                const std::int64_t target = args.targets[t];
                const T scale = target < 0 ? T(0) : factor;
                for (std::int64_t c = 0; c < args.classes; ++c)
                  dz[c] = std::exp(z[c] - stats[0]) * stats[1] * scale;
                if (target >= 0) dz[target] -= scale;
              }
            });
}

template <class T>
void sum(const SumArgs& args, const KernelContext& context) {
  const T *x = static_cast<const T*>(args.x), *target = static_cast<const T*>(args.target);
  T* partial = static_cast<T*>(args.partial);
  for_tiles(context, args.count, kSumTile, [&](std::int64_t first, std::int64_t last) {
    T part = 0;
    for (std::int64_t i = first; i < last; ++i) {
      if (!target)
        part += x[i];
      else if (!std::isnan(target[i]))
        part += (x[i] - target[i]) * (x[i] - target[i]);
    }
    partial[first / kSumTile] = part;
  });
  double total = 0.0;
  for (std::int64_t i = 0; i < (args.count + kSumTile - 1) / kSumTile; ++i)
    total += static_cast<double>(partial[i]);
  *static_cast<T*>(args.result) = static_cast<T>(total * args.scale);
}

template <class T>
void squared_error_backward(const SquaredErrorBackwardArgs& args, const KernelContext& context) {
  const T *x = static_cast<const T*>(args.x), *target = static_cast<const T*>(args.target);
  T* dx = static_cast<T*>(args.dx);
  const T factor = T(2) * static_cast<T>(args.scale) * *static_cast<const T*>(args.dresult);
  for_tiles(context, args.count, kTile, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i)
      dx[i] = std::isnan(target[i]) ? T(0) : factor * (x[i] - target[i]);
  });
}

}  // namespace rill::cpu::plain
