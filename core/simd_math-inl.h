// Private: elementary functions of float vectors (Highway), branch-free, compiled once per target.
//
// D is a float tag of any size, V its vector. Unless a function says more: at most about 2 ulp over
// the whole range, NaN gives NaN, infinities give the limit. Results below 2^-125.5 (about 1.7e-38)
// are flushed to 0 where they come from Exp: denormal numbers would slow the recurrences that they
// decay in. The polynomials are minimax fits (Lawson's iteration on 4000 Chebyshev nodes,
// coefficients rounded to float one after the other and the rest fitted again); their error is
// below the rounding of the evaluation.
#if defined(RILL_CORE_SIMD_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RILL_CORE_SIMD_MATH_INL_H_
#undef RILL_CORE_SIMD_MATH_INL_H_
#else
#define RILL_CORE_SIMD_MATH_INL_H_
#endif

#include <hwy/highway.h>

#include <limits>

HWY_BEFORE_NAMESPACE();
namespace rill {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

namespace simd_math {

// Adding this rounds a float in (-2^21, 2^21) to an integer n, and leaves n + 126 in the low bits:
// shifted left by 23 they are the float 2^(n-1), for -126 < n <= 128; 0 for n = -126.
constexpr float kRound = 12582912.0f + 126.0f;  // 1.5 * 2^23 + 126

// 2^(n-1), where t = n + kRound. Half of the scale, since 2^128 is no float: who calls doubles the
// other factor.
template <class D, class V>
HWY_INLINE V HalfScale(D d, V t) {
  const hn::Rebind<std::int32_t, D> di;
  return hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(di, t)));
}

// exp's arguments beyond which the result is 0 or infinity anyhow; NaN passes (x86 min and max
// return their second argument then).
template <class D, class V>
HWY_INLINE V ClampExp(D d, V x) {
  return hn::Min(hn::Set(d, 89.0f), hn::Max(hn::Set(d, -87.6f), x));
}

// x = n ln 2 + r, |r| <= ln(2) / 2; ln 2 in two parts, the first of few bits, so that n times it is
// exact.
template <class D, class V>
HWY_INLINE V ReduceExp(D d, V x, V& t) {
  t = hn::MulAdd(x, hn::Set(d, 1.44269504f), hn::Set(d, kRound));
  const V n = hn::Sub(t, hn::Set(d, kRound));
  const V r = hn::NegMulAdd(n, hn::Set(d, 0.693359375f), x);
  return hn::NegMulAdd(n, hn::Set(d, -2.12194440e-4f), r);
}

// log(1 + f) - f for f in [sqrt(1/2) - 1, sqrt(2) - 1].
template <class D, class V>
HWY_INLINE V LogPolynomial(D d, V f) {
  V p = hn::Set(d, 0.06798242778f);
  p = hn::MulAdd(p, f, hn::Set(d, -0.1172016338f));
  p = hn::MulAdd(p, f, hn::Set(d, 0.1188678518f));
  p = hn::MulAdd(p, f, hn::Set(d, -0.1239671931f));
  p = hn::MulAdd(p, f, hn::Set(d, 0.1421858072f));
  p = hn::MulAdd(p, f, hn::Set(d, -0.1666859984f));
  p = hn::MulAdd(p, f, hn::Set(d, 0.2000220567f));
  p = hn::MulAdd(p, f, hn::Set(d, -0.2499999553f));
  p = hn::MulAdd(p, f, hn::Set(d, 0.3333331048f));
  p = hn::MulAdd(p, f, hn::Set(d, -0.5f));
  return hn::Mul(p, hn::Mul(f, f));
}

// u = 2^e m with m in [sqrt(1/2), sqrt(2)), for normal u > 0. Returns e as an integer.
template <class D, class V>
HWY_INLINE hn::Vec<hn::Rebind<std::int32_t, D>> Exponent(D, V u) {
  const hn::Rebind<std::int32_t, D> di;
  // The distance to the bits of sqrt(1/2), so that the exponent changes there.
  return hn::ShiftRight<23>(hn::Sub(hn::BitCast(di, u), hn::Set(di, 0x3F3504F3)));
}

template <class D, class V, class VI>
HWY_INLINE V TimesPowerOf2(D d, V u, VI e) {
  const hn::Rebind<std::int32_t, D> di;
  return hn::BitCast(d, hn::Sub(hn::BitCast(di, u), hn::ShiftLeft<23>(e)));
}

