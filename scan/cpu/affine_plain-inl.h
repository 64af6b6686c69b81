// Private: the affine scan as plain loops, any floating type. float64's form, and the oracle of the
// vector form.
#pragma once

#include <cmath>
#include <complex>
#include <limits>

#include <rill/scan/cpu/rows.h>
#include <rill/scan/kernels.h>
#include <rill/scan/operators.h>

namespace rill::plain {

// What one step and its way back are, for each kind of element.
template <class T>
struct RealStep {
  using Element = T;
  static Element fresh() { return T(0); }
  static Element step(Element a, Element b, Element h) { return a * h + b; }
  static void back(Element a, Element, Element h_before, Element, Element g, Element& da,
                   Element& db, Element& carry) {
    da = g * h_before;
    db = g;
    carry = a * g;
  }
};

template <class T>
struct ComplexStep {
  using Element = std::complex<T>;
  static Element fresh() { return T(0); }
  // Written out: std::complex's product checks for NaN and calls a function.
  static Element multiply(Element a, Element h) {
    return {a.real() * h.real() - a.imag() * h.imag(), a.real() * h.imag() + a.imag() * h.real()};
  }
  static Element step(Element a, Element b, Element h) { return multiply(a, h) + b; }
  static void back(Element a, Element, Element h_before, Element, Element g, Element& da,
                   Element& db, Element& carry) {
    da = multiply(std::conj(h_before), g);
    db = g;
    carry = multiply(std::conj(a), g);
  }
};

// h, a and b are logarithms.
template <class T>
struct LogStep {
  using Element = T;
  static Element fresh() { return -std::numeric_limits<T>::infinity(); }
  static Element step(Element a, Element b, Element h) { return scan::log_add_exp(a + h, b); }
  // The weights of both terms in e^h, each at most 1; a state of 0 passes no gradient.
  static void back(Element a, Element b, Element h_before, Element h, Element g, Element& da,
                   Element& db, Element& carry) {
    const bool none = h == fresh();
    da = none ? T(0) : g * std::exp(a + h_before - h);
    db = none ? T(0) : g * std::exp(b - h);
    carry = da;
  }
};

template <class Step>
void affine_scan_row(const AffineScanArgs& args, std::int64_t row) {
  using Element = typename Step::Element;
  const auto *a = static_cast<const Element*>(args.a), *b = static_cast<const Element*>(args.b);
  const std::int64_t channels = args.channels;
  const auto* initial = static_cast<const Element*>(args.initial) + row * channels;
  auto* last = static_cast<Element*>(args.final_state) + row * channels;
  auto* h = static_cast<Element*>(args.h);
  const RowWalk walk(args.sequence, row, args.reverse != 0);
  for (std::int64_t c = 0; c < channels; ++c) {
    Element state = initial[c];
    for (std::int64_t i = 0; i < walk.length; ++i) {
      const std::int64_t at = walk.token(i) * channels + c;
      state = walk.fresh(i) ? b[at] : Step::step(a[at], b[at], state);
      h[at] = state;
    }
    last[c] = walk.cut_out() ? Step::fresh() : state;
  }
}

template <class Step>
void affine_scan_backward_row(const AffineScanBackwardArgs& args, std::int64_t row) {
  using Element = typename Step::Element;
  const auto in = [](const void* p) { return static_cast<const Element*>(p); };
  const auto out = [](void* p) { return static_cast<Element*>(p); };
  const std::int64_t channels = args.channels;
  const RowWalk walk(args.sequence, row, args.reverse != 0);
  for (std::int64_t c = 0; c < channels; ++c) {
    const Element zero(0);
    Element carry = args.dfinal && !walk.cut_out() ? in(args.dfinal)[row * channels + c] : zero;
    for (std::int64_t i = walk.length; i-- > 0;) {
      const std::int64_t at = walk.token(i) * channels + c;
      const Element before = i > 0 ? in(args.h)[walk.token(i - 1) * channels + c]
                                   : in(args.initial)[row * channels + c];
      const Element g = args.dh ? in(args.dh)[at] + carry : carry;
      Element &da = out(args.da)[at], &db = out(args.db)[at];
      const Element b = args.b ? in(args.b)[at] : zero;  // read in log space alone
      Step::back(in(args.a)[at], b, before, in(args.h)[at], g, da, db, carry);
      if (walk.fresh(i)) {
        da = carry = zero;
        db = g;
      }
    }
    out(args.dinitial)[row * channels + c] = carry;
  }
}

template <class T>
void affine_scan(const AffineScanArgs& args, const KernelContext& context) {
  zero_outside(args.sequence, static_cast<T*>(args.h), args.channels * (args.complex ? 2 : 1));
  context.parallel_for(args.sequence.rows, [&](std::int64_t row) {
    if (args.complex) return affine_scan_row<ComplexStep<T>>(args, row);
    if (args.log_space) return affine_scan_row<LogStep<T>>(args, row);
    affine_scan_row<RealStep<T>>(args, row);
  });
}

template <class T>
void affine_scan_backward(const AffineScanBackwardArgs& args, const KernelContext& context) {
  const std::int64_t width = args.channels * (args.complex ? 2 : 1);
  zero_outside(args.sequence, static_cast<T*>(args.da), width);
  zero_outside(args.sequence, static_cast<T*>(args.db), width);
  context.parallel_for(args.sequence.rows, [&](std::int64_t row) {
    if (args.complex) return affine_scan_backward_row<ComplexStep<T>>(args, row);
    if (args.log_space) return affine_scan_backward_row<LogStep<T>>(args, row);
    affine_scan_backward_row<RealStep<T>>(args, row);
  });
}

}  // namespace rill::plain
