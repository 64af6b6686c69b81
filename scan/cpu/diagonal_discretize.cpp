// a and w of a diagonal state space from its parameters (diagonal_ssm.h), in double, and their
// adjoint.
//
// With q(z) = dt expm1(z)/z, a = e^z (zero-order hold) or q = dt/(1 - z/2), a = (1 + z/2)/(1 - z/2)
// (bilinear), z = dt A and w = C q B. A complex gradient is G = dL/dRe + i dL/dIm, so that of f(z)
// reaches z as conj(f'(z)) G.
#include <cmath>
#include <complex>

#include <rill/scan/cpu/complex_io.h>
#include <rill/scan/cpu/families.h>
#include <rill/scan/diagonal_args.h>

namespace rill {
namespace {

using Complex = std::complex<double>;

template <class T>
double real_at(const void* values, std::int64_t i) {
  return static_cast<double>(static_cast<const T*>(values)[i]);
}

// sum over k >= 0 of z^k / (k + 1)!, and its derivative; exact to rounding for |z| <= 1/2.
struct Phi {
  Complex value, derivative;
};
Phi phi1(Complex z) {
  if (std::abs(z) > 0.5) {
    // e^z - 1 = expm1(x) cos y - 2 sin^2(y/2) + i e^x sin y: no digits are lost where |e^z| is
    // near 1.
    const double x = z.real(), y = z.imag(), half = std::sin(0.5 * y);
    const Complex value =
        Complex(std::expm1(x) * std::cos(y) - 2.0 * half * half, std::exp(x) * std::sin(y)) / z;
    return {value, (std::exp(z) - value) / z};
  }
  Phi phi{1.0, 0.0};
  Complex power = 1.0;  // z^(k-1)
  double factorial = 1.0;
  for (int k = 1; k <= 16; ++k) {
    factorial *= k + 1;
    phi.derivative += static_cast<double>(k) / factorial * power;
    power *= z;
    phi.value += power / factorial;
  }
  return phi;
}

struct Mode {
  Complex A, z;
  Complex a, da_dz;  // a(z)
  Complex s, ds_dz;  // q = dt s(z)
};

Mode mode_of(double re, double im, double dt, bool bilinear) {
  Mode m{.A = {-std::exp(re), -im}};
  m.z = dt * m.A;
  if (bilinear) {
    m.s = 1.0 / (1.0 - 0.5 * m.z);
    m.a = (1.0 + 0.5 * m.z) * m.s;
    m.da_dz = m.s * m.s;
    m.ds_dz = 0.5 * m.s * m.s;
  } else {
    const Phi phi = phi1(m.z);
    m.a = m.da_dz = std::exp(m.z);
    m.s = phi.value;
    m.ds_dz = phi.derivative;
  }
  return m;
}

template <class T>
void discretize(const DiagonalDiscretizeArgs& args, const KernelContext& context) {
  context.parallel_for(args.channels, [&](std::int64_t h) {
    const double dt = args.rate * std::exp(real_at<T>(args.log_dt, h));
    for (std::int64_t n = 0; n < args.modes; ++n) {
      const std::int64_t shared = (h % args.copies) * args.modes + n, own = h * args.modes + n;
      const Mode m = mode_of(real_at<T>(args.a_real, shared), real_at<T>(args.a_imag, shared), dt,
                             args.bilinear != 0);
      store_complex<T>(args.a, own, m.a);
      if (args.exact_a) store_complex<double>(args.exact_a, own, m.a);
      store_complex<T>(args.w, own,
                       load_complex<T>(args.c, own) * load_complex<T>(args.b, shared) * (dt * m.s));
    }
  });
}

template <class T>
void discretize_backward(const DiagonalDiscretizeBackwardArgs& args, const KernelContext& context) {
  context.parallel_for(args.channels, [&](std::int64_t h) {
    const double dt = args.rate * std::exp(real_at<T>(args.log_dt, h));
    double ddt = 0.0;
    for (std::int64_t n = 0; n < args.modes; ++n) {
      const std::int64_t shared = (h % args.copies) * args.modes + n, own = h * args.modes + n;
      const double re = real_at<T>(args.a_real, shared);
      const Mode m = mode_of(re, real_at<T>(args.a_imag, shared), dt, args.bilinear != 0);
      const Complex b = load_complex<T>(args.b, shared), c = load_complex<T>(args.c, own),
                    dw = load_complex<T>(args.dw, own);
      store_complex<T>(args.dc, own, std::conj(b * (dt * m.s)) * dw);
      const Complex db = std::conj(c * (dt * m.s)) * dw, dq = std::conj(c * b) * dw;
      const Complex dz =
          std::conj(m.da_dz) * load_complex<T>(args.da, own) + std::conj(dt * m.ds_dz) * dq;
      ddt += (std::conj(m.s) * dq).real() + (std::conj(m.A) * dz).real();
      double* part = static_cast<double*>(args.parts) + 4 * own;
      part[0] = dt * dz.real() * m.A.real();  // A = -exp(re): dA/dre = Re A
      part[1] = -dt * dz.imag();
      part[2] = db.real();
      part[3] = db.imag();
    }
    static_cast<T*>(args.dlog_dt)[h] = static_cast<T>(ddt * dt);
  });
  context.parallel_for(args.copies, [&](std::int64_t s) {
    for (std::int64_t n = 0; n < args.modes; ++n) {
      double sum[4] = {};
      for (std::int64_t h = s; h < args.channels; h += args.copies)
        for (int i = 0; i < 4; ++i)
          sum[i] += static_cast<const double*>(args.parts)[4 * (h * args.modes + n) + i];
      const std::int64_t shared = s * args.modes + n;
      static_cast<T*>(args.da_real)[shared] = static_cast<T>(sum[0]);
      static_cast<T*>(args.da_imag)[shared] = static_cast<T>(sum[1]);
      store_complex<T>(args.db, shared, {sum[2], sum[3]});
    }
  });
}

}  // namespace

void fill_diagonal_discretize(ScanKernels& f32, ScanKernels& f64) {
  f32.diagonal_discretize = discretize<float>;
  f64.diagonal_discretize = discretize<double>;
  f32.diagonal_discretize_backward = discretize_backward<float>;
  f64.diagonal_discretize_backward = discretize_backward<double>;
}

}  // namespace rill
