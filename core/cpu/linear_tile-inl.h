// Private, per vector target: the register tile of the float product. R rows by V vectors of sums
// stay in registers while k runs; every sum is one chain of MulAdd in the order of k, whatever the
// tile, so that an element's bits do not depend on the tile that it falls into. Sums live in y
// between blocks of k, as floats, like in registers.
#if defined(RILL_CORE_CPU_LINEAR_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RILL_CORE_CPU_LINEAR_TILE_INL_H_
#undef RILL_CORE_CPU_LINEAR_TILE_INL_H_
#else
#define RILL_CORE_CPU_LINEAR_TILE_INL_H_
#endif

#include <hwy/highway.h>

#include <array>
#include <cstdint>
#include <utility>

#include <rill/core/cpu/linear.h>
#include <rill/core/half.h>
#include <rill/core/simd-inl.h>

HWY_BEFORE_NAMESPACE();
namespace rill::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using LinearTag = hn::ScalableTag<float>;
using LinearVec = hn::Vec<LinearTag>;
inline constexpr std::int64_t kLanes = HWY_LANES(float) < 16 ? HWY_LANES(float) : 16;
inline constexpr std::int64_t kStep = kLinearPanel;  // floats from one k to the next in a panel
inline constexpr std::int64_t kBlockK = 384;         // steps of k a block
inline constexpr std::int64_t kRowK =
    kBlockK + 16;  // row stride of a copied block of x: not a power of two
// Rows a tile: 12 x 2 sums fill 32 registers, 6 x 2 fill 16, each with two weights and one x.
// The scalar target is never offered: it only has to compile.
inline constexpr int kMaxRows = HWY_TARGET <= HWY_AVX3 ? 12 : HWY_TARGET == HWY_SCALAR ? 3 : 6;
inline constexpr int kRowGroup =
    kMaxRows / 3;  // tiles of interleaved x have 1, 2 or 3 groups of rows

// Calls f(0), ..., f(N - 1) with constants: loops over registers must not be left to the
// optimiser's judgement.
template <int N, class F>
HWY_INLINE void unroll(const F& f) {
  [&]<int... I>(std::integer_sequence<int, I...>) HWY_ATTR __attribute__((always_inline)) {
    (f(std::integral_constant<int, I>{}), ...);
  }
  (std::make_integer_sequence<int, N>{});
}

HWY_INLINE LinearVec load_weight(const float* p) { return hn::LoadU(LinearTag(), p); }
HWY_INLINE LinearVec load_weight(const BFloat16* p) {
  const LinearTag d;
  const hn::RebindToUnsigned<LinearTag> du;
  const hn::Rebind<std::uint16_t, LinearTag> d16;
  const auto bits = hn::LoadU(d16, reinterpret_cast<const std::uint16_t*>(p));
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(du, bits)));
}
HWY_INLINE LinearVec load_weight(const Half* p) {
  const LinearTag d;
#if HWY_TARGET <= HWY_AVX2 && !defined(HWY_DISABLE_F16C)
  const hn::Rebind<hwy::float16_t, LinearTag> d16;
  return hn::PromoteTo(d, hn::LoadU(d16, reinterpret_cast<const hwy::float16_t*>(p)));
#else
  // As half.h: subnormals through an integer's conversion, so that no float here is subnormal.
  const hn::RebindToUnsigned<LinearTag> du;
  const hn::RebindToSigned<LinearTag> di;
  const hn::Rebind<std::uint16_t, LinearTag> d16;
  const auto bits = hn::PromoteTo(du, hn::LoadU(d16, reinterpret_cast<const std::uint16_t*>(p)));
  const auto sign = hn::ShiftLeft<16>(hn::And(bits, hn::Set(du, 0x8000u)));
  const auto magnitude = hn::BitCast(di, hn::And(bits, hn::Set(du, 0x7fffu)));
  const auto shifted = hn::ShiftLeft<13>(magnitude);
  const auto normal = hn::Add(shifted, hn::Set(di, 0x38000000));
  const auto special = hn::Or(shifted, hn::Set(di, 0x7f800000));
  const auto tiny = hn::BitCast(di, hn::Mul(hn::ConvertTo(d, magnitude), hn::Set(d, 0x1p-24f)));
  const auto large = hn::IfThenElse(hn::Gt(magnitude, hn::Set(di, 0x7bff)), special, normal);
  const auto value = hn::IfThenElse(hn::Lt(magnitude, hn::Set(di, 0x400)), tiny, large);
  return hn::BitCast(d, hn::Or(hn::BitCast(du, value), sign));
#endif
}

