// Inclusive scans y_i = carry . x_0 . x_1 ... x_i over any operator, for any length, with carry in
// and carry out; in one pass, in blocks, from the right, and with resets. The split depends on
// sizes alone: a result repeats bit for bit whatever runs the blocks. Source: Blelloch, "Prefix
// sums and their applications", 1990.
#pragma once

#include <algorithm>
#include <complex>
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

/// Gradients of h_t = a_t h_{t-1} + b_t: from dh [n] (of every h_t) and `carry` = d(h_{n-1}) from
/// later steps,
///   g_t = dh_t + conj(a_{t+1}) g_{t+1},  db_t = g_t,  da_t = g_t conj(h_{t-1}),  d(h_{-1}) =
///   conj(a_0) g_0,
/// itself a reverse scan. h [n] are the states, h0 = h_{-1}; da and db may not overlap the inputs.
/// Returns d(h0), which is `carry` where n = 0. A reset before step t makes a_t count as 0 and
/// h_{t-1} as 0.
template <class T>
T affine_adjoint(std::span<const AffineMap<T>> maps, std::span<const T> h, const T& h0,
                 std::span<const T> dh, T carry, std::span<T> da, std::span<T> db,
                 std::span<const std::uint8_t> reset = {}) {
  const auto conjugate = [](const T& value) {
    if constexpr (requires { std::conj(value).imag(); } && !std::is_arithmetic_v<T>)
      return std::conj(value);
    else
      return value;
  };
  for (std::size_t t = maps.size(); t-- > 0;) {
    const bool fresh = !reset.empty() && reset[t] != 0;
    const T g = dh[t] + carry;
    db[t] = g;
    da[t] = fresh ? T(0) : g * conjugate(t > 0 ? h[t - 1] : h0);
    carry = fresh ? T(0) : conjugate(maps[t].a) * g;
  }
  return carry;
}

}  // namespace rill::scan
