// Vector kernels (float) for losses; the equations are those of loss_plain-inl.h.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "rill/core/cpu/loss_simd.cpp"
#include <hwy/foreach_target.h>
//
#include <hwy/highway.h>

#include <cmath>
#include <limits>

#include <rill/core/cpu/core_cpu.h>
#include <rill/core/simd-inl.h>
#include <rill/core/simd_math-inl.h>

HWY_BEFORE_NAMESPACE();
namespace rill {
namespace HWY_NAMESPACE {
namespace {

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

HWY_INLINE std::int64_t VectorLanes() { return static_cast<std::int64_t>(hn::Lanes(D())); }

// `fill` in the lanes from n on.
HWY_INLINE V PadWith(V v, V fill, std::int64_t n) {
  if (n >= VectorLanes()) return v;
  return hn::IfThenElse(hn::FirstN(D(), static_cast<std::size_t>(n)), v, fill);
}

void CrossEntropyRow(const CrossEntropyArgs& args, std::int64_t t) {
  const D d;
  const std::int64_t classes = args.classes, lanes = VectorLanes();
  const float* z = static_cast<const float*>(args.logits) + t * classes;
  const V lowest = hn::Set(d, -std::numeric_limits<float>::infinity());
  V maxima = lowest;
  for (std::int64_t c = 0; c < classes; c += lanes)
    maxima = hn::Max(maxima, PadWith(LoadN(d, z + c, classes - c), lowest, classes - c));
  const V maximum = hn::MaxOfLanes(d, maxima);
  V sums = hn::Zero(d);
  for (std::int64_t c = 0; c < classes; c += lanes) {
    const V e = Exp(d, hn::Sub(LoadN(d, z + c, classes - c), maximum));
    sums = hn::Add(sums, PadWith(e, hn::Zero(d), classes - c));
  }
  const V sum = hn::SumOfLanes(d, sums);
  float* stats = static_cast<float*>(args.stats) + 2 * t;
  stats[0] = hn::GetLane(maximum);
  stats[1] = 1.0f / hn::GetLane(sum);
  const std::int64_t target = args.targets[t];
  static_cast<float*>(args.per_token)[t] =
      target < 0 ? 0.0f : hn::GetLane(Log(d, sum)) - (z[target] - stats[0]);
}

void CrossEntropyKernel(const CrossEntropyArgs& args, const KernelContext& context) {
  cpu::for_tiles(context, args.tokens, cpu::row_tile(args.classes),
                 [&](std::int64_t first, std::int64_t last) {
                   for (std::int64_t t = first; t < last; ++t) CrossEntropyRow(args, t);
                 });
  const float* per_token = static_cast<const float*>(args.per_token);
  double total = 0.0;
  for (std::int64_t t = 0; t < args.tokens; ++t) total += static_cast<double>(per_token[t]);
  *static_cast<float*>(args.loss) = static_cast<float>(total * args.scale);
}

void CrossEntropyBackwardRow(const CrossEntropyBackwardArgs& args, float factor, std::int64_t t) {
  const D d;
  const std::int64_t classes = args.classes;
  const float* z = static_cast<const float*>(args.logits) + t * classes;
  const float* stats = static_cast<const float*>(args.stats) + 2 * t;
  float* dz = static_cast<float*>(args.dlogits) + t * classes;
  const std::int64_t target = args.targets[t];
  const float weight = target < 0 ? 0.0f : factor;
  const V maximum = hn::Set(d, stats[0]), inverse = hn::Set(d, stats[1]),
          scale = hn::Set(d, weight);
  for (std::int64_t c = 0; c < classes; c += VectorLanes()) {
    const std::int64_t n = classes - c;
    const V p = hn::Mul(Exp(d, hn::Sub(LoadN(d, z + c, n), maximum)), inverse);
    StoreN(d, hn::Mul(p, scale), dz + c, n);
  }
  if (target >= 0) dz[target] -= weight;
}

void CrossEntropyBackwardKernel(const CrossEntropyBackwardArgs& args,
                                const KernelContext& context) {
  const float factor = *static_cast<const float*>(args.dloss) * static_cast<float>(args.scale);
  cpu::for_tiles(context, args.tokens, cpu::row_tile(args.classes),
                 [&](std::int64_t first, std::int64_t last) {
                   for (std::int64_t t = first; t < last; ++t)
                     CrossEntropyBackwardRow(args, factor, t);
                 });
}

HWY_INLINE V SquaredDifference(V x, V target) {
  const V difference = hn::IfThenZeroElse(hn::IsNaN(target), hn::Sub(x, target));
  return hn::Mul(difference, difference);
}

// Four vectors of partial sums from the stretch's own start.
float SumTile(const float* x, const float* target, std::int64_t count) {
  const D d;
  const std::int64_t lanes = VectorLanes();
  V sums[4] = {hn::Zero(d), hn::Zero(d), hn::Zero(d), hn::Zero(d)};
  for (std::int64_t i = 0; i < count; i += 4 * lanes)
    for (std::int64_t k = 0; k < 4 && i + k * lanes < count; ++k) {
      const std::int64_t at = i + k * lanes;
      const V v = LoadN(d, x + at, count - at);
      sums[k] =
          hn::Add(sums[k], target ? SquaredDifference(v, LoadN(d, target + at, count - at)) : v);
    }
  return hn::GetLane(
      hn::SumOfLanes(d, hn::Add(hn::Add(sums[0], sums[1]), hn::Add(sums[2], sums[3]))));
}

void SumKernel(const SumArgs& args, const KernelContext& context) {
  const float *x = static_cast<const float*>(args.x),
              *target = static_cast<const float*>(args.target);
  float* partial = static_cast<float*>(args.partial);
  cpu::for_tiles(context, args.count, kSumTile, [&](std::int64_t first, std::int64_t last) {
    partial[first / kSumTile] = SumTile(x + first, target ? target + first : nullptr, last - first);
  });
  double total = 0.0;
  for (std::int64_t i = 0; i < (args.count + kSumTile - 1) / kSumTile; ++i)
    total += static_cast<double>(partial[i]);
  *static_cast<float*>(args.result) = static_cast<float>(total * args.scale);
}

void SquaredErrorBackwardTile(const float* x, const float* target, float* dx, float factor,
                              std::int64_t count) {
  const D d;
  const V f = hn::Set(d, factor);
  for (std::int64_t i = 0; i < count; i += VectorLanes()) {
    const V t = LoadN(d, target + i, count - i);
    const V difference = hn::IfThenZeroElse(hn::IsNaN(t), hn::Sub(LoadN(d, x + i, count - i), t));
    StoreN(d, hn::Mul(f, difference), dx + i, count - i);
  }
}

void SquaredErrorBackwardKernel(const SquaredErrorBackwardArgs& args,
                                const KernelContext& context) {
  const float *x = static_cast<const float*>(args.x),
              *target = static_cast<const float*>(args.target);
  const float factor =
      2.0f * static_cast<float>(args.scale) * *static_cast<const float*>(args.dresult);
  float* dx = static_cast<float*>(args.dx);
  cpu::for_tiles(context, args.count, cpu::kTile, [&](std::int64_t first, std::int64_t last) {
    SquaredErrorBackwardTile(x + first, target + first, dx + first, factor, last - first);
  });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rill
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rill {

HWY_EXPORT(CrossEntropyKernel);
HWY_EXPORT(CrossEntropyBackwardKernel);
HWY_EXPORT(SumKernel);
HWY_EXPORT(SquaredErrorBackwardKernel);

namespace cpu {

void add_losses(CoreKernels& table) {
  table.cross_entropy = [](const CrossEntropyArgs& args, const KernelContext& context) {
    HWY_DYNAMIC_DISPATCH(CrossEntropyKernel)(args, context);
  };
  table.cross_entropy_backward = [](const CrossEntropyBackwardArgs& args,
                                    const KernelContext& context) {
    HWY_DYNAMIC_DISPATCH(CrossEntropyBackwardKernel)(args, context);
  };
  table.sum = [](const SumArgs& args, const KernelContext& context) {
    HWY_DYNAMIC_DISPATCH(SumKernel)(args, context);
  };
  table.squared_error_backward = [](const SquaredErrorBackwardArgs& args,
                                    const KernelContext& context) {
    HWY_DYNAMIC_DISPATCH(SquaredErrorBackwardKernel)(args, context);
  };
}

}  // namespace cpu
}  // namespace rill
#endif