// e ln 2 + log(1 + f), the small parts first.
template <class D, class V>
HWY_INLINE V JoinLog(D d, V e, V f) {
  const V low = hn::MulAdd(e, hn::Set(d, -2.12194440e-4f), LogPolynomial(d, f));
  return hn::MulAdd(e, hn::Set(d, 0.693359375f), hn::Add(f, low));
}

// log(1 + y) for y in [0, 1], no special cases: e = 1 from sqrt(2) on, f = (1 + y) / 2^e - 1 to
// full relative precision.
template <class D, class V>
HWY_INLINE V Log1pUnit(D d, V y) {
  const V one = hn::Set(d, 1.0f);
  const auto above = hn::Gt(y, hn::Set(d, 0.41421356f));
  const V e = hn::IfThenElseZero(above, one);
  const V f = hn::IfThenElse(above, hn::Mul(hn::Set(d, 0.5f), hn::Sub(y, one)), y);
  return JoinLog(d, e, f);
}

// erfc(a) for a >= 0: exp(-a^2) t P(t), t = 1 / (1 + 0.35 a) (the form of Abramowitz and
// Stegun 7.1.26).
template <class D, class V>
HWY_INLINE V ErfcPositive(D d, V a);
template <class D, class V>
HWY_INLINE V ErfSmall(D d, V x);

}  // namespace simd_math

/// e^x. Overflows to infinity past 88.72, is 0 below -87.0. 1 ulp.
template <class D, class V>
HWY_INLINE V Exp(D d, V x) {
  V t;
  const V r = simd_math::ReduceExp(d, simd_math::ClampExp(d, x), t);
  // Twice the Taylor-like polynomial: HalfScale is half of the scale.
  V p = hn::Set(d, 2.0f * 0.001382046845f);
  p = hn::MulAdd(p, r, hn::Set(d, 2.0f * 0.008369250223f));
  p = hn::MulAdd(p, r, hn::Set(d, 2.0f * 0.04166828468f));
  p = hn::MulAdd(p, r, hn::Set(d, 2.0f * 0.1666651666f));
  p = hn::MulAdd(p, r, hn::Set(d, 2.0f * 0.4999999404f));
  p = hn::MulAdd(p, r, hn::Set(d, 2.0f));
  p = hn::MulAdd(p, r, hn::Set(d, 2.0f));
  return hn::Mul(p, simd_math::HalfScale(d, t));
}

/// 2^x: three operations less than Exp, for decays whose log2(e) can be multiplied into a parameter
/// ahead. Overflows to infinity at 128, is 0 below -125.5. 1 ulp.
template <class D, class V>
HWY_INLINE V Exp2(D d, V x) {
  x = hn::Min(hn::Set(d, 128.4f), hn::Max(hn::Set(d, -126.4f), x));
  const V t = hn::Add(x, hn::Set(d, simd_math::kRound));
  const V r = hn::Sub(x, hn::Sub(t, hn::Set(d, simd_math::kRound)));
  V p = hn::Set(d, 2.0f * 0.0001532925962f);
  p = hn::MulAdd(p, r, hn::Set(d, 2.0f * 0.001339189126f));
  p = hn::MulAdd(p, r, hn::Set(d, 2.0f * 0.009618503042f));
  p = hn::MulAdd(p, r, hn::Set(d, 2.0f * 0.05550358072f));
  p = hn::MulAdd(p, r, hn::Set(d, 2.0f * 0.2402264774f));
  p = hn::MulAdd(p, r, hn::Set(d, 2.0f * 0.6931471825f));
  p = hn::MulAdd(p, r, hn::Set(d, 2.0f));
  return hn::Mul(p, simd_math::HalfScale(d, t));
}

/// e^x - 1, relative precision near 0.
template <class D, class V>
HWY_INLINE V Expm1(D d, V x) {
  V t;
  const V r = simd_math::ReduceExp(d, simd_math::ClampExp(d, x), t);
  V p = hn::Set(d, 0.001387089258f);
  p = hn::MulAdd(p, r, hn::Set(d, 0.008367014118f));
  p = hn::MulAdd(p, r, hn::Set(d, 0.04166744277f));
  p = hn::MulAdd(p, r, hn::Set(d, 0.166665405f));
  p = hn::MulAdd(p, r, hn::Set(d, 0.4999999702f));
  p = hn::MulAdd(p, hn::Mul(r, r), r);  // e^r - 1
  const V half = simd_math::HalfScale(d, t);
  const V y = hn::MulAdd(p, half, hn::Sub(half, hn::Set(d, 0.5f)));
  return hn::Add(y, y);
}

