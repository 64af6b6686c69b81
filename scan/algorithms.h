// Inclusive scans y_i = carry . x_0 . x_1 ... x_i over any operator, for any length, with carry in
// and carry out; in one pass, in blocks, from the right, and with resets. The split depends on
// sizes alone: a result repeats bit for bit whatever runs the blocks. Source: Blelloch, "Prefix
// sums and their applications", 1990.
#pragma once

#include <algorithm>
#include <complex>
#include <concepts>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include <rill/scan/operators.h>

namespace rill::scan {

/// Which end the carry comes in at. From the right, x_{n-1} is the earliest element: y_i = carry .
/// x_{n-1} ... x_i.
enum class Direction { kForward, kReverse };

namespace detail {
constexpr std::size_t position(std::size_t i, std::size_t n, Direction direction) {
  return direction == Direction::kForward ? i : n - 1 - i;
}
}  // namespace detail

/// x [n] -> y [n] (may be the same memory); returns the carry out, which is `carry` where n = 0.
template <ScanOperator Op>
typename Op::Element serial(const Op& op, std::span<const typename Op::Element> x,
                            std::span<typename Op::Element> y, typename Op::Element carry,
                            Direction direction = Direction::kForward) {
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::size_t at = detail::position(i, x.size(), direction);
    carry = op.combine(carry, x[at]);
    y[at] = carry;
  }
  return carry;
}

/// The combination of all elements, without the scan; identity() for none.
template <ScanOperator Op>
typename Op::Element reduce(const Op& op, std::span<const typename Op::Element> x,
                            Direction direction = Direction::kForward) {
  typename Op::Element total = op.identity();
  for (std::size_t i = 0; i < x.size(); ++i)
    total = op.combine(total, x[detail::position(i, x.size(), direction)]);
  return total;
}

/// Runs tasks one after the other: the default of blocked().
struct RunSerial {
  template <class Task>
  void operator()(std::int64_t tasks, const Task& task) const {
    for (std::int64_t i = 0; i < tasks; ++i) task(i);
  }
};

/// serial() in two levels: totals of blocks of `block` >= 1 elements, their exclusive scan, then
/// every block from its own carry. `run(tasks, task)` may run task(0) ... task(tasks - 1) in any
/// order and at once.
template <ScanOperator Op, class Run = RunSerial>
typename Op::Element blocked(const Op& op, std::span<const typename Op::Element> x,
                             std::span<typename Op::Element> y, typename Op::Element carry,
                             std::size_t block, Direction direction = Direction::kForward,
                             const Run& run = {}) {
  const std::size_t n = x.size(), blocks = (n + block - 1) / block;
  // Block k is the k-th in the order of time; from the right it lies at the end of what is left.
  const auto bounds = [&](std::int64_t k) {
    const std::size_t from = static_cast<std::size_t>(k) * block, count = std::min(block, n - from);
    return std::pair(direction == Direction::kForward ? from : n - from - count, count);
  };
  std::vector<typename Op::Element> carries(blocks, carry);
  run(static_cast<std::int64_t>(blocks), [&](std::int64_t k) {
    const auto [from, count] = bounds(k);
    carries[static_cast<std::size_t>(k)] = reduce(op, x.subspan(from, count), direction);
  });
  for (auto& total : carries) total = std::exchange(carry, op.combine(carry, total));
  run(static_cast<std::int64_t>(blocks), [&](std::int64_t k) {
    const auto [from, count] = bounds(k);
    serial(op, x.subspan(from, count), y.subspan(from, count), carries[static_cast<std::size_t>(k)],
           direction);
  });
  return carry;
}

/// Elements with resets for Segmented<Op>. reset[i] != 0 is a cut between elements i-1 and i:
/// nothing passes it in either direction. An empty `reset` has no cuts. From the right, a cut
/// before element 0 does not act on y; it must be applied to the carry out (see cut_carry).
template <ScanOperator Op>
std::vector<typename Segmented<Op>::Element> with_resets(
    std::span<const typename Op::Element> x, std::span<const std::uint8_t> reset,
    Direction direction = Direction::kForward) {
  std::vector<typename Segmented<Op>::Element> elements;
  elements.reserve(x.size());
  const std::size_t shift = direction == Direction::kForward ? 0 : 1;
  for (std::size_t i = 0; i < x.size(); ++i)
    elements.push_back({x[i], i + shift < reset.size() && reset[i + shift] != 0});
  return elements;
}

/// What a neighbour on the left receives from a reverse scan whose first element has a cut before
/// it.
template <ScanOperator Op>
typename Op::Element cut_carry(const Op& op, typename Op::Element carry,
                               std::span<const std::uint8_t> reset) {
  return !reset.empty() && reset[0] != 0 ? op.identity() : carry;
}

