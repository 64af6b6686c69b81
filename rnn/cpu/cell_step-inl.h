// Private: one step of a recurrent cell for the rows of a tile, in float vectors; compiled once per
// target.
//
// Lanes run over hidden units. The G gates of one or two vectors of units are made together, so
// that the products W x and U h, the gates and the new state of those units never leave the
// registers. Weights lie as [ceil(H / L)][K][G][L]: one panel is read once, in order, for all rows
// of a tile. Every element is a chain of multiply-adds, k strictly in order: b_ih, then W_ih x,
// then + b_hh, then W_hh h (the GRU's n: W_hh h starts at b_hh, apart), whatever the number of rows
// and whether core's linear made the first part. A row's bits do not depend on the others.
#if defined(RILL_RNN_CPU_CELL_STEP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RILL_RNN_CPU_CELL_STEP_INL_H_
#undef RILL_RNN_CPU_CELL_STEP_INL_H_
#else
#define RILL_RNN_CPU_CELL_STEP_INL_H_
#endif

#include <hwy/highway.h>

#include <rill/core/simd-inl.h>
#include <rill/core/simd_math-inl.h>
#include <rill/rnn/cpu/cell_gates-inl.h>
#include <rill/rnn/cpu/recurrence-inl.h>

HWY_BEFORE_NAMESPACE();
namespace rill {
namespace HWY_NAMESPACE {
namespace cell_step {

namespace hn = hwy::HWY_NAMESPACE;

using recurrence::ForwardRow;

// Rows that are multiplied at once: rows x gates sums, the rows' h and a weight stay in registers.
constexpr int kMaxRows = HWY_TARGET <= HWY_AVX3 ? 6 : HWY_TARGET <= HWY_AVX2 ? 3 : 2;

using Full = hn::ScalableTag<float>;
using Half = hn::CappedTag<float, 8>;
using Quarter = hn::CappedTag<float, 4>;

// Calls f(tag) with vectors no wider than few units need: masked lanes cost as much as others, and
// a masked store cannot be forwarded to the next step's loads.
template <class F>
HWY_INLINE void WithTag(std::int64_t hidden, const F& f) {
  constexpr std::size_t kLanes = hn::MaxLanes(Full());
  if constexpr (kLanes > 4)
    if (hidden <= 4) return f(Quarter());
  if constexpr (kLanes > 8)
    if (hidden <= 8) return f(Half());
  f(Full());
}

template <class D>
HWY_INLINE std::int64_t LaneCount(D d) {
  return static_cast<std::int64_t>(hn::Lanes(d));
}

template <class D>
HWY_INLINE hn::Vec<D> LoadOrZero(D d, const float* p, std::int64_t offset, std::int64_t count) {
  return p ? LoadN(d, p + offset, count) : hn::Zero(d);
}

// sums[r][b G + g] += sum_k x[r][k] panel[b][k][g], from the panel of `unit` on.
template <class D, int R, int B, int G>
HWY_INLINE void Accumulate(D d, const float* const (&x)[R], const void* packed, std::int64_t unit,
                           std::int64_t k_count, hn::Vec<D> (&sums)[R][B * G]) {
  const std::int64_t lanes = LaneCount(d);
  const std::int64_t next_block = k_count * G * lanes;
  const float* panel = static_cast<const float*>(packed) + unit * k_count * G;
  for (std::int64_t k = 0; k < k_count; ++k, panel += G * lanes) {
    hn::Vec<D> x_k[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) x_k[r] = hn::Set(d, x[r][k]);
#pragma GCC unroll 8
    for (int b = 0; b < B; ++b) {
#pragma GCC unroll 8
      for (int g = 0; g < G; ++g) {
        const hn::Vec<D> weight = hn::Load(d, panel + b * next_block + g * lanes);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r)
          sums[r][b * G + g] = hn::MulAdd(x_k[r], weight, sums[r][b * G + g]);
      }
    }
  }
}

// b_ih + W_ih x: made here, or by core's linear before.
template <class D, int R, int B, int G>
HWY_INLINE void InputSums(D d, const RecurrentArgs& a, const ForwardRow<float>* rows,
                          std::int64_t unit, hn::Vec<D> (&sums)[R][B * G]) {
  const bool here = a.x != nullptr;
#pragma GCC unroll 8
  for (int i = 0; i < B * G; ++i) {
    const std::int64_t first = unit + i / G * LaneCount(d), count = a.hidden - first;
    const std::int64_t offset = i % G * a.hidden + first;
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
      sums[r][i] = here ? LoadOrZero(d, static_cast<const float*>(a.bias_ih), offset, count)
                        : LoadN(d, rows[r].gates + offset, count);
  }
  if (!here) return;
  const float* x[R];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) x[r] = rows[r].x;
  Accumulate<D, R, B, G>(d, x, a.weight_ih, unit, a.input, sums);
}

// B vectors of units from `unit` on, for R rows. Cell::Finish makes the state from the G sums,
// behind them the last gate's part of the input where that stays apart (kSummedGates < G).
template <class Cell, int R, int B, class D>
HWY_NOINLINE void Units(D d, const RecurrentArgs& a, const ForwardRow<float>* rows,
                        std::int64_t unit) {
  using V = hn::Vec<D>;
  constexpr int G = Cell::kGates;
  const std::int64_t lanes = LaneCount(d);
  HWY_ALIGN float apart[R * B * hn::MaxLanes(d)];
  V sums[R][B * G];
  InputSums<D, R, B, G>(d, a, rows, unit, sums);
#pragma GCC unroll 8
  for (int i = 0; i < B * G; ++i) {
    const std::int64_t first = unit + i / G * lanes;
    const V bias = LoadOrZero(d, static_cast<const float*>(a.bias_hh), i % G * a.hidden + first,
                              a.hidden - first);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      if (i % G < Cell::kSummedGates) {
        sums[r][i] = hn::Add(sums[r][i], bias);
      } else {
        hn::Store(sums[r][i], d, apart + (r * B + i / G) * lanes);
        sums[r][i] = bias;
      }
    }
  }
  const float* h[R];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) h[r] = rows[r].h;
  Accumulate<D, R, B, G>(d, h, a.weight_hh, unit, a.output, sums);
  if constexpr (R == 1) {
#pragma GCC unroll 8
    for (int b = 0; b < B; ++b)
      Cell::Finish(d, a, rows[0], unit + b * lanes, &sums[0][b * G], apart + b * lanes);
  } else {
    // Through memory, so that the activations are not unrolled over rows.
    HWY_ALIGN float kept[R * B * G * hn::MaxLanes(d)];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int i = 0; i < B * G; ++i) hn::Store(sums[r][i], d, kept + (r * B * G + i) * lanes);
    }
    for (int i = 0; i < R * B; ++i) {
      V gates[G];
#pragma GCC unroll 8
      for (int g = 0; g < G; ++g) gates[g] = hn::Load(d, kept + (i * G + g) * lanes);
      Cell::Finish(d, a, rows[i / B], unit + i % B * lanes, gates, apart + i * lanes);
    }
  }
}

