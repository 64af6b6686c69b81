// Private: the selective scan as plain loops, any floating type. float64's form, and the oracle of
// the vector form.
#pragma once

#include <cmath>
#include <vector>

#include <rill/scan/cpu/conv_plain-inl.h>
#include <rill/scan/cpu/rows.h>
#include <rill/scan/kernels.h>

namespace rill::plain {

template <class T>
T softplus(T x) {
  return std::max(x, T(0)) + std::log1p(std::exp(-std::abs(x)));
}

template <class T>
void selective_prepare(const SelectivePrepareArgs& args, const KernelContext&) {
  for (std::int64_t e = 0; e < args.channels; ++e)
    for (std::int64_t n = 0; n < args.states; ++n)
      static_cast<T*>(args.a)[n * args.channels + e] =
          -std::exp(static_cast<const T*>(args.a_log)[e * args.states + n]);
}

/// Typed views of the arguments.
template <class T>
struct SelectiveView {
  const T *x, *dt, *dt_bias, *a, *b, *c, *d, *z;
  std::int64_t channels, states;

  explicit SelectiveView(const SelectiveScanArgs& args)
      : x(static_cast<const T*>(args.x)),
        dt(static_cast<const T*>(args.dt)),
        dt_bias(static_cast<const T*>(args.dt_bias)),
        a(static_cast<const T*>(args.a)),
        b(static_cast<const T*>(args.b)),
        c(static_cast<const T*>(args.c)),
        d(static_cast<const T*>(args.d)),
        z(static_cast<const T*>(args.z)),
        channels(args.channels),
        states(args.states) {}

  T raw(std::int64_t t, std::int64_t e) const {
    return dt[t * channels + e] + (dt_bias ? dt_bias[e] : T(0));
  }
  T decay(T delta, std::int64_t n, std::int64_t e) const {
    return std::exp(delta * a[n * channels + e]);
  }

