// Plain loops for norms. A row x of `width`: m = mean(x) (layer norm; else 0), r = 1 / sqrt(mean((x
// - m)^2) + eps) (l2: the sum), xhat = (x - m) r, y = xhat w + b. Back, with g = dy w:
//   dx = r (g - mean(g) [layer norm] - xhat mean(g xhat) [l2: sum]), dw = sum dy xhat, db = sum dy.
#pragma once

#include <cmath>

#include <rill/core/cpu/core_cpu.h>

namespace rill::cpu::plain {

enum NormKind : std::int64_t { kRms = 0, kLayer = 1, kL2 = 2 };

template <class T>
struct RowStats {
  T mean, scale;
};

template <class T>
RowStats<T> row_stats(const T* x, std::int64_t width, std::int64_t kind, double eps) {
  T mean = 0;
  if (kind == kLayer) {
    for (std::int64_t c = 0; c < width; ++c) mean += x[c];
    mean /= T(width);
  }
  T square = 0;
  for (std::int64_t c = 0; c < width; ++c) square += (x[c] - mean) * (x[c] - mean);
  if (kind != kL2) square /= T(width);
  return {mean, T(1) / std::sqrt(square + T(eps))};
}

template <class T>
void norm(const NormArgs& args, const KernelContext& context) {
  const std::int64_t width = args.width;
  for_tiles(context, args.rows, row_tile(width), [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t row = first; row < last; ++row) {
      const T* x = static_cast<const T*>(args.x) + row * width;
      T* y = static_cast<T*>(args.y) + row * width;
      const std::int64_t offset = row % args.weight_rows * width;
      const T* w = args.weight ? static_cast<const T*>(args.weight) + offset : nullptr;
      const T* b = args.bias ? static_cast<const T*>(args.bias) + offset : nullptr;
      const auto [mean, scale] = row_stats(x, width, args.kind, args.eps);
      for (std::int64_t c = 0; c < width; ++c) {
        const T value = (x[c] - mean) * scale * (w ? w[c] : T(1));
        y[c] = b ? value + b[c] : value;
      }
    }
  });
}

template <class T>
void norm_backward_input(const NormBackwardArgs& args, std::int64_t row) {
  const std::int64_t width = args.width;
  const T *x = static_cast<const T*>(args.x) + row * width,
          *dy = static_cast<const T*>(args.dy) + row * width;
  const T* w =
      args.weight ? static_cast<const T*>(args.weight) + row % args.weight_rows * width : nullptr;
  T* dx = static_cast<T*>(args.dx) + row * width;
  const auto [mean, scale] = row_stats(x, width, args.kind, args.eps);
  T* stats = static_cast<T*>(args.stats) + 2 * row;
  stats[0] = mean;
  stats[1] = scale;
  T sum_g = 0, sum_gx = 0;
  for (std::int64_t c = 0; c < width; ++c) {
    const T g = dy[c] * (w ? w[c] : T(1));
    sum_g += g;
    sum_gx += g * ((x[c] - mean) * scale);
  }
  const T mean_g = args.kind == kLayer ? sum_g / T(width) : T(0);
  const T mean_gx = args.kind == kL2 ? sum_gx : sum_gx / T(width);
  for (std::int64_t c = 0; c < width; ++c) {
    const T g = dy[c] * (w ? w[c] : T(1));
    dx[c] = scale * (g - mean_g - (x[c] - mean) * scale * mean_gx);
  }
}

template <class T>
void norm_backward(const NormBackwardArgs& args, const KernelContext& context) {
  const std::int64_t width = args.width;
  for_tiles(context, args.rows, row_tile(width), [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t row = first; row < last; ++row) norm_backward_input<T>(args, row);
  });
  if (!args.dweight && !args.dbias) return;
  const T *x = static_cast<const T*>(args.x), *dy = static_cast<const T*>(args.dy);
  const T* stats = static_cast<const T*>(args.stats);
  for_tiles(context, args.weight_rows * width, 64, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) {
      const std::int64_t group = i / width, c = i % width;
      T dw = 0, db = 0;
      for (std::int64_t row = group; row < args.rows; row += args.weight_rows) {
        dw += dy[row * width + c] * ((x[row * width + c] - stats[2 * row]) * stats[2 * row + 1]);
        db += dy[row * width + c];
      }
      if (args.dweight) static_cast<T*>(args.dweight)[i] += dw;
      if (args.dbias) static_cast<T*>(args.dbias)[i] += db;
    }
  });
}

}  // namespace rill::cpu::plain
