// Vector kernels (float) for sums and products of arrays, and sums over tokens.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "rill/core/cpu/arithmetic_simd.cpp"
#include <hwy/foreach_target.h>
//
#include <hwy/highway.h>

#include <rill/core/cpu/core_cpu.h>
#include <rill/core/simd-inl.h>

HWY_BEFORE_NAMESPACE();
namespace rill {
namespace HWY_NAMESPACE {
namespace {

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

HWY_INLINE std::int64_t VectorLanes() { return static_cast<std::int64_t>(hn::Lanes(D())); }

template <Binary kKind>
HWY_INLINE V Combine(V a, V b) {
  if constexpr (kKind == Binary::kAdd) return hn::Add(a, b);
  if constexpr (kKind == Binary::kSubtract) return hn::Sub(a, b);
  if constexpr (kKind == Binary::kMultiply) return hn::Mul(a, b);
}

template <Binary kKind>
void BinaryRow(const float* a, const float* b, float* y, std::int64_t count) {
  const D d;
  const std::int64_t lanes = VectorLanes();
  std::int64_t i = 0;
  for (; i + lanes <= count; i += lanes)
    hn::StoreU(Combine<kKind>(hn::LoadU(d, a + i), hn::LoadU(d, b + i)), d, y + i);
  const std::int64_t n = count - i;
  if (n > 0) StoreN(d, Combine<kKind>(LoadN(d, a + i, n), LoadN(d, b + i, n)), y + i, n);
}

template <Binary kKind>
void BinaryTiles(const BinaryArgs& args, const KernelContext& context) {
  const float *a = static_cast<const float*>(args.a), *b = static_cast<const float*>(args.b);
  float* y = static_cast<float*>(args.y);
  const std::int64_t channels = args.channels;
  if (args.b_rows != 1) {
    cpu::for_tiles(context, args.tokens * channels, cpu::kTile,
                   [&](std::int64_t first, std::int64_t last) {
                     BinaryRow<kKind>(a + first, b + first, y + first, last - first);
                   });
    return;
  }
  cpu::for_tiles(context, args.tokens, cpu::row_tile(channels),
                 [&](std::int64_t first, std::int64_t last) {
                   for (std::int64_t t = first; t < last; ++t)
                     BinaryRow<kKind>(a + t * channels, b, y + t * channels, channels);
                 });
}

void BinaryKernel(const BinaryArgs& args, const KernelContext& context) {
  switch (static_cast<Binary>(args.kind)) {
    case Binary::kAdd:
      return BinaryTiles<Binary::kAdd>(args, context);
    case Binary::kSubtract:
      return BinaryTiles<Binary::kSubtract>(args, context);
    case Binary::kMultiply:
      return BinaryTiles<Binary::kMultiply>(args, context);
  }
}

void AffineTile(const float* x, float* y, float scale, float shift, std::int64_t count) {
  const D d;
  const V s = hn::Set(d, scale), b = hn::Set(d, shift);
  for (std::int64_t i = 0; i < count; i += VectorLanes())
    StoreN(d, hn::MulAdd(LoadN(d, x + i, count - i), s, b), y + i, count - i);
}

void AffineKernel(const AffineArgs& args, const KernelContext& context) {
  const float* x = static_cast<const float*>(args.x);
  float* y = static_cast<float*>(args.y);
  cpu::for_tiles(context, args.count, cpu::kTile, [&](std::int64_t first, std::int64_t last) {
    AffineTile(x + first, y + first, static_cast<float>(args.scale), static_cast<float>(args.shift),
               last - first);
  });
}

void AddRowsKernel(const AddRowsArgs& args, const KernelContext& context) {
  const float* source = static_cast<const float*>(args.source);
  float* target = static_cast<float*>(args.target);
  cpu::for_tiles(
      context, args.rows, cpu::row_tile(args.columns), [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t r = first; r < last; ++r) {
          float* row = target + r * args.target_stride;
          BinaryRow<Binary::kAdd>(row, source + r * args.source_stride, row, args.columns);
        }
      });
}

// One strip of at most a vector's channels, all tokens: sums of kSumBlock tokens in registers, then
// the sum of those.
// W vectors of channels side by side: rows are read in stretches, not in single vectors a row
// apart.
template <bool kProduct, int W>
void ColumnStrip(const ColumnSumArgs& args, std::int64_t channel, std::int64_t n) {
  const D d;
  const std::int64_t lanes = VectorLanes();
  const float* x = static_cast<const float*>(args.x) + channel;
  const float* z = kProduct ? static_cast<const float*>(args.z) + channel : nullptr;
  float* out = static_cast<float*>(args.out) + channel;
  V total[W];
  for (V& sum : total) sum = hn::Zero(d);
  for (std::int64_t block = 0; block < args.tokens; block += cpu::kSumBlock) {
    const std::int64_t end = std::min(args.tokens, block + cpu::kSumBlock);
    V part[W];
    for (V& sum : part) sum = hn::Zero(d);
    for (std::int64_t t = block; t < end; ++t) {
#pragma GCC unroll 8
      for (int w = 0; w < W; ++w) {
        const std::int64_t at = t * args.x_row + w * lanes;
        const V v = LoadN(d, x + at, n - w * lanes);
        part[w] = kProduct ? hn::MulAdd(v, LoadN(d, z + at, n - w * lanes), part[w])
                           : hn::Add(part[w], v);
      }
    }
    for (int w = 0; w < W; ++w) total[w] = hn::Add(total[w], part[w]);
  }
  for (int w = 0; w < W; ++w) {
    float* const target = out + w * lanes;
    const std::int64_t count = n - w * lanes;
    StoreN(d, args.accumulate ? hn::Add(LoadN(d, target, count), total[w]) : total[w], target,
           count);
  }
}

template <bool kProduct>
void ColumnStrips(const ColumnSumArgs& args, std::int64_t first, std::int64_t last) {
  constexpr int kStrip = 4;
  const std::int64_t lanes = VectorLanes();
  std::int64_t c = first;
  for (; c + kStrip * lanes <= last; c += kStrip * lanes)
    ColumnStrip<kProduct, kStrip>(args, c, kStrip * lanes);
  for (; c < last; c += lanes) ColumnStrip<kProduct, 1>(args, c, last - c);
}

void ColumnSumKernel(const ColumnSumArgs& args, const KernelContext& context) {
  cpu::for_tiles(context, args.channels, 4 * VectorLanes(),
                 [&](std::int64_t first, std::int64_t last) {
                   if (args.z)
                     ColumnStrips<true>(args, first, last);
                   else
                     ColumnStrips<false>(args, first, last);
                 });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rill
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rill {

HWY_EXPORT(BinaryKernel);
HWY_EXPORT(AffineKernel);
HWY_EXPORT(AddRowsKernel);
HWY_EXPORT(ColumnSumKernel);

namespace cpu {

void add_arithmetic(CoreKernels& table) {
  table.binary = [](const BinaryArgs& args, const KernelContext& context) {
    HWY_DYNAMIC_DISPATCH(BinaryKernel)(args, context);
  };
  table.affine = [](const AffineArgs& args, const KernelContext& context) {
    HWY_DYNAMIC_DISPATCH(AffineKernel)(args, context);
  };
  table.add_rows = [](const AddRowsArgs& args, const KernelContext& context) {
    HWY_DYNAMIC_DISPATCH(AddRowsKernel)(args, context);
  };
  table.column_sum = [](const ColumnSumArgs& args, const KernelContext& context) {
    HWY_DYNAMIC_DISPATCH(ColumnSumKernel)(args, context);
  };
}

}  // namespace cpu
}  // namespace rill
#endif
