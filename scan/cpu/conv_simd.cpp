// The causal convolution on vectors of float: lanes over channels; a task walks a stretch of
// channels through time, so that the K inputs of a step are still in the first cache. The
// activation is fused. Taps are added in order, each with one multiply-add: neither the cut of a
// sequence nor a reset changes the bits of a sum.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "rill/scan/cpu/conv_simd.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <rill/core/simd-inl.h>
#include <rill/core/simd_math-inl.h>
#include <rill/scan/cpu/conv_plain-inl.h>
#include <rill/scan/cpu/conv_taps.h>
#include <rill/scan/kernels.h>

HWY_BEFORE_NAMESPACE();
namespace rill {
namespace HWY_NAMESPACE {
namespace conv {

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

constexpr std::int64_t kTile = 256;  // channels of a task
constexpr std::int64_t kBackTile =
    64;  // its rows are walked in order, for sums over rows: smaller, so more tasks

struct Inputs {
  const float *x, *state, *bias, *weight;
  std::int64_t channels, width;
};

template <class Args>
HWY_INLINE Inputs InputsOf(const Args& args) {
  const auto floats = [](const void* p) { return static_cast<const float*>(p); };
  return {floats(args.x),      floats(args.initial), floats(args.bias),
          floats(args.weight), args.channels,        args.width};
}

// The sums of step i before the activation, channels [first, first + count) -> out.
HWY_INLINE void SumWide(D d, const Inputs& in, const ConvRow& walk, std::int64_t i,
                        std::int64_t first, std::int64_t count, float* HWY_RESTRICT out) {
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t c = 0; c < count; c += lanes)
    StoreN(d, in.bias ? LoadN(d, in.bias + first + c, count - c) : hn::Zero(d), out + c, count - c);
  for (std::int64_t k = 0; k < in.width; ++k) {
    const float* x = walk.source(in.x, in.state, in.channels, i - in.width + 1 + k);
    const float* w = in.weight + k * in.channels + first;
    for (std::int64_t c = 0; c < count; c += lanes) {
      const V v = x ? LoadN(d, x + first + c, count - c) : hn::Zero(d);
      StoreN(d, hn::MulAdd(LoadN(d, w + c, count - c), v, LoadN(d, out + c, count - c)), out + c,
             count - c);
    }
  }
}

template <int kWidth>
HWY_INLINE void SumNarrow(D d, const Inputs& in, const ConvRow& walk, std::int64_t i,
                          std::int64_t first, std::int64_t count, const float* HWY_RESTRICT zeros,
                          float* HWY_RESTRICT out) {
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const float* x[kWidth];
  for (int k = 0; k < kWidth; ++k) {
    const float* from = walk.source(in.x, in.state, in.channels, i - kWidth + 1 + k);
    x[k] = from ? from + first : zeros;
  }
  for (std::int64_t c = 0; c < count; c += lanes) {
    V sum = in.bias ? LoadN(d, in.bias + first + c, count - c) : hn::Zero(d);
    HWY_UNROLL(8)
    for (int k = 0; k < kWidth; ++k)
      sum = hn::MulAdd(LoadN(d, in.weight + k * in.channels + first + c, count - c),
                       LoadN(d, x[k] + c, count - c), sum);
    StoreN(d, sum, out + c, count - c);
  }
}

HWY_INLINE void Sum(D d, const Inputs& in, const ConvRow& walk, std::int64_t i, std::int64_t first,
                    std::int64_t count, const float* zeros, float* out) {
  switch (in.width) {
    case 2:
      return SumNarrow<2>(d, in, walk, i, first, count, zeros, out);
    case 3:
      return SumNarrow<3>(d, in, walk, i, first, count, zeros, out);
    case 4:
      return SumNarrow<4>(d, in, walk, i, first, count, zeros, out);
    default:
      return SumWide(d, in, walk, i, first, count, out);
  }
}

void ConvTile(const CausalConvArgs& args, std::int64_t row, std::int64_t first) {
  const D d;
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const std::int64_t channels = args.channels, slots = args.width - 1;
  const std::int64_t count = std::min(kTile, channels - first);
  const Inputs in = InputsOf(args);
  HWY_ALIGN float zeros[kTile] = {};
  ConvRow walk(args.sequence, row, args.width);
  for (std::int64_t i = 0; i < walk.length(); ++i) {
    walk.enter(i);
    float* y = static_cast<float*>(args.y) + (walk.start() + i) * channels + first;
    Sum(d, in, walk, i, first, count, zeros, y);
    if (!args.silu) continue;
    for (std::int64_t c = 0; c < count; c += lanes)
      StoreN(d, Silu(d, LoadN(d, y + c, count - c)), y + c, count - c);
  }
  float* last = static_cast<float*>(args.final_state) + row * slots * channels + first;
  for (std::int64_t m = 0; m < slots; ++m) {
    const float* x = walk.source(in.x, in.state, channels, walk.length() - slots + m);
    for (std::int64_t c = 0; c < count; c += lanes)
      StoreN(d, x ? LoadN(d, x + first + c, count - c) : hn::Zero(d), last + m * channels + c,
             count - c);
  }
}

// dpre, and the sums of dweight and dbias, of one row's channels.
HWY_INLINE void BackSums(D d, const CausalConvBackwardArgs& args, const Inputs& in,
                         std::int64_t row, std::int64_t first, std::int64_t count) {
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const std::int64_t channels = args.channels;
  HWY_ALIGN float zeros[kBackTile] = {}, sums[kBackTile + hn::MaxLanes(d)],
                  slope[kBackTile + hn::MaxLanes(d)];
  ConvRow walk(args.sequence, row, args.width);
  for (std::int64_t i = 0; i < walk.length(); ++i) {
    walk.enter(i);
    const std::int64_t at = (walk.start() + i) * channels + first;
    if (args.silu) Sum(d, in, walk, i, first, count, zeros, sums);
    for (std::int64_t c = 0; c < count; c += lanes) {
      V g =
          args.dy ? LoadN(d, static_cast<const float*>(args.dy) + at + c, count - c) : hn::Zero(d);
      if (args.silu) {
        const V one = hn::Set(d, 1.0f), x = hn::Load(d, sums + c), s = Sigmoid(d, x);
        g = hn::Mul(g, hn::Mul(s, hn::MulAdd(x, hn::Sub(one, s), one)));
      }
      hn::Store(g, d, slope + c);
      StoreN(d, g, static_cast<float*>(args.dpre) + at + c, count - c);
      if (!args.dbias) continue;
      float* dbias = static_cast<float*>(args.dbias) + first + c;
      StoreN(d, hn::Add(LoadN(d, dbias, count - c), g), dbias, count - c);
    }
    for (std::int64_t k = 0; k < args.width; ++k) {
      const float* x = walk.source(in.x, in.state, channels, i - args.width + 1 + k);
      if (!x) continue;
      float* dw = static_cast<float*>(args.dweight) + k * channels + first;
      for (std::int64_t c = 0; c < count; c += lanes) {
        const V product = hn::MulAdd(hn::Load(d, slope + c), LoadN(d, x + first + c, count - c),
                                     LoadN(d, dw + c, count - c));
        StoreN(d, product, dw + c, count - c);
      }
    }
  }
}

// dx and dinitial of one row's channels, from dpre.
HWY_INLINE void BackInputs(D d, const CausalConvBackwardArgs& args, const Inputs& in,
                           std::int64_t row, std::int64_t first, std::int64_t count) {
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const std::int64_t channels = args.channels, slots = args.width - 1;
  const std::int64_t start = args.sequence.start[row], length = args.sequence.length[row];
  const float* dpre = static_cast<const float*>(args.dpre) + start * channels + first;
  const float* dfinal =
      args.dfinal ? static_cast<const float*>(args.dfinal) + row * slots * channels + first
                  : nullptr;
  std::int64_t limit = length;  // the first step that does not see input j
  for (std::int64_t j = length - 1; j >= -slots; --j) {
    const std::int64_t slot = j - length + slots;
    const bool kept = dfinal && slot >= 0 && limit == length;
    float* out = j >= 0 ? static_cast<float*>(args.dx) + (start + j) * channels
                        : static_cast<float*>(args.dinitial) + (row * slots + j + slots) * channels;
    // Tap k of step j + K-1-k saw input j.
    const std::int64_t from = std::max<std::int64_t>(j, 0), to = std::min(limit, j + args.width);
    for (std::int64_t c = 0; c < count; c += lanes) {
      V sum = hn::Zero(d);
      for (std::int64_t i = from; i < to; ++i)
        sum = hn::MulAdd(LoadN(d, in.weight + (j + slots - i) * channels + first + c, count - c),
                         LoadN(d, dpre + i * channels + c, count - c), sum);
      if (kept) sum = hn::Add(sum, LoadN(d, dfinal + slot * channels + c, count - c));
      StoreN(d, sum, out + first + c, count - c);
    }
    if (j >= 0 && is_reset(args.sequence, start + j)) limit = j;
  }
}

void BackTile(const CausalConvBackwardArgs& args, std::int64_t first) {
  const D d;
  const std::int64_t count = std::min(kBackTile, args.channels - first);
  const Inputs in = InputsOf(args);
  for (std::int64_t k = 0; k < args.width; ++k)
    std::fill_n(static_cast<float*>(args.dweight) + k * args.channels + first, count, 0.0f);
  for (std::int64_t row = 0; row < args.sequence.rows; ++row) {
    BackSums(d, args, in, row, first, count);
    BackInputs(d, args, in, row, first, count);
  }
}

}  // namespace conv

void CausalConv(const CausalConvArgs& args, const KernelContext& context) {
  zero_outside(args.sequence, static_cast<float*>(args.y), args.channels);
  const std::int64_t tiles = (args.channels + conv::kTile - 1) / conv::kTile;
  context.parallel_for(args.sequence.rows * tiles, [&](std::int64_t task) {
    conv::ConvTile(args, task / tiles, task % tiles * conv::kTile);
  });
}

void CausalConvBackward(const CausalConvBackwardArgs& args, const KernelContext& context) {
  zero_outside(args.sequence, static_cast<float*>(args.dx), args.channels);
  const std::int64_t tiles = (args.channels + conv::kBackTile - 1) / conv::kBackTile;
  context.parallel_for(tiles,
                       [&](std::int64_t tile) { conv::BackTile(args, tile * conv::kBackTile); });
}

}  // namespace HWY_NAMESPACE
}  // namespace rill
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <rill/scan/cpu/families.h>

namespace rill {
HWY_EXPORT(CausalConv);
HWY_EXPORT(CausalConvBackward);

void fill_causal_conv(ScanKernels& f32, ScanKernels& f64) {
  f32.causal_conv = [](const CausalConvArgs& args, const KernelContext& context) {
    HWY_DYNAMIC_DISPATCH(CausalConv)(args, context);
  };
  f32.causal_conv_backward = [](const CausalConvBackwardArgs& args, const KernelContext& context) {
    HWY_DYNAMIC_DISPATCH(CausalConvBackward)(args, context);
  };
  f32.transpose = plain::transpose<float>;
  f64.causal_conv = plain::causal_conv<double>;
  f64.causal_conv_backward = plain::causal_conv_backward<double>;
  f64.transpose = plain::transpose<double>;
}

}  // namespace rill
#endif  // HWY_ONCE
