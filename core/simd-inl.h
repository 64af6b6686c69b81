// Private: partial vectors for Highway kernels, compiled once per target. Highway 1.0.3 has no
// LoadN and StoreN, and its MaskedLoad reads whole, aligned vectors on SSE4. An element's bits must
// not depend on its position: tails run through the same vector code as everything else, and these
// two functions bring them in and out.
#if defined(RILL_CORE_SIMD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RILL_CORE_SIMD_INL_H_
#undef RILL_CORE_SIMD_INL_H_
#else
#define RILL_CORE_SIMD_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>
#include <cstring>

HWY_BEFORE_NAMESPACE();
namespace rill {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

/// The first `count` lanes (any count >= 0; all lanes where there are at least that many), zeros
/// beyond. Nothing beyond is read.
template <class D>
HWY_INLINE hn::Vec<D> LoadN(D d, const hn::TFromD<D>* p, std::int64_t count) {
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
  if (count >= lanes) return hn::LoadU(d, p);
#if HWY_TARGET <= \
    HWY_AVX2  // smaller is better: masked loads there touch nothing outside of the mask
  return hn::MaskedLoad(hn::FirstN(d, static_cast<std::size_t>(count)), d, p);
#else
  HWY_ALIGN hn::TFromD<D> lane[hn::MaxLanes(d)] = {};
  std::memcpy(lane, p, static_cast<std::size_t>(count) * sizeof(lane[0]));
  return hn::Load(d, lane);
#endif
}

/// Writes the first `count` lanes and nothing beyond.
template <class D>
HWY_INLINE void StoreN(D d, hn::Vec<D> v, hn::TFromD<D>* p, std::int64_t count) {
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
  if (count >= lanes) return hn::StoreU(v, d, p);
#if HWY_TARGET <= HWY_AVX2
  hn::BlendedStore(v, hn::FirstN(d, static_cast<std::size_t>(count)), d, p);
#else
  HWY_ALIGN hn::TFromD<D> lane[hn::MaxLanes(d)];
  hn::Store(v, d, lane);
  std::memcpy(p, lane, static_cast<std::size_t>(count) * sizeof(lane[0]));
#endif
}

}  // namespace HWY_NAMESPACE
}  // namespace rill
HWY_AFTER_NAMESPACE();

#endif