/// What the adjoint of the affine recurrence takes, all arrays [n]. Forward it is that of h_t = a_t
/// h_{t-1} + b_t with h0 = h_{-1}; from the right, of h_t = a_t h_{t+1} + b_t with h0 = h_n. A
/// reset is a cut as in with_resets: the step behind it starts from 0.
template <class T>
struct AffineAdjoint {
  std::span<const AffineMap<T>> maps;
  std::span<const T> h;   // the states
  T h0 = T(0);            // the state that came in
  std::span<const T> dh;  // gradients of every state
  std::span<T> da, db;    // overwritten; may not overlap the inputs
  std::span<const std::uint8_t> reset = {};
  Direction direction = Direction::kForward;  // of the recurrence, not of its adjoint
};

namespace detail {
/// The conjugate of a type that has one; others are their own.
template <class T>
T conjugate(const T& value) {
  if constexpr (requires {
                  { conj(value) } -> std::same_as<T>;
                })
    return conj(value);
  else
    return value;
}

/// Step `at` of a recurrence starts from 0.
template <class T>
bool starts_fresh(const AffineAdjoint<T>& args, std::size_t at) {
  const std::size_t cut = args.direction == Direction::kForward ? at : at + 1;
  return cut < args.reset.size() && args.reset[cut] != 0;
}

/// The state that step `at` of a recurrence started from, were it not for resets.
template <class T>
const T& state_before(const AffineAdjoint<T>& args, std::size_t at) {
  if (args.direction == Direction::kForward) return at > 0 ? args.h[at - 1] : args.h0;
  return at + 1 < args.h.size() ? args.h[at + 1] : args.h0;
}

/// `count` steps of the adjoint from its `from`-th on; it runs against the recurrence.
template <class T>
T adjoint_steps(const AffineAdjoint<T>& args, std::size_t from, std::size_t count, T carry) {
  const std::size_t n = args.maps.size();
  for (std::size_t k = from; k < from + count; ++k) {
    const std::size_t at = args.direction == Direction::kForward ? n - 1 - k : k;
    const bool fresh = starts_fresh(args, at);
    const T g = args.dh[at] + carry;
    args.db[at] = g;
    args.da[at] = fresh ? T(0) : g * conjugate(state_before(args, at));
    carry = fresh ? T(0) : conjugate(args.maps[at].a) * g;
  }
  return carry;
}
}  // namespace detail

/// Gradients of an affine recurrence: from dh and `carry`, what later steps add to the gradient of
/// the last state,
///   g_t = dh_t + conj(a_{t+1}) g_{t+1},  db_t = g_t,  da_t = g_t conj(h_{t-1}),  d(h_{-1}) =
///   conj(a_0) g_0
/// (from the right with t+1 and t-1 exchanged), itself a scan in the other direction. Returns the
/// gradient of h0, which is `carry` where n = 0. From the right a cut before element 0 does not act
/// here, as it does not in the scan: whoever applied cut_carry passes a carry of 0.
template <class T>
T affine_adjoint(const AffineAdjoint<T>& args, T carry) {
  return detail::adjoint_steps(args, 0, args.maps.size(), carry);
}

/// affine_adjoint() in two levels, as blocked(): `run` may run its tasks in any order and at once.
/// What a step hands on is an affine map of what it receives, G -> conj(a_t) (dh_t + G).
template <class T, class Run = RunSerial>
T blocked_affine_adjoint(const AffineAdjoint<T>& args, T carry, std::size_t block,
                         const Run& run = {}) {
  const std::size_t n = args.maps.size(), blocks = (n + block - 1) / block;
  const auto count = [&](std::size_t from) { return std::min(block, n - from); };
  std::vector<AffineMap<T>> totals(blocks);
  run(static_cast<std::int64_t>(blocks), [&](std::int64_t task) {
    const std::size_t from = static_cast<std::size_t>(task) * block;
    AffineMap<T> total;
    for (std::size_t k = from; k < from + count(from); ++k) {
      const std::size_t at = args.direction == Direction::kForward ? n - 1 - k : k;
      const T a = detail::starts_fresh(args, at) ? T(0) : detail::conjugate(args.maps[at].a);
      total = Affine<T>{}.combine(total, {a, a * args.dh[at]});
    }
    totals[static_cast<std::size_t>(task)] = total;
  });
  std::vector<T> carries(blocks);
  for (std::size_t k = 0; k < blocks; ++k) {
    carries[k] = carry;
    carry = totals[k](carry);
  }
  run(static_cast<std::int64_t>(blocks), [&](std::int64_t task) {
    const std::size_t from = static_cast<std::size_t>(task) * block;
    detail::adjoint_steps(args, from, count(from), carries[static_cast<std::size_t>(task)]);
  });
  return carry;
}

}  // namespace rill::scan
