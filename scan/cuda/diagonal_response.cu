// The convolution form of a diagonal state space: its kernel, what the incoming state adds, the
// final state, and their adjoints. Equations: scan/cpu/diagonal_response.cpp; how powers are
// summed: diagonal_powers.h. Tokens are S; K, d, coefficients, states and their gradients
// Compute<S>.
#include <rill/scan/cuda/diagonal_powers.h>
#include <rill/scan/cuda/launch_diagonal.h>
#include <rill/scan/cuda/row_walk.h>

namespace rill {
namespace {

constexpr int kThreads = 128;

/// What every source has of its arguments: a mode's a, as exact as it is known.
template <class S, class Args>
struct ModeSource : PowerGrid {
  Args p;

  RILL_DEVICE std::int64_t modes() const { return p.modes; }
  RILL_DEVICE Cx base(std::int64_t sequence, std::int64_t n) const {
    const std::int64_t i = sequence % p.channels * p.modes + n;
    return p.exact_a ? complex_at<double>(p.exact_a, i) : complex_at<Compute<S>>(p.a, i);
  }
};

/// K; sequences are channels.
template <class S>
struct KernelSource : ModeSource<S, DiagonalKernelArgs> {
  RILL_DEVICE std::int64_t length(std::int64_t) const { return this->p.length; }
  RILL_DEVICE Cx coefficient(std::int64_t h, std::int64_t n) const {
    return 2.0 * complex_at<Compute<S>>(this->p.w, h * this->p.modes + n);
  }
  RILL_DEVICE void put(std::int64_t h, std::int64_t l, Compute<S> value) const {
    store<Compute<S>>(this->p.kernel, h * this->p.length + l, value);
  }
};

/// dK from its second tap on: what is left of the derivative's sum, and K's own by one product.
template <class S>
struct KernelGradientSource : ModeSource<S, DiagonalKernelBackwardArgs> {
  RILL_DEVICE std::int64_t length(std::int64_t) const { return this->p.length - 1; }
  RILL_DEVICE Compute<S> at(std::int64_t h, std::int64_t l) const {
    return load<Compute<S>>(this->p.dkernel, h * this->p.length + l + 1);
  }
};

/// Rows and channels: sequence = row * channels + channel.
template <class S, class Args>
struct RowSource : ModeSource<S, Args> {
  RILL_DEVICE std::int64_t row_length(std::int64_t sequence) const {
    return this->p.sequence.length[sequence / this->p.channels];
  }
  /// Where [tokens, channels] has step t.
  RILL_DEVICE std::int64_t element(std::int64_t sequence, std::int64_t t) const {
    return (this->p.sequence.start[sequence / this->p.channels] + t) * this->p.channels +
           sequence % this->p.channels;
  }
  RILL_DEVICE std::int64_t state(std::int64_t sequence, std::int64_t n) const {
    return sequence * this->p.modes + n;
  }
  RILL_DEVICE Compute<S> skip(std::int64_t sequence) const {
    return this->p.d ? load<Compute<S>>(this->p.d, sequence % this->p.channels) : Compute<S>(0);
  }
};

/// y = d x + 2 Re(sum_n w a^{t+1} h_in).
template <class S>
struct ResponseSource : RowSource<S, DiagonalResponseArgs> {
  RILL_DEVICE std::int64_t length(std::int64_t q) const { return this->row_length(q); }
  RILL_DEVICE Cx coefficient(std::int64_t q, std::int64_t n) const {
    const std::int64_t i = q % this->p.channels * this->p.modes + n;
    return 2.0 * (complex_at<Compute<S>>(this->p.h_in, this->state(q, n)) *
                  (complex_at<Compute<S>>(this->p.w, i) * this->base(q, n)));
  }
  RILL_DEVICE void put(std::int64_t q, std::int64_t t, Compute<S> value) const {
    const std::int64_t at = this->element(q, t);
    store<S>(this->p.y, at, fused_multiply_add(this->skip(q), load<S>(this->p.x, at), value));
  }
};

/// x, last step first: the final state's sum.
template <class S>
struct StateSource : RowSource<S, DiagonalResponseArgs> {
  RILL_DEVICE std::int64_t length(std::int64_t q) const { return this->row_length(q); }
  RILL_DEVICE Compute<S> at(std::int64_t q, std::int64_t l) const {
    return load<S>(this->p.x, this->element(q, this->row_length(q) - 1 - l));
  }
};

/// dx = d dy + Re(sum_n dh_final conj(a)^{L-1-t}), last step first.
template <class S>
struct InputGradientSource : RowSource<S, DiagonalResponseBackwardArgs> {
  RILL_DEVICE std::int64_t length(std::int64_t q) const { return this->row_length(q); }
  RILL_DEVICE Cx coefficient(std::int64_t q, std::int64_t n) const {
    return this->p.dh_final ? conj(complex_at<Compute<S>>(this->p.dh_final, this->state(q, n)))
                            : Cx{0.0, 0.0};
  }
  RILL_DEVICE void put(std::int64_t q, std::int64_t l, Compute<S> value) const {
    const std::int64_t at = this->element(q, this->row_length(q) - 1 - l);
    const Compute<S> dy = this->p.dy ? load<S>(this->p.dy, at) : Compute<S>(0);
    store<S>(this->p.dx, at, fused_multiply_add(this->skip(q), dy, value));
  }
};

/// dy: the sums that the incoming state and w see.
template <class S>
struct OutputGradientSource : RowSource<S, DiagonalResponseBackwardArgs> {
  RILL_DEVICE std::int64_t length(std::int64_t q) const {
    return this->p.dy ? this->row_length(q) : 0;
  }
  RILL_DEVICE Compute<S> at(std::int64_t q, std::int64_t t) const {
    return load<S>(this->p.dy, this->element(q, t));
  }
};

/// x from its last but one step backwards: the final state's derivative by a.
template <class S>
struct StateSlopeSource : RowSource<S, DiagonalResponseBackwardArgs> {
  RILL_DEVICE std::int64_t length(std::int64_t q) const {
    return this->p.dh_final ? this->row_length(q) - 1 : 0;
  }
  RILL_DEVICE Compute<S> at(std::int64_t q, std::int64_t l) const {
    return load<S>(this->p.x, this->element(q, this->row_length(q) - 2 - l));
  }
};

template <class Source, class Args>
Source source_of(const Args& p, std::int64_t sequences, std::int64_t length) {
  Source source{};
  static_cast<PowerGrid&>(source) = PowerGrid::of(sequences, length);
  source.p = p;
  return source;
}

template <class S>
RILL_KERNEL(kThreads)
void kernel_gradient_kernel(KernelGradientSource<S> source, const PowerSums* sums) {
  using C = Compute<S>;
  const DiagonalKernelBackwardArgs& p = source.p;
  for (std::int64_t i = grid_thread(); i < p.channels * p.modes; i += grid_threads()) {
    const std::int64_t h = i / p.modes, n = i % p.modes;
    const PowerSums sum = whole_sums(sums, h, n, p.modes, source.stretches);
    const double first = p.length > 0 ? real_at<C>(p.dkernel, h * p.length) : 0.0;
    const Cx value = source.base(h, n) * sum.value + Cx{first, 0.0};
    put_complex<C>(p.dw, i, 2.0 * conj(value));
    put_complex<C>(p.da, i, 2.0 * conj(complex_at<C>(p.w, i) * sum.slope));
  }
}

/// h_out = a^L h_in + sum_l a^l x_{L-1-l}; h_out may be h_in.
template <class S>
RILL_KERNEL(kThreads)
void final_state_kernel(StateSource<S> source, const PowerSums* sums) {
  using C = Compute<S>;
  const DiagonalResponseArgs& p = source.p;
  for (std::int64_t i = grid_thread(); i < source.sequences * p.modes; i += grid_threads()) {
    const std::int64_t q = i / p.modes, n = i % p.modes;
    const Cx sum = whole_sums(sums, q, n, p.modes, source.stretches).value;
    const Cx moved =
        power(source.base(q, n), source.row_length(q)) * complex_at<C>(p.h_in, source.state(q, n));
    put_complex<C>(p.h_out, source.state(q, n), moved + sum);
  }
}

/// da, dw of a mode, its rows in order, and each row's dh_initial.
template <class S>
RILL_KERNEL(kThreads)
void mode_gradients_kernel(OutputGradientSource<S> source, const PowerSums* of_dy,
                           const PowerSums* of_x) {
  using C = Compute<S>;
  const DiagonalResponseBackwardArgs& p = source.p;
  for (std::int64_t i = grid_thread(); i < p.channels * p.modes; i += grid_threads()) {
    const std::int64_t h = i / p.modes, n = i % p.modes;
    const Cx a = source.base(h, n), w = complex_at<C>(p.w, i);
    Cx da{0.0, 0.0}, dw{0.0, 0.0};
    for (std::int64_t row = 0; row < p.sequence.rows; ++row) {
      const std::int64_t q = row * p.channels + h, state = source.state(q, n);
      const std::int64_t length = source.row_length(q);
      const PowerSums back = whole_sums(of_dy, q, n, p.modes, source.stretches);
      const Cx value = 2.0 * conj(a * back.value), h0 = complex_at<C>(p.h_in, state);
      Cx dh{0.0, 0.0};
      dw = dw + conj(h0) * value;
      da = da + conj(w * h0 * (2.0 * back.slope));
      if (p.dh_final) {
        dh = complex_at<C>(p.dh_final, state);
        Cx slope = whole_sums(of_x, q, n, p.modes, source.stretches).slope;
        if (length > 0) slope = slope + static_cast<double>(length) * (power(a, length - 1) * h0);
        da = da + conj(slope) * dh;
      }
      put_complex<C>(p.dh_initial, state, conj(w) * value + dh * power(conj(a), length));
    }
    put_complex<C>(p.da, i, da);
    put_complex<C>(p.dw, i, dw);
  }
}

constexpr int kSkipLanes = 8;  // of time, beside a warp of channels
constexpr int kSkipThreads = kSkipLanes * kWarpSize;

/// parts [rows, stretches, channels]: sums of dy x over each row's stretches.
template <class S>
RILL_KERNEL(kSkipThreads)
void skip_parts_kernel(OutputGradientSource<S> source, double* parts) {
  RILL_SHARED(double, lanes, kSkipThreads);
  const DiagonalResponseBackwardArgs& p = source.p;
  const std::int64_t across = (p.channels + kWarpSize - 1) / kWarpSize;
  const std::int64_t blocks = across * source.stretches * p.sequence.rows;
  for (std::int64_t i = block_index(); i < blocks; i += block_count()) {
    const std::int64_t h = i % across * kWarpSize + lane_index(), part = i / across;
    const std::int64_t row = part / source.stretches,
                       begin = part % source.stretches * kPowerStretch;
    const std::int64_t q = row * p.channels + h;
    double sum = 0.0;
    if (h < p.channels) {
      const std::int64_t end = smaller(begin + kPowerStretch, source.length(q));
      for (std::int64_t t = begin + warp_index(); t < end; t += kSkipLanes)
        sum += static_cast<double>(source.at(q, t)) * real_at<S>(p.x, source.element(q, t));
    }
    lanes[thread_index()] = sum;
    block_sync();
    if (warp_index() == 0 && h < p.channels) {
      for (int l = 1; l < kSkipLanes; ++l) sum += lanes[l * kWarpSize + lane_index()];
      parts[part * p.channels + h] = sum;
    }
    block_sync();
  }
}

template <class S>
RILL_KERNEL(kThreads)
void skip_gradient_kernel(void* dd, const double* parts, std::int64_t count,
                          std::int64_t channels) {
  for (std::int64_t h = grid_thread(); h < channels; h += grid_threads()) {
    double sum = 0.0;
    for (std::int64_t i = 0; i < count; ++i) sum += parts[i * channels + h];
    put_real<Compute<S>>(dd, h, sum);
  }
}

template <class S>
DeviceStatus launch_skip_gradient(const OutputGradientSource<S>& source, double* parts,
                                  const DeviceLaunch& on) {
  const DiagonalResponseBackwardArgs& p = source.p;
  const std::int64_t count = p.sequence.rows * source.stretches;
  if (count > 0)
    RILL_LAUNCH_OR_RETURN(skip_parts_kernel<S>,
                          grid_for(count * ((p.channels + kWarpSize - 1) / kWarpSize), 1),
                          kSkipThreads, 0, on.stream, source, parts);
  return RILL_LAUNCH(skip_gradient_kernel<S>, grid_for(p.channels, kThreads), kThreads, 0,
                     on.stream, p.dd, static_cast<const double*>(parts), count, p.channels);
}

PowerGrid grid_of(const SeqArgs& sequence, std::int64_t channels) {
  return PowerGrid::of(sequence.rows * channels, sequence.max_length);
}
constexpr std::int64_t bytes_of(std::int64_t sums) {
  return sums * static_cast<std::int64_t>(sizeof(PowerSums));
}

}  // namespace

std::int64_t diagonal_kernel_backward_scratch(const DiagonalKernelBackwardArgs& p) {
  return bytes_of(power_sums_count(PowerGrid::of(p.channels, p.length - 1), p.modes));
}
std::int64_t diagonal_response_scratch(const DiagonalResponseArgs& p) {
  return bytes_of(power_sums_count(grid_of(p.sequence, p.channels), p.modes));
}
std::int64_t diagonal_response_backward_scratch(const DiagonalResponseBackwardArgs& p) {
  const PowerGrid grid = grid_of(p.sequence, p.channels);
  return bytes_of(2 * power_sums_count(grid, p.modes)) +
         grid.sequences * grid.stretches * static_cast<std::int64_t>(sizeof(double));
}

template <class S>
DeviceStatus launch_diagonal_kernel(const DiagonalKernelArgs& p, const DeviceLaunch& on) {
  return launch_expand<Compute<S>>(source_of<KernelSource<S>>(p, p.channels, p.length), on);
}

template <class S>
DeviceStatus launch_diagonal_kernel_backward(const DiagonalKernelBackwardArgs& p,
                                             const DeviceLaunch& on) {
  if (p.channels * p.modes == 0) return 0;
  auto* const sums = static_cast<PowerSums*>(p.scratch);
  const auto source = source_of<KernelGradientSource<S>>(p, p.channels, p.length - 1);
  if (const DeviceStatus status = launch_gather<Compute<S>, true>(source, sums, on)) return status;
  return RILL_LAUNCH(kernel_gradient_kernel<S>, grid_for(p.channels * p.modes, kThreads), kThreads,
                     0, on.stream, source, static_cast<const PowerSums*>(sums));
}

template <class S>
DeviceStatus launch_diagonal_response(const DiagonalResponseArgs& p, const DeviceLaunch& on) {
  using C = Compute<S>;
  if (const DeviceStatus status = zero_gaps<S>(p.sequence, p.y, p.channels, on)) return status;
  const std::int64_t sequences = p.sequence.rows * p.channels, length = p.sequence.max_length;
  if (sequences == 0) return 0;
  const auto response = source_of<ResponseSource<S>>(p, sequences, length);
  if (const DeviceStatus status = launch_expand<C>(response, on)) return status;
  auto* const sums = static_cast<PowerSums*>(p.scratch);
  const auto state = source_of<StateSource<S>>(p, sequences, length);
  if (const DeviceStatus status = launch_gather<C, false>(state, sums, on)) return status;
  return RILL_LAUNCH(final_state_kernel<S>, grid_for(sequences * p.modes, kThreads), kThreads, 0,
                     on.stream, state, static_cast<const PowerSums*>(sums));
}

template <class S>
DeviceStatus launch_diagonal_response_backward(const DiagonalResponseBackwardArgs& p,
                                               const DeviceLaunch& on) {
  using C = Compute<S>;
  if (const DeviceStatus status = zero_gaps<S>(p.sequence, p.dx, p.channels, on)) return status;
  if (p.channels == 0) return 0;
  const std::int64_t sequences = p.sequence.rows * p.channels, length = p.sequence.max_length;
  if (const DeviceStatus status =
          launch_expand<C>(source_of<InputGradientSource<S>>(p, sequences, length), on))
    return status;
  const auto output = source_of<OutputGradientSource<S>>(p, sequences, length);
  const std::int64_t count = power_sums_count(output, p.modes);
  auto* const of_dy = static_cast<PowerSums*>(p.scratch);
  PowerSums* const of_x = of_dy + count;
  if (const DeviceStatus status = launch_gather<C, true>(output, of_dy, on)) return status;
  if (p.dh_final) {
    const auto slope = source_of<StateSlopeSource<S>>(p, sequences, length);
    if (const DeviceStatus status = launch_gather<C, true>(slope, of_x, on)) return status;
  }
  RILL_LAUNCH_OR_RETURN(mode_gradients_kernel<S>, grid_for(p.channels * p.modes, kThreads),
                        kThreads, 0, on.stream, output, static_cast<const PowerSums*>(of_dy),
                        static_cast<const PowerSums*>(of_x));
  return p.dd ? launch_skip_gradient(output, reinterpret_cast<double*>(of_x + count), on) : 0;
}

RILL_INSTANTIATE(launch_diagonal_kernel, DiagonalKernelArgs)
RILL_INSTANTIATE(launch_diagonal_kernel_backward, DiagonalKernelBackwardArgs)
RILL_INSTANTIATE(launch_diagonal_response, DiagonalResponseArgs)
RILL_INSTANTIATE(launch_diagonal_response_backward, DiagonalResponseBackwardArgs)

}  // namespace rill
