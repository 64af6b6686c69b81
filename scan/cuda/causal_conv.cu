// The causal convolution y_t = act(bias + sum_k w[k] x_{t-K+1+k}), its state (the last K - 1
// inputs) and its adjoint. A thread owns a channel and kSteps steps of a row; neighbouring threads
// are neighbouring channels, and the taps that threads share come from the cache; few taps stay in
// registers, and channels go four at a time. Sums over tokens
// (the weights' gradients) are parts in a fixed order.
#include <rill/core/cuda/activation.h>
#include <rill/scan/cuda/instantiate.h>
#include <rill/scan/cuda/launch_scan.h>
#include <rill/scan/cuda/row_walk.h>

namespace rill {
namespace {

constexpr int kThreads = 256;
constexpr int kSteps = 8, kLongSteps = 32;
constexpr int kVector = 4, kMostTaps = 4;  // of conv_window_kernel
constexpr int kRowsAtOnce = kThreads / kWarpSize;
constexpr std::int64_t kTokensAPart = 512;

template <class C>
RILL_DEVICE C silu_slope(C x) {
  const C s = sigmoid_of(x);
  return s * (C(1) + x * (C(1) - s));
}

/// Input j of a row (j < 0: of the state); the caller knows that no reset hides it.
template <class S, class Args>
RILL_DEVICE Compute<S> input_at(const Args& p, std::int64_t start, std::int64_t row, std::int64_t j,
                                std::int64_t c) {
  if (j >= 0) return load<S>(p.x, (start + j) * p.channels + c);
  return load<Compute<S>>(p.initial, (row * (p.width - 1) + j + p.width - 1) * p.channels + c);
}

/// The sum of step i before the activation: from the newest tap back until a reset hides the rest.
template <class S, class Args>
RILL_DEVICE Compute<S> sum_at(const Args& p, std::int64_t start, std::int64_t row, std::int64_t i,
                              std::int64_t c) {
  Compute<S> sum = p.bias ? load<Compute<S>>(p.bias, c) : Compute<S>(0);
  for (std::int64_t lag = 0; lag < p.width; ++lag) {
    const std::int64_t j = i - lag;
    sum += load<Compute<S>>(p.weight, (p.width - 1 - lag) * p.channels + c) *
           input_at<S>(p, start, row, j, c);
    if (j >= 0 && reset_before(p.sequence, start + j)) break;
  }
  return sum;
}

// Grid: x over [steps / kSteps, channels], y over rows.
template <class S>
RILL_KERNEL(kThreads)
void conv_kernel(CausalConvArgs p) {
  using C = Compute<S>;
  for (std::int64_t row = block_index_y(); row < p.sequence.rows; row += 65535) {
    const std::int64_t start = p.sequence.start[row], length = p.sequence.length[row];
    const std::int64_t count = (length + kSteps - 1) / kSteps * p.channels;
    for (std::int64_t n = grid_thread(); n < count; n += grid_threads()) {
      const std::int64_t first = n / p.channels * kSteps, c = n % p.channels;
      const std::int64_t last = first + kSteps < length ? first + kSteps : length;
      for (std::int64_t i = first; i < last; ++i) {
        const C sum = sum_at<S>(p, start, row, i, c);
        store<S>(p.y, (start + i) * p.channels + c, p.silu ? sum * sigmoid_of(sum) : sum);
      }
    }
  }
}

/// kVector neighbouring channels, in one access.
template <class S>
struct alignas(kVector * sizeof(S)) Channels {
  S value[kVector];
};

// The same for few taps and channels in vectors: a thread holds the last inputs and its weights in
// registers, so that every input is read once (and once more at the border of kLongSteps steps).
template <class S, int kWidth>
RILL_KERNEL(kThreads)
void conv_window_kernel(CausalConvArgs p) {
  using C = Compute<S>;
  const std::int64_t vectors = p.channels / kVector;
  for (std::int64_t row = block_index_y(); row < p.sequence.rows; row += 65535) {
    const std::int64_t start = p.sequence.start[row], length = p.sequence.length[row];
    const std::int64_t count = (length + kLongSteps - 1) / kLongSteps * vectors;
    for (std::int64_t n = grid_thread(); n < count; n += grid_threads()) {
      const std::int64_t first = n / vectors * kLongSteps, c = n % vectors * kVector;
      const std::int64_t last = first + kLongSteps < length ? first + kLongSteps : length;
      C weight[kWidth][kVector], bias[kVector], before[kWidth][kVector];  // [lag, channel]
      bool visible = true;
      RILL_UNROLL
      for (int lag = 0; lag < kWidth; ++lag) {
        const std::int64_t j = first - lag;
        RILL_UNROLL
        for (int v = 0; v < kVector; ++v) {
          weight[lag][v] = load<C>(p.weight, (kWidth - 1 - lag) * p.channels + c + v);
          before[lag][v] = lag > 0 && visible ? input_at<S>(p, start, row, j, c + v) : C(0);
        }
        if (lag > 0 && j >= 0 && reset_before(p.sequence, start + j)) visible = false;
      }
      RILL_UNROLL
      for (int v = 0; v < kVector; ++v) bias[v] = p.bias ? load<C>(p.bias, c + v) : C(0);
      for (std::int64_t i = first; i < last; ++i) {
        const std::int64_t at = (start + i) * p.channels + c;
        const bool fresh = reset_before(p.sequence, start + i);
        const auto x = load_vector<Channels<S>>(static_cast<const S*>(p.x) + at);
        Channels<S> y;
        RILL_UNROLL
        for (int v = 0; v < kVector; ++v) {
          before[0][v] = to_compute(x.value[v]);
          C sum = bias[v];
          RILL_UNROLL
          for (int lag = 0; lag < kWidth; ++lag) {
            if (lag > 0 && fresh) before[lag][v] = C(0);
            sum += weight[lag][v] * before[lag][v];
          }
          RILL_UNROLL
          for (int lag = kWidth - 1; lag > 0; --lag) before[lag][v] = before[lag - 1][v];
          y.value[v] = from_compute<S>(p.silu ? sum * sigmoid_of(sum) : sum);
        }
        store_vector(static_cast<S*>(p.y) + at, y);
      }
    }
  }
}

// One thread a row and channel. Upwards, so that the final state may lie where the initial one
// does.
template <class S>
RILL_KERNEL(kThreads)
void final_kernel(CausalConvArgs p) {
  using C = Compute<S>;
  const std::int64_t slots = p.width - 1;
  for (std::int64_t n = grid_thread(); n < p.sequence.rows * p.channels; n += grid_threads()) {
    const std::int64_t row = n / p.channels, c = n % p.channels;
    const std::int64_t start = p.sequence.start[row], length = p.sequence.length[row];
    std::int64_t visible = -slots;  // the first input that no reset hides
    for (std::int64_t j = length - 1; j >= 0 && j > length - 1 - slots; --j)
      if (reset_before(p.sequence, start + j)) {
        visible = j;
        break;
      }
    if (visible < 0 && p.sequence.reset)  // a reset further back hides the state
      for (std::int64_t j = length - 1 - slots; j >= 0; --j)
        if (reset_before(p.sequence, start + j)) {
          visible = 0;
          break;
        }
    for (std::int64_t m = 0; m < slots; ++m) {
      const std::int64_t j = length - slots + m;
      store<C>(p.final_state, (row * slots + m) * p.channels + c,
               j < visible ? C(0) : input_at<S>(p, start, row, j, c));
    }
  }
}

template <class S>
RILL_KERNEL(kThreads)
void dpre_kernel(CausalConvBackwardArgs p) {
  using C = Compute<S>;
  for (std::int64_t row = block_index_y(); row < p.sequence.rows; row += 65535) {
    const std::int64_t start = p.sequence.start[row];
    const std::int64_t count = p.sequence.length[row] * p.channels;
    for (std::int64_t n = grid_thread(); n < count; n += grid_threads()) {
      const std::int64_t i = n / p.channels, c = n % p.channels;
      const std::int64_t at = (start + i) * p.channels + c;
      C g = p.dy ? load<S>(p.dy, at) : C(0);
      if (p.silu) g *= silu_slope(sum_at<S>(p, start, row, i, c));
      store<C>(p.dpre, at, g);
    }
  }
}

// Inputs j = -slots ... length - 1 of a row: tokens and the state alike.
template <class S>
RILL_KERNEL(kThreads)
void dinput_kernel(CausalConvBackwardArgs p) {
  using C = Compute<S>;
  const std::int64_t slots = p.width - 1;
  for (std::int64_t row = block_index_y(); row < p.sequence.rows; row += 65535) {
    const std::int64_t start = p.sequence.start[row], length = p.sequence.length[row];
    const std::int64_t count = (length + slots) * p.channels;
    for (std::int64_t n = grid_thread(); n < count; n += grid_threads()) {
      const std::int64_t j = n / p.channels - slots, c = n % p.channels;
      C sum = C(0);
      bool visible = true;
      std::int64_t i = j < 0 ? 0 : j;
      for (; i < length && i - j <= slots; ++i) {
        if (i > j && reset_before(p.sequence, start + i)) {
          visible = false;
          break;
        }
        sum += load<C>(p.weight, (slots - (i - j)) * p.channels + c) *
               load<C>(p.dpre, (start + i) * p.channels + c);
      }
      const std::int64_t slot = j - length + slots;
      if (visible && slot >= 0 && p.dfinal)
        sum += load<C>(p.dfinal, (row * slots + slot) * p.channels + c);
      if (j >= 0)
        store<S>(p.dx, (start + j) * p.channels + c, sum);
      else
        store<C>(p.dinitial, (row * slots + j + slots) * p.channels + c, sum);
    }
  }
}

// Part y of the sums over tokens: rows and stretches of kTokensAPart steps, every `parts`-th of
// them; z: the tap, or width for the bias. partial [parts, width + 1, channels].
template <class S>
RILL_KERNEL(kThreads)
void dweight_parts_kernel(CausalConvBackwardArgs p, void* partial, std::int64_t parts,
                          std::int64_t stretches) {
  using C = Compute<S>;
  RILL_SHARED(C, shared, kThreads);
  const std::int64_t c = block_index() * kWarpSize + lane_index(), k = block_index_z();
  const bool here = c < p.channels;
  C sum = C(0);
  for (std::int64_t item = block_index_y(); item < p.sequence.rows * stretches; item += parts) {
    const std::int64_t row = item / stretches, first = item % stretches * kTokensAPart;
    const std::int64_t start = p.sequence.start[row], length = p.sequence.length[row];
    const std::int64_t last = first + kTokensAPart < length ? first + kTokensAPart : length;
    for (std::int64_t i = first + warp_index(); here && i < last; i += kRowsAtOnce) {
      const C g = load<C>(p.dpre, (start + i) * p.channels + c);
      if (k == p.width) {
        sum += g;
        continue;
      }
      const std::int64_t j = i - (p.width - 1) + k;
      bool visible = true;
      for (std::int64_t s = i; s > j && s >= 0; --s)
        if (reset_before(p.sequence, start + s)) visible = false;
      if (visible) sum += g * input_at<S>(p, start, row, j, c);
    }
  }
  shared[thread_index()] = sum;
  block_sync();
  if (warp_index() != 0 || !here) return;
  for (int w = 1; w < kRowsAtOnce; ++w) sum += shared[w * kWarpSize + lane_index()];
  static_cast<C*>(partial)[(block_index_y() * (p.width + 1) + k) * p.channels + c] = sum;
}

template <class C>
RILL_KERNEL(kThreads)
void dweight_kernel(CausalConvBackwardArgs p, const void* partial, std::int64_t parts) {
  const std::int64_t count = (p.width + (p.dbias ? 1 : 0)) * p.channels;
  for (std::int64_t n = grid_thread(); n < count; n += grid_threads()) {
    C sum = C(0);
    for (std::int64_t part = 0; part < parts; ++part)
      sum += static_cast<const C*>(partial)[part * (p.width + 1) * p.channels + n];
    const std::int64_t bias = n - p.width * p.channels;
    if (bias >= 0)
      store<C>(p.dbias, bias, load<C>(p.dbias, bias) + sum);
    else
      store<C>(p.dweight, n, sum);
  }
}

Grid row_grid(const SeqArgs& sequence, std::int64_t count) {
  Grid grid = grid_for(count, kThreads);
  grid.y = sequence.rows > 65535 ? 65535 : sequence.rows;
  return grid;
}

template <class S>
RILL_KERNEL(kThreads)
void transpose_kernel(TransposeArgs p) {
  for (std::int64_t n = grid_thread(); n < p.rows * p.columns; n += grid_threads()) {
    const std::int64_t r = n / p.columns, c = n % p.columns, at = c * p.rows + r;
    const Compute<S> value = load<S>(p.source, n);
    store<S>(p.target, at, p.accumulate ? load<S>(p.target, at) + value : value);
  }
}

/// The convolution's outputs.
template <class S>
DeviceStatus launch_outputs(const CausalConvArgs& p, const DeviceLaunch& on) {
  const auto aligned = [](const void* q) {
    return reinterpret_cast<std::uintptr_t>(q) % (kVector * sizeof(S)) == 0;
  };
  if (p.channels % kVector != 0 || p.width > kMostTaps || !aligned(p.x) || !aligned(p.y))
    return RILL_LAUNCH(
        conv_kernel<S>,
        row_grid(p.sequence, (p.sequence.max_length + kSteps - 1) / kSteps * p.channels), kThreads,
        0, on.stream, p);
  const Grid grid = row_grid(
      p.sequence, (p.sequence.max_length + kLongSteps - 1) / kLongSteps * (p.channels / kVector));
  switch (p.width) {
    case 1:
      return RILL_LAUNCH((conv_window_kernel<S, 1>), grid, kThreads, 0, on.stream, p);
    case 2:
      return RILL_LAUNCH((conv_window_kernel<S, 2>), grid, kThreads, 0, on.stream, p);
    case 3:
      return RILL_LAUNCH((conv_window_kernel<S, 3>), grid, kThreads, 0, on.stream, p);
    default:
      return RILL_LAUNCH((conv_window_kernel<S, 4>), grid, kThreads, 0, on.stream, p);
  }
}

}  // namespace

template <class S>
DeviceStatus launch_causal_conv(const CausalConvArgs& p, const DeviceLaunch& on) {
  if (const DeviceStatus status = zero_gaps<S>(p.sequence, p.y, p.channels, on)) return status;
  if (p.sequence.rows * p.channels == 0) return 0;
  if (p.sequence.max_length > 0)
    if (const DeviceStatus status = launch_outputs<S>(p, on)) return status;
  if (p.width == 1) return 0;
  return RILL_LAUNCH(final_kernel<S>, grid_for(p.sequence.rows * p.channels, kThreads), kThreads, 0,
                     on.stream, p);
}

template <class S>
DeviceStatus launch_causal_conv_backward(const CausalConvBackwardArgs& p, const DeviceLaunch& on) {
  if (const DeviceStatus status = zero_gaps<S>(p.sequence, p.dx, p.channels, on)) return status;
  if (p.channels == 0) return 0;
  const std::int64_t steps = p.sequence.max_length;
  if (p.sequence.rows * steps > 0)
    RILL_LAUNCH_OR_RETURN(dpre_kernel<S>, row_grid(p.sequence, steps * p.channels), kThreads, 0,
                          on.stream, p);
  if (p.sequence.rows > 0 && steps + p.width - 1 > 0)
    RILL_LAUNCH_OR_RETURN(dinput_kernel<S>,
                          row_grid(p.sequence, (steps + p.width - 1) * p.channels), kThreads, 0,
                          on.stream, p);
  const std::int64_t stretches = steps > 0 ? (steps + kTokensAPart - 1) / kTokensAPart : 1;
  const auto room = static_cast<std::int64_t>(on.workspace_bytes / sizeof(Compute<S>)) /
                    ((p.width + 1) * p.channels);
  std::int64_t parts = p.sequence.rows * stretches;
  parts = parts > room ? room : parts;
  parts = parts > 65535 ? 65535 : parts;
  if (parts < 1) parts = 1;
  if (room < 1) return kWorkspaceTooSmall;
  RILL_LAUNCH_OR_RETURN(dweight_parts_kernel<S>,
                        (Grid{(p.channels + kWarpSize - 1) / kWarpSize, parts, p.width + 1}),
                        kThreads, 0, on.stream, p, on.workspace, parts, stretches);
  return RILL_LAUNCH(dweight_kernel<Compute<S>>, grid_for((p.width + 1) * p.channels, kThreads),
                     kThreads, 0, on.stream, p, on.workspace, parts);
}

template <class S>
DeviceStatus launch_transpose(const TransposeArgs& p, const DeviceLaunch& on) {
  if (p.rows * p.columns == 0) return 0;
  return RILL_LAUNCH(transpose_kernel<S>, grid_for(p.rows * p.columns, kThreads), kThreads, 0,
                     on.stream, p);
}

RILL_INSTANTIATE_ACTIVATIONS(launch_causal_conv, CausalConvArgs)
RILL_INSTANTIATE_ACTIVATIONS(launch_causal_conv_backward, CausalConvBackwardArgs)
RILL_INSTANTIATE(launch_transpose, TransposeArgs)

}  // namespace rill
