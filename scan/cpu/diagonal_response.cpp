// The convolution form of a diagonal state space: its kernel K_l = 2 Re(sum_n w a^l), what the
// incoming state adds, f_t = 2 Re(sum_n w a^{t+1} h_0), and the final state h_L = a^L h_0 + sum_l
// a^{L-1-l} x_l. Sums and powers are double for both dtypes. A complex gradient is G = dL/dRe + i
// dL/dIm.
#include <complex>
#include <vector>

#include <rill/scan/cpu/complex_io.h>
#include <rill/scan/cpu/families.h>
#include <rill/scan/diagonal_args.h>

namespace rill {
namespace {

using Complex = std::complex<double>;

template <class T>
void kernel(const DiagonalKernelArgs& args, const KernelContext& context) {
  context.parallel_for(args.channels, [&](std::int64_t h) {
    std::vector<double> sum(static_cast<std::size_t>(args.length), 0.0);
    for (std::int64_t n = 0; n < args.modes; ++n) {
      const Complex a = load_complex<T>(args.a, h * args.modes + n);
      Complex p = 2.0 * load_complex<T>(args.w, h * args.modes + n);
      for (double& value : sum) {
        value += p.real();
        p *= a;
      }
    }
    T* out = static_cast<T*>(args.kernel) + h * args.length;
    for (std::size_t l = 0; l < sum.size(); ++l) out[l] = static_cast<T>(sum[l]);
  });
}

template <class T>
void kernel_backward(const DiagonalKernelBackwardArgs& args, const KernelContext& context) {
  context.parallel_for(args.channels, [&](std::int64_t h) {
    const T* dk = static_cast<const T*>(args.dkernel) + h * args.length;
    for (std::int64_t n = 0; n < args.modes; ++n) {
      const std::int64_t i = h * args.modes + n;
      const Complex a = std::conj(load_complex<T>(args.a, i)),
                    w = std::conj(load_complex<T>(args.w, i));
      Complex value = 0.0, slope = 0.0;  // of sum_l dk_l a^l and its derivative, by Horner
      for (std::int64_t l = args.length - 1; l >= 0; --l) {
        slope = slope * a + value;
        value = value * a + static_cast<double>(dk[l]);
      }
      store_complex<T>(args.dw, i, 2.0 * value);
      store_complex<T>(args.da, i, 2.0 * w * slope);
    }
  });
}

template <class T>
void response_row(const DiagonalResponseArgs& args, std::int64_t row, std::int64_t h) {
  const std::int64_t length = args.sequence.length[row],
                     first = args.sequence.start[row] * args.channels + h;
  const T* x = static_cast<const T*>(args.x) + first;
  std::vector<double> sum(static_cast<std::size_t>(length));
  const double d = args.d ? static_cast<double>(static_cast<const T*>(args.d)[h]) : 0.0;
  for (std::int64_t t = 0; t < length; ++t)
    sum[static_cast<std::size_t>(t)] = d * static_cast<double>(x[t * args.channels]);
  for (std::int64_t n = 0; n < args.modes; ++n) {
    const std::int64_t state = (row * args.channels + h) * args.modes + n;
    const Complex a = load_complex<T>(args.a, h * args.modes + n),
                  w = load_complex<T>(args.w, h * args.modes + n);
    Complex s = load_complex<T>(args.h_in, state);
    Complex p = 2.0 * w * s;
    for (std::int64_t t = 0; t < length; ++t) {
      p *= a;
      sum[static_cast<std::size_t>(t)] += p.real();
      s = s * a + static_cast<double>(x[t * args.channels]);
    }
    store_complex<T>(args.h_out, state, s);
  }
  T* y = static_cast<T*>(args.y) + first;
  for (std::int64_t t = 0; t < length; ++t)
    y[t * args.channels] = static_cast<T>(sum[static_cast<std::size_t>(t)]);
}

template <class T>
void response(const DiagonalResponseArgs& args, const KernelContext& context) {
  context.parallel_for(args.sequence.rows * args.channels, [&](std::int64_t task) {
    response_row<T>(args, task / args.channels, task % args.channels);
  });
  zero_gaps(args.sequence, static_cast<T*>(args.y), args.channels);
}

// One channel's gradients of a and w, summed over rows in order.
struct Sums {
  std::vector<Complex> da, dw;
  double dd = 0.0;
};

template <class T>
void response_backward_row(const DiagonalResponseBackwardArgs& args, std::int64_t row,
                           std::int64_t h, Sums& sums) {
  const std::int64_t length = args.sequence.length[row],
                     first = args.sequence.start[row] * args.channels + h;
  const T* x = static_cast<const T*>(args.x) + first;
  const T* dy_at = args.dy ? static_cast<const T*>(args.dy) + first : nullptr;
  const auto dy = [&](std::int64_t t) {
    return dy_at ? static_cast<double>(dy_at[t * args.channels]) : 0.0;
  };
  const double d = args.d ? static_cast<double>(static_cast<const T*>(args.d)[h]) : 0.0;
  std::vector<double> dx(static_cast<std::size_t>(length));
  for (std::int64_t t = 0; t < length; ++t) {
    dx[static_cast<std::size_t>(t)] = d * dy(t);
    sums.dd += dy(t) * static_cast<double>(x[t * args.channels]);
  }
  for (std::int64_t n = 0; n < args.modes; ++n) {
    const std::int64_t state = (row * args.channels + h) * args.modes + n;
    const Complex a = load_complex<T>(args.a, h * args.modes + n),
                  w = load_complex<T>(args.w, h * args.modes + n);
    const Complex h0 = load_complex<T>(args.h_in, state), conj_a = std::conj(a);
    const Complex dh = args.dh_final ? load_complex<T>(args.dh_final, state) : 0.0;
    Complex s = h0, ds_da = 0.0;
    for (std::int64_t t = 0; t < length; ++t) {
      ds_da = ds_da * a + s;
      s = s * a + static_cast<double>(x[t * args.channels]);
    }
    Complex value = 0.0, slope = 0.0, p = dh;  // Horner for sum_t 2 dy_t a^{t+1} and its derivative
    for (std::int64_t t = length - 1; t >= 0; --t) {
      dx[static_cast<std::size_t>(t)] += p.real();
      p *= conj_a;
      slope = slope * conj_a + value;
      value = value * conj_a + 2.0 * dy(t);
    }
    slope = slope * conj_a + value;
    value *= conj_a;
    sums.dw[static_cast<std::size_t>(n)] += std::conj(h0) * value;
    sums.da[static_cast<std::size_t>(n)] += std::conj(w * h0) * slope + std::conj(ds_da) * dh;
    store_complex<T>(args.dh_initial, state, std::conj(w) * value + p);
  }
  T* out = static_cast<T*>(args.dx) + first;
  for (std::int64_t t = 0; t < length; ++t)
    out[t * args.channels] = static_cast<T>(dx[static_cast<std::size_t>(t)]);
}

template <class T>
void response_backward(const DiagonalResponseBackwardArgs& args, const KernelContext& context) {
  context.parallel_for(args.channels, [&](std::int64_t h) {
    const auto modes = static_cast<std::size_t>(args.modes);
    Sums sums{std::vector<Complex>(modes), std::vector<Complex>(modes)};
    for (std::int64_t row = 0; row < args.sequence.rows; ++row)
      response_backward_row<T>(args, row, h, sums);
    for (std::int64_t n = 0; n < args.modes; ++n) {
      store_complex<T>(args.da, h * args.modes + n, sums.da[static_cast<std::size_t>(n)]);
      store_complex<T>(args.dw, h * args.modes + n, sums.dw[static_cast<std::size_t>(n)]);
    }
    if (args.dd) static_cast<T*>(args.dd)[h] = static_cast<T>(sums.dd);
  });
  zero_gaps(args.sequence, static_cast<T*>(args.dx), args.channels);
}

}  // namespace

void fill_diagonal_response(ScanKernels& f32, ScanKernels& f64) {
  f32.diagonal_kernel = kernel<float>;
  f64.diagonal_kernel = kernel<double>;
  f32.diagonal_kernel_backward = kernel_backward<float>;
  f64.diagonal_kernel_backward = kernel_backward<double>;
  f32.diagonal_response = response<float>;
  f64.diagonal_response = response<double>;
  f32.diagonal_response_backward = response_backward<float>;
  f64.diagonal_response_backward = response_backward<double>;
}

}  // namespace rill