  /// One step of one channel: h [states] (stride `stride`) moves on; returns y before the gate.
  T step(std::int64_t t, std::int64_t e, bool fresh, T* h, std::int64_t stride) const {
    const T delta = softplus(raw(t, e)), u = delta * x[t * channels + e];
    T y = d ? d[e] * x[t * channels + e] : T(0);
    for (std::int64_t n = 0; n < states; ++n) {
      T& state = h[n * stride];
      state = decay(delta, n, e) * (fresh ? T(0) : state) + u * b[t * states + n];
      y += state * c[t * states + n];
    }
    return y;
  }
};

template <class T>
void selective_scan_row(const SelectiveScanArgs& args, std::int64_t row) {
  const SelectiveView<T> in(args);
  const std::int64_t size = in.channels * in.states, start = args.sequence.start[row];
  T* h = static_cast<T*>(args.final_state) + row * size;
  const T* initial = static_cast<const T*>(args.initial) + row * size;
  if (h != initial) std::copy_n(initial, size, h);
  for (std::int64_t i = 0; i < args.sequence.length[row]; ++i) {
    const std::int64_t t = start + i;
    if (args.checkpoints && i % kSelectiveChunk == 0) {
      T* keep = static_cast<T*>(args.checkpoints) +
                (selective_checkpoint(args.sequence, row) + i / kSelectiveChunk) * size;
      for (std::int64_t e = 0; e < in.channels; ++e)
        for (std::int64_t n = 0; n < in.states; ++n)
          keep[n * in.channels + e] = h[e * in.states + n];
    }
    for (std::int64_t e = 0; e < in.channels; ++e) {
      const T y = in.step(t, e, is_reset(args.sequence, t), h + e * in.states, 1);
      const std::int64_t at = t * in.channels + e;
      static_cast<T*>(args.y)[at] = in.z ? y * (in.z[at] * sigmoid(in.z[at])) : y;
    }
  }
}

template <class T>
void selective_scan(const SelectiveScanArgs& args, const KernelContext& context) {
  zero_outside(args.sequence, static_cast<T*>(args.y), args.channels);
  context.parallel_for(args.sequence.rows,
                       [&](std::int64_t row) { selective_scan_row<T>(args, row); });
}

/// One row and channel; `carry` [states] is the gradient of the state after the row, and on return
/// that before it.
template <class T>
void selective_backward_channel(const SelectiveScanBackwardArgs& args, std::int64_t row,
                                std::int64_t e, std::vector<T>& carry) {
  const SelectiveScanArgs& forward = args.forward;
  const SelectiveView<T> in(forward);
  const std::int64_t states = in.states, channels = in.channels;
  const std::int64_t start = forward.sequence.start[row], length = forward.sequence.length[row];
  const auto out = [](void* p) { return static_cast<T*>(p); };
  std::vector<T> h(static_cast<std::size_t>((kSelectiveChunk + 1) * states)), sums(kSelectiveChunk);
  for (std::int64_t chunk = (length - 1) / kSelectiveChunk; length > 0 && chunk >= 0; --chunk) {
    const std::int64_t first = chunk * kSelectiveChunk,
                       steps = std::min(kSelectiveChunk, length - first);
    const T* kept = static_cast<const T*>(forward.checkpoints) +
                    (selective_checkpoint(forward.sequence, row) + chunk) * states * channels + e;
    for (std::int64_t n = 0; n < states; ++n) h[n] = kept[n * channels];
    for (std::int64_t i = 0; i < steps; ++i) {
      std::copy_n(h.data() + i * states, states, h.data() + (i + 1) * states);
      const std::int64_t t = start + first + i;
      sums[i] = in.step(t, e, is_reset(forward.sequence, t), h.data() + (i + 1) * states, 1);
    }
    for (std::int64_t i = steps; i-- > 0;) {
      const std::int64_t t = start + first + i, at = t * channels + e;
      const bool fresh = is_reset(forward.sequence, t);
      const T raw = in.raw(t, e), delta = softplus(raw), x = in.x[at], u = delta * x;
      T ds = args.dy ? static_cast<const T*>(args.dy)[at] : T(0);
      if (in.z) {
        out(args.dz)[at] = ds * sums[i] * silu_slope(in.z[at]);
        ds *= in.z[at] * sigmoid(in.z[at]);
      }
      T du(0), ddelta(0);
      for (std::int64_t n = 0; n < states; ++n) {
        const T decay = in.decay(delta, n, e), after = h[(i + 1) * states + n];
        const T g = carry[n] + ds * in.c[t * states + n];
        out(args.dc)[t * states + n] += ds * after;
        out(args.db)[t * states + n] += g * u;
        du += g * in.b[t * states + n];
        carry[n] = fresh ? T(0) : g * decay;
        const T dlog = fresh ? T(0) : carry[n] * h[i * states + n];
        ddelta += dlog * in.a[n * channels + e];
        out(args.da_log)[e * states + n] += dlog * delta * in.a[n * channels + e];
      }
      out(args.dx)[at] = du * delta + (in.d ? ds * in.d[e] : T(0));
      const T draw = (ddelta + du * x) * sigmoid(raw);
      out(args.ddt)[at] = draw;
      if (args.dbias) out(args.dbias)[e] += draw;
      if (args.dd) out(args.dd)[e] += ds * x;
    }
  }
}

template <class T>
void selective_scan_backward(const SelectiveScanBackwardArgs& args, const KernelContext&) {
  const SeqArgs& sequence = args.forward.sequence;
  const std::int64_t channels = args.forward.channels, states = args.forward.states;
  for (void* p : {args.dx, args.ddt, args.dz}) zero_outside(sequence, static_cast<T*>(p), channels);
  for (void* p : {args.db, args.dc})
    std::fill_n(static_cast<T*>(p), sequence.tokens * states, T(0));
  std::vector<T> carry(static_cast<std::size_t>(states));
  for (std::int64_t row = 0; row < sequence.rows; ++row)
    for (std::int64_t e = 0; e < channels; ++e) {
      const std::int64_t at = (row * channels + e) * states;
      if (args.dfinal)
        std::copy_n(static_cast<const T*>(args.dfinal) + at, states, carry.data());
      else
        std::fill(carry.begin(), carry.end(), T(0));
      selective_backward_channel<T>(args, row, e, carry);
      std::copy_n(carry.data(), states, static_cast<T*>(args.dinitial) + at);
    }
}

}  // namespace rill::plain
