// Causal convolution by FFT (the equations of core/cpu/fft_conv.cpp) for a batch of channels and
// rows at once: the signals x [tokens, channels] are laid out channel by channel, padded with zeros
// to the transform's size, transformed in place, multiplied and transformed back. Sums over rows
// run in the order of rows. x and y are S, the kernel Compute<S>. The scratch holds as many
// channels and rows as kTileReals allows.
#include <rill/core/cuda/fft.h>
#include <rill/core/cuda/launch.h>
#include <rill/core/fft_size.h>

namespace rill {
namespace {

constexpr int kThreads = 256;
constexpr int kEdge = 32;  // of the tiles in which time and channels change places
/// Reals of the signals that are transformed at once: enough to fill a card, little enough that a
/// long input does not take its memory a second time. Not measured on a card yet. In the execution
/// model so few that the tests' sizes take several tiles.
#if defined(__CUDACC__)
constexpr std::int64_t kTileReals = std::int64_t{1} << 24;
#else
constexpr std::int64_t kTileReals = std::int64_t{1} << 12;
#endif

/// What one call transforms at once: `channels` x `rows` signals, and `channels` kernels.
struct Tile {
  std::int64_t samples, pitch, taps, channels, rows;
};

Tile tile_of(const SeqArgs& sequence, std::int64_t channels, std::int64_t kernel_length) {
  Tile tile{};
  tile.taps = kernel_length < sequence.max_length ? kernel_length : sequence.max_length;
  tile.samples = fft_samples(sequence.max_length, tile.taps);
  tile.pitch = signal_pitch(tile.samples);
  const std::int64_t signals = kTileReals / tile.pitch > 1 ? kTileReals / tile.pitch : 1;
  tile.rows = sequence.rows < signals ? sequence.rows : signals;
  tile.channels = tile.rows > 0 ? signals / tile.rows : 1;
  if (tile.channels > channels) tile.channels = channels;
  return tile;
}

/// Signals of a tile's rows and channels, seen from the arrays they come from.
struct SignalArgs {
  SeqArgs sequence;
  const void* source;
  void* target;
  std::int64_t all_channels, first_channel, first_row, channels, rows, samples, pitch;
  double scale;
};

// Which 32 steps and 32 channels of which row a block has: steps fastest.
struct Patch {
  std::int64_t t, c, row;

