// Private: tiles of vectors side by side, the last one partial, and the loop that cuts channels
// into them; compiled once per target.
#if defined(RILL_SCAN_CPU_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RILL_SCAN_CPU_LANES_INL_H_
#undef RILL_SCAN_CPU_LANES_INL_H_
#else
#define RILL_SCAN_CPU_LANES_INL_H_
#endif

#include <hwy/highway.h>

#include <rill/core/simd-inl.h>

HWY_BEFORE_NAMESPACE();
namespace rill {
namespace HWY_NAMESPACE {
namespace lanes {

namespace hn = hwy::HWY_NAMESPACE;

using Tag = hn::ScalableTag<float>;
using Vec = hn::Vec<Tag>;

HWY_INLINE std::int64_t Count() { return static_cast<std::int64_t>(hn::Lanes(Tag())); }

/// N vectors of tag D side by side, or (N = 1, Part) the first `count` lanes of one.
template <class D, int N, bool Part>
struct Tile {
  hn::Vec<D> v[N];

  HWY_INLINE static std::int64_t Width() { return static_cast<std::int64_t>(hn::Lanes(D())); }
  HWY_INLINE static Tile Zero() {
    Tile t;
    for (int j = 0; j < N; ++j) t.v[j] = hn::Zero(D());
    return t;
  }
  HWY_INLINE static Tile Load(const float* from, [[maybe_unused]] std::int64_t count) {
    Tile t;
    if constexpr (Part) {
      t.v[0] = LoadN(D(), from, count);
    } else {
      for (int j = 0; j < N; ++j) t.v[j] = hn::LoadU(D(), from + j * Width());
    }
    return t;
  }
  HWY_INLINE void Store(float* to, [[maybe_unused]] std::int64_t count) const {
    if constexpr (Part) {
      StoreN(D(), v[0], to, count);
    } else {
      for (int j = 0; j < N; ++j) hn::StoreU(v[j], D(), to + j * Width());
    }
  }
};

/// Cuts [begin, end) into tiles and calls f.template operator()<D, N, Part>(first, count). What is
/// less than a vector goes to smaller whole vectors first: a masked store stalls the next load of
/// the same place. Lanes do not meet, so that an element's bits do not depend on its tile.
template <class F>
HWY_INLINE void ForTiles(std::int64_t begin, std::int64_t end, const F& f) {
  const std::int64_t lanes = Count();
  std::int64_t at = begin;
  for (; at + 4 * lanes <= end; at += 4 * lanes)
    f.template operator()<Tag, 4, false>(at, 4 * lanes);
  if (at + 2 * lanes <= end) {
    f.template operator()<Tag, 2, false>(at, 2 * lanes);
    at += 2 * lanes;
  }
  if (at + lanes <= end) {
    f.template operator()<Tag, 1, false>(at, lanes);
    at += lanes;
  }
#if HWY_TARGET == HWY_AVX3
  if (at + 8 <= end) {
    f.template operator()<hn::CappedTag<float, 8>, 1, false>(at, 8);
    at += 8;
  }
#endif
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2
  if (at + 4 <= end) {
    f.template operator()<hn::CappedTag<float, 4>, 1, false>(at, 4);
    at += 4;
  }
#endif
  if (at < end) f.template operator()<hn::CappedTag<float, 4>, 1, true>(at, end - at);
}

/// A tile V of a state [keys, values] elsewhere: `from`, `to` are its first elements.
template <class V>
HWY_INLINE void CopyTile(const float* from, float* to, std::int64_t keys, std::int64_t values,
                         std::int64_t count) {
  for (std::int64_t i = 0; i < keys; ++i)
    V::Load(from + i * values, count).Store(to + i * values, count);
}
template <class V>
HWY_INLINE void ClearTile(float* to, std::int64_t keys, std::int64_t values, std::int64_t count) {
  for (std::int64_t i = 0; i < keys; ++i) V::Zero().Store(to + i * values, count);
}

/// sum_i a[i] b[i], in an order that depends on `count` alone.
HWY_INLINE float Dot(const float* a, const float* b, std::int64_t count) {
  const Tag d;
  const std::int64_t lanes = Count();
  Vec sum = hn::Zero(d);
  std::int64_t i = 0;
  for (; i + lanes <= count; i += lanes)
    sum = hn::MulAdd(hn::LoadU(d, a + i), hn::LoadU(d, b + i), sum);
  if (i < count) sum = hn::MulAdd(LoadN(d, a + i, count - i), LoadN(d, b + i, count - i), sum);
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

}  // namespace lanes
}  // namespace HWY_NAMESPACE
}  // namespace rill
HWY_AFTER_NAMESPACE();

#endif
