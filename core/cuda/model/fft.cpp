// cuFFT's stand-in: a transform of mixed radix that computes in T, with factors that are right to
// T's rounding, as cuFFT's are. (kissfft in float is no stand-in: its factors are off by more than
// the rest of the error.)
#include <rill/core/cuda/fft.h>
#include <rill/core/cuda/model/memory.h>
#include <rill/core/cuda/model/stream.h>

#include <cmath>
#include <complex>
#include <cstddef>
#include <numbers>
#include <vector>

namespace rill {
namespace {

template <class T>
class Transform {
  using Complex = std::complex<T>;

 public:
  Transform(std::int64_t size, bool inverse) : factors_(static_cast<std::size_t>(size)) {
    const double turn = (inverse ? 2 : -2) * std::numbers::pi / static_cast<double>(size);
    for (std::size_t i = 0; i < factors_.size(); ++i)
      factors_[i] = Complex(std::polar(1.0, turn * static_cast<double>(i)));
  }

  /// out[k] = sum over i of in[i stride] W^(i k), i and k below `size`.
  void run(std::size_t size, const Complex* in, std::size_t stride, Complex* out) const {
    if (size == 1) {
      *out = *in;
      return;
    }
    std::size_t radix = 2;
    while (size % radix != 0) ++radix;
    const std::size_t part = size / radix, unit = factors_.size() / size;
    for (std::size_t r = 0; r < radix; ++r)
      run(part, in + r * stride, stride * radix, out + r * part);
    std::vector<Complex> terms(radix);
    for (std::size_t k = 0; k < part; ++k) {
      for (std::size_t r = 0; r < radix; ++r) terms[r] = out[r * part + k] * factor(r * k * unit);
      for (std::size_t q = 0; q < radix; ++q) {
        Complex sum = terms[0];
        for (std::size_t r = 1; r < radix; ++r) sum += terms[r] * factor(q * r * part * unit);
        out[q * part + k] = sum;
      }
    }
  }

 private:
  Complex factor(std::size_t i) const { return factors_[i % factors_.size()]; }

  std::vector<Complex> factors_;
};

template <class T>
DeviceStatus transform_now(T* data, std::int64_t samples, std::int64_t batch, bool inverse) {
  const device_model::GlobalAccess access;
  if (samples < 2 || samples % 2 != 0 || batch < 0) return kFftFailed;
  const auto size = static_cast<std::size_t>(samples);
  const Transform<T> transform(samples, inverse);
  std::vector<std::complex<T>> in(size), out(size);
  for (std::int64_t b = 0; b < batch; ++b) {
    T* const signal = data + b * signal_pitch(samples);
    auto* const spectrum = reinterpret_cast<std::complex<T>*>(signal);
    if (inverse) {
      for (std::size_t k = 0; k <= size / 2; ++k) in[k] = spectrum[k];
      for (std::size_t k = size / 2 + 1; k < size; ++k) in[k] = std::conj(spectrum[size - k]);
    } else {
      for (std::size_t i = 0; i < size; ++i) in[i] = signal[i];
    }
    transform.run(size, in.data(), 1, out.data());
    if (inverse)
      for (std::size_t i = 0; i < size; ++i) signal[i] = out[i].real();
    else
      for (std::size_t k = 0; k <= size / 2; ++k) spectrum[k] = out[k];
  }
  return 0;
}

}  // namespace

template <class T>
DeviceStatus transform_signals(T* data, std::int64_t samples, std::int64_t batch, bool inverse,
                               const DeviceLaunch& on) {
  return device_model::hand_over(on.stream,
                                 [=] { return transform_now(data, samples, batch, inverse); });
}

template DeviceStatus transform_signals<float>(float*, std::int64_t, std::int64_t, bool,
                                               const DeviceLaunch&);
template DeviceStatus transform_signals<double>(double*, std::int64_t, std::int64_t, bool,
                                                const DeviceLaunch&);

}  // namespace rill
