// The recurrent cells in float vectors (equations in cells_plain.cpp), compiled once per target.
// Lanes run over hidden units: the G gates of one vector of units are made together, so that the
// product U h, the gates and the new state of those units never leave the registers. W_hh lies as
// [ceil(H / L)][P][G][L]: one panel is read once, in order, for all rows of a tile. Every element
// is a chain of multiply-adds over k strictly in order, starting from W x + b_ih + b_hh (for the
// GRU's n: from b_hn), whatever the number of rows: a row's bits do not depend on the others.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "rill/rnn/cpu/cells_simd.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include <hwy/highway.h>

#include <rill/core/simd-inl.h>
#include <rill/core/simd_math-inl.h>
#include <rill/rnn/cpu/recurrence-inl.h>

HWY_BEFORE_NAMESPACE();
namespace rill {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;
using recurrence::BackwardRow;
using recurrence::ForwardRow;

// Rows that are multiplied at once: rows x gates sums, the rows' h and a weight stay in registers.
constexpr int kMaxRows = HWY_TARGET <= HWY_AVX3 ? 6 : 3;
constexpr int kMaxLanes = static_cast<int>(hn::MaxLanes(D()));

HWY_INLINE std::int64_t LaneCount() { return static_cast<std::int64_t>(hn::Lanes(D())); }

HWY_INLINE V LoadOrZero(const float* p, std::int64_t offset, std::int64_t count) {
  return p ? LoadN(D(), p + offset, count) : hn::Zero(D());
}

// What one call makes: B vectors of units from `unit` on, for R rows.
template <int R, int B>
struct Tile {
  const RecurrentArgs& a;
  const ForwardRow<float>* rows;
  std::int64_t unit;
};

// sums[r][b G + g] += sum_k h[r][k] panel[b][k][g].
template <int G, int R, int B>
HWY_INLINE void Accumulate(const Tile<R, B>& tile, V (&sums)[R][B * G]) {
  const D d;
  const std::int64_t lanes = LaneCount(), k_count = tile.a.output;
  const float* panel = static_cast<const float*>(tile.a.weight_hh) + tile.unit * k_count * G;
  const float* h[R];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) h[r] = tile.rows[r].h;
  const std::int64_t next_block = k_count * G * lanes;
  for (std::int64_t k = 0; k < k_count; ++k, panel += G * lanes) {
    V x[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) x[r] = hn::Set(d, h[r][k]);
#pragma GCC unroll 8
    for (int b = 0; b < B; ++b) {
#pragma GCC unroll 8
      for (int g = 0; g < G; ++g) {
        const V u = hn::Load(d, panel + b * next_block + g * lanes);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) sums[r][b * G + g] = hn::MulAdd(x[r], u, sums[r][b * G + g]);
      }
    }
  }
}

// The sums of all gates from their starting values on, left in memory as [R][B][G][L].
template <class Cell, int R, int B>
HWY_INLINE void Sums(const Tile<R, B>& tile, float* HWY_RESTRICT out) {
  constexpr int G = Cell::kGates;
  const D d;
  const std::int64_t lanes = LaneCount(), hidden = tile.a.hidden;
  const auto* const bias = static_cast<const float*>(tile.a.bias_hh);
  V sums[R][B * G];
#pragma GCC unroll 8
  for (int b = 0; b < B; ++b) {
    const std::int64_t unit = tile.unit + b * lanes;
#pragma GCC unroll 8
    for (int g = 0; g < G; ++g) {
      const V start = LoadOrZero(bias, g * hidden + unit, hidden - unit);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const bool from_x = g < Cell::kSummedGates;
        sums[r][b * G + g] =
            from_x ? hn::Add(LoadN(d, tile.rows[r].gates + g * hidden + unit, hidden - unit), start)
                   : start;
      }
    }
  }
  Accumulate<G>(tile, sums);
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int i = 0; i < B * G; ++i) hn::Store(sums[r][i], d, out + (r * B * G + i) * lanes);
  }
}

