// Causal convolution by FFT: y = irfft(rfft(x, 2M) rfft(k, 2M))[:L] for every channel of every row,
// and its adjoint
//     dx = irfft(conj(K) dY)[:L],   dk = sum over rows irfft(conj(X) dY)[:L_k],
// transforms with kissfft in double for both dtypes: float twiddles would cost three digits of the
// result. 2M is at least L + min(L_k, L) - 1, so that nothing wraps around into what is kept.
#include <rill/core/cpu/fft_conv.h>
#include <rill/core/cpu/lanes.h>
#include <rill/core/fft_size.h>

#include <kissfft/kissfft.hh>

#include <algorithm>
#include <cmath>
#include <complex>
#include <cstddef>
#include <numbers>
#include <span>
#include <vector>

namespace rill {
namespace {

using Complex = std::complex<double>;
// Of a real signal of 2M: M bins, the real ones 0 and M in the two halves of bin 0.
using Spectrum = std::span<Complex>;
using Signal = std::span<double>;

// Transforms of real signals of 2M samples.
class RealTransform {
 public:
  explicit RealTransform(std::int64_t samples)
      : bins_(static_cast<std::size_t>(samples / 2)),
        forward_(bins_, false),
        inverse_(bins_, true),
        turn_(bins_) {
    for (std::size_t k = 0; k < bins_; ++k)
      turn_[k] =
          std::polar(1.0, std::numbers::pi * static_cast<double>(k) / static_cast<double>(bins_));
  }
  std::size_t bins() const { return bins_; }

  void forward(Signal signal, Spectrum spectrum) const {
    forward_.transform_real(signal.data(), spectrum.data());
  }

  // Even and odd samples are the real and imaginary part of one complex transform of M bins.
  void inverse(Spectrum spectrum, Spectrum scratch, Signal signal) const {
    const double scale = 0.5 / static_cast<double>(bins_);
    const double first = spectrum[0].real(), last = spectrum[0].imag();
    scratch[0] = scale * Complex(first + last, first - last);
    for (std::size_t k = 1; k < bins_; ++k) {
      const Complex a = spectrum[k], b = std::conj(spectrum[bins_ - k]);
      const Complex odd = (a - b) * turn_[k];
      scratch[k] = scale * (a + b + Complex(-odd.imag(), odd.real()));
    }
    inverse_.transform(scratch.data(), reinterpret_cast<Complex*>(signal.data()));
  }

 private:
  std::size_t bins_;
  kissfft<double> forward_, inverse_;
  std::vector<Complex> turn_;
};

// product (+)= a b, or conj(a) b.
void multiply(Spectrum a, Spectrum b, bool conjugate, bool add, Spectrum product) {
  const Complex zero(a[0].real() * b[0].real(), a[0].imag() * b[0].imag());
  product[0] = add ? product[0] + zero : zero;
  for (std::size_t k = 1; k < a.size(); ++k) {
    const Complex p = (conjugate ? std::conj(a[k]) : a[k]) * b[k];
    product[k] = add ? product[k] + p : p;
  }
}

template <class T>
void load(const T* values, std::int64_t count, std::int64_t stride, Signal signal) {
  for (std::int64_t i = 0; i < count; ++i)
    signal[static_cast<std::size_t>(i)] = static_cast<double>(values[i * stride]);
  std::fill(signal.begin() + count, signal.end(), 0.0);
}

template <class T>
void store(Signal signal, std::int64_t count, std::int64_t stride, T* values) {
  for (std::int64_t i = 0; i < count; ++i)
    values[i * stride] = static_cast<T>(signal[static_cast<std::size_t>(i)]);
}

// Memory of the tasks that run at once: a signal and `spectra` spectra a lane.
class Lanes {
 public:
  Lanes(const KernelContext& context, const RealTransform& transform, std::int64_t tasks,
        std::size_t spectra)
      : bins_(transform.bins()),
        stride_(bins_ * (spectra + 1)),
        count_(std::min<std::int64_t>(tasks, context.pool ? context.pool->threads() : 1)),
        memory_(stride_ * static_cast<std::size_t>(count_)) {}

