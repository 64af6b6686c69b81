// Kernels of core that sum: norms, losses, sums over tokens. Every sum has a fixed order: threads
// of a block take strides of the data, their parts meet in a tree, parts of blocks are added in the
// order of blocks. No floating-point atomics.
#include <rill/core/cuda/launch.h>

namespace rill {
namespace {

constexpr int kThreads = 256;
constexpr int kColumns = 32;  // of a block that sums columns
constexpr int kRowsAtOnce = kThreads / kColumns;
constexpr std::int64_t kTokensAPart = 256;

// ---- sums over tokens: out[c] (+)= sum_t element(t, c)

template <class S>
struct ProductElement {
  ColumnSumArgs p;
  RILL_DEVICE Compute<S> operator()(std::int64_t t, std::int64_t c) const {
    const Compute<S> x = load<S>(p.x, t * p.x_row + c);
    return p.z ? x * load<S>(p.z, t * p.x_row + c) : x;
  }
};

/// dy xhat, or dy alone, of rows of `width`; column i is group i / width of a token.
template <class S, bool times_x>
struct NormElement {
  NormBackwardArgs p;
  RILL_DEVICE Compute<S> operator()(std::int64_t t, std::int64_t i) const {
    const std::int64_t row = t * p.weight_rows + i / p.width, at = row * p.width + i % p.width;
    const Compute<S> dy = load<S>(p.dy, at);
    if (!times_x) return dy;
    const auto* stats = static_cast<const Compute<S>*>(p.stats) + 2 * row;
    return dy * ((load<S>(p.x, at) - stats[0]) * stats[1]);
  }
};

// Block (x, y): columns [32 x, 32 x + 32), tokens of part y; out [parts, columns] or, of one part,
// the result itself.
template <class S, class Element>
RILL_KERNEL(kThreads)
void column_parts_kernel(Element element, void* out, std::int64_t tokens, std::int64_t columns,
                         std::int64_t tokens_a_part, int final_part, int accumulate) {
  using C = Compute<S>;
  RILL_SHARED(C, parts, kThreads);
  const std::int64_t column = block_index() * kColumns + thread_index() % kColumns;
  const std::int64_t first = block_index_y() * tokens_a_part;
  const std::int64_t last = first + tokens_a_part < tokens ? first + tokens_a_part : tokens;
  C sum = C(0);
  if (column < columns)
    for (std::int64_t t = first + thread_index() / kColumns; t < last; t += kRowsAtOnce)
      sum += element(t, column);
  parts[thread_index()] = sum;
  block_sync();
  if (thread_index() >= kColumns || column >= columns) return;
  for (int r = 1; r < kRowsAtOnce; ++r) sum += parts[r * kColumns + thread_index()];
  if (!final_part)
    static_cast<C*>(out)[block_index_y() * columns + column] = sum;
  else
    store<S>(out, column, accumulate ? load<S>(out, column) + sum : sum);
}

template <class S>
RILL_KERNEL(kThreads)
void add_parts_kernel(const void* parts, void* out, std::int64_t columns, std::int64_t count,
                      int accumulate) {
  using C = Compute<S>;
  for (std::int64_t c = grid_thread(); c < columns; c += grid_threads()) {
    C sum = C(0);
    for (std::int64_t i = 0; i < count; ++i) sum += static_cast<const C*>(parts)[i * columns + c];
    store<S>(out, c, accumulate ? load<S>(out, c) + sum : sum);
  }
}

template <class S, class Element>
DeviceStatus sum_columns(const Element& element, void* out, std::int64_t tokens,
                         std::int64_t columns, bool accumulate, const DeviceLaunch& on) {
  if (columns == 0) return 0;
  const std::int64_t tiles = (columns + kColumns - 1) / kColumns;
  // Enough blocks for the card, as many parts as the workspace holds; a function of sizes alone.
  const std::int64_t room =
      static_cast<std::int64_t>(on.workspace_bytes / sizeof(Compute<S>)) / columns;
  std::int64_t parts = (tokens + kTokensAPart - 1) / kTokensAPart;
  const std::int64_t wanted = (1024 + tiles - 1) / tiles;
  parts = parts > wanted ? wanted : parts;
  parts = parts > room ? room : parts;
  if (parts < 1) parts = 1;
  const std::int64_t tokens_a_part = (tokens + parts - 1) / parts;
  RILL_LAUNCH_OR_RETURN((column_parts_kernel<S, Element>), (Grid{tiles, parts, 1}), kThreads, 0,
                        on.stream, element, parts == 1 ? out : on.workspace, tokens, columns,
                        tokens_a_part, parts == 1 ? 1 : 0, accumulate ? 1 : 0);
  if (parts == 1) return 0;
  return RILL_LAUNCH(add_parts_kernel<S>, grid_for(columns, kThreads), kThreads, 0, on.stream,
                     on.workspace, out, columns, parts, accumulate ? 1 : 0);
}

// ---- norms: a block a row

enum NormKind : std::int64_t { kRms = 0, kLayer = 1, kL2 = 2 };

template <class C>
struct RowStats {
  C mean, scale;
};

template <class S, int kTeam>
RILL_DEVICE RowStats<Compute<S>> row_stats(const void* x, std::int64_t first, std::int64_t width,
                                           std::int64_t kind, double eps,
                                           Shared<Compute<S>> parts) {
  using C = Compute<S>;
  C mean = C(0);
  if (kind == kLayer) {
    for (std::int64_t c = thread_index(); c < width; c += kTeam) mean += load<S>(x, first + c);
    mean = block_sum<kTeam>(mean, parts) / C(width);
  }
  C square = C(0);
  for (std::int64_t c = thread_index(); c < width; c += kTeam) {
    const C d = load<S>(x, first + c) - mean;
    square += d * d;
  }
  square = block_sum<kTeam>(square, parts);
  if (kind != kL2) square /= C(width);
  return {mean, C(1) / sqrt(square + C(eps))};
}

template <class S, int kTeam>
RILL_KERNEL(kTeam)
void norm_kernel(NormArgs p) {
  using C = Compute<S>;
  RILL_SHARED(C, parts, kTeam / kWarpSize);
  for (std::int64_t row = block_index(); row < p.rows; row += block_count()) {
    const std::int64_t first = row * p.width, offset = row % p.weight_rows * p.width;
    const auto stats = row_stats<S, kTeam>(p.x, first, p.width, p.kind, p.eps, Shared<C>(parts));
    for (std::int64_t c = thread_index(); c < p.width; c += kTeam) {
      C y = (load<S>(p.x, first + c) - stats.mean) * stats.scale;
      if (p.weight) y *= load<S>(p.weight, offset + c);
      if (p.bias) y += load<S>(p.bias, offset + c);
      store<S>(p.y, first + c, y);
    }
  }
}

template <class S, int kTeam>
RILL_KERNEL(kTeam)
void norm_backward_kernel(NormBackwardArgs p) {
  using C = Compute<S>;
  RILL_SHARED(C, parts, kTeam / kWarpSize);
  for (std::int64_t row = block_index(); row < p.rows; row += block_count()) {
    const std::int64_t first = row * p.width, offset = row % p.weight_rows * p.width;
    const auto stats = row_stats<S, kTeam>(p.x, first, p.width, p.kind, p.eps, Shared<C>(parts));
    C sum_g = C(0), sum_gx = C(0);
    for (std::int64_t c = thread_index(); c < p.width; c += kTeam) {
      const C g = load<S>(p.dy, first + c) * (p.weight ? load<S>(p.weight, offset + c) : C(1));
      sum_g += g;
      sum_gx += g * ((load<S>(p.x, first + c) - stats.mean) * stats.scale);
    }
    sum_g = block_sum<kTeam>(sum_g, Shared<C>(parts));
    sum_gx = block_sum<kTeam>(sum_gx, Shared<C>(parts));
    const C mean_g = p.kind == kLayer ? sum_g / C(p.width) : C(0);
    const C mean_gx = p.kind == kL2 ? sum_gx : sum_gx / C(p.width);
    for (std::int64_t c = thread_index(); c < p.width; c += kTeam) {
      const C g = load<S>(p.dy, first + c) * (p.weight ? load<S>(p.weight, offset + c) : C(1));
      const C xhat = (load<S>(p.x, first + c) - stats.mean) * stats.scale;
      store<S>(p.dx, first + c, stats.scale * (g - mean_g - xhat * mean_gx));
    }
    if (thread_index() == 0) {
      static_cast<C*>(p.stats)[2 * row] = stats.mean;
      static_cast<C*>(p.stats)[2 * row + 1] = stats.scale;
    }
  }
}

// ---- losses

// A warp a token, four tokens a block.
template <class S>
RILL_KERNEL(128)
void cross_entropy_kernel(CrossEntropyArgs p) {
  using C = Compute<S>;
  for (std::int64_t t = block_index() * 4 + warp_index(); t < p.tokens; t += block_count() * 4) {
    const std::int64_t first = t * p.classes;
    C maximum = load<S>(p.logits, first);
    for (std::int64_t c = lane_index(); c < p.classes; c += kWarpSize) {
      const C z = load<S>(p.logits, first + c);
      maximum = z > maximum ? z : maximum;
    }
    maximum = warp_max(maximum);
    C sum = C(0);
    for (std::int64_t c = lane_index(); c < p.classes; c += kWarpSize)
      sum += exp(load<S>(p.logits, first + c) - maximum);
    sum = warp_sum(sum);
    if (lane_index() != 0) continue;
    C* stats = static_cast<C*>(p.stats) + 2 * t;
    stats[0] = maximum;
    stats[1] = C(1) / sum;
    const std::int64_t target = p.targets[t];
    static_cast<C*>(p.per_token)[t] =
        target < 0            ? C(0)
        : target >= p.classes ? C(NAN)  // nobody looked: the host reads no targets of a device
                              : log(sum) - (load<S>(p.logits, first + target) - maximum);
  }
}

template <class S>
RILL_KERNEL(kThreads)
void cross_entropy_backward_kernel(CrossEntropyBackwardArgs p) {
  using C = Compute<S>;
  const C factor = *static_cast<const C*>(p.dloss) * static_cast<C>(p.scale);
  const std::int64_t count = p.tokens * p.classes;
  for (std::int64_t i = grid_thread(); i < count; i += grid_threads()) {
    const std::int64_t t = i / p.classes, target = p.targets[t];
    const C* stats = static_cast<const C*>(p.stats) + 2 * t;
    C dz = exp(load<S>(p.logits, i) - stats[0]) * stats[1];
    if (i % p.classes == target) dz -= C(1);
    store<S>(p.dlogits, i, target < 0 ? C(0) : dz * factor);
  }
}

// partial[b] = sum over the block's tile.
template <class S>
RILL_KERNEL(kThreads)
void sum_tiles_kernel(SumArgs p) {
  using C = Compute<S>;
  RILL_SHARED(C, parts, kThreads / kWarpSize);
  const std::int64_t first = block_index() * kSumTile;
  const std::int64_t last = first + kSumTile < p.count ? first + kSumTile : p.count;
  C sum = C(0);
  for (std::int64_t i = first + thread_index(); i < last; i += kThreads) {
    const C x = load<S>(p.x, i);
    if (!p.target) {
      sum += x;
    } else {
      const C target = load<S>(p.target, i);
      if (target == target) sum += (x - target) * (x - target);
    }
  }
  sum = block_sum<kThreads>(sum, Shared<C>(parts));
  if (thread_index() == 0) static_cast<C*>(p.partial)[block_index()] = sum;
}

// result = scale * sum of `count` values, in double.
template <class C>
RILL_KERNEL(kThreads)
void sum_all_kernel(const void* values, void* result, std::int64_t count, double scale) {
  RILL_SHARED(double, parts, kThreads / kWarpSize);
  double sum = 0.0;
  for (std::int64_t i = thread_index(); i < count; i += kThreads)
    sum += static_cast<double>(static_cast<const C*>(values)[i]);
  sum = block_sum<kThreads>(sum, Shared<double>(parts));
  if (thread_index() == 0) *static_cast<C*>(result) = static_cast<C>(sum * scale);
}

template <class S>
RILL_KERNEL(kThreads)
void squared_error_backward_kernel(SquaredErrorBackwardArgs p) {
  using C = Compute<S>;
  const C factor = C(2) * static_cast<C>(p.scale) * *static_cast<const C*>(p.dresult);
  for (std::int64_t i = grid_thread(); i < p.count; i += grid_threads()) {
    const C target = load<S>(p.target, i);
    store<S>(p.dx, i, target == target ? factor * (load<S>(p.x, i) - target) : C(0));
  }
}

// partial[b] = sum of x^2 over the block's tile, in double.
template <class S>
RILL_KERNEL(kThreads)
void squared_norm_kernel(SquaredNormArgs p) {
  RILL_SHARED(double, parts, kThreads / kWarpSize);
  const std::int64_t first = block_index() * kSumTile;
  const std::int64_t last = first + kSumTile < p.count ? first + kSumTile : p.count;
  double sum = 0.0;
  for (std::int64_t i = first + thread_index(); i < last; i += kThreads) {
    const auto x = static_cast<double>(load<S>(p.x, i));
    sum += x * x;
  }
  sum = block_sum<kThreads>(sum, Shared<double>(parts));
  if (thread_index() == 0) p.partial[block_index()] = sum;
}

RILL_KERNEL(kThreads) void squared_norm_end_kernel(SquaredNormArgs p, std::int64_t tiles) {
  RILL_SHARED(double, parts, kThreads / kWarpSize);
  double sum = 0.0;
  for (std::int64_t i = thread_index(); i < tiles; i += kThreads) sum += p.partial[i];
  sum = block_sum<kThreads>(sum, Shared<double>(parts));
  if (thread_index() == 0) *p.result = p.accumulate ? *p.result + sum : sum;
}

// Master weights and moments are Compute<S>.
template <class S>
RILL_KERNEL(kThreads)
void adamw_kernel(AdamWArgs p) {
  using C = Compute<S>;
  C *value = static_cast<C*>(p.value), *m = static_cast<C*>(p.m), *v = static_cast<C*>(p.v);
  for (std::int64_t i = grid_thread(); i < p.count; i += grid_threads()) {
    const C g = C(p.gradient_scale) * load<S>(p.gradient, i);
    m[i] = C(p.beta1) * m[i] + C(1.0 - p.beta1) * g;
    v[i] = C(p.beta2) * v[i] + C(1.0 - p.beta2) * g * g;
    value[i] =
        C(p.keep) * value[i] - C(p.step_size) * m[i] / (sqrt(C(p.v_scale) * v[i]) + C(p.eps));
  }
}

constexpr std::int64_t kNarrow = 512;  // rows that a warp handles as fast as a block

}  // namespace

template <class S>
DeviceStatus launch_column_sum(const ColumnSumArgs& p, const DeviceLaunch& on) {
  return sum_columns<S>(ProductElement<S>{p}, p.out, p.tokens, p.channels, p.accumulate != 0, on);
}

template <class S>
DeviceStatus launch_norm(const NormArgs& p, const DeviceLaunch& on) {
  if (p.rows * p.width == 0) return 0;
  const Grid grid = grid_for(p.rows, 1);
  if (p.width <= kNarrow)
    return RILL_LAUNCH((norm_kernel<S, kWarpSize>), grid, kWarpSize, 0, on.stream, p);
  return RILL_LAUNCH((norm_kernel<S, kThreads>), grid, kThreads, 0, on.stream, p);
}

template <class S>
DeviceStatus launch_norm_backward(const NormBackwardArgs& p, const DeviceLaunch& on) {
  if (p.rows * p.width == 0) return 0;
  const Grid grid = grid_for(p.rows, 1);
  if (p.width <= kNarrow)
    RILL_LAUNCH_OR_RETURN((norm_backward_kernel<S, kWarpSize>), grid, kWarpSize, 0, on.stream, p);
  else
    RILL_LAUNCH_OR_RETURN((norm_backward_kernel<S, kThreads>), grid, kThreads, 0, on.stream, p);
  const std::int64_t tokens = p.rows / p.weight_rows, columns = p.weight_rows * p.width;
  if (p.dweight)
    if (const DeviceStatus status =
            sum_columns<S>(NormElement<S, true>{p}, p.dweight, tokens, columns, true, on))
      return status;
  if (!p.dbias) return 0;
  return sum_columns<S>(NormElement<S, false>{p}, p.dbias, tokens, columns, true, on);
}

template <class S>
DeviceStatus launch_cross_entropy(const CrossEntropyArgs& p, const DeviceLaunch& on) {
  if (p.tokens > 0)
    RILL_LAUNCH_OR_RETURN(cross_entropy_kernel<S>, grid_for(p.tokens, 4), 128, 0, on.stream, p);
  return RILL_LAUNCH(sum_all_kernel<Compute<S>>, Grid{}, kThreads, 0, on.stream, p.per_token,
                     p.loss, p.tokens, p.scale);
}

template <class S>
DeviceStatus launch_cross_entropy_backward(const CrossEntropyBackwardArgs& p,
                                           const DeviceLaunch& on) {
  if (p.tokens * p.classes == 0) return 0;
  return RILL_LAUNCH(cross_entropy_backward_kernel<S>, grid_for(p.tokens * p.classes, kThreads),
                     kThreads, 0, on.stream, p);
}

template <class S>
DeviceStatus launch_sum(const SumArgs& p, const DeviceLaunch& on) {
  const std::int64_t tiles = (p.count + kSumTile - 1) / kSumTile;
  if (tiles > 0)
    RILL_LAUNCH_OR_RETURN(sum_tiles_kernel<S>, (Grid{tiles}), kThreads, 0, on.stream, p);
  return RILL_LAUNCH(sum_all_kernel<Compute<S>>, Grid{}, kThreads, 0, on.stream, p.partial,
                     p.result, tiles, p.scale);
}

template <class S>
DeviceStatus launch_squared_error_backward(const SquaredErrorBackwardArgs& p,
                                           const DeviceLaunch& on) {
  if (p.count == 0) return 0;
  return RILL_LAUNCH(squared_error_backward_kernel<S>, grid_for(p.count, kThreads), kThreads, 0,
                     on.stream, p);
}

template <class S>
DeviceStatus launch_squared_norm(const SquaredNormArgs& p, const DeviceLaunch& on) {
  const std::int64_t tiles = (p.count + kSumTile - 1) / kSumTile;
  if (tiles > 0)
    RILL_LAUNCH_OR_RETURN(squared_norm_kernel<S>, (Grid{tiles}), kThreads, 0, on.stream, p);
  return RILL_LAUNCH(squared_norm_end_kernel, Grid{}, kThreads, 0, on.stream, p, tiles);
}

template <class S>
DeviceStatus launch_adamw(const AdamWArgs& p, const DeviceLaunch& on) {
  if (p.count == 0) return 0;
  return RILL_LAUNCH(adamw_kernel<S>, grid_for(p.count, kThreads), kThreads, 0, on.stream, p);
}

RILL_INSTANTIATE(launch_squared_norm, SquaredNormArgs)
RILL_INSTANTIATE(launch_adamw, AdamWArgs)
RILL_INSTANTIATE(launch_column_sum, ColumnSumArgs)
RILL_INSTANTIATE(launch_norm, NormArgs)
RILL_INSTANTIATE(launch_norm_backward, NormBackwardArgs)
RILL_INSTANTIATE(launch_cross_entropy, CrossEntropyArgs)
RILL_INSTANTIATE(launch_cross_entropy_backward, CrossEntropyBackwardArgs)
RILL_INSTANTIATE(launch_sum, SumArgs)
RILL_INSTANTIATE(launch_squared_error_backward, SquaredErrorBackwardArgs)

}  // namespace rill
