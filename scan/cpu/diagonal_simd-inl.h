// Private: what the forward and the backward lanes of the diagonal recurrence share, compiled once
// per target. Lanes run over the reals of a channel's state, (re, im) side by side as they lie in
// memory: the partner of a lane is one in-lane shuffle away, the state needs no transposition, and
// a single step reads it as it is.
#if defined(RILL_SCAN_DIAGONAL_SIMD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RILL_SCAN_DIAGONAL_SIMD_INL_H_
#undef RILL_SCAN_DIAGONAL_SIMD_INL_H_
#else
#define RILL_SCAN_DIAGONAL_SIMD_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>

#include <rill/core/simd-inl.h>
#include <rill/scan/diagonal_args.h>

#if HWY_TARGET != HWY_SCALAR  // there are no lanes to shuffle: the plain loops serve

HWY_BEFORE_NAMESPACE();
namespace rill {
namespace HWY_NAMESPACE {
namespace diagonal {

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

constexpr int kLanes = static_cast<int>(hn::MaxLanes(D()));
constexpr std::int64_t kBlock = kDiagonalBlock;

// x in the lanes that take it: the real parts, or every lane of a real state.
template <bool kComplex>
HWY_INLINE V Input(D d, float x) {
  if constexpr (!kComplex) return hn::Set(d, x);
  return hn::OddEven(hn::Zero(d), hn::Set(d, x));
}

template <bool kComplex>
HWY_INLINE V Advance(V p, V q, V h, V x) {
  const V next = hn::MulAdd(p, h, x);
  if constexpr (!kComplex) return next;
  return hn::MulAdd(q, hn::Shuffle2301(h), next);
}

// Adjoint of Advance in h.
template <bool kComplex>
HWY_INLINE V Retreat(V p, V q, V g) {
  const V before = hn::Mul(p, g);
  if constexpr (!kComplex) return before;
  return hn::NegMulAdd(q, hn::Shuffle2301(g), before);
}

// One block of one tile of channels; pointers are to the tile's first channel.
struct Block {
  std::int64_t channels = 0, width = 0,
               padded = 0;  // strides: of tokens, of states, of coefficients
  const float* coefficients = nullptr;
  const float* x = nullptr;  // at the block's first token
  std::int64_t steps = 0;
  const std::uint8_t* reset = nullptr;  // at the block's first token, or null
};

// Sums over the lanes of four vectors, in their order; every sum is taken in the same order.
HWY_INLINE void SumOfFour(const float* HWY_RESTRICT vectors, std::int64_t count, float* sums) {
  const D d;
  const auto at = [&](std::int64_t i) {
    return i < count ? hn::Load(d, vectors + i * kLanes) : hn::Zero(d);
  };
  const auto fold = [&](V a, V b) {
    return hn::Add(hn::InterleaveLower(d, a, b), hn::InterleaveUpper(d, a, b));
  };
  const V blocks = fold(fold(at(0), at(2)), fold(at(1), at(3)));
  if constexpr (kLanes == 4) {
    hn::StoreU(blocks, d, sums);
  } else {
    const hn::Half<D> half;
    const auto halves = hn::Add(hn::LowerHalf(half, blocks), hn::UpperHalf(half, blocks));
    if constexpr (kLanes == 8) {
      hn::StoreU(halves, half, sums);
    } else {
      const hn::Half<decltype(half)> quarter;
      hn::StoreU(hn::Add(hn::LowerHalf(quarter, halves), hn::UpperHalf(quarter, halves)), quarter,
                 sums);
    }
  }
}

// y = sum over lanes + scale * x, for `steps` steps of C channels whose sums by lanes are
// partial[step][channel].
template <int kC>
void Finish(const Block& block, const float* scale, const float* x, const float* partial,
            float* y) {
  const std::int64_t count = block.steps * kC;
  for (std::int64_t first = 0; first < count; first += 4) {
    float sums[4];
    SumOfFour(partial + first * kLanes, count - first, sums);
    for (std::int64_t i = first; i < std::min(first + 4, count); ++i) {
      const std::int64_t c = i % kC, at = i / kC * block.channels + c;
      y[at] = sums[i - first] + (scale ? scale[c] * x[at] : 0.0f);
    }
  }
}

}  // namespace diagonal
}  // namespace HWY_NAMESPACE
}  // namespace rill
HWY_AFTER_NAMESPACE();

#endif
#endif
