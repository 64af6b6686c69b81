// The GRU cell in float vectors, forward and backward (equations in cells_plain.cpp).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "rill/rnn/cpu/gru_simd.cpp"
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

struct GruCell {
  static constexpr int kGates = 3;
  static constexpr int kSummedGates =
      2;  // n's products stay apart: the reset gate multiplies one of them
  static constexpr bool kPassesH = true;

  template <class D>
  static HWY_INLINE void Finish(D d, const RecurrentArgs& a, const ForwardRow<float>& row,
                                std::int64_t unit, const hn::Vec<D>* sums, const float* n_of_x) {
    using V = hn::Vec<D>;
    const std::int64_t hidden = a.hidden, count = hidden - unit;
    const V r = cell_gates::Sigmoid(d, sums[0]), z = cell_gates::Sigmoid(d, sums[1]), q = sums[2];
    const V n = cell_gates::Tanh(d, hn::MulAdd(r, q, hn::Load(d, n_of_x)));
    const V h = LoadN(d, row.h + unit, count);
    StoreN(d, hn::MulAdd(z, hn::Sub(h, n), n), row.out + unit, count);
    if (!row.kept) return;
    StoreN(d, q, row.kept + unit, count);
    StoreN(d, r, row.gates + unit, count);
    StoreN(d, z, row.gates + hidden + unit, count);
    StoreN(d, n, row.gates + 2 * hidden + unit, count);
  }

  static void forward(const RecurrentArgs& a, const ForwardRow<float>* rows, std::int64_t n) {
    cell_step::Step<GruCell>(a, rows, n);
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
    float* const gates = row.gates + unit;
    float* const dgates = row.dgates + unit;
    const V r = LoadN(d, gates, count), z = LoadN(d, gates + hidden, count),
            n = LoadN(d, gates + 2 * hidden, count);
    const V h = LoadN(d, row.h_previous + unit, count), q = LoadN(d, row.kept + unit, count);
    const V dh = LoadN(d, row.dout + unit, count);
    const V dn = hn::Mul(hn::Mul(dh, hn::Sub(one, z)), hn::NegMulAdd(n, n, one));
    const V dr = hn::Mul(hn::Mul(dn, q), hn::Mul(r, hn::Sub(one, r)));
    const V dz = hn::Mul(hn::Mul(dh, hn::Sub(h, n)), hn::Mul(z, hn::Sub(one, z)));
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

void GruForward(const RecurrentArgs& a, const KernelContext& context) {
  recurrence::forward<float, GruCell>(a, context);
}

void GruBackward(const RecurrentBackwardArgs& a, const KernelContext& context) {
  recurrence::backward<float, GruCell>(a, context);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rill
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rill {
namespace {

HWY_EXPORT(GruForward);
HWY_EXPORT(GruBackward);

}  // namespace

void gru_f32(const RecurrentArgs& args, const KernelContext& context) {
  HWY_DYNAMIC_DISPATCH(GruForward)(args, context);
}

void gru_backward_f32(const RecurrentBackwardArgs& args, const KernelContext& context) {
  HWY_DYNAMIC_DISPATCH(GruBackward)(args, context);
}

}  // namespace rill
#endif