template <class Cell, int R, int B>
HWY_NOINLINE void Units(const Tile<R, B>& tile) {
  HWY_ALIGN float sums[R * B * Cell::kGates * kMaxLanes];
  Sums<Cell>(tile, sums);
  const std::int64_t lanes = LaneCount();
  for (int r = 0; r < R; ++r) {
    for (int b = 0; b < B; ++b)
      Cell::Finish(tile.a, tile.rows[r], tile.unit + b * lanes,
                   sums + (r * B + b) * Cell::kGates * lanes);
  }
}

template <class Cell, int R>
HWY_INLINE void UnitsOfRows(const RecurrentArgs& a, const ForwardRow<float>* rows, std::int64_t n,
                            std::int64_t unit) {
  if (n == R) {
    Units<Cell, R, 1>({a, rows, unit});
  } else if constexpr (R > 1) {
    UnitsOfRows<Cell, R - 1>(a, rows, n, unit);
  }
}

// One step of n <= kRowTile rows. A single row takes two vectors of units at once: four chains of
// multiply-adds would wait for each other.
template <class Cell>
HWY_INLINE void Step(const RecurrentArgs& a, const ForwardRow<float>* rows, std::int64_t n) {
  const std::int64_t lanes = LaneCount();
  std::int64_t unit = 0;
  if (n == 1)
    for (; unit + lanes < a.hidden; unit += 2 * lanes) Units<Cell, 1, 2>({a, rows, unit});
  const std::int64_t parts = (n + kMaxRows - 1) / kMaxRows;
  for (; unit < a.hidden; unit += lanes) {
    std::int64_t first = 0;
    for (std::int64_t part = 0; part < parts; ++part) {
      const std::int64_t end = (part + 1) * n / parts;
      UnitsOfRows<Cell, kMaxRows>(a, rows + first, end - first, unit);
      first = end;
    }
  }
}

struct Lstm {
  static constexpr int kGates = 4;
  static constexpr int kSummedGates = 4;
  static constexpr bool kPassesH = false;

  static HWY_INLINE void Finish(const RecurrentArgs& a, const ForwardRow<float>& row,
                                std::int64_t unit, const float* HWY_RESTRICT sums) {
    const D d;
    const std::int64_t lanes = LaneCount(), hidden = a.hidden, count = hidden - unit;
    const V i = Sigmoid(d, hn::Load(d, sums));
    const V f = Sigmoid(d, hn::Load(d, sums + lanes));
    const V g = Tanh(d, hn::Load(d, sums + 2 * lanes));
    const V o = Sigmoid(d, hn::Load(d, sums + 3 * lanes));
    const V c = hn::MulAdd(f, LoadN(d, row.c + unit, count), hn::Mul(i, g));
    StoreN(d, c, row.c + unit, count);
    StoreN(d, hn::Mul(o, Tanh(d, c)), row.out + unit, count);
    if (!row.kept) return;
    StoreN(d, c, row.kept + unit, count);
    StoreN(d, i, row.gates + unit, count);
    StoreN(d, f, row.gates + hidden + unit, count);
    StoreN(d, g, row.gates + 2 * hidden + unit, count);
    StoreN(d, o, row.gates + 3 * hidden + unit, count);
  }

  static void forward(const RecurrentArgs& a, const ForwardRow<float>* rows, std::int64_t n) {
    Step<Lstm>(a, rows, n);
  }

  static void backward(const RecurrentBackwardArgs& a, const BackwardRow<float>* rows,
                       std::int64_t n) {
    for (std::int64_t r = 0; r < n; ++r)
      for (std::int64_t unit = 0; unit < a.hidden; unit += LaneCount())
        Back(a.hidden, rows[r], unit);
  }