// One call of a tile: y[r, 0..columns) for the first `rows` of R rows. `columns` may end inside the
// last vector.
template <class W>
struct TileCall {
  const float* a;      // x of the first row, or the interleaved block [k][R]
  std::int64_t a_row;  // stride between rows of x (not interleaved)
  const W* b;          // first weight of the first panel at the first k
  std::int64_t panel;  // from a panel to the next, in elements
  std::int64_t k;      // steps
  float* y;
  std::int64_t y_row;
  const float* bias;  // or null
  std::int64_t columns;
  int rows;
  bool load_y;  // the chain starts at y, not at 0
};

// How x lies: rows read where they are, rows copied with the stride kRowK, or copied as [k][R].
enum class Rows { kInPlace, kCopied, kInterleaved };

// Vector v of V: only the last may be partial.
template <int V>
HWY_INLINE LinearVec load_columns(const float* p, int v, std::int64_t columns) {
  const LinearTag d;
  if (v + 1 < V) return hn::LoadU(d, p + v * kLanes);
  return LoadN(d, p + v * kLanes, columns - v * kLanes);
}

template <int V>
HWY_INLINE void store_columns(LinearVec value, float* p, int v, std::int64_t columns) {
  const LinearTag d;
  if (v + 1 < V) return hn::StoreU(value, d, p + v * kLanes);
  StoreN(d, value, p + v * kLanes, columns - v * kLanes);
}

template <int R, int V, Rows kRows, class W>
HWY_NOINLINE void tile(const TileCall<W>& call) {
  const LinearTag d;
  using Sums = std::array<std::array<LinearVec, V>, R>;
  Sums sums;
  unroll<R>([&](auto r) HWY_ATTR __attribute__((always_inline)) {
    unroll<V>([&](auto v) HWY_ATTR __attribute__((always_inline)) {
      sums[r][v] = hn::Zero(d);
      if (call.load_y && (kRows != Rows::kInterleaved || r < call.rows))
        sums[r][v] = load_columns<V>(call.y + r * call.y_row, v, call.columns);
    });
  });
  if (call.bias) {
    unroll<V>([&](auto v) HWY_ATTR __attribute__((always_inline)) {
      const LinearVec bias = load_columns<V>(call.bias, v, call.columns);
      unroll<R>([&](auto r) HWY_ATTR
                __attribute__((always_inline)) { sums[r][v] = hn::Add(sums[r][v], bias); });
    });
  }
  const float* HWY_RESTRICT a = call.a;
  const W* HWY_RESTRICT b = call.b;
  const std::int64_t a_row = kRows == Rows::kInPlace  ? call.a_row
                             : kRows == Rows::kCopied ? kRowK
                                                      : 1;
  constexpr std::int64_t a_step = kRows == Rows::kInterleaved ? R : 1;
  const auto weight = [&](int v) HWY_ATTR __attribute__((always_inline)) {
    return load_weight(b + v * kLanes / kLinearPanel * call.panel + v * kLanes % kLinearPanel);
  };
  const std::int64_t steps = call.k;
  for (std::int64_t i = 0; i < steps; ++i, a += a_step, b += kStep) {
    if constexpr (V > R) {
      std::array<LinearVec, R> x;
      unroll<R>([&](auto r) HWY_ATTR
                __attribute__((always_inline)) { x[r] = hn::Set(d, a[r * a_row]); });
      unroll<V>([&](auto v) HWY_ATTR __attribute__((always_inline)) {
        const LinearVec w = weight(v);
        unroll<R>([&](auto r) HWY_ATTR
                  __attribute__((always_inline)) { sums[r][v] = hn::MulAdd(x[r], w, sums[r][v]); });
      });
    } else {
      std::array<LinearVec, V> w;
      unroll<V>([&](auto v) HWY_ATTR __attribute__((always_inline)) { w[v] = weight(v); });
      unroll<R>([&](auto r) HWY_ATTR __attribute__((always_inline)) {
        const LinearVec x = hn::Set(d, a[r * a_row]);
        unroll<V>([&](auto v) HWY_ATTR
                  __attribute__((always_inline)) { sums[r][v] = hn::MulAdd(x, w[v], sums[r][v]); });
      });
    }
  }
  unroll<R>([&](auto r) HWY_ATTR __attribute__((always_inline)) {
    if (kRows == Rows::kInterleaved && r >= call.rows) return;
    unroll<V>([&](auto v) HWY_ATTR __attribute__((always_inline)) {
      store_columns<V>(sums[r][v], call.y + r * call.y_row, v, call.columns);
    });
  });
}

}  // namespace rill::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
