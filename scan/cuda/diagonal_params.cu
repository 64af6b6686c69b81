// From S4D's parameters to the coefficients of its recurrence and back (the formulas of
// scan/cpu/diagonal_discretize.cpp and diagonal_pack.cpp): in double, whatever the storage. A
// thread a mode; sums over the modes or channels that share a parameter run in order.
#include <rill/scan/cuda/complex.h>
#include <rill/scan/cuda/launch_diagonal.h>

namespace rill {
namespace {

constexpr int kThreads = 128;

struct Phi {
  Cx value, derivative;
};
/// sum over k >= 0 of z^k / (k + 1)!, and its derivative.
RILL_DEVICE Phi phi1(Cx z) {
  if (hypot(z.re, z.im) > 0.5) {
    const double half = sin(0.5 * z.im), grow = exp(z.re), c = cos(z.im), s = sin(z.im);
    const Cx value = Cx{expm1(z.re) * c - 2.0 * half * half, grow * s} / z;
    return {value, Cx{grow * c - value.re, grow * s - value.im} / z};
  }
  Phi phi{{1.0, 0.0}, {0.0, 0.0}};
  Cx power{1.0, 0.0};
  double factorial = 1.0;
  for (int k = 1; k <= 16; ++k) {
    factorial *= k + 1;
    phi.derivative = phi.derivative + (k / factorial) * power;
    power = power * z;
    phi.value = phi.value + (1.0 / factorial) * power;
  }
  return phi;
}

struct Mode {
  Cx A, a, da_dz, s, ds_dz;
};
RILL_DEVICE Mode mode_of(double re, double im, double dt, bool bilinear) {
  Mode m{};
  m.A = {-exp(re), -im};
  const Cx z = dt * m.A;
  if (bilinear) {
    m.s = Cx{1.0, 0.0} / Cx{1.0 - 0.5 * z.re, -0.5 * z.im};
    m.a = Cx{1.0 + 0.5 * z.re, 0.5 * z.im} * m.s;
    m.da_dz = m.s * m.s;
    m.ds_dz = 0.5 * (m.s * m.s);
    return m;
  }
  const Phi phi = phi1(z);
  const double grow = exp(z.re);
  m.a = m.da_dz = {grow * cos(z.im), grow * sin(z.im)};
  m.s = phi.value;
  m.ds_dz = phi.derivative;
  return m;
}

template <class S>
RILL_KERNEL(kThreads)
void discretize_kernel(DiagonalDiscretizeArgs p) {
  for (std::int64_t own = grid_thread(); own < p.channels * p.modes; own += grid_threads()) {
    const std::int64_t h = own / p.modes, shared = h % p.copies * p.modes + own % p.modes;
    const double dt = p.rate * exp(real_at<S>(p.log_dt, h));
    const Mode m =
        mode_of(real_at<S>(p.a_real, shared), real_at<S>(p.a_imag, shared), dt, p.bilinear != 0);
    put_complex<Compute<S>>(p.a, own, m.a);
    if (p.exact_a) put_complex<double>(p.exact_a, own, m.a);
    put_complex<Compute<S>>(p.w, own,
                            complex_at<S>(p.c, own) * complex_at<S>(p.b, shared) * (dt * m.s));
  }
}

// parts [channels, modes, 4]: what A and B get from each channel; dlog_dt sums over modes
// afterwards, so dA's share of it is kept in a fifth place behind them.
template <class S>
RILL_KERNEL(kThreads)
void discretize_backward_kernel(DiagonalDiscretizeBackwardArgs p, double* ddt) {
  using C = Compute<S>;
  for (std::int64_t own = grid_thread(); own < p.channels * p.modes; own += grid_threads()) {
    const std::int64_t h = own / p.modes, shared = h % p.copies * p.modes + own % p.modes;
    const double dt = p.rate * exp(real_at<S>(p.log_dt, h));
    const Mode m =
        mode_of(real_at<S>(p.a_real, shared), real_at<S>(p.a_imag, shared), dt, p.bilinear != 0);
    const Cx b = complex_at<S>(p.b, shared), c = complex_at<S>(p.c, own);
    const Cx dw = complex_at<C>(p.dw, own);
    put_complex<S>(p.dc, own, conj(b * (dt * m.s)) * dw);
    const Cx db = conj(c * (dt * m.s)) * dw, dq = conj(c * b) * dw;
    const Cx dz = conj(m.da_dz) * complex_at<C>(p.da, own) + conj(dt * m.ds_dz) * dq;
    ddt[own] = dt * ((conj(m.s) * dq).re + (conj(m.A) * dz).re);
    double* part = static_cast<double*>(p.parts) + 4 * own;
    part[0] = dt * dz.re * m.A.re;
    part[1] = -dt * dz.im;
    part[2] = db.re;
    part[3] = db.im;
  }
}

template <class S>
RILL_KERNEL(kThreads)
void add_parameters_kernel(DiagonalDiscretizeBackwardArgs p, const double* ddt) {
  const std::int64_t shared_modes = p.copies * p.modes;
  for (std::int64_t i = grid_thread(); i < shared_modes + p.channels; i += grid_threads()) {
    if (i >= shared_modes) {
      const std::int64_t h = i - shared_modes;
      double sum = 0.0;
      for (std::int64_t n = 0; n < p.modes; ++n) sum += ddt[h * p.modes + n];
      put_real<S>(p.dlog_dt, h, sum);
      continue;
    }
    double sum[4] = {};
    for (std::int64_t h = i / p.modes; h < p.channels; h += p.copies)
      for (int k = 0; k < 4; ++k)
        sum[k] += static_cast<const double*>(p.parts)[4 * (h * p.modes + i % p.modes) + k];
    put_real<S>(p.da_real, i, sum[0]);
    put_real<S>(p.da_imag, i, sum[1]);
    put_complex<S>(p.db, i, {sum[2], sum[3]});
  }
}

template <class S>
RILL_KERNEL(kThreads)
void pack_kernel(DiagonalPackArgs args) {
  using C = Compute<S>;
  const std::int64_t padded = args.padded_width;
  const auto *all_a = static_cast<const C*>(args.a), *all_w = static_cast<const C*>(args.w);
  for (std::int64_t i = grid_thread(); i < args.channels * padded; i += grid_threads()) {
    const std::int64_t c = i / padded, j = i % padded, re = j & ~std::int64_t{1};
    const C *a = all_a + c * args.width, *w = all_w + c * args.width;
    C* p = static_cast<C*>(args.coefficients) + c * 3 * padded;
    const bool inside = j < args.width;
    if (args.complex) {
      p[j] = inside ? a[re] : C(0);
      p[padded + j] = inside ? (j == re ? -a[re + 1] : a[re + 1]) : C(0);
      p[2 * padded + j] = inside ? (j == re ? C(2) * w[re] : C(-2) * w[re + 1]) : C(0);
    } else {
      p[j] = inside ? a[j] : C(0);
      p[padded + j] = C(0);
      p[2 * padded + j] = inside ? w[j] : C(0);
    }
  }
}

template <class S>
RILL_KERNEL(kThreads)
void unpack_kernel(DiagonalUnpackArgs args) {
  using C = Compute<S>;
  const std::int64_t padded = args.padded_width;
  for (std::int64_t i = grid_thread(); i < args.channels * args.width; i += grid_threads()) {
    const std::int64_t c = i / args.width, j = i % args.width;
    const C* dp = static_cast<const C*>(args.dcoefficients) + c * 3 * padded;
    const C *dq = dp + padded, *dr = dq + padded;
    C da = dp[j], dw = dr[j];
    if (args.complex) {
      da = j % 2 == 0 ? dp[j] + dp[j + 1] : dq[j] - dq[j - 1];
      dw = j % 2 == 0 ? C(2) * dr[j] : C(-2) * dr[j];
    }
    static_cast<C*>(args.da)[i] = da;
    static_cast<C*>(args.dw)[i] = dw;
  }
}

}  // namespace

template <class S>
DeviceStatus launch_diagonal_discretize(const DiagonalDiscretizeArgs& p, const DeviceLaunch& on) {
  if (p.channels * p.modes == 0) return 0;
  return RILL_LAUNCH(discretize_kernel<S>, grid_for(p.channels * p.modes, kThreads), kThreads, 0,
                     on.stream, p);
}

template <class S>
DeviceStatus launch_diagonal_discretize_backward(const DiagonalDiscretizeBackwardArgs& p,
                                                 const DeviceLaunch& on) {
  if (p.channels == 0) return 0;
  const std::int64_t count = p.channels * p.modes;
  if (static_cast<std::size_t>(count) * sizeof(double) > on.workspace_bytes)
    return kWorkspaceTooSmall;
  auto* const ddt = static_cast<double*>(on.workspace);
  if (count > 0)
    RILL_LAUNCH_OR_RETURN(discretize_backward_kernel<S>, grid_for(count, kThreads), kThreads, 0,
                          on.stream, p, ddt);
  return RILL_LAUNCH(add_parameters_kernel<S>, grid_for(p.copies * p.modes + p.channels, kThreads),
                     kThreads, 0, on.stream, p, static_cast<const double*>(ddt));
}

template <class S>
DeviceStatus launch_diagonal_pack(const DiagonalPackArgs& p, const DeviceLaunch& on) {
  if (p.channels * p.padded_width == 0) return 0;
  return RILL_LAUNCH(pack_kernel<S>, grid_for(p.channels * p.padded_width, kThreads), kThreads, 0,
                     on.stream, p);
}

template <class S>
DeviceStatus launch_diagonal_unpack(const DiagonalUnpackArgs& p, const DeviceLaunch& on) {
  if (p.channels * p.width == 0) return 0;
  return RILL_LAUNCH(unpack_kernel<S>, grid_for(p.channels * p.width, kThreads), kThreads, 0,
                     on.stream, p);
}

RILL_INSTANTIATE(launch_diagonal_discretize, DiagonalDiscretizeArgs)
RILL_INSTANTIATE(launch_diagonal_discretize_backward, DiagonalDiscretizeBackwardArgs)
RILL_INSTANTIATE(launch_diagonal_pack, DiagonalPackArgs)
RILL_INSTANTIATE(launch_diagonal_unpack, DiagonalUnpackArgs)

}  // namespace rill
