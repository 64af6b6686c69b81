// The affine scan on vectors of float. Lanes run over channels (complex: over re and im), a token's
// channels lie side by side: a task walks a stretch of channels through time, and the state before
// a token is the result of the one before it, still in the first cache.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "rill/scan/cpu/affine_simd.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <rill/core/simd-inl.h>
#include <rill/core/simd_math-inl.h>
#include <rill/scan/cpu/affine_plain-inl.h>
#include <rill/scan/cpu/rows.h>
#include <rill/scan/kernels.h>

#include <limits>

HWY_BEFORE_NAMESPACE();
namespace rill {
namespace HWY_NAMESPACE {
#if HWY_TARGET == \
    HWY_SCALAR  // demanded by Highway, not offered (core/cpu_target.h): the plain loops

void ScanAffine(const AffineScanArgs& args, const KernelContext& context) {
  plain::affine_scan<float>(args, context);
}
void BackAffine(const AffineScanBackwardArgs& args, const KernelContext& context) {
  plain::affine_scan_backward<float>(args, context);
}

#else
namespace affine {

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

// Floats of a tile: the rows of a, b and h of two tokens and a carry stay in the first cache.
constexpr std::int64_t kTile = 1024;

HWY_INLINE V NegativeInfinity(D d) { return hn::Set(d, -std::numeric_limits<float>::infinity()); }

struct RealStep {
  static HWY_INLINE V Fresh(D d) { return hn::Zero(d); }
  static HWY_INLINE V Step(D, V a, V b, V h) { return hn::MulAdd(a, h, b); }
  static HWY_INLINE void Back(D, V a, V, V before, V, V g, V& da, V& db, V& carry) {
    da = hn::Mul(g, before);
    db = g;
    carry = hn::Mul(a, g);
  }
};

// Pairs (re, im) in neighbouring lanes.
struct ComplexStep {
  static HWY_INLINE V Fresh(D d) { return hn::Zero(d); }
  // i h = (-im, re).
  static HWY_INLINE V TimesI(D d, V h) {
    const V signs = hn::OddEven(hn::Zero(d), hn::Set(d, -0.0f));
    return hn::Xor(hn::Shuffle2301(h), signs);
  }
  static HWY_INLINE V Multiply(D d, V a, V h, V b) {
    return hn::MulAdd(hn::DupEven(a), h, hn::MulAdd(hn::DupOdd(a), TimesI(d, h), b));
  }
  static HWY_INLINE V MultiplyConjugate(D d, V a, V g) {
    return hn::NegMulAdd(hn::DupOdd(a), TimesI(d, g), hn::Mul(hn::DupEven(a), g));
  }
  static HWY_INLINE V Step(D d, V a, V b, V h) { return Multiply(d, a, h, b); }
  static HWY_INLINE void Back(D d, V a, V, V before, V, V g, V& da, V& db, V& carry) {
    da = MultiplyConjugate(d, before, g);
    db = g;
    carry = MultiplyConjugate(d, a, g);
  }
};

struct LogStep {
  static HWY_INLINE V Fresh(D d) { return NegativeInfinity(d); }
  static HWY_INLINE V Step(D d, V a, V b, V h) {
    const V x = hn::Add(a, h);
    const V high = hn::Max(x, b), low = hn::Min(x, b);
    const V sum = hn::Add(high, simd_math::Log1pUnit(d, Exp(d, hn::Sub(low, high))));
    // Both 0: their difference is NaN.
    return hn::IfThenElse(hn::Eq(high, NegativeInfinity(d)), high, sum);
  }
  static HWY_INLINE void Back(D d, V a, V b, V before, V h, V g, V& da, V& db, V& carry) {
    const auto some = hn::Gt(h, NegativeInfinity(d));
    da = hn::IfThenElseZero(some, hn::Mul(g, Exp(d, hn::Sub(hn::Add(a, before), h))));
    db = hn::IfThenElseZero(some, hn::Mul(g, Exp(d, hn::Sub(b, h))));
    carry = da;
  }
};

template <class StepType>
void ScanTile(const AffineScanArgs& args, std::int64_t width, std::int64_t row,
              std::int64_t first) {
  const D d;
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const std::int64_t count = std::min(kTile, width - first);
  const auto* a = static_cast<const float*>(args.a) + first;
  const auto* b = static_cast<const float*>(args.b) + first;
  auto* h = static_cast<float*>(args.h) + first;
  const float* before = static_cast<const float*>(args.initial) + row * width + first;
  auto* last = static_cast<float*>(args.final_state) + row * width + first;
  const RowWalk walk(args.sequence, row, args.reverse != 0);
  for (std::int64_t i = 0; i < walk.length; ++i) {
    const std::int64_t at = walk.token(i) * width;
    const bool fresh = walk.fresh(i);
    for (std::int64_t c = 0; c < count; c += lanes) {
      const V vb = LoadN(d, b + at + c, count - c);
      const V vh = fresh ? vb
                         : StepType::Step(d, LoadN(d, a + at + c, count - c), vb,
                                          LoadN(d, before + c, count - c));
      StoreN(d, vh, h + at + c, count - c);
    }
    before = h + at;
  }
  const bool cut = walk.cut_out();
  for (std::int64_t c = 0; c < count; c += lanes)
    StoreN(d, cut ? StepType::Fresh(d) : LoadN(d, before + c, count - c), last + c, count - c);
}

template <class StepType>
void BackTile(const AffineScanBackwardArgs& args, std::int64_t width, std::int64_t row,
              std::int64_t first) {
  const D d;
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const std::int64_t count = std::min(kTile, width - first);
  const auto in = [&](const void* p, std::int64_t at) {
    return static_cast<const float*>(p) + at + first;
  };
  const auto out = [&](void* p, std::int64_t at) { return static_cast<float*>(p) + at + first; };
  HWY_ALIGN float carry[kTile + hn::MaxLanes(d)];
  const RowWalk walk(args.sequence, row, args.reverse != 0);
  const bool from_final = args.dfinal && !walk.cut_out();
  for (std::int64_t c = 0; c < count; c += lanes)
    hn::Store(from_final ? LoadN(d, in(args.dfinal, row * width) + c, count - c) : hn::Zero(d), d,
              carry + c);
  for (std::int64_t i = walk.length; i-- > 0;) {
    const std::int64_t at = walk.token(i) * width;
    const bool fresh = walk.fresh(i);
    const float* before =
        i > 0 ? in(args.h, walk.token(i - 1) * width) : in(args.initial, row * width);
    for (std::int64_t c = 0; c < count; c += lanes) {
      const std::int64_t n = count - c;
      V next = hn::Load(d, carry + c), da, db;
      const V g = args.dh ? hn::Add(LoadN(d, in(args.dh, at) + c, n), next) : next;
      StepType::Back(d, LoadN(d, in(args.a, at) + c, n), LoadN(d, in(args.b, at) + c, n),
                     LoadN(d, before + c, n), LoadN(d, in(args.h, at) + c, n), g, da, db, next);
      StoreN(d, fresh ? hn::Zero(d) : da, out(args.da, at) + c, n);
      StoreN(d, fresh ? g : db, out(args.db, at) + c, n);
      hn::Store(fresh ? hn::Zero(d) : next, d, carry + c);
    }
  }
  for (std::int64_t c = 0; c < count; c += lanes)
    StoreN(d, hn::Load(d, carry + c), out(args.dinitial, row * width) + c, count - c);
}

}  // namespace affine

void ScanAffine(const AffineScanArgs& args, const KernelContext& context) {
  const std::int64_t width = args.channels * (args.complex ? 2 : 1);
  zero_outside(args.sequence, static_cast<float*>(args.h), width);
  const std::int64_t tiles = (width + affine::kTile - 1) / affine::kTile;
  context.parallel_for(args.sequence.rows * tiles, [&](std::int64_t task) {
    const std::int64_t row = task / tiles, first = task % tiles * affine::kTile;
    if (args.complex) return affine::ScanTile<affine::ComplexStep>(args, width, row, first);
    if (args.log_space) return affine::ScanTile<affine::LogStep>(args, width, row, first);
    affine::ScanTile<affine::RealStep>(args, width, row, first);
  });
}

void BackAffine(const AffineScanBackwardArgs& args, const KernelContext& context) {
  const std::int64_t width = args.channels * (args.complex ? 2 : 1);
  zero_outside(args.sequence, static_cast<float*>(args.da), width);
  zero_outside(args.sequence, static_cast<float*>(args.db), width);
  const std::int64_t tiles = (width + affine::kTile - 1) / affine::kTile;
  context.parallel_for(args.sequence.rows * tiles, [&](std::int64_t task) {
    const std::int64_t row = task / tiles, first = task % tiles * affine::kTile;
    if (args.complex) return affine::BackTile<affine::ComplexStep>(args, width, row, first);
    if (args.log_space) return affine::BackTile<affine::LogStep>(args, width, row, first);
    affine::BackTile<affine::RealStep>(args, width, row, first);
  });
}

#endif  // HWY_SCALAR
}  // namespace HWY_NAMESPACE
}  // namespace rill
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <rill/scan/cpu/families.h>

namespace rill {
HWY_EXPORT(ScanAffine);
HWY_EXPORT(BackAffine);

void fill_affine_scan(ScanKernels& f32, ScanKernels& f64) {
  f32.affine_scan = [](const AffineScanArgs& args, const KernelContext& context) {
    HWY_DYNAMIC_DISPATCH(ScanAffine)(args, context);
  };
  f32.affine_scan_backward = [](const AffineScanBackwardArgs& args, const KernelContext& context) {
    HWY_DYNAMIC_DISPATCH(BackAffine)(args, context);
  };
  f64.affine_scan = plain::affine_scan<double>;
  f64.affine_scan_backward = plain::affine_scan_backward<double>;
}

}  // namespace rill
#endif  // HWY_ONCE
