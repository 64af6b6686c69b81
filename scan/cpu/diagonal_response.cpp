// The convolution form of a diagonal state space: its kernel K_l = 2 Re(sum_n w a^l), what the
// incoming state adds, f_t = 2 Re(sum_n w a^{t+1} h_0), and the final state h_L = a^L h_0 + sum_l
// a^{L-1-l} x_l. Sums and powers are double for both dtypes, and so is a itself (exact_a): rounded
// to float, its phase would be wrong by l eps at step l. Steps go in blocks, whose first power is
// raised anew. A complex gradient is G = dL/dRe + i dL/dIm.
#include <algorithm>
#include <complex>

#include <rill/scan/cpu/complex_io.h>
#include <rill/scan/cpu/families.h>
#include <rill/scan/diagonal_args.h>

namespace rill {
namespace {

using Complex = std::complex<double>;

/// Steps of a block: sums of one fit on the stack, and raising a power costs a tenth of them.
constexpr std::int64_t kBlock = 256;

/// a^n, n >= 0, by repeated squaring.
Complex power(Complex a, std::int64_t n) {
  Complex result = 1.0;
  for (; n > 0; n >>= 1) {
    if (n & 1) result *= a;
    a *= a;
  }
  return result;
}

/// a of mode i of these arguments, as exact as it is known.
template <class T, class Args>
Complex base(const Args& args, std::int64_t i) {
  return args.exact_a ? load_complex<double>(args.exact_a, i) : load_complex<T>(args.a, i);
}

/// Calls block(first, count) for the blocks of [0, length).
template <class Block>
void for_blocks(std::int64_t length, const Block& block) {
  for (std::int64_t first = 0; first < length; first += kBlock)
    block(first, std::min(kBlock, length - first));
}

template <class T>
void kernel(const DiagonalKernelArgs& args, const KernelContext& context) {
  context.parallel_for(args.channels, [&](std::int64_t h) {
    T* out = static_cast<T*>(args.kernel) + h * args.length;
    for_blocks(args.length, [&](std::int64_t first, std::int64_t count) {
      double sum[kBlock] = {};
      for (std::int64_t i = h * args.modes; i < (h + 1) * args.modes; ++i) {
        const Complex a = base<T>(args, i);
        Complex p = 2.0 * load_complex<T>(args.w, i) * power(a, first);
        for (std::int64_t l = 0; l < count; ++l) {
          sum[l] += p.real();
          p *= a;
        }
      }
      for (std::int64_t l = 0; l < count; ++l) out[first + l] = static_cast<T>(sum[l]);
    });
  });
}

template <class T>
void kernel_backward(const DiagonalKernelBackwardArgs& args, const KernelContext& context) {
  context.parallel_for(args.channels, [&](std::int64_t h) {
    const T* dk = static_cast<const T*>(args.dkernel) + h * args.length;
    for (std::int64_t n = 0; n < args.modes; ++n) {
      const std::int64_t i = h * args.modes + n;
      const Complex a = std::conj(base<T>(args, i)), w = std::conj(load_complex<T>(args.w, i));
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

// The tokens of one row, seen by one channel.
struct Track {
  std::int64_t first, stride, length;  // token t lies at first + t stride

  Track(const SeqArgs& sequence, std::int64_t row, std::int64_t h, std::int64_t channels)
      : first(sequence.start[row] * channels + h), stride(channels), length(sequence.length[row]) {}

  template <class T>
  double at(const void* values, std::int64_t t) const {
    return static_cast<double>(static_cast<const T*>(values)[first + t * stride]);
  }
};

template <class T>
double skip(const void* d, std::int64_t h) {
  return d ? static_cast<double>(static_cast<const T*>(d)[h]) : 0.0;
}

template <class T>
void response_row(const DiagonalResponseArgs& args, std::int64_t row, std::int64_t h) {
  const Track track(args.sequence, row, h, args.channels);
  const double d = skip<T>(args.d, h);
  const std::int64_t states = (row * args.channels + h) * args.modes;
  for_blocks(track.length, [&](std::int64_t first, std::int64_t count) {
    double sum[kBlock];
    for (std::int64_t t = 0; t < count; ++t) sum[t] = d * track.at<T>(args.x, first + t);
    for (std::int64_t n = 0; n < args.modes; ++n) {
      const std::int64_t i = h * args.modes + n;
      const Complex a = base<T>(args, i);
      Complex p = 2.0 * load_complex<T>(args.w, i) * load_complex<T>(args.h_in, states + n) *
                  power(a, first);
      for (std::int64_t t = 0; t < count; ++t) {
        p *= a;
        sum[t] += p.real();
      }
    }
    T* y = static_cast<T*>(args.y) + track.first + first * track.stride;
    for (std::int64_t t = 0; t < count; ++t) y[t * track.stride] = static_cast<T>(sum[t]);
  });
  for (std::int64_t n = 0; n < args.modes; ++n) {  // last: h_out may be h_in
    const Complex a = base<T>(args, h * args.modes + n);
    Complex s = load_complex<T>(args.h_in, states + n);
    for (std::int64_t t = 0; t < track.length; ++t) s = s * a + track.at<T>(args.x, t);
    store_complex<T>(args.h_out, states + n, s);
  }
}

template <class T>
void response(const DiagonalResponseArgs& args, const KernelContext& context) {
  context.parallel_for(args.sequence.rows * args.channels, [&](std::int64_t task) {
    response_row<T>(args, task / args.channels, task % args.channels);
  });
  zero_gaps(args.sequence, static_cast<T*>(args.y), args.channels);
}

/// dx of one row and channel; returns its part of dd.
template <class T>
double response_backward_input(const DiagonalResponseBackwardArgs& args, std::int64_t row,
                               std::int64_t h) {
  const Track track(args.sequence, row, h, args.channels);
  const double d = skip<T>(args.d, h);
  double dd = 0.0;
  for_blocks(track.length, [&](std::int64_t first, std::int64_t count) {
    double sum[kBlock];
    for (std::int64_t t = 0; t < count; ++t) {
      const double dy = args.dy ? track.at<T>(args.dy, first + t) : 0.0;
      sum[t] = d * dy;
      dd += dy * track.at<T>(args.x, first + t);
    }
    for (std::int64_t n = 0; args.dh_final && n < args.modes; ++n) {
      const Complex a = std::conj(base<T>(args, h * args.modes + n));
      Complex p = load_complex<T>(args.dh_final, (row * args.channels + h) * args.modes + n) *
                  power(a, track.length - first - count);
      for (std::int64_t t = count - 1; t >= 0; --t) {
        sum[t] += p.real();
        p *= a;
      }
    }
    T* dx = static_cast<T*>(args.dx) + track.first + first * track.stride;
    for (std::int64_t t = 0; t < count; ++t) dx[t * track.stride] = static_cast<T>(sum[t]);
  });
  return dd;
}

// Gradients of one mode's a and w, summed over rows in order.
struct ModeSums {
  Complex da = 0.0, dw = 0.0;
};

template <class T>
void response_backward_mode(const DiagonalResponseBackwardArgs& args, std::int64_t row,
                            std::int64_t h, std::int64_t n, ModeSums& sums) {
  const Track track(args.sequence, row, h, args.channels);
  const std::int64_t state = (row * args.channels + h) * args.modes + n, i = h * args.modes + n;
  const Complex a = base<T>(args, i), w = load_complex<T>(args.w, i), conj_a = std::conj(a);
  const Complex h0 = load_complex<T>(args.h_in, state);
  const Complex dh = args.dh_final ? load_complex<T>(args.dh_final, state) : 0.0;
  Complex s = h0, ds_da = 0.0;
  for (std::int64_t t = 0; t < track.length; ++t) {
    ds_da = ds_da * a + s;
    s = s * a + track.at<T>(args.x, t);
  }
  Complex value = 0.0, slope = 0.0;  // Horner for sum_t 2 dy_t a^{t+1} and its derivative
  for (std::int64_t t = track.length - 1; t >= 0; --t) {
    slope = slope * conj_a + value;
    value = value * conj_a + (args.dy ? 2.0 * track.at<T>(args.dy, t) : 0.0);
  }
  slope = slope * conj_a + value;
  value *= conj_a;
  sums.dw += std::conj(h0) * value;
  sums.da += std::conj(w * h0) * slope + std::conj(ds_da) * dh;
  store_complex<T>(args.dh_initial, state, std::conj(w) * value + dh * power(conj_a, track.length));
}

template <class T>
void response_backward(const DiagonalResponseBackwardArgs& args, const KernelContext& context) {
  context.parallel_for(args.channels, [&](std::int64_t h) {
    double dd = 0.0;
    for (std::int64_t row = 0; row < args.sequence.rows; ++row)
      dd += response_backward_input<T>(args, row, h);
    for (std::int64_t n = 0; n < args.modes; ++n) {
      ModeSums sums;
      for (std::int64_t row = 0; row < args.sequence.rows; ++row)
        response_backward_mode<T>(args, row, h, n, sums);
      store_complex<T>(args.da, h * args.modes + n, sums.da);
      store_complex<T>(args.dw, h * args.modes + n, sums.dw);
    }
    if (args.dd) static_cast<T*>(args.dd)[h] = static_cast<T>(dd);
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