/// Natural logarithm, denormal numbers included; 0 gives -infinity, negative numbers NaN.
template <class D, class V>
HWY_INLINE V Log(D d, V x) {
  using simd_math::Exponent;
  const auto tiny = hn::Lt(x, hn::Set(d, 1.17549435e-38f));
  const V u = hn::IfThenElse(tiny, hn::Mul(x, hn::Set(d, 8388608.0f)), x);  // 2^23
  const auto e = Exponent(d, u);
  const V f = hn::Sub(simd_math::TimesPowerOf2(d, u, e), hn::Set(d, 1.0f));
  const V ef = hn::Sub(hn::ConvertTo(d, e), hn::IfThenElseZero(tiny, hn::Set(d, 23.0f)));
  const V y = simd_math::JoinLog(d, ef, f);
  const V infinity = hn::Set(d, std::numeric_limits<float>::infinity());
  const V zero = hn::Zero(d);
  // At 0 and below: log 0 = -infinity, 0 * infinity = NaN. Infinity and NaN are returned as they
  // are.
  const V outside = hn::IfThenElse(hn::Eq(x, zero), hn::Neg(infinity), hn::Mul(zero, infinity));
  return hn::IfThenElse(hn::Le(x, zero), outside, hn::IfThenElse(hn::Lt(x, infinity), y, x));
}

/// log(1 + x), relative precision near 0; -1 gives -infinity, less gives NaN.
template <class D, class V>
HWY_INLINE V Log1p(D d, V x) {
  const V one = hn::Set(d, 1.0f);
  // u + c = 1 + x exactly, from the larger to the smaller.
  const V large = hn::Max(one, x), small = hn::Min(one, x);
  const V u = hn::Add(large, small);
  const V c = hn::Sub(small, hn::Sub(u, large));
  const auto e = simd_math::Exponent(d, u);
  // (u + c) / 2^e - 1: the first difference is exact. 2^-128 is no normal float, half of c times
  // 2^(1-e) is the same.
  const V scale = simd_math::TimesPowerOf2(d, hn::Set(d, 2.0f), e);
  const V half = hn::Mul(hn::Set(d, 0.5f), c);
  const V f = hn::MulAdd(half, scale, hn::Sub(simd_math::TimesPowerOf2(d, u, e), one));
  const V y = simd_math::JoinLog(d, hn::ConvertTo(d, e), f);
  const V infinity = hn::Set(d, std::numeric_limits<float>::infinity());
  const V zero = hn::Zero(d);
  const V outside = hn::IfThenElse(hn::Eq(u, zero), hn::Neg(infinity), hn::Mul(zero, infinity));
  return hn::IfThenElse(hn::Le(u, zero), outside, hn::IfThenElse(hn::Lt(u, infinity), y, u));
}

/// Relative precision near 0 (through expm1). 3 ulp.
template <class D, class V>
HWY_INLINE V Tanh(D d, V x) {
  const V e = Expm1(d, hn::Mul(hn::Set(d, -2.0f), hn::Abs(x)));
  const V y = hn::Div(hn::Neg(e), hn::Add(e, hn::Set(d, 2.0f)));
  return hn::CopySignToAbs(y, x);
}

/// 1 / (1 + e^-x): relative precision on both sides. 3 ulp.
template <class D, class V>
HWY_INLINE V Sigmoid(D d, V x) {
  const V one = hn::Set(d, 1.0f);
  return hn::Div(one, hn::Add(one, Exp(d, hn::Neg(x))));
}

/// x sigmoid(x); 0 at -infinity. 3 ulp.
template <class D, class V>
HWY_INLINE V Silu(D d, V x) {
  x = hn::Max(hn::Set(d, std::numeric_limits<float>::lowest()),
              x);  // -infinity / infinity would be NaN
  return hn::Div(x, hn::Add(hn::Set(d, 1.0f), Exp(d, hn::Neg(x))));
}