template <class Cell, int R, class D>
HWY_INLINE void UnitsOfRows(D d, const RecurrentArgs& a, const ForwardRow<float>* rows,
                            std::int64_t n, std::int64_t unit) {
  if (n == R) {
    Units<Cell, R, 1>(d, a, rows, unit);
  } else if constexpr (R > 1) {
    UnitsOfRows<Cell, R - 1>(d, a, rows, n, unit);
  }
}

// One step of n <= kRowTile rows. A single row takes two vectors of units at once: four chains of
// multiply-adds would wait for each other.
template <class Cell, class D>
HWY_INLINE void StepWith(D d, const RecurrentArgs& a, const ForwardRow<float>* rows,
                         std::int64_t n) {
  const std::int64_t lanes = LaneCount(d);
  std::int64_t unit = 0;
  if (n == 1) {
    for (; unit + lanes < a.hidden; unit += 2 * lanes) Units<Cell, 1, 2>(d, a, rows, unit);
    if (unit < a.hidden) Units<Cell, 1, 1>(d, a, rows, unit);
    return;
  }
  const std::int64_t parts = (n + kMaxRows - 1) / kMaxRows;
  for (; unit < a.hidden; unit += lanes) {
    std::int64_t first = 0;
    for (std::int64_t part = 0; part < parts; ++part) {
      const std::int64_t end = (part + 1) * n / parts;
      UnitsOfRows<Cell, kMaxRows>(d, a, rows + first, end - first, unit);
      first = end;
    }
  }
}

template <class Cell>
HWY_INLINE void Step(const RecurrentArgs& a, const ForwardRow<float>* rows, std::int64_t n) {
  WithTag(a.hidden, [&](auto d) HWY_ATTR { StepWith<Cell>(d, a, rows, n); });
}

}  // namespace cell_step
}  // namespace HWY_NAMESPACE
}  // namespace rill
HWY_AFTER_NAMESPACE();

#endif
