// Scan operators: what algorithms.h combines. An operator is associative, not commutative: the
// order of its arguments is the order of time.
#pragma once

#include <algorithm>
#include <cmath>
#include <complex>
#include <concepts>
#include <limits>

namespace rill::scan {

/// A monoid over `Op::Element`: combine(earlier, later) is associative and identity() is neutral on
/// both sides.
template <class Op>
concept ScanOperator = std::copyable<typename Op::Element> &&
    requires(const Op& op, const typename Op::Element& element) {
  { op.identity() } -> std::convertible_to<typename Op::Element>;
  { op.combine(element, element) } -> std::convertible_to<typename Op::Element>;
};

/// Sums.
template <class T>
struct Plus {
  using Element = T;
  Element identity() const { return T(0); }
  Element combine(const Element& earlier, const Element& later) const { return earlier + later; }
};

/// The map h -> a h + b.
template <class T>
struct AffineMap {
  T a = T(1), b = T(0);
  /// The map at a state.
  T operator()(const T& h) const { return a * h + b; }
  friend bool operator==(const AffineMap&, const AffineMap&) = default;
};

/// Composition of affine maps, T real or complex (or any ring): the operator of h_t = a_t h_{t-1} +
/// b_t.
template <class T>
struct Affine {
  using Element = AffineMap<T>;
  Element identity() const { return {}; }
  Element combine(const Element& earlier, const Element& later) const {
    return {later.a * earlier.a, later.a * earlier.b + later.b};
  }
};

/// log(e^x + e^y) without overflow; log 0 = -infinity is legal.
template <std::floating_point T>
T log_add_exp(T x, T y) {
  const T high = std::max(x, y), low = std::min(x, y);
  if (high == -std::numeric_limits<T>::infinity()) return high;
  return high + std::log1p(std::exp(low - high));
}

/// The map h -> e^log_a h + e^log_b of states h >= 0 that are kept as log h.
template <std::floating_point T>
struct LogAffineMap {
  T log_a = T(0), log_b = -std::numeric_limits<T>::infinity();
  T operator()(T log_h) const { return log_add_exp(log_a + log_h, log_b); }
  friend bool operator==(const LogAffineMap&, const LogAffineMap&) = default;
};

/// Composition in the log domain (Heinsen, arXiv:2311.06281, with pairs in place of one cumulative
/// sum: no differences of large sums, so the error does not grow with their size).
template <std::floating_point T>
struct LogAffine {
  using Element = LogAffineMap<T>;
  Element identity() const { return {}; }
  Element combine(const Element& earlier, const Element& later) const {
    return {later.log_a + earlier.log_a, log_add_exp(later.log_a + earlier.log_b, later.log_b)};
  }
};

/// An operator with resets: an element with `reset` forgets everything before it. Associative where
/// Op is.
template <ScanOperator Op>
struct Segmented {
  struct Element {
    typename Op::Element value;
    bool reset = false;
  };
  [[no_unique_address]] Op op{};

  Element identity() const { return {op.identity(), false}; }
  Element combine(const Element& earlier, const Element& later) const {
    if (later.reset) return later;
    return {op.combine(earlier.value, later.value), earlier.reset};
  }
};

}  // namespace rill::scan