  RILL_DEVICE static Patch of(std::int64_t i, std::int64_t steps, std::int64_t channels) {
    const std::int64_t across = (channels + kEdge - 1) / kEdge, along = (steps + kEdge - 1) / kEdge;
    return {i % along * kEdge, i / along % across * kEdge, i / along / across};
  }
  static std::int64_t count(std::int64_t steps, std::int64_t channels, std::int64_t rows) {
    return (steps + kEdge - 1) / kEdge * ((channels + kEdge - 1) / kEdge) * rows;
  }
};

/// source [tokens, channels] -> target [rows, channels, pitch], zeros behind a row's steps.
template <class S>
RILL_KERNEL(kThreads)
void gather_kernel(SignalArgs p, std::int64_t patches) {
  using C = Compute<S>;
  RILL_SHARED(C, patch, kEdge * (kEdge + 1));  // [steps, channels], padded against bank conflicts
  const int column = thread_index() % kEdge, line = thread_index() / kEdge;
  for (std::int64_t i = block_index(); i < patches; i += block_count()) {
    const Patch at = Patch::of(i, p.samples, p.channels);
    const std::int64_t start = p.sequence.start[p.first_row + at.row];
    const std::int64_t length = p.sequence.length[p.first_row + at.row];
    for (int t = line; t < kEdge; t += kThreads / kEdge)
      patch[t * (kEdge + 1) + column] =
          at.t + t < length && at.c + column < p.channels
              ? load<S>(p.source,
                        (start + at.t + t) * p.all_channels + p.first_channel + at.c + column)
              : C(0);
    block_sync();
    for (int c = line; c < kEdge; c += kThreads / kEdge)
      if (at.c + c < p.channels && at.t + column < p.samples)
        static_cast<C*>(p.target)[(at.row * p.channels + at.c + c) * p.pitch + at.t + column] =
            patch[column * (kEdge + 1) + c];
    block_sync();
  }
}

/// source [rows, channels, pitch] times scale -> target [tokens, channels], a row's steps alone.
template <class S>
RILL_KERNEL(kThreads)
void scatter_kernel(SignalArgs p, std::int64_t patches) {
  using C = Compute<S>;
  RILL_SHARED(C, patch, kEdge * (kEdge + 1));
  const int column = thread_index() % kEdge, line = thread_index() / kEdge;
  for (std::int64_t i = block_index(); i < patches; i += block_count()) {
    const Patch at = Patch::of(i, p.sequence.max_length, p.channels);
    const std::int64_t start = p.sequence.start[p.first_row + at.row];
    const std::int64_t length = p.sequence.length[p.first_row + at.row];
    for (int c = line; c < kEdge; c += kThreads / kEdge)
      patch[column * (kEdge + 1) + c] =
          at.c + c < p.channels && at.t + column < length
              ? static_cast<const C*>(
                    p.source)[(at.row * p.channels + at.c + c) * p.pitch + at.t + column]
              : C(0);
    block_sync();
    for (int t = line; t < kEdge; t += kThreads / kEdge)
      if (at.t + t < length && at.c + column < p.channels)
        store<S>(p.target, (start + at.t + t) * p.all_channels + p.first_channel + at.c + column,
                 static_cast<C>(p.scale) * patch[t * (kEdge + 1) + column]);
    block_sync();
  }
}

/// target[r, t] = scale source[r, t] for t < count, 0 for the rest of `width`.
template <class C>
RILL_KERNEL(kThreads)
void copy_rows_kernel(const C* source, std::int64_t source_row, C* target, std::int64_t target_row,
                      std::int64_t rows, std::int64_t count, std::int64_t width, C scale) {
  for (std::int64_t i = grid_thread(); i < rows * width; i += grid_threads()) {
    const std::int64_t r = i / width, t = i % width;
    target[r * target_row + t] = t < count ? scale * source[r * source_row + t] : C(0);
  }
}

/// x [rows, channels, bins] times kernel [channels, bins], complex.
template <class C>
RILL_KERNEL(kThreads)
void multiply_kernel(C* x, const C* kernel, std::int64_t rows, std::int64_t spectra) {
  for (std::int64_t i = grid_thread(); i < rows * spectra; i += grid_threads()) {
    const C* k = kernel + 2 * (i % spectra);
    const C re = x[2 * i], im = x[2 * i + 1];
    x[2 * i] = re * k[0] - im * k[1];
    x[2 * i + 1] = re * k[1] + im * k[0];
  }
}

/// dkernel (+)= sum over rows of conj(x) dy; x becomes conj(kernel) dy.
template <class C>
RILL_KERNEL(kThreads)
void multiply_back_kernel(C* x, const C* dy, const C* kernel, C* dkernel, std::int64_t rows,
                          std::int64_t spectra, bool add) {
  for (std::int64_t i = grid_thread(); i < spectra; i += grid_threads()) {
    const C k_re = kernel[2 * i], k_im = kernel[2 * i + 1];
    C re = add ? dkernel[2 * i] : C(0), im = add ? dkernel[2 * i + 1] : C(0);
    for (std::int64_t r = 0; r < rows; ++r) {
      const std::int64_t at = 2 * (r * spectra + i);
      const C x_re = x[at], x_im = x[at + 1], d_re = dy[at], d_im = dy[at + 1];
      re += x_re * d_re + x_im * d_im;
      im += x_re * d_im - x_im * d_re;
      x[at] = k_re * d_re + k_im * d_im;
      x[at + 1] = k_re * d_im - k_im * d_re;
    }
    dkernel[2 * i] = re;
    dkernel[2 * i + 1] = im;
  }
}

/// One call's launches, tile by tile.
template <class S>
class Convolution {
  using C = Compute<S>;

