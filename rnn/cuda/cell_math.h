// One unit's arithmetic of an LSTM and a GRU (equations: rnn/cpu/cells_plain.cpp), on a device.
//
// Gates' values and gradients are S; an LSTM's cell states are Compute<S> wherever they lie, `kept`
// among them; a GRU's `kept` (U_n h + b_hn, then its gradient) is S.
#pragma once

#include <rill/core/cuda/device.h>
#include <rill/rnn/cell_args.h>

namespace rill {

template <class C>
RILL_DEVICE C cell_sigmoid(C x) {
  const C e = exp(-fabs(x));  // no overflow
  return (x >= C(0) ? C(1) : e) / (C(1) + e);
}

/// What a unit's step backward reads of the arrays [tokens, ...].
template <class C, int kGates>
struct SavedStep {
  C gates[kGates];
  C kept;
};

/// forward(): `w`, `u` are what comes by the input and by h, both with their biases; returns the
/// unit's output. backward(): fills d[kGates], the gradients of U h + b_hh.
template <class S>
struct LstmCell {
  using C = Compute<S>;
  using Kept = C;
  static constexpr int kGates = 4;
  using Saved = SavedStep<C, kGates>;

  static RILL_DEVICE C forward(const RecurrentArgs& a, std::int64_t token, std::int64_t j,
                               const C (&w)[kGates], const C (&u)[kGates], C& c) {
    const C i = cell_sigmoid(w[0] + u[0]), f = cell_sigmoid(w[1] + u[1]);
    const C g = tanh(w[2] + u[2]), o = cell_sigmoid(w[3] + u[3]);
    c = fused_multiply_add(f, c, i * g);
    if (a.kept) {
      const std::int64_t first = token * kGates * a.hidden + j;
      store<S>(a.gates, first, i);
      store<S>(a.gates, first + a.hidden, f);
      store<S>(a.gates, first + 2 * a.hidden, g);
      store<S>(a.gates, first + 3 * a.hidden, o);
      store<Kept>(a.kept, token * a.hidden + j, c);
    }
    return o * tanh(c);
  }

  // `dc` runs; returns what of the gradient passes by U h: nothing.
  static RILL_DEVICE C backward(const RecurrentBackwardArgs& a, std::int64_t token, std::int64_t j,
                                const Saved& saved, C dout, C c_previous, C& dc, C (&d)[kGates]) {
    const C i = saved.gates[0], f = saved.gates[1], g = saved.gates[2], o = saved.gates[3];
    const C tanh_c = tanh(saved.kept);
    const C through = fused_multiply_add(dout * o, C(1) - tanh_c * tanh_c, dc);
    d[0] = through * g * i * (C(1) - i);
    d[1] = through * c_previous * f * (C(1) - f);
    d[2] = through * i * (C(1) - g * g);
    d[3] = dout * tanh_c * o * (C(1) - o);
    dc = through * f;
    if (a.projected) store<S>(a.projected, token * a.hidden + j, o * tanh_c);
    const std::int64_t first = token * kGates * a.hidden + j;
    RILL_UNROLL
    for (int q = 0; q < kGates; ++q) store<S>(a.gates, first + q * a.hidden, d[q]);
    return C(0);
  }
};

/// `state` of forward() and backward()'s `previous` are h before the step.
template <class S>
struct GruCell {
  using C = Compute<S>;
  using Kept = S;
  static constexpr int kGates = 3;
  using Saved = SavedStep<C, kGates>;

  static RILL_DEVICE C forward(const RecurrentArgs& a, std::int64_t token, std::int64_t j,
                               const C (&w)[kGates], const C (&u)[kGates], C& state) {
    const C r = cell_sigmoid(w[0] + u[0]), z = cell_sigmoid(w[1] + u[1]);
    const C candidate = tanh(fused_multiply_add(r, u[2], w[2]));
    if (a.kept) {
      const std::int64_t first = token * kGates * a.hidden + j;
      store<S>(a.gates, first, r);
      store<S>(a.gates, first + a.hidden, z);
      store<S>(a.gates, first + 2 * a.hidden, candidate);
      store<Kept>(a.kept, token * a.hidden + j, u[2]);
    }
    state = fused_multiply_add(z, state - candidate, candidate);
    return state;
  }

  static RILL_DEVICE C backward(const RecurrentBackwardArgs& a, std::int64_t token, std::int64_t j,
                                const Saved& saved, C dout, C previous, C&, C (&d)[kGates]) {
    const C r = saved.gates[0], z = saved.gates[1], candidate = saved.gates[2];
    const C dn = dout * (C(1) - z) * (C(1) - candidate * candidate);
    d[0] = dn * saved.kept * r * (C(1) - r);
    d[1] = dout * (previous - candidate) * z * (C(1) - z);
    d[2] = dn * r;
    const std::int64_t first = token * kGates * a.hidden + j;
    store<S>(a.gates, first, d[0]);
    store<S>(a.gates, first + a.hidden, d[1]);
    store<S>(a.gates, first + 2 * a.hidden, dn);
    store<Kept>(a.kept, token * a.hidden + j, d[2]);
    return dout * z;
  }
};

}  // namespace rill