  static HWY_INLINE void Back(std::int64_t hidden, const BackwardRow<float>& row,
                              std::int64_t unit) {
    const D d;
    const std::int64_t count = hidden - unit;
    const V one = hn::Set(d, 1.0f);
    const V i = LoadN(d, row.gates + unit, count), f = LoadN(d, row.gates + hidden + unit, count);
    const V g = LoadN(d, row.gates + 2 * hidden + unit, count),
            o = LoadN(d, row.gates + 3 * hidden + unit, count);
    const V tanh_c = Tanh(d, LoadN(d, row.kept + unit, count));
    const V dh = LoadN(d, row.dout + unit, count);
    const V dc = hn::MulAdd(hn::Mul(dh, o), hn::NegMulAdd(tanh_c, tanh_c, one),
                            LoadN(d, row.dc + unit, count));
    const V gradients[4] = {
        hn::Mul(hn::Mul(dc, g), hn::Mul(i, hn::Sub(one, i))),
        hn::Mul(hn::Mul(dc, LoadOrZero(row.c_previous, unit, count)), hn::Mul(f, hn::Sub(one, f))),
        hn::Mul(hn::Mul(dc, i), hn::NegMulAdd(g, g, one)),
        hn::Mul(hn::Mul(dh, tanh_c), hn::Mul(o, hn::Sub(one, o)))};
    StoreN(d, hn::Mul(dc, f), row.dc + unit, count);
    if (row.projected) StoreN(d, hn::Mul(o, tanh_c), row.projected + unit, count);
    for (std::int64_t q = 0; q < 4; ++q) {
      StoreN(d, gradients[q], row.gates + q * hidden + unit, count);
      StoreN(d, gradients[q], row.dgates + q * hidden + unit, count);
    }
  }
};

struct Gru {
  static constexpr int kGates = 3;
  static constexpr int kSummedGates = 2;  // n's product stays apart: the reset gate multiplies it
  static constexpr bool kPassesH = true;

  static HWY_INLINE void Finish(const RecurrentArgs& a, const ForwardRow<float>& row,
                                std::int64_t unit, const float* HWY_RESTRICT sums) {
    const D d;
    const std::int64_t lanes = LaneCount(), hidden = a.hidden, count = hidden - unit;
    const V r = Sigmoid(d, hn::Load(d, sums));
    const V z = Sigmoid(d, hn::Load(d, sums + lanes));
    const V q = hn::Load(d, sums + 2 * lanes);
    const V n = Tanh(d, hn::MulAdd(r, q, LoadN(d, row.gates + 2 * hidden + unit, count)));
    StoreN(d, hn::MulAdd(z, hn::Sub(LoadN(d, row.h + unit, count), n), n), row.out + unit, count);
    if (!row.kept) return;
    StoreN(d, q, row.kept + unit, count);
    StoreN(d, r, row.gates + unit, count);
    StoreN(d, z, row.gates + hidden + unit, count);
    StoreN(d, n, row.gates + 2 * hidden + unit, count);
  }

  static void forward(const RecurrentArgs& a, const ForwardRow<float>* rows, std::int64_t n) {
    Step<Gru>(a, rows, n);
  }

  static void backward(const RecurrentBackwardArgs& a, const BackwardRow<float>* rows,
                       std::int64_t n) {
    for (std::int64_t r = 0; r < n; ++r)
      for (std::int64_t unit = 0; unit < a.hidden; unit += LaneCount())
        Back(a.hidden, rows[r], unit);
  }

