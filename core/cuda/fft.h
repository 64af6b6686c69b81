// Private: the transforms that core/cuda/fft_conv.cu is written against: cuFFT (fft.cpp), and in
// the execution model a plain transform that rounds where cuFFT does (model/fft.cpp).
#pragma once

#include <cstdint>

#include <rill/core/device_launch.h>

namespace rill {

/// Reals from one signal of 2M samples to the next: its spectrum of M + 1 bins lies in their place.
constexpr std::int64_t signal_pitch(std::int64_t samples) { return samples + 2; }

/// Transforms `batch` real signals of an even number of samples, signal_pitch(samples) apart, to
/// their spectra in place; or back, where `inverse`, without dividing by the number of samples.
/// Uses the launch's workspace. T is float, in the model also double.
template <class T>
DeviceStatus transform_signals(T* data, std::int64_t samples, std::int64_t batch, bool inverse,
                               const DeviceLaunch& on);

}  // namespace rill
