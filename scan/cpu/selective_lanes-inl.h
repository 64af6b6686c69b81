// Private: what both directions of the selective scan share, compiled once per vector target. Lanes
// run over channels; a channel's states lie in registers, kStates at a time, for a block of time;
// steps of a block that belong to all states (softplus, gate, skip) are computed once and lie in
// the first cache.
#if defined(RILL_SCAN_SELECTIVE_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RILL_SCAN_SELECTIVE_LANES_INL_H_
#undef RILL_SCAN_SELECTIVE_LANES_INL_H_
#else
#define RILL_SCAN_SELECTIVE_LANES_INL_H_
#endif

#include <hwy/highway.h>

#include <rill/core/simd-inl.h>
#include <rill/core/simd_math-inl.h>
#include <rill/scan/cpu/rows.h>
#include <rill/scan/kernels.h>

HWY_BEFORE_NAMESPACE();
namespace rill {
namespace HWY_NAMESPACE {
namespace selective {

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

constexpr std::int64_t kLanes = static_cast<std::int64_t>(hn::MaxLanes(D()));
constexpr std::int64_t kSteps = kSelectiveChunk;
// States whose h and A fit the register file beside the constants of the exponential.
constexpr int kStates = HWY_TARGET == HWY_AVX3 ? 8 : 4;

// 2^(delta a) for delta >= 0 and a <= 0, to 1.5 ulp: seven operations less than Exp. The product is
// never rounded: the multiply-adds that split it into integer and fraction see it exactly. kClamp:
// where it may lie below -125; the same bits where it does not.
template <bool kClamp>
HWY_INLINE V Decay(D d, V delta, V a) {
  const hn::Rebind<std::int32_t, D> di;
  const V round =
      hn::Set(d, 12582912.0f);  // 1.5 * 2^23: the sum's low bits are the nearest integer
  V t = hn::MulAdd(delta, a, round);
  if (kClamp) t = hn::Max(hn::Set(d, 12582912.0f - 125.0f), t);
  V r = hn::MulSub(delta, a, hn::Sub(t, round));
  if (kClamp) r = hn::Max(hn::Set(d, -0.5f), r);
  // Minimax in the relative error (9e-8), coefficients rounded to float one after the other; 2^0 =
  // 1 exactly.
  V p = hn::Set(d, 0.001326940721f);
  p = hn::MulAdd(p, r, hn::Set(d, 0.00967129413f));
  p = hn::MulAdd(p, r, hn::Set(d, 0.05550711229f));
  p = hn::MulAdd(p, r, hn::Set(d, 0.240222469f));
  p = hn::MulAdd(p, r, hn::Set(d, 0.6931470037f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f));
  return hn::BitCast(d, hn::Add(hn::BitCast(di, p), hn::ShiftLeft<23>(hn::BitCast(di, t))));
}

// Float views of the arguments.
struct View {
  const float *x, *dt, *dt_bias, *a, *b, *c, *d, *z;
  const std::uint8_t* reset;
  std::int64_t channels, states;

  explicit View(const SelectiveScanArgs& args)
      : x(static_cast<const float*>(args.x)),
        dt(static_cast<const float*>(args.dt)),
        dt_bias(static_cast<const float*>(args.dt_bias)),
        a(static_cast<const float*>(args.a)),
        b(static_cast<const float*>(args.b)),
        c(static_cast<const float*>(args.c)),
        d(static_cast<const float*>(args.d)),
        z(static_cast<const float*>(args.z)),
        reset(args.sequence.reset),
        channels(args.channels),
        states(args.states) {}
};

// A block of time of one vector of channels: tokens [t, t + steps), channels [e, e + lanes). Arrays
// are [steps][kLanes].
struct Block {
  std::int64_t t, steps, e, lanes;
  bool clamp;          // the exponents may lie below -125
  const float* delta;  // softplus(dt + bias)
  const float* u;      // delta x
  float* y;            // D x, then the sums before the gate
};

// The blocks of a tile of up to kChannels channels. A step's row is read once, from end to end:
// channels of one vector lie pages apart from step to step, where no hardware looks ahead.
template <std::int64_t kChannels>
struct TileBlocks {
  static constexpr std::int64_t kSize = kChannels * kSteps;
  HWY_ALIGN float delta[kSize], u[kSize], y[kSize];
  HWY_ALIGN float largest[kChannels];  // step of a channel in the block

