// The LSTM cell in float vectors, forward and backward (equations in cells_plain.cpp), and the
// packing of weights.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "rill/rnn/cpu/lstm_simd.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include <hwy/highway.h>

#include <rill/rnn/cpu/cell_step-inl.h>
#include <rill/rnn/cpu/cells.h>

HWY_BEFORE_NAMESPACE();
namespace rill {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

using recurrence::BackwardRow;
using recurrence::ForwardRow;

struct LstmCell {
  static constexpr int kGates = 4;
  static constexpr int kSummedGates = 4;
  static constexpr bool kPassesH = false;

  template <class D>
  static HWY_INLINE void Finish(D d, const RecurrentArgs& a, const ForwardRow<float>& row,
                                std::int64_t unit, const hn::Vec<D>* sums, const float*) {
    using V = hn::Vec<D>;
    const std::int64_t hidden = a.hidden, count = hidden - unit;
    const V i = cell_gates::Sigmoid(d, sums[0]), f = cell_gates::Sigmoid(d, sums[1]),
            g = cell_gates::Tanh(d, sums[2]), o = cell_gates::Sigmoid(d, sums[3]);
    const V c = hn::MulAdd(f, LoadN(d, row.c + unit, count), hn::Mul(i, g));
    StoreN(d, c, row.c + unit, count);
    StoreN(d, hn::Mul(o, cell_gates::Tanh(d, c)), row.out + unit, count);
    if (!row.kept) return;
    StoreN(d, c, row.kept + unit, count);
    StoreN(d, i, row.gates + unit, count);
    StoreN(d, f, row.gates + hidden + unit, count);
    StoreN(d, g, row.gates + 2 * hidden + unit, count);
    StoreN(d, o, row.gates + 3 * hidden + unit, count);
  }

  static void forward(const RecurrentArgs& a, const ForwardRow<float>* rows, std::int64_t n) {
    cell_step::Step<LstmCell>(a, rows, n);
  }

  static void backward(const RecurrentBackwardArgs& a, const BackwardRow<float>* rows,
                       std::int64_t n) {
    const cell_step::Full d;
    for (std::int64_t r = 0; r < n; ++r)
      for (std::int64_t unit = 0; unit < a.hidden; unit += cell_step::LaneCount(d))
        Back(d, a.hidden, rows[r], unit);
  }

  template <class D>
  static HWY_INLINE void Back(D d, std::int64_t hidden, const BackwardRow<float>& row,
                              std::int64_t unit) {
    using V = hn::Vec<D>;
    const std::int64_t count = hidden - unit;
    const V one = hn::Set(d, 1.0f);
    const V i = LoadN(d, row.gates + unit, count), f = LoadN(d, row.gates + hidden + unit, count);
    const V g = LoadN(d, row.gates + 2 * hidden + unit, count),
            o = LoadN(d, row.gates + 3 * hidden + unit, count);
    const V tanh_c = cell_gates::Tanh(d, LoadN(d, row.kept + unit, count));
    const V c_previous = cell_step::LoadOrZero(d, row.c_previous, unit, count);
    const V dh = LoadN(d, row.dout + unit, count);
    const V dc = hn::MulAdd(hn::Mul(dh, o), hn::NegMulAdd(tanh_c, tanh_c, one),
                            LoadN(d, row.dc + unit, count));
    const V gradients[4] = {hn::Mul(hn::Mul(dc, g), hn::Mul(i, hn::Sub(one, i))),
                            hn::Mul(hn::Mul(dc, c_previous), hn::Mul(f, hn::Sub(one, f))),
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

void Pack(const PackRecurrentArgs& a, const KernelContext& context) {
  const auto* const weight = static_cast<const float*>(a.weight);
  auto* const packed = static_cast<float*>(a.packed);
  std::int64_t lanes = 1;
  cell_step::WithTag(a.hidden, [&](auto d) HWY_ATTR { lanes = cell_step::LaneCount(d); });
  context.parallel_for((a.hidden + lanes - 1) / lanes, [&](std::int64_t block) {
    float* panel = packed + block * a.width * a.gates * lanes;
    for (std::int64_t k = 0; k < a.width; ++k)
      for (std::int64_t g = 0; g < a.gates; ++g)
        for (std::int64_t unit = block * lanes; unit < (block + 1) * lanes; ++unit)
          *panel++ = unit < a.hidden ? weight[(g * a.hidden + unit) * a.width + k] : 0.0f;
  });
}

void LstmForward(const RecurrentArgs& a, const KernelContext& context) {
  recurrence::forward<float, LstmCell>(a, context);
}

void LstmBackward(const RecurrentBackwardArgs& a, const KernelContext& context) {
  recurrence::backward<float, LstmCell>(a, context);
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

}  // namespace

void pack_recurrent_f32(const PackRecurrentArgs& args, const KernelContext& context) {
  HWY_DYNAMIC_DISPATCH(Pack)(args, context);
}

void lstm_f32(const RecurrentArgs& args, const KernelContext& context) {
  HWY_DYNAMIC_DISPATCH(LstmForward)(args, context);
}

void lstm_backward_f32(const RecurrentBackwardArgs& args, const KernelContext& context) {
  HWY_DYNAMIC_DISPATCH(LstmBackward)(args, context);
}

}  // namespace rill
#endif
