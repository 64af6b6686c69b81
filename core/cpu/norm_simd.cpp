// Vector kernels (float) for norms; the equations are those of norm_plain-inl.h. A row is summed
// from its own first element on in two vectors of partial sums, so that its bits do not depend on
// where it lies.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "rill/core/cpu/norm_simd.cpp"
#include <hwy/foreach_target.h>
//
#include <hwy/highway.h>

#include <cmath>

#include <rill/core/cpu/core_cpu.h>
#include <rill/core/cpu/norm_plain-inl.h>
#include <rill/core/simd-inl.h>

HWY_BEFORE_NAMESPACE();
namespace rill {
namespace HWY_NAMESPACE {
namespace {

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;
using cpu::plain::kL2;
using cpu::plain::kLayer;

HWY_INLINE std::int64_t VectorLanes() { return static_cast<std::int64_t>(hn::Lanes(D())); }

// v where lane < n, 0 beyond.
HWY_INLINE V KeepFirst(V v, std::int64_t n) {
  if (n >= VectorLanes()) return v;
  return hn::IfThenElseZero(hn::FirstN(D(), static_cast<std::size_t>(n)), v);
}

HWY_INLINE float Total(V a, V b) { return hn::GetLane(hn::SumOfLanes(D(), hn::Add(a, b))); }

float RowMean(const float* x, std::int64_t width) {
  const D d;
  const std::int64_t lanes = VectorLanes();
  V even = hn::Zero(d), odd = hn::Zero(d);
  for (std::int64_t c = 0; c < width; c += 2 * lanes) {
    even = hn::Add(even, LoadN(d, x + c, width - c));
    if (c + lanes < width) odd = hn::Add(odd, LoadN(d, x + c + lanes, width - c - lanes));
  }
  return Total(even, odd) / static_cast<float>(width);
}

float RowSquares(const float* x, float mean, std::int64_t width) {
  const D d;
  const std::int64_t lanes = VectorLanes();
  const V m = hn::Set(d, mean);
  V even = hn::Zero(d), odd = hn::Zero(d);
  for (std::int64_t c = 0; c < width; c += 2 * lanes) {
    const V a = KeepFirst(hn::Sub(LoadN(d, x + c, width - c), m), width - c);
    even = hn::MulAdd(a, a, even);
    if (c + lanes >= width) break;
    const V b =
        KeepFirst(hn::Sub(LoadN(d, x + c + lanes, width - c - lanes), m), width - c - lanes);
    odd = hn::MulAdd(b, b, odd);
  }
  return Total(even, odd);
}

struct Stats {
  float mean, scale;
};

Stats RowStats(const float* x, std::int64_t width, std::int64_t kind, double eps) {
  const float mean = kind == kLayer ? RowMean(x, width) : 0.0f;
  const float squares = RowSquares(x, mean, width);
  const float square = kind == kL2 ? squares : squares / static_cast<float>(width);
  return {mean, 1.0f / std::sqrt(square + static_cast<float>(eps))};
}

void NormRow(const NormArgs& args, std::int64_t row) {
  const D d;
  const std::int64_t width = args.width, lanes = VectorLanes(),
                     offset = row % args.weight_rows * width;
  const float* x = static_cast<const float*>(args.x) + row * width;
  const float* w = args.weight ? static_cast<const float*>(args.weight) + offset : nullptr;
  const float* b = args.bias ? static_cast<const float*>(args.bias) + offset : nullptr;
  float* y = static_cast<float*>(args.y) + row * width;
  const Stats stats = RowStats(x, width, args.kind, args.eps);
  const V mean = hn::Set(d, stats.mean), scale = hn::Set(d, stats.scale);
  for (std::int64_t c = 0; c < width; c += lanes) {
    const std::int64_t n = width - c;
    V v = hn::Mul(hn::Sub(LoadN(d, x + c, n), mean), scale);
    if (w) v = hn::Mul(v, LoadN(d, w + c, n));
    if (b) v = hn::Add(v, LoadN(d, b + c, n));
    StoreN(d, v, y + c, n);
  }
}

void NormKernel(const NormArgs& args, const KernelContext& context) {
  cpu::for_tiles(context, args.rows, cpu::row_tile(args.width),
                 [&](std::int64_t first, std::int64_t last) {
                   for (std::int64_t row = first; row < last; ++row) NormRow(args, row);
                 });
}

void NormBackwardRow(const NormBackwardArgs& args, std::int64_t row) {
  const D d;
  const std::int64_t width = args.width, lanes = VectorLanes();
  const float* x = static_cast<const float*>(args.x) + row * width;
  const float* dy = static_cast<const float*>(args.dy) + row * width;
  const float* w = args.weight
                       ? static_cast<const float*>(args.weight) + row % args.weight_rows * width
                       : nullptr;
  float* dx = static_cast<float*>(args.dx) + row * width;
  const Stats stats = RowStats(x, width, args.kind, args.eps);
  static_cast<float*>(args.stats)[2 * row] = stats.mean;
  static_cast<float*>(args.stats)[2 * row + 1] = stats.scale;
  const V mean = hn::Set(d, stats.mean), scale = hn::Set(d, stats.scale);
  V sum_g = hn::Zero(d), sum_gx = hn::Zero(d);
  for (std::int64_t c = 0; c < width; c += lanes) {
    const std::int64_t n = width - c;
    const V v = LoadN(d, dy + c, n);
    const V g = w ? hn::Mul(v, LoadN(d, w + c, n)) : v;
    sum_g = hn::Add(sum_g, g);
    // g is 0 beyond the row.
    sum_gx = hn::MulAdd(g, hn::Mul(hn::Sub(LoadN(d, x + c, n), mean), scale), sum_gx);
  }
  const float inverse = 1.0f / static_cast<float>(width);
  const float total_gx = hn::GetLane(hn::SumOfLanes(d, sum_gx));
  const V mean_g =
      hn::Set(d, args.kind == kLayer ? hn::GetLane(hn::SumOfLanes(d, sum_g)) * inverse : 0.0f);
  const V mean_gx = hn::Set(d, args.kind == kL2 ? total_gx : total_gx * inverse);
  for (std::int64_t c = 0; c < width; c += lanes) {
    const std::int64_t n = width - c;
    const V v = LoadN(d, dy + c, n);
    const V g = w ? hn::Mul(v, LoadN(d, w + c, n)) : v;
    const V xhat = hn::Mul(hn::Sub(LoadN(d, x + c, n), mean), scale);
    StoreN(d, hn::Mul(scale, hn::NegMulAdd(xhat, mean_gx, hn::Sub(g, mean_g))), dx + c, n);
  }
}

// dweight and dbias of up to one vector of channels, all rows of a group, from the stats that the
// rows left.
void NormWeightStrip(const NormBackwardArgs& args, std::int64_t group, std::int64_t c,
                     std::int64_t n) {
  const D d;
  const std::int64_t width = args.width, groups = args.weight_rows;
  const float *x = static_cast<const float*>(args.x) + c,
              *dy = static_cast<const float*>(args.dy) + c;
  const float* stats = static_cast<const float*>(args.stats);
  V dw = hn::Zero(d), db = hn::Zero(d);
  for (std::int64_t block = group; block < args.rows; block += cpu::kSumBlock * groups) {
    const std::int64_t end = std::min(args.rows, block + cpu::kSumBlock * groups);
    V part_w = hn::Zero(d), part_b = hn::Zero(d);
    for (std::int64_t row = block; row < end; row += groups) {
      const V v = LoadN(d, dy + row * width, n);
      const V centred = hn::Sub(LoadN(d, x + row * width, n), hn::Set(d, stats[2 * row]));
      part_w = hn::MulAdd(v, hn::Mul(centred, hn::Set(d, stats[2 * row + 1])), part_w);
      part_b = hn::Add(part_b, v);
    }
    dw = hn::Add(dw, part_w);
    db = hn::Add(db, part_b);
  }
  const auto accumulate = [&](void* target, V sum) HWY_ATTR {
    if (!target) return;
    float* p = static_cast<float*>(target) + group * width + c;
    StoreN(d, hn::Add(LoadN(d, p, n), sum), p, n);
  };
  accumulate(args.dweight, dw);
  accumulate(args.dbias, db);
}

void NormBackwardKernel(const NormBackwardArgs& args, const KernelContext& context) {
  cpu::for_tiles(context, args.rows, cpu::row_tile(args.width),
                 [&](std::int64_t first, std::int64_t last) {
                   for (std::int64_t row = first; row < last; ++row) NormBackwardRow(args, row);
                 });
  if (!args.dweight && !args.dbias) return;
  const std::int64_t lanes = VectorLanes();
  const std::int64_t strips = (args.width + lanes - 1) / lanes;
  context.parallel_for(args.weight_rows * strips, [&](std::int64_t i) {
    const std::int64_t c = i % strips * lanes;
    NormWeightStrip(args, i / strips, c, args.width - c);
  });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rill
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rill {

HWY_EXPORT(NormKernel);
HWY_EXPORT(NormBackwardKernel);

namespace cpu {

void add_norms(CoreKernels& table) {
  table.norm = [](const NormArgs& args, const KernelContext& context) {
    HWY_DYNAMIC_DISPATCH(NormKernel)(args, context);
  };
  table.norm_backward = [](const NormBackwardArgs& args, const KernelContext& context) {
    HWY_DYNAMIC_DISPATCH(NormBackwardKernel)(args, context);
  };
}

}  // namespace cpu
}  // namespace rill
#endif