 public:
  Convolution(const SeqArgs& sequence, std::int64_t channels, std::int64_t kernel_length,
              const void* kernel, void* scratch, const DeviceLaunch& on)
      : sequence_(sequence),
        channels_(channels),
        kernel_length_(kernel_length),
        tile_(tile_of(sequence, channels, kernel_length)),
        kernel_(kernel),
        spectra_(static_cast<C*>(scratch)),
        on_(on) {}

  DeviceStatus forward(const void* x, void* y) {
    C* const signals = spectra_ + tile_.channels * tile_.pitch;
    return for_channels([&](std::int64_t c, std::int64_t channels) {
      if (const DeviceStatus status = transform_kernel(c, channels)) return status;
      return for_rows([&](std::int64_t row, std::int64_t rows) -> DeviceStatus {
        const SignalArgs all = signals_of(c, channels, row, rows);
        if (const DeviceStatus status = transform_input(all, x, signals)) return status;
        RILL_LAUNCH_OR_RETURN(multiply_kernel<C>, grid_for(rows * channels * bins(), kThreads),
                              kThreads, 0, on_.stream, signals, spectra_, rows, channels * bins());
        return transform_output(all, signals, y);
      });
    });
  }

  DeviceStatus backward(const void* x, const void* dy, void* dx, void* dkernel) {
    const std::int64_t kernels = tile_.channels * tile_.pitch;
    C *const dspectra = spectra_ + kernels, *const signals = dspectra + kernels,
             *const dsignals = signals + tile_.rows * kernels;
    return for_channels([&](std::int64_t c, std::int64_t channels) {
      if (const DeviceStatus status = transform_kernel(c, channels)) return status;
      const DeviceStatus done = for_rows([&](std::int64_t row, std::int64_t rows) -> DeviceStatus {
        const SignalArgs all = signals_of(c, channels, row, rows);
        if (const DeviceStatus status = transform_input(all, x, signals)) return status;
        if (const DeviceStatus status = transform_input(all, dy, dsignals)) return status;
        RILL_LAUNCH_OR_RETURN(multiply_back_kernel<C>, grid_for(channels * bins(), kThreads),
                              kThreads, 0, on_.stream, signals, dsignals, spectra_, dspectra, rows,
                              channels * bins(), row > 0);
        return transform_output(all, signals, dx);
      });
      if (done) return done;
      if (const DeviceStatus status =
              transform_signals(dspectra, tile_.samples, channels, true, on_))
        return status;
      return RILL_LAUNCH(copy_rows_kernel<C>, grid_for(channels * kernel_length_, kThreads),
                         kThreads, 0, on_.stream, dspectra, tile_.pitch,
                         static_cast<C*>(dkernel) + c * kernel_length_, kernel_length_, channels,
                         tile_.taps, kernel_length_, static_cast<C>(scale()));
    });
  }

 private:
  std::int64_t bins() const { return tile_.pitch / 2; }
  double scale() const { return 1.0 / static_cast<double>(tile_.samples); }

  template <class Step>
  DeviceStatus for_channels(const Step& step) const {
    for (std::int64_t c = 0; c < channels_; c += tile_.channels)
      if (const DeviceStatus status =
              step(c, channels_ - c < tile_.channels ? channels_ - c : tile_.channels))
        return status;
    return 0;
  }
  template <class Step>
  DeviceStatus for_rows(const Step& step) const {
    for (std::int64_t row = 0; row < sequence_.rows; row += tile_.rows)
      if (const DeviceStatus status =
              step(row, sequence_.rows - row < tile_.rows ? sequence_.rows - row : tile_.rows))
        return status;
    return 0;
  }