/// log(1 + e^x) = max(x, 0) + log1p(e^-|x|).
template <class D, class V>
HWY_INLINE V Softplus(D d, V x) {
  const V y = simd_math::Log1pUnit(d, Exp(d, hn::Neg(hn::Abs(x))));
  return hn::Add(hn::Max(hn::Zero(d), x), y);
}

/// log(sigmoid(x)) = min(x, 0) - log1p(e^-|x|).
template <class D, class V>
HWY_INLINE V LogSigmoid(D d, V x) {
  const V y = simd_math::Log1pUnit(d, Exp(d, hn::Neg(hn::Abs(x))));
  return hn::Sub(hn::Min(hn::Zero(d), x), y);
}

template <class D, class V>
HWY_INLINE V simd_math::ErfcPositive(D d, V a) {
  const V one = hn::Set(d, 1.0f);
  a = hn::Min(
      hn::Set(d, 10.0f),
      a);  // erfc is 0 in float from 9.2 on; the square of infinity would do no harm, NaN passes
  const V t = hn::Div(one, hn::MulAdd(a, hn::Set(d, 0.35f), one));
  V p = hn::Set(d, 0.03840184957f);
  p = hn::MulAdd(p, t, hn::Set(d, -0.1589323729f));
  p = hn::MulAdd(p, t, hn::Set(d, 0.1814701408f));
  p = hn::MulAdd(p, t, hn::Set(d, -0.02771647461f));
  p = hn::MulAdd(p, t, hn::Set(d, 0.08702675998f));
  p = hn::MulAdd(p, t, hn::Set(d, 0.1460384876f));
  p = hn::MulAdd(p, t, hn::Set(d, 0.1511872411f));
  p = hn::MulAdd(p, t, hn::Set(d, 0.187902227f));
  p = hn::MulAdd(p, t, hn::Set(d, 0.1971383691f));
  p = hn::MulAdd(p, t, hn::Set(d, 0.197483778f));
  return hn::Mul(hn::Mul(p, t), Exp(d, hn::Neg(hn::Mul(a, a))));
}

// erf(x) for |x| <= 1.
template <class D, class V>
HWY_INLINE V simd_math::ErfSmall(D d, V x) {
  const V s = hn::Mul(x, x);
  V p = hn::Set(d, 7.806903159e-05f);
  p = hn::MulAdd(p, s, hn::Set(d, -0.0007997853099f));
  p = hn::MulAdd(p, s, hn::Set(d, 0.005187162198f));
  p = hn::MulAdd(p, s, hn::Set(d, -0.0268533472f));
  p = hn::MulAdd(p, s, hn::Set(d, 0.1128357872f));
  p = hn::MulAdd(p, s, hn::Set(d, -0.3761262596f));
  p = hn::MulAdd(p, s, hn::Set(d, 0.1283791661f));
  return hn::MulAdd(p, x, x);
}

/// The error function, relative precision near 0.
template <class D, class V>
HWY_INLINE V Erf(D d, V x) {
  const V a = hn::Abs(x);
  const V one = hn::Set(d, 1.0f);
  const V large = hn::CopySignToAbs(hn::Sub(one, simd_math::ErfcPositive(d, a)), x);
  return hn::IfThenElse(hn::Lt(a, one), simd_math::ErfSmall(d, x), large);
}

/// The standard normal distribution's Phi(x) = erfc(-x / sqrt 2) / 2, relative precision kept in
/// the lower tail (to about 2 x^2 ulp there). GELU is x Phi(x).
template <class D, class V>
HWY_INLINE V NormalCdf(D d, V x) {
  const V half = hn::Set(d, 0.5f), one = hn::Set(d, 1.0f);
  const V z = hn::Mul(x, hn::Set(d, 0.707106781f));
  const V a = hn::Abs(z);
  const V tail = hn::Mul(half, simd_math::ErfcPositive(d, a));
  const V outside = hn::IfThenElse(hn::Gt(x, hn::Zero(d)), hn::Sub(one, tail), tail);
  return hn::IfThenElse(hn::Lt(a, one), hn::MulAdd(half, simd_math::ErfSmall(d, z), half), outside);
}

}  // namespace HWY_NAMESPACE
}  // namespace rill
HWY_AFTER_NAMESPACE();

#endif