  static HWY_INLINE void Back(std::int64_t hidden, const BackwardRow<float>& row,
                              std::int64_t unit) {
    const D d;
    const std::int64_t count = hidden - unit;
    const V one = hn::Set(d, 1.0f);
    float* const gates = row.gates + unit;
    float* const dgates = row.dgates + unit;
    const V r = LoadN(d, gates, count), z = LoadN(d, gates + hidden, count),
            n = LoadN(d, gates + 2 * hidden, count);
    const V dh = LoadN(d, row.dout + unit, count);
    const V dn = hn::Mul(hn::Mul(dh, hn::Sub(one, z)), hn::NegMulAdd(n, n, one));
    const V dr =
        hn::Mul(hn::Mul(dn, LoadN(d, row.kept + unit, count)), hn::Mul(r, hn::Sub(one, r)));
    const V dz = hn::Mul(hn::Mul(dh, hn::Sub(LoadN(d, row.h_previous + unit, count), n)),
                         hn::Mul(z, hn::Sub(one, z)));
    const V dq = hn::Mul(dn, r);
    StoreN(d, hn::Mul(dh, z), row.dh + unit, count);
    StoreN(d, dq, row.kept + unit, count);
    StoreN(d, dr, gates, count);
    StoreN(d, dz, gates + hidden, count);
    StoreN(d, dn, gates + 2 * hidden, count);
    StoreN(d, dr, dgates, count);
    StoreN(d, dz, dgates + hidden, count);
    StoreN(d, dq, dgates + 2 * hidden, count);
  }
};

void Pack(const PackRecurrentArgs& a, const KernelContext& context) {
  const auto* const weight = static_cast<const float*>(a.weight);
  auto* const packed = static_cast<float*>(a.packed);
  const std::int64_t lanes = LaneCount(), blocks = (a.hidden + lanes - 1) / lanes;
  context.parallel_for(blocks, [&](std::int64_t block) {
    float* panel = packed + block * a.output * a.gates * lanes;
    for (std::int64_t k = 0; k < a.output; ++k)
      for (std::int64_t g = 0; g < a.gates; ++g)
        for (std::int64_t lane = 0; lane < lanes; ++lane) {
          const std::int64_t unit = block * lanes + lane;
          *panel++ = unit < a.hidden ? weight[(g * a.hidden + unit) * a.output + k] : 0.0f;
        }
  });
}

void LstmForward(const RecurrentArgs& a, const KernelContext& context) {
  recurrence::forward<float, Lstm>(a, context);
}
void LstmBackward(const RecurrentBackwardArgs& a, const KernelContext& context) {
  recurrence::backward<float, Lstm>(a, context);
}
void GruForward(const RecurrentArgs& a, const KernelContext& context) {
  recurrence::forward<float, Gru>(a, context);
}
void GruBackward(const RecurrentBackwardArgs& a, const KernelContext& context) {
  recurrence::backward<float, Gru>(a, context);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rill
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rill {
namespace {

HWY_EXPORT(Pack);
HWY_EXPORT(LstmForward);
HWY_EXPORT(LstmBackward);
HWY_EXPORT(GruForward);
HWY_EXPORT(GruBackward);

// Room for vectors of up to 16 lanes, so that the size does not depend on the target.
std::int64_t packed_count(std::int64_t hidden, std::int64_t gates, std::int64_t output) {
  return (hidden + 15) / 16 * 16 * gates * output;
}

void pack(const PackRecurrentArgs& a, const KernelContext& c) { HWY_DYNAMIC_DISPATCH(Pack)(a, c); }
void lstm(const RecurrentArgs& a, const KernelContext& c) {
  HWY_DYNAMIC_DISPATCH(LstmForward)(a, c);
}
void lstm_backward(const RecurrentBackwardArgs& a, const KernelContext& c) {
  HWY_DYNAMIC_DISPATCH(LstmBackward)(a, c);
}
void gru(const RecurrentArgs& a, const KernelContext& c) { HWY_DYNAMIC_DISPATCH(GruForward)(a, c); }
void gru_backward(const RecurrentBackwardArgs& a, const KernelContext& c) {
  HWY_DYNAMIC_DISPATCH(GruBackward)(a, c);
}

}  // namespace

const RnnKernels& cpu_rnn_kernels_f32() {
  static const RnnKernels table = {.pack = pack,
                                   .packed_count = packed_count,
                                   .lstm = lstm,
                                   .lstm_backward = lstm_backward,
                                   .gru = gru,
                                   .gru_backward = gru_backward};
  return table;
}

}  // namespace rill
#endif
