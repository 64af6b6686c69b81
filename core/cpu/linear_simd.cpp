// Float products y[m, n] (+)= sum_k x[m, k] W[n, k] + b[n] on Highway. Up to four rows are
// multiplied where they lie, many columns at a time, at the speed at which weights come from
// memory. More rows go in blocks: x copied to a buffer on the stack, kBlockK steps of k at a time,
// tiles of registers over it. Layout of weights: linear.h; the order of every sum, and why bits do
// not depend on any of this: linear_tile-inl.h.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "rill/core/cpu/linear_simd.cpp"
#include <rill/core/cpu/linear.h>
#include <rill/core/half.h>

#include <algorithm>
#include <cstring>

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <rill/core/cpu/linear_tile-inl.h>

HWY_BEFORE_NAMESPACE();
namespace rill::HWY_NAMESPACE {
namespace {

constexpr std::int64_t kInPlaceRows = 4;
constexpr std::int64_t kBlockM = 96;   // rows of x copied at once
constexpr std::int64_t kBlockN = 512;  // columns between two copies of x

// Vectors of columns a tile of R rows takes where rows are few: eight chains hide the latency of
// MulAdd, and more than four panels at a time are more streams from memory than prefetching
// follows.
constexpr int wide(int rows) {
  constexpr bool kManyRegisters = kMaxRows == 12;
  return rows == 1 && !kManyRegisters ? 8 : rows <= 3 || kManyRegisters ? 4 : 2;
}

// A rectangle of y: rows [m0, m1), columns [n0, n1); n0 is a multiple of a panel.
struct Range {
  std::int64_t m0, m1, n0, n1;
};

// Rows where they lie: all of k, the widest tiles first.
template <int R, class W>
void rows_in_place(const LinearArgs& args, const Range& range) {
  const float* x = static_cast<const float*>(args.x) + range.m0 * args.x_row;
  const W* packed = static_cast<const W*>(args.packed);
  const float* bias = static_cast<const float*>(args.bias);
  float* y = static_cast<float*>(args.y) + range.m0 * args.y_row;
  const auto run = [&](auto vectors, std::int64_t n, std::int64_t n1) HWY_ATTR {
    constexpr int V = decltype(vectors)::value;
    for (; n + (V - 1) * kLanes < n1; n += V * kLanes) {
      tile<R, V, Rows::kInPlace, W>(
          {.a = x,
           .a_row = args.x_row,
           .b = packed + n / kLinearPanel * kLinearPanel * args.k + n % kLinearPanel,
           .panel = kLinearPanel * args.k,
           .k = args.k,
           .y = y + n,
           .y_row = args.y_row,
           .bias = bias ? bias + n : nullptr,
           .columns = std::min(n1 - n, V * kLanes),
           .rows = R,
           .load_y = args.accumulate != 0});
    }
    return n;
  };
  std::int64_t n = range.n0;
  n = run(std::integral_constant<int, wide(R)>{}, n, range.n1);
  if constexpr (wide(R) > 4) n = run(std::integral_constant<int, 4>{}, n, range.n1);
  if constexpr (wide(R) > 2) n = run(std::integral_constant<int, 2>{}, n, range.n1);
  run(std::integral_constant<int, 1>{}, n, range.n1);
}

template <class W>
void few_rows(const LinearArgs& args, const Range& range) {
  switch (range.m1 - range.m0) {
    case 1:
      return rows_in_place<1, W>(args, range);
    case 2:
      return rows_in_place<2, W>(args, range);
    case 3:
      return rows_in_place<3, W>(args, range);
    case 4:
      return rows_in_place<4, W>(args, range);
    default:
      return;
  }
}

// The tiles of R = 1 ... kMaxRows rows, two vectors wide or one.
using TileFunction = void (*)(const TileCall<float>&);
template <Rows kRows, int kGroup, int V, int... I>
constexpr std::array<TileFunction, sizeof...(I)> make_tiles(std::integer_sequence<int, I...>) {
  return {&tile<(I + 1) * kGroup, V, kRows, float>...};
}
template <Rows kRows, int V>
TileFunction tile_of(std::int64_t rows) {
  constexpr int kGroup = kRows == Rows::kInterleaved ? kRowGroup : 1;
  static constexpr auto kTiles =
      make_tiles<kRows, kGroup, V>(std::make_integer_sequence<int, kMaxRows / kGroup>{});
  return kTiles[static_cast<std::size_t>((rows - 1) / kGroup)];
}

// A block of x in the buffer: where each tile's rows start.
struct TileRows {
  std::int64_t first, count;
  const float* a;
};

// Cuts `rows` into tiles and copies steps [k0, k0 + steps) of x for them.
std::int64_t copy_rows(const LinearArgs& args, const Range& range, std::int64_t k0,
                       std::int64_t steps, float* buffer, TileRows* tiles) {
  const float* x = static_cast<const float*>(args.x) + range.m0 * args.x_row + k0 * args.x_col;
  const std::int64_t rows = range.m1 - range.m0;
  const std::int64_t count = (rows + kMaxRows - 1) / kMaxRows, base = rows / count,
                     more = rows % count;
  std::int64_t first = 0;
  for (std::int64_t t = 0; t < count; ++t) {
    const std::int64_t tile_rows = base + (t < more ? 1 : 0);
    tiles[t] = {first, tile_rows, buffer + first * kRowK};
    for (std::int64_t r = first; steps > 0 && r < first + tile_rows; ++r)
      std::memcpy(buffer + r * kRowK, x + r * args.x_row,
                  static_cast<std::size_t>(steps) * sizeof(float));
    first += tile_rows;
  }
  return count;
}

// The same for x whose k is not contiguous: [k][rows of the tile], rows rounded up to a group with
// zeros. k is the outer loop, so that lines of x are read in the order of memory.
std::int64_t copy_interleaved(const LinearArgs& args, const Range& range, std::int64_t k0,
                              std::int64_t steps, float* buffer, TileRows* tiles) {
  const float* x = static_cast<const float*>(args.x) + range.m0 * args.x_row + k0 * args.x_col;
  const std::int64_t rows = range.m1 - range.m0, full = rows / kMaxRows;
  const std::int64_t rest = rows % kMaxRows;
  const std::int64_t rest_stride = (rest + kRowGroup - 1) / kRowGroup * kRowGroup;
  for (std::int64_t t = 0; t < full; ++t)
    tiles[t] = {t * kMaxRows, kMaxRows, buffer + t * kMaxRows * steps};
  float* const rest_buffer = buffer + full * kMaxRows * steps;
  tiles[full] = {full * kMaxRows, rest, rest_buffer};
  for (std::int64_t k = 0; k < steps; ++k) {
    const float* column = x + k * args.x_col;
    for (std::int64_t t = 0; t < full; ++t, column += kMaxRows * args.x_row) {
      float* out = buffer + (t * steps + k) * kMaxRows;
      if (args.x_row == 1)
        std::memcpy(out, column, kMaxRows * sizeof(float));
      else
        for (std::int64_t r = 0; r < kMaxRows; ++r) out[r] = column[r * args.x_row];
    }
    float* out = rest_buffer + k * rest_stride;
    for (std::int64_t r = 0; r < rest; ++r) out[r] = column[r * args.x_row];
    for (std::int64_t r = rest; r < rest_stride; ++r) out[r] = 0.0f;
  }
  return full + (rest > 0 ? 1 : 0);
}

// Weights of kStripe columns and `steps` steps as floats, so that many rows convert them once.
constexpr std::int64_t kStripe = 2 * kLanes > kLinearPanel ? 2 * kLanes : kLinearPanel;

template <class W>
void widen(const W* b, std::int64_t panel, std::int64_t panels, std::int64_t steps, float* out) {
  const LinearTag d;
  for (std::int64_t p = 0; p < panels; ++p)
    for (std::int64_t i = 0; i < steps * kStep; i += kLanes)
      hn::StoreU(load_weight(b + p * panel + i), d, out + p * kBlockK * kStep + i);
}

template <Rows kRows, class W>
void multiply_block(const LinearArgs& args, const Range& range, std::int64_t k0, std::int64_t steps,
                    const TileRows* tiles, std::int64_t count) {
  constexpr bool kWiden = !std::is_same_v<W, float>;
  HWY_ALIGN float wide_weights[kWiden ? kStripe * kBlockK : 1];
  const std::int64_t panel = kLinearPanel * args.k;
  float* y = static_cast<float*>(args.y) + range.m0 * args.y_row;
  const float* bias = k0 == 0 ? static_cast<const float*>(args.bias) : nullptr;
  for (std::int64_t stripe = range.n0; stripe < range.n1; stripe += kStripe) {
    const std::int64_t stripe_end = std::min(range.n1, stripe + kStripe);
    const W* weights =
        static_cast<const W*>(args.packed) + stripe / kLinearPanel * panel + k0 * kStep;
    TileCall<float> call{
        .a_row = kRowK, .k = steps, .y_row = args.y_row, .load_y = args.accumulate != 0 || k0 > 0};
    const float* b = nullptr;
    if constexpr (kWiden) {
      widen(weights, panel, (stripe_end - stripe + kLinearPanel - 1) / kLinearPanel, steps,
            wide_weights);
      b = wide_weights;
      call.panel = kBlockK * kStep;
    } else {
      b = weights;
      call.panel = panel;
    }
    for (std::int64_t n = stripe; n < stripe_end; n += 2 * kLanes) {
      const std::int64_t in_stripe = n - stripe;
      call.b = b + in_stripe / kLinearPanel * call.panel + in_stripe % kLinearPanel;
      call.bias = bias ? bias + n : nullptr;
      call.columns = std::min(stripe_end - n, 2 * kLanes);
      for (std::int64_t t = 0; t < count; ++t) {
        call.a = tiles[t].a;
        call.rows = static_cast<int>(tiles[t].count);
        call.y = y + tiles[t].first * args.y_row + n;
        (call.columns > kLanes ? tile_of<kRows, 2>(call.rows) : tile_of<kRows, 1>(call.rows))(call);
      }
    }
  }
}

template <class W>
HWY_NOINLINE void many_rows(const LinearArgs& args, const Range& whole) {
  HWY_ALIGN float buffer[kBlockM * kRowK];
  TileRows tiles[kBlockM / kMaxRows + 1];
  // A block of y, kBlockM x kBlockN, stays in the second cache while k passes.
  const auto block = [&](const Range& range, std::int64_t k0) HWY_ATTR {
    const std::int64_t steps = std::min(kBlockK, args.k - k0);
    if (args.x_col == 1) {
      const std::int64_t count = copy_rows(args, range, k0, steps, buffer, tiles);
      multiply_block<Rows::kCopied, W>(args, range, k0, steps, tiles, count);
    } else {
      const std::int64_t count = copy_interleaved(args, range, k0, steps, buffer, tiles);
      multiply_block<Rows::kInterleaved, W>(args, range, k0, steps, tiles, count);
    }
  };
  for (std::int64_t n = whole.n0; n < whole.n1; n += kBlockN) {
    for (std::int64_t m = whole.m0; m < whole.m1; m += kBlockM) {
      std::int64_t k0 = 0;
      do {  // once for k = 0 as well: y is still to be written
        block({m, std::min(whole.m1, m + kBlockM), n, std::min(whole.n1, n + kBlockN)}, k0);
        k0 += kBlockK;
      } while (k0 < args.k);
    }
  }
}

template <class W>
void linear_range(const LinearArgs& args, const Range& range) {
  if (range.m1 - range.m0 <= kInPlaceRows && args.x_col == 1) return few_rows<W>(args, range);
  many_rows<W>(args, range);
}

// Cuts y into rectangles by sizes alone: 2^20 products (some ten microseconds) are worth a task.
template <class W>
void linear_any(const LinearArgs& args, const KernelContext& context) {
  const std::int64_t products = args.m * args.n * args.k;
  if (!context.pool || context.pool->threads() == 1 || products < (std::int64_t{1} << 19))
    return linear_range<W>(args, {0, args.m, 0, args.n});
  const auto tasks_of = [](std::int64_t size, std::int64_t block) {
    return (size + block - 1) / block;
  };
  std::int64_t rows = std::min(args.m, kBlockM), columns = std::min<std::int64_t>(args.n, 512);
  while (tasks_of(args.m, rows) * tasks_of(args.n, columns) < 32 &&
         rows * columns * args.k > (1 << 20)) {
    if (columns > 128 || (columns > 32 && rows <= 2 * kMaxRows))
      columns = (columns / 2 + 31) / 32 * 32;
    else if (rows > kMaxRows)
      rows = (rows / 2 + kMaxRows - 1) / kMaxRows * kMaxRows;
    else
      break;
  }
  columns = (columns + 31) / 32 * 32;
  const std::int64_t across = tasks_of(args.n, columns);
  context.parallel_for(tasks_of(args.m, rows) * across, [&](std::int64_t i) {
    const std::int64_t m = i / across * rows, n = i % across * columns;
    linear_range<W>(args, {m, std::min(args.m, m + rows), n, std::min(args.n, n + columns)});
  });
}

}  // namespace

void LinearF32(const LinearArgs& args, const KernelContext& context) {
  switch (static_cast<DType>(args.weight_dtype)) {
    case DType::kBFloat16:
      return linear_any<BFloat16>(args, context);
    case DType::kFloat16:
      return linear_any<Half>(args, context);
    default:
      return linear_any<float>(args, context);
  }
}

}  // namespace rill::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rill {
HWY_EXPORT(LinearF32);

void linear_f32(const LinearArgs& args, const KernelContext& context) {
  if (args.m <= 0 || args.n <= 0) return;
  HWY_DYNAMIC_DISPATCH(LinearF32)(args, context);
}

}  // namespace rill
#endif
