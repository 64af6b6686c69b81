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

/// N vectors side by side, or (N = 1, Part) the first `count` lanes of one.
template <int N, bool Part>
struct Tile {
  Vec v[N];

  HWY_INLINE static Tile Zero() {
    Tile t;
    for (int j = 0; j < N; ++j) t.v[j] = hn::Zero(Tag());
    return t;
  }
  HWY_INLINE static Tile Load(const float* from, [[maybe_unused]] std::int64_t count) {
    Tile t;
    if constexpr (Part) {
      t.v[0] = LoadN(Tag(), from, count);
    } else {
      for (int j = 0; j < N; ++j) t.v[j] = hn::LoadU(Tag(), from + j * Count());
    }
    return t;
  }
  HWY_INLINE void Store(float* to, [[maybe_unused]] std::int64_t count) const {
    if constexpr (Part) {
      StoreN(Tag(), v[0], to, count);
    } else {
      for (int j = 0; j < N; ++j) hn::StoreU(v[j], Tag(), to + j * Count());
    }
  }
};

/// Cuts [begin, end) into tiles and calls f.template operator()<N, Part>(first, count).
template <class F>
HWY_INLINE void ForTiles(std::int64_t begin, std::int64_t end, const F& f) {
  const std::int64_t lanes = Count();
  std::int64_t at = begin;
  for (; at + 4 * lanes <= end; at += 4 * lanes) f.template operator()<4, false>(at, 4 * lanes);
  if (at + 2 * lanes <= end) {
    f.template operator()<2, false>(at, 2 * lanes);
    at += 2 * lanes;
  }
  if (at + lanes <= end) {
    f.template operator()<1, false>(at, lanes);
    at += lanes;
  }
  if (at < end) f.template operator()<1, true>(at, end - at);
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