  std::int64_t count() const { return count_; }
  Spectrum spectrum(std::int64_t lane, std::size_t number) {
    return Spectrum(memory_).subspan(static_cast<std::size_t>(lane) * stride_ + number * bins_,
                                     bins_);
  }
  /// 2M reals in the place of M complex numbers.
  Signal signal(std::int64_t lane) {
    const Spectrum last = spectrum(lane, stride_ / bins_ - 1);
    return {reinterpret_cast<double*>(last.data()), 2 * bins_};
  }

 private:
  std::size_t bins_, stride_;
  std::int64_t count_;
  std::vector<Complex> memory_;
};

template <class T>
void fft_conv(const FftConvArgs& args, const KernelContext& context) {
  const SeqArgs& sequence = args.sequence;
  const std::int64_t channels = args.channels,
                     taps = std::min(args.kernel_length, sequence.max_length);
  T* y = static_cast<T*>(args.y);
  if (sequence.padded) std::fill(y, y + sequence.tokens * channels, T(0));
  const RealTransform transform(fft_samples(sequence.max_length, taps));
  Lanes lanes(context, transform, channels, 3);
  parallel_lanes(context, channels, lanes.count(), [&](std::int64_t c, std::int64_t lane) {
    const Signal signal = lanes.signal(lane);
    const Spectrum kernel = lanes.spectrum(lane, 0), x = lanes.spectrum(lane, 1),
                   scratch = lanes.spectrum(lane, 2);
    load(static_cast<const T*>(args.kernel) + c * args.kernel_length, taps, 1, signal);
    transform.forward(signal, kernel);
    for (std::int64_t row = 0; row < sequence.rows; ++row) {
      const std::int64_t first = sequence.start[row] * channels + c;
      load(static_cast<const T*>(args.x) + first, sequence.length[row], channels, signal);
      transform.forward(signal, x);
      multiply(kernel, x, false, false, x);
      transform.inverse(x, scratch, signal);
      store(signal, sequence.length[row], channels, y + first);
    }
  });
}

template <class T>
void fft_conv_backward(const FftConvBackwardArgs& args, const KernelContext& context) {
  const SeqArgs& sequence = args.sequence;
  const std::int64_t channels = args.channels,
                     taps = std::min(args.kernel_length, sequence.max_length);
  T* dx = static_cast<T*>(args.dx);
  T* dkernel = static_cast<T*>(args.dkernel);
  if (sequence.padded) std::fill(dx, dx + sequence.tokens * channels, T(0));
  std::fill(dkernel, dkernel + channels * args.kernel_length, T(0));
  const RealTransform transform(fft_samples(sequence.max_length, taps));
  Lanes lanes(context, transform, channels, 5);
  parallel_lanes(context, channels, lanes.count(), [&](std::int64_t c, std::int64_t lane) {
    const Signal signal = lanes.signal(lane);
    const Spectrum kernel = lanes.spectrum(lane, 0), x = lanes.spectrum(lane, 1),
                   dy = lanes.spectrum(lane, 2), dk = lanes.spectrum(lane, 3),
                   scratch = lanes.spectrum(lane, 4);
    std::fill(dk.begin(), dk.end(), Complex());
    load(static_cast<const T*>(args.kernel) + c * args.kernel_length, taps, 1, signal);
    transform.forward(signal, kernel);
    for (std::int64_t row = 0; row < sequence.rows; ++row) {
      const std::int64_t first = sequence.start[row] * channels + c, length = sequence.length[row];
      load(static_cast<const T*>(args.x) + first, length, channels, signal);
      transform.forward(signal, x);
      load(static_cast<const T*>(args.dy) + first, length, channels, signal);
      transform.forward(signal, dy);
      multiply(x, dy, true, true, dk);
      multiply(kernel, dy, true, false, x);
      transform.inverse(x, scratch, signal);
      store(signal, length, channels, dx + first);
    }
    transform.inverse(dk, scratch, signal);
    store(signal, taps, 1, dkernel + c * args.kernel_length);
  });
}

}  // namespace

void fft_conv_f32(const FftConvArgs& args, const KernelContext& context) {
  fft_conv<float>(args, context);
}
void fft_conv_f64(const FftConvArgs& args, const KernelContext& context) {
  fft_conv<double>(args, context);
}
void fft_conv_backward_f32(const FftConvBackwardArgs& args, const KernelContext& context) {
  fft_conv_backward<float>(args, context);
}
void fft_conv_backward_f64(const FftConvBackwardArgs& args, const KernelContext& context) {
  fft_conv_backward<double>(args, context);
}

}  // namespace rill
