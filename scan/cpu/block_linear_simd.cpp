// Block-diagonal products (block_linear.h). Float blocks of 4 by 4, the mLSTM's, are vectors of
// whole blocks: input i of every block is broadcast within its 128 bits and multiplied with the
// packed row i of the weights. Other sizes, and double, are plain loops.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "rill/scan/cpu/block_linear_simd.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <rill/scan/cpu/block_linear_plain-inl.h>
#include <rill/scan/cpu/families.h>
#include <rill/scan/cpu/matrix_walk.h>

#include <rill/scan/cpu/lanes-inl.h>

HWY_BEFORE_NAMESPACE();
namespace rill {
namespace HWY_NAMESPACE {
#if HWY_TARGET != HWY_SCALAR
namespace blocks {

namespace hn = hwy::HWY_NAMESPACE;
using namespace lanes;

constexpr std::int64_t kTokens = 32;  // tokens a task

template <int I>
HWY_INLINE Vec Input(const Vec x) {
  return hn::Broadcast<I>(x);
}

// One vector, or the first `count` lanes of one, of the channels at `first` for tokens [begin,
// end).
template <bool Part>
HWY_INLINE void Columns(const BlockLinearArgs& a, std::int64_t begin, std::int64_t end,
                        std::int64_t first, std::int64_t count) {
  using V = Tile<Tag, 1, Part>;
  const std::int64_t channels = 4 * a.groups;
  const float* weight = static_cast<const float*>(a.weight) + first;
  const Vec w0 = V::Load(weight, count).v[0], w1 = V::Load(weight + channels, count).v[0];
  const Vec w2 = V::Load(weight + 2 * channels, count).v[0];
  const Vec w3 = V::Load(weight + 3 * channels, count).v[0];
  for (std::int64_t t = begin; t < end; ++t) {
    V x = V::Load(static_cast<const float*>(a.x) + t * channels + first, count);
    Vec sum = hn::Mul(w0, Input<0>(x.v[0]));
    sum = hn::MulAdd(w1, Input<1>(x.v[0]), sum);
    sum = hn::MulAdd(w2, Input<2>(x.v[0]), sum);
    x.v[0] = hn::MulAdd(w3, Input<3>(x.v[0]), sum);
    x.Store(static_cast<float*>(a.y) + t * channels + first, count);
  }
}

void Product(const BlockLinearArgs& a, const KernelContext& context) {
  const std::int64_t channels = 4 * a.groups, lanes = Count();
  context.parallel_for((a.tokens + kTokens - 1) / kTokens, [&](std::int64_t task) HWY_ATTR {
    const std::int64_t begin = task * kTokens, end = std::min(begin + kTokens, a.tokens);
    std::int64_t first = 0;
    for (; first + lanes <= channels; first += lanes) Columns<false>(a, begin, end, first, lanes);
    if (first < channels) Columns<true>(a, begin, end, first, channels - first);
  });
}

template <bool Part>
HWY_INLINE void WeightColumns(const BlockLinearWeightArgs& a, std::int64_t first,
                              std::int64_t count) {
  using V = Tile<Tag, 1, Part>;
  const std::int64_t channels = 4 * a.groups;
  Vec s0 = hn::Zero(Tag()), s1 = s0, s2 = s0, s3 = s0;
  for (std::int64_t t = 0; t < a.tokens; ++t) {
    const Vec x = V::Load(static_cast<const float*>(a.x) + t * channels + first, count).v[0];
    const Vec dy = V::Load(static_cast<const float*>(a.dy) + t * channels + first, count).v[0];
    s0 = hn::MulAdd(dy, Input<0>(x), s0);
    s1 = hn::MulAdd(dy, Input<1>(x), s1);
    s2 = hn::MulAdd(dy, Input<2>(x), s2);
    s3 = hn::MulAdd(dy, Input<3>(x), s3);
  }
  float* dweight = static_cast<float*>(a.dweight);
  HWY_ALIGN float sums[4][hn::MaxLanes(Tag())];
  hn::Store(s0, Tag(), sums[0]);
  hn::Store(s1, Tag(), sums[1]);
  hn::Store(s2, Tag(), sums[2]);
  hn::Store(s3, Tag(), sums[3]);
  for (std::int64_t c = 0; c < count; ++c)
    for (std::int64_t i = 0; i < 4; ++i) dweight[(first + c) * 4 + i] += sums[i][c];
}

void Weight(const BlockLinearWeightArgs& a, const KernelContext& context) {
  const std::int64_t channels = 4 * a.groups, lanes = Count();
  context.parallel_for((channels + lanes - 1) / lanes, [&](std::int64_t task) HWY_ATTR {
    const std::int64_t first = task * lanes;
    if (first + lanes <= channels) {
      WeightColumns<false>(a, first, lanes);
    } else {
      WeightColumns<true>(a, first, channels - first);
    }
  });
}

}  // namespace blocks
#endif

void BlockLinear4F32(const BlockLinearArgs& args, const KernelContext& context) {
#if HWY_TARGET == HWY_SCALAR
  plain::block_linear<float>(args, context);
#else
  blocks::Product(args, context);
#endif
}
void BlockLinearWeight4F32(const BlockLinearWeightArgs& args, const KernelContext& context) {
#if HWY_TARGET == HWY_SCALAR
  plain::block_linear_weight<float>(args, context);
#else
  blocks::Weight(args, context);
#endif
}

}  // namespace HWY_NAMESPACE
}  // namespace rill
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rill {

HWY_EXPORT(BlockLinear4F32);
HWY_EXPORT(BlockLinearWeight4F32);

void fill_block_linear(ScanKernels& f32, ScanKernels& f64) {
  f32.block_linear = [](const BlockLinearArgs& a, const KernelContext& context) {
    if (a.inputs == 4 && a.outputs == 4) return HWY_DYNAMIC_DISPATCH(BlockLinear4F32)(a, context);
    plain::block_linear<float>(a, context);
  };
  f32.block_linear_weight = [](const BlockLinearWeightArgs& a, const KernelContext& context) {
    if (a.inputs == 4 && a.outputs == 4)
      return HWY_DYNAMIC_DISPATCH(BlockLinearWeight4F32)(a, context);
    plain::block_linear_weight<float>(a, context);
  };
  f64.block_linear = &plain::block_linear<double>;
  f64.block_linear_weight = &plain::block_linear_weight<double>;
  f32.block_pack = &plain::block_pack<float>;
  f64.block_pack = &plain::block_pack<double>;
}

}  // namespace rill
#endif