  SignalArgs signals_of(std::int64_t c, std::int64_t channels, std::int64_t row,
                        std::int64_t rows) const {
    return {sequence_, nullptr, nullptr,       channels_,   c,      row,
            channels,  rows,    tile_.samples, tile_.pitch, scale()};
  }
  DeviceStatus transform_kernel(std::int64_t c, std::int64_t channels) const {
    RILL_LAUNCH_OR_RETURN(copy_rows_kernel<C>, grid_for(channels * tile_.samples, kThreads),
                          kThreads, 0, on_.stream,
                          static_cast<const C*>(kernel_) + c * kernel_length_, kernel_length_,
                          spectra_, tile_.pitch, channels, tile_.taps, tile_.samples, C(1));
    return transform_signals(spectra_, tile_.samples, channels, false, on_);
  }
  DeviceStatus transform_input(SignalArgs all, const void* source, C* signals) const {
    all.source = source;
    all.target = signals;
    const std::int64_t patches = Patch::count(all.samples, all.channels, all.rows);
    RILL_LAUNCH_OR_RETURN(gather_kernel<S>, grid_for(patches, 1), kThreads, 0, on_.stream, all,
                          patches);
    return transform_signals(signals, all.samples, all.rows * all.channels, false, on_);
  }
  DeviceStatus transform_output(SignalArgs all, C* signals, void* target) const {
    if (const DeviceStatus status =
            transform_signals(signals, all.samples, all.rows * all.channels, true, on_))
      return status;
    all.source = signals;
    all.target = target;
    const std::int64_t patches = Patch::count(sequence_.max_length, all.channels, all.rows);
    return RILL_LAUNCH(scatter_kernel<S>, grid_for(patches, 1), kThreads, 0, on_.stream, all,
                       patches);
  }

  const SeqArgs sequence_;
  const std::int64_t channels_, kernel_length_;
  const Tile tile_;
  const void* const kernel_;
  C* const spectra_;  // of the kernels of a tile: the scratch begins with them
  const DeviceLaunch& on_;
};

}  // namespace

template <class S>
std::int64_t fft_conv_scratch(const FftConvArgs& p) {
  const Tile tile = tile_of(p.sequence, p.channels, p.kernel_length);
  return tile.channels * (tile.rows + 1) * tile.pitch *
         static_cast<std::int64_t>(sizeof(Compute<S>));
}
template <class S>
std::int64_t fft_conv_backward_scratch(const FftConvBackwardArgs& p) {
  const Tile tile = tile_of(p.sequence, p.channels, p.kernel_length);
  return 2 * tile.channels * (tile.rows + 1) * tile.pitch *
         static_cast<std::int64_t>(sizeof(Compute<S>));
}

template <class S>
DeviceStatus launch_fft_conv(const FftConvArgs& p, const DeviceLaunch& on) {
  if (p.sequence.padded)
    if (const DeviceStatus status = launch_zero<S>(p.y, p.sequence.tokens * p.channels, on))
      return status;
  if (p.sequence.rows * p.sequence.max_length * p.channels == 0) return 0;
  return Convolution<S>(p.sequence, p.channels, p.kernel_length, p.kernel, p.scratch, on)
      .forward(p.x, p.y);
}

template <class S>
DeviceStatus launch_fft_conv_backward(const FftConvBackwardArgs& p, const DeviceLaunch& on) {
  if (p.sequence.padded)
    if (const DeviceStatus status = launch_zero<S>(p.dx, p.sequence.tokens * p.channels, on))
      return status;
  if (p.sequence.rows * p.sequence.max_length * p.channels == 0)
    return launch_zero<Compute<S>>(p.dkernel, p.channels * p.kernel_length, on);
  return Convolution<S>(p.sequence, p.channels, p.kernel_length, p.kernel, p.scratch, on)
      .backward(p.x, p.dy, p.dx, p.dkernel);
}

RILL_INSTANTIATE(launch_fft_conv, FftConvArgs)
RILL_INSTANTIATE(launch_fft_conv_backward, FftConvBackwardArgs)

template std::int64_t fft_conv_scratch<float>(const FftConvArgs&);
template std::int64_t fft_conv_backward_scratch<float>(const FftConvBackwardArgs&);
#if !defined(__CUDACC__)
template std::int64_t fft_conv_scratch<double>(const FftConvArgs&);
template std::int64_t fft_conv_backward_scratch<double>(const FftConvBackwardArgs&);
#endif

}  // namespace rill
