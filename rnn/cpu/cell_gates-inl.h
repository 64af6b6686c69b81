// Private: sigmoid and tanh of float vectors for the step of a recurrent cell; compiled once per
// target.
//
// A step of few units waits for its activations one after the other (the gates, c, tanh of c): what
// counts is how long one takes, not how many run side by side. So the polynomials are evaluated by
// halves (Estrin) and tanh's two forms, a polynomial near 0 and (1 - e) / (1 + e) with e =
// exp(-2|x|) elsewhere, run beside each other; core's take a third longer and a few operations
// less. At most 4 ulp, relative precision near 0 and in sigmoid's lower tail.
#if defined(RILL_RNN_CPU_CELL_GATES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RILL_RNN_CPU_CELL_GATES_INL_H_
#undef RILL_RNN_CPU_CELL_GATES_INL_H_
#else
#define RILL_RNN_CPU_CELL_GATES_INL_H_
#endif

#include <hwy/highway.h>

#include <rill/core/simd_math-inl.h>

HWY_BEFORE_NAMESPACE();
namespace rill {
namespace HWY_NAMESPACE {
namespace cell_gates {

namespace hn = hwy::HWY_NAMESPACE;

// e^x for clamped x: core's polynomial of Exp, by halves.
template <class D, class V>
HWY_INLINE V ExpOfClamped(D d, V x) {
  V t;
  const V r = simd_math::ReduceExp(d, x, t);
  const V r2 = hn::Mul(r, r);
  // Twice the polynomial: HalfScale is half of the scale.
  const V p01 = hn::MulAdd(hn::Set(d, 2.0f), r, hn::Set(d, 2.0f));
  const V p23 = hn::MulAdd(hn::Set(d, 2.0f * 0.1666651666f), r, hn::Set(d, 2.0f * 0.4999999404f));
  const V p45 =
      hn::MulAdd(hn::Set(d, 2.0f * 0.008369250223f), r, hn::Set(d, 2.0f * 0.04166828468f));
  const V p456 = hn::MulAdd(hn::Set(d, 2.0f * 0.001382046845f), r2, p45);
  const V p = hn::MulAdd(hn::MulAdd(p456, r2, p23), r2, p01);
  return hn::Mul(p, simd_math::HalfScale(d, t));
}

/// 1 / (1 + e^-x).
template <class D, class V>
HWY_INLINE V Sigmoid(D d, V x) {
  const V one = hn::Set(d, 1.0f);
  return hn::Div(one, hn::Add(one, ExpOfClamped(d, simd_math::ClampExp(d, hn::Neg(x)))));
}

template <class D, class V>
HWY_INLINE V Tanh(D d, V x) {
  const V one = hn::Set(d, 1.0f), a = hn::Abs(x);
  // NaN passes: x86's maximum returns its second argument then.
  const V e = ExpOfClamped(d, hn::Max(hn::Set(d, -87.0f), hn::Mul(hn::Set(d, -2.0f), a)));
  const V large = hn::CopySignToAbs(hn::Div(hn::Sub(one, e), hn::Add(one, e)), x);
  // tanh x = x + x s P(s), s = x^2 (Cephes, tanhf).
  const V s = hn::Mul(x, x), s2 = hn::Mul(s, s);
  const V p01 = hn::MulAdd(hn::Set(d, 1.33314422036e-1f), s, hn::Set(d, -3.33332819422e-1f));
  const V p23 = hn::MulAdd(hn::Set(d, 2.06390887954e-2f), s, hn::Set(d, -5.37397155531e-2f));
  const V p = hn::MulAdd(hn::MulAdd(hn::Set(d, -5.70498872745e-3f), s2, p23), s2, p01);
  const V small = hn::MulAdd(hn::Mul(p, s), x, x);
  return hn::IfThenElse(hn::Lt(a, hn::Set(d, 0.625f)), small, large);
}

}  // namespace cell_gates
}  // namespace HWY_NAMESPACE
}  // namespace rill
HWY_AFTER_NAMESPACE();

#endif