  // Fills delta, u and y = D x, at tokens [t, t + steps) and channels [first, first + count).
  HWY_INLINE void Prepare(D d, const View& in, std::int64_t t, std::int64_t steps,
                          std::int64_t first, std::int64_t count) {
    for (std::int64_t c = 0; c < count; c += kLanes) hn::Store(hn::Zero(d), d, largest + c);
    for (std::int64_t i = 0; i < steps; ++i) {
      const std::int64_t row = (t + i) * in.channels + first;
      for (std::int64_t c = 0; c < count; c += kLanes) {
        const std::int64_t lanes = count - c, at = c * kSteps + i * kLanes;
        const V x = LoadN(d, in.x + row + c, lanes);
        V raw = LoadN(d, in.dt + row + c, lanes), skip = hn::Zero(d);
        if (in.dt_bias) raw = hn::Add(raw, LoadN(d, in.dt_bias + first + c, lanes));
        if (in.d) skip = hn::Mul(x, LoadN(d, in.d + first + c, lanes));
        const V step = Softplus(d, raw);
        hn::Store(hn::Max(hn::Load(d, largest + c), step), d, largest + c);
        hn::Store(step, d, delta + at);
        hn::Store(hn::Mul(step, x), d, u + at);
        hn::Store(skip, d, y + at);
      }
    }
  }

  // The block of the vector of channels at first + c.
  HWY_INLINE Block At(D d, const View& in, std::int64_t t, std::int64_t steps, std::int64_t first,
                      std::int64_t count, std::int64_t c) {
    const std::int64_t e = first + c, lanes = count - c;
    bool clamp = true;
    if (steps > 2) {  // fewer are clamped sooner than looked at
      V steepest = hn::Zero(d);
      for (std::int64_t n = 0; n < in.states; ++n)
        steepest = hn::Min(steepest, LoadN(d, in.a + n * in.channels + e, lanes));
      const V lowest = hn::Mul(hn::Load(d, largest + c), steepest);
      clamp = !hn::AllTrue(d, hn::Gt(lowest, hn::Set(d, -124.0f)));
    }
    return {t, steps, e, lanes, clamp, delta + c * kSteps, u + c * kSteps, y + c * kSteps};
  }
};

// Receives nothing: the forward pass keeps no states.
struct KeepNone {
  HWY_INLINE void State(D, std::int64_t, std::int64_t, V) const {}
  HWY_INLINE void Decay(D, std::int64_t, std::int64_t, V) const {}
};

// States [n, n + kCount) through a block; h in memory [states][stride] is read before and written
// after it.
template <int kCount, bool kClamp, class Keep>
HWY_INLINE void RunStates(D d, const View& in, const Block& block, std::int64_t n,
                          float* HWY_RESTRICT h, std::int64_t stride, const Keep& keep) {
  V state[kCount], a[kCount];
  HWY_UNROLL(8)
  for (int k = 0; k < kCount; ++k) {
    state[k] = LoadN(d, h + (n + k) * stride, block.lanes);
    a[k] = LoadN(d, in.a + (n + k) * in.channels + block.e, block.lanes);
  }
  for (std::int64_t i = 0; i < block.steps; ++i) {
    const float* HWY_RESTRICT b = in.b + (block.t + i) * in.states + n;
    const float* HWY_RESTRICT c = in.c + (block.t + i) * in.states + n;
    if (in.reset && in.reset[block.t + i]) {
      HWY_UNROLL(8)
      for (int k = 0; k < kCount; ++k) state[k] = hn::Zero(d);
    }
    const V delta = hn::Load(d, block.delta + i * kLanes), u = hn::Load(d, block.u + i * kLanes);
    V y = hn::Load(d, block.y + i * kLanes);
    HWY_UNROLL(8)
    for (int k = 0; k < kCount; ++k) {
      const V decay = Decay<kClamp>(d, delta, a[k]);
      state[k] = hn::MulAdd(decay, state[k], hn::Mul(u, hn::Set(d, b[k])));
      y = hn::MulAdd(state[k], hn::Set(d, c[k]), y);
      keep.Decay(d, i, n + k, decay);
      keep.State(d, i, n + k, state[k]);
    }
    hn::Store(y, d, block.y + i * kLanes);
  }
  HWY_UNROLL(8)
  for (int k = 0; k < kCount; ++k) StoreN(d, state[k], h + (n + k) * stride, block.lanes);
}

// All states through a block: block.y becomes D x + C h, summed in the order of the states.
template <bool kClamp, class Keep>
void RunBlock(D d, const View& in, const Block& block, float* h, std::int64_t stride,
              const Keep& keep) {
  std::int64_t n = 0;
  for (; n + kStates <= in.states; n += kStates)
    RunStates<kStates, kClamp>(d, in, block, n, h, stride, keep);
  for (; n + 2 <= in.states; n += 2) RunStates<2, kClamp>(d, in, block, n, h, stride, keep);
  for (; n < in.states; ++n) RunStates<1, kClamp>(d, in, block, n, h, stride, keep);
}

template <class Keep>
HWY_INLINE void Run(D d, const View& in, const Block& block, float* h, std::int64_t stride,
                    const Keep& keep) {
  if (block.clamp)
    RunBlock<true>(d, in, block, h, stride, keep);
  else
    RunBlock<false>(d, in, block, h, stride, keep);
}

#if HWY_TARGET != HWY_SCALAR

// Rows of four floats, one every `stride`, in the blocks of a vector; and the way back.
template <class DW>
HWY_INLINE hn::Vec<DW> GatherRows(DW d, const float* p, std::int64_t stride) {
  constexpr std::int64_t rows = static_cast<std::int64_t>(hn::MaxLanes(DW())) / 4;
  if constexpr (rows == 1) {
    return hn::LoadU(d, p);
  } else {
    const hn::Half<DW> half;
    return hn::Combine(d, GatherRows(half, p + rows / 2 * stride, stride),
                       GatherRows(half, p, stride));
  }
}
template <class DW>
HWY_INLINE void ScatterRows(DW d, hn::Vec<DW> v, float* p, std::int64_t stride) {
  constexpr std::int64_t rows = static_cast<std::int64_t>(hn::MaxLanes(DW())) / 4;
  if constexpr (rows == 1) {
    hn::StoreU(v, d, p);
  } else {
    const hn::Half<DW> half;
    ScatterRows(half, hn::LowerHalf(half, v), p, stride);
    ScatterRows(half, hn::UpperHalf(half, v), p + rows / 2 * stride, stride);
  }
}

// Transposes the 4 x 4 in every block of four vectors.
HWY_INLINE void TransposeBlocks(D d, V& v0, V& v1, V& v2, V& v3) {
  const hn::RepartitionToWide<D> dw;
  const V a = hn::InterleaveLower(d, v0, v1), b = hn::InterleaveUpper(d, v0, v1);
  const V c = hn::InterleaveLower(d, v2, v3), e = hn::InterleaveUpper(d, v2, v3);
  v0 = hn::BitCast(d, hn::InterleaveLower(dw, hn::BitCast(dw, a), hn::BitCast(dw, c)));
  v1 = hn::BitCast(d, hn::InterleaveUpper(dw, hn::BitCast(dw, a), hn::BitCast(dw, c)));
  v2 = hn::BitCast(d, hn::InterleaveLower(dw, hn::BitCast(dw, b), hn::BitCast(dw, e)));
  v3 = hn::BitCast(d, hn::InterleaveUpper(dw, hn::BitCast(dw, b), hn::BitCast(dw, e)));
}

#endif  // HWY_SCALAR

// [channels][states] of a tile -> [states][stride] of channels. A step of one token does little
// else: four states of a vector of channels at a time.
HWY_INLINE void StatesFirst(const float* HWY_RESTRICT from, float* HWY_RESTRICT to,
                            std::int64_t channels, std::int64_t states, std::int64_t stride) {
  std::int64_t whole = 0, fours = 0;
#if HWY_TARGET != HWY_SCALAR
  const D d;
  whole = channels / kLanes * kLanes;
  fours = states / 4 * 4;
  for (std::int64_t e = 0; e < whole; e += kLanes)
    for (std::int64_t n = 0; n < fours; n += 4) {
      // Block g of row k: channel e + 4 g + k.
      V v[4];
      for (int k = 0; k < 4; ++k) v[k] = GatherRows(d, from + (e + k) * states + n, 4 * states);
      TransposeBlocks(d, v[0], v[1], v[2], v[3]);
      for (int k = 0; k < 4; ++k) hn::StoreU(v[k], d, to + (n + k) * stride + e);
    }
#endif
  for (std::int64_t e = 0; e < channels; ++e)
    for (std::int64_t n = e < whole ? fours : 0; n < states; ++n)
      to[n * stride + e] = from[e * states + n];
}
HWY_INLINE void ChannelsFirst(const float* HWY_RESTRICT from, float* HWY_RESTRICT to,
                              std::int64_t channels, std::int64_t states, std::int64_t stride) {
  std::int64_t whole = 0, fours = 0;
#if HWY_TARGET != HWY_SCALAR
  const D d;
  whole = channels / kLanes * kLanes;
  fours = states / 4 * 4;
  for (std::int64_t e = 0; e < whole; e += kLanes)
    for (std::int64_t n = 0; n < fours; n += 4) {
      V v[4];
      for (int k = 0; k < 4; ++k) v[k] = hn::LoadU(d, from + (n + k) * stride + e);
      TransposeBlocks(d, v[0], v[1], v[2], v[3]);
      for (int k = 0; k < 4; ++k) ScatterRows(d, v[k], to + (e + k) * states + n, 4 * states);
    }
#endif
  for (std::int64_t e = 0; e < channels; ++e)
    for (std::int64_t n = e < whole ? fours : 0; n < states; ++n)
      to[e * states + n] = from[n * stride + e];
}

}  // namespace selective
}  // namespace HWY_NAMESPACE
}  // namespace rill
HWY_AFTER_NAMESPACE();

#endif
