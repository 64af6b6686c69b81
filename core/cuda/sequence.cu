// Kernels of core that move tokens: embedding, time reversal, pooling. A row of a sequence is the
// tokens [start, start + length).
#include <rill/core/cuda/launch.h>

namespace rill {
namespace {

constexpr int kThreads = 256;
constexpr std::int64_t kEmbeddingBlocks = 1024;

// Token i; -1 for one out of range.
RILL_DEVICE std::int64_t token_at(const void* tokens, std::int64_t dtype, std::int64_t i,
                                  std::int64_t vocabulary) {
  std::int64_t token = 0;
  if (static_cast<DType>(dtype) == DType::kInt32)
    token = static_cast<const std::int32_t*>(tokens)[i];
  else if (static_cast<DType>(dtype) == DType::kUInt8)
    token = static_cast<const std::uint8_t*>(tokens)[i];
  else
    token = static_cast<const std::int64_t*>(tokens)[i];
  return token < vocabulary ? token : -1;
}

template <class S, class W>
RILL_KERNEL(kThreads)
void embedding_kernel(EmbeddingArgs p) {
  const std::int64_t count = p.tokens * p.channels;
  for (std::int64_t i = grid_thread(); i < count; i += grid_threads()) {
    const std::int64_t token = token_at(p.token, p.token_dtype, i / p.channels, p.vocabulary);
    store<S>(p.y, i,
             token >= 0 ? load<W>(p.table, token * p.channels + i % p.channels) : Compute<S>(NAN));
  }
}

// A block owns the table's rows [first, last): it looks through all tokens, lists those it owns in
// their order, and adds their gradients in that order.
template <class S>
RILL_KERNEL(kThreads)
void embedding_backward_kernel(EmbeddingBackwardArgs p, std::int64_t rows_a_block) {
  RILL_SHARED(std::int64_t, listed, kThreads);  // tokens' numbers
  RILL_SHARED(std::int64_t, owner, kThreads);   // their rows of the table
  RILL_SHARED(int, counts, kThreads / kWarpSize);
  const std::int64_t first = block_index() * rows_a_block, last = first + rows_a_block;
  for (std::int64_t t0 = 0; t0 < p.tokens; t0 += kThreads) {
    const std::int64_t t = t0 + thread_index();
    const std::int64_t token =
        t < p.tokens ? token_at(p.token, p.token_dtype, t, p.vocabulary) : -1;
    const bool mine = token >= first && token < last;
    const unsigned bits = ballot(mine);
    if (lane_index() == 0) {
      int count = 0;
      for (unsigned rest = bits; rest; rest &= rest - 1) ++count;
      counts[warp_index()] = count;
    }
    block_sync();
    int before = 0, total = 0;
    for (int w = 0; w < kThreads / kWarpSize; ++w) {
      const int count = counts[w];
      if (w < warp_index()) before += count;
      total += count;
    }
    if (mine) {
      for (unsigned rest = bits & ((1u << lane_index()) - 1); rest; rest &= rest - 1) ++before;
      listed[before] = t;
      owner[before] = token;
    }
    block_sync();
    for (int i = 0; i < total; ++i) {
      const std::int64_t row = owner[i] * p.channels, from = listed[i] * p.channels;
      for (std::int64_t c = thread_index(); c < p.channels; c += kThreads)
        store<S>(p.dtable, row + c, load<S>(p.dtable, row + c) + load<S>(p.dy, from + c));
    }
    block_sync();
  }
}

template <class S>
RILL_KERNEL(kThreads)
void zero_kernel(void* y, std::int64_t count) {
  for (std::int64_t i = grid_thread(); i < count; i += grid_threads())
    store<S>(y, i, Compute<S>(0));
}

// Block (x, y): row y of the sequence.
template <class S>
RILL_KERNEL(kThreads)
void reorder_kernel(ReorderArgs p) {
  for (std::int64_t row = block_index_y(); row < p.sequence.rows; row += 65535) {
    const std::int64_t start = p.sequence.start[row], length = p.sequence.length[row];
    for (std::int64_t i = grid_thread(); i < length * p.channels; i += grid_threads()) {
      const std::int64_t t = i / p.channels, c = i % p.channels;
      const std::int64_t from = p.reverse ? start + length - 1 - t : start + t;
      store<S>(p.y, (start + t) * p.channels + c, load<S>(p.x, from * p.channels + c));
    }
  }
}

template <class S>
RILL_KERNEL(kThreads)
void last_pool_kernel(LastPoolArgs p) {
  const std::int64_t count = p.sequence.rows * p.channels;
  for (std::int64_t i = grid_thread(); i < count; i += grid_threads()) {
    const std::int64_t row = i / p.channels, c = i % p.channels, length = p.sequence.length[row];
    const auto value = length > 0
                           ? load<S>(p.x, (p.sequence.start[row] + length - 1) * p.channels + c)
                           : load<S>(p.last_in, i);
    store<S>(p.y, i, value);
    store<S>(p.last_out, i, value);
  }
}

template <class S>
RILL_KERNEL(kThreads)
void last_pool_backward_kernel(LastPoolBackwardArgs p) {
  using C = Compute<S>;
  const std::int64_t count = p.sequence.rows * p.channels;
  for (std::int64_t i = grid_thread(); i < count; i += grid_threads()) {
    const std::int64_t row = i / p.channels, c = i % p.channels, length = p.sequence.length[row];
    const C gradient =
        (p.dy ? load<S>(p.dy, i) : C(0)) + (p.dlast_out ? load<S>(p.dlast_out, i) : C(0));
    if (p.dlast_in) store<S>(p.dlast_in, i, length > 0 ? C(0) : gradient);
    if (p.dx && length > 0)
      store<S>(p.dx, (p.sequence.start[row] + length - 1) * p.channels + c, gradient);
  }
}

/// The step of a row from which its running state counts: its last reset, or 0.
RILL_DEVICE std::int64_t last_reset(const SeqArgs& sequence, std::int64_t row, bool& reset) {
  reset = false;
  if (!sequence.reset) return 0;
  for (std::int64_t t = sequence.length[row] - 1; t >= 0; --t)
    if (sequence.reset[sequence.start[row] + t]) {
      reset = true;
      return t;
    }
  return 0;
}

// One thread a row and channel: sums run in the order of time, in double, as on the CPU.
template <class S>
RILL_KERNEL(kThreads)
void mean_pool_kernel(MeanPoolArgs p) {
  for (std::int64_t i = grid_thread(); i < p.sequence.rows * p.channels; i += grid_threads()) {
    const std::int64_t row = i / p.channels, c = i % p.channels;
    const std::int64_t start = p.sequence.start[row], length = p.sequence.length[row];
    bool reset = false;
    const std::int64_t first = last_reset(p.sequence, row, reset);
    double sum = reset ? 0.0 : p.sum_in[i];
    for (std::int64_t t = start + first; t < start + length; ++t)
      sum += static_cast<double>(load<S>(p.x, t * p.channels + c));
    const std::int64_t count = (reset ? 0 : p.count_in[row]) + length - first;
    p.sum_out[i] = sum;
    store<S>(p.y, i, static_cast<Compute<S>>(count > 0 ? sum / static_cast<double>(count) : 0.0));
  }
}

// Only now: count_out may be count_in, which all channels of a row read.
RILL_KERNEL(kThreads) void mean_pool_count_kernel(MeanPoolArgs p) {
  for (std::int64_t row = grid_thread(); row < p.sequence.rows; row += grid_threads()) {
    bool reset = false;
    const std::int64_t first = last_reset(p.sequence, row, reset);
    p.count_out[row] = (reset ? 0 : p.count_in[row]) + p.sequence.length[row] - first;
  }
}

template <class S>
RILL_KERNEL(kThreads)
void mean_pool_backward_kernel(MeanPoolBackwardArgs p) {
  using C = Compute<S>;
  for (std::int64_t i = grid_thread(); i < p.sequence.rows * p.channels; i += grid_threads()) {
    const std::int64_t row = i / p.channels, c = i % p.channels;
    const std::int64_t count = p.count_out[row];
    bool reset = false;
    const std::int64_t first = last_reset(p.sequence, row, reset);
    const C dsum = (p.dy && count > 0 ? load<S>(p.dy, i) / static_cast<C>(count) : C(0)) +
                   (p.dsum_out ? load<S>(p.dsum_out, i) : C(0));
    if (p.dsum_in) store<S>(p.dsum_in, i, reset ? C(0) : dsum);
    for (std::int64_t t = 0; p.dx && t < p.sequence.length[row]; ++t)
      store<S>(p.dx, (p.sequence.start[row] + t) * p.channels + c, t < first ? C(0) : dsum);
  }
}

template <class S, class W>
DeviceStatus embed(const EmbeddingArgs& p, const DeviceLaunch& on) {
  return RILL_LAUNCH((embedding_kernel<S, W>), grid_for(p.tokens * p.channels, kThreads), kThreads,
                     0, on.stream, p);
}

}  // namespace

template <class S>
DeviceStatus launch_zero(void* y, std::int64_t count, const DeviceLaunch& on) {
  if (!y || count == 0) return 0;
  return RILL_LAUNCH(zero_kernel<S>, grid_for(count, kThreads), kThreads, 0, on.stream, y, count);
}

template <class S>
DeviceStatus launch_embedding(const EmbeddingArgs& p, const DeviceLaunch& on) {
  if (p.tokens * p.channels == 0 || p.vocabulary == 0) return 0;
  switch (static_cast<DType>(p.table_dtype)) {
    case DType::kBFloat16:
      return embed<S, BFloat16>(p, on);
    case DType::kFloat16:
      return embed<S, Half>(p, on);
    default:
      return embed<S, S>(p, on);
  }
}

template <class S>
DeviceStatus launch_embedding_backward(const EmbeddingBackwardArgs& p, const DeviceLaunch& on) {
  if (p.tokens * p.channels == 0 || p.vocabulary == 0) return 0;
  const std::int64_t rows_a_block = (p.vocabulary + kEmbeddingBlocks - 1) / kEmbeddingBlocks;
  return RILL_LAUNCH(embedding_backward_kernel<S>,
                     (Grid{(p.vocabulary + rows_a_block - 1) / rows_a_block}), kThreads, 0,
                     on.stream, p, rows_a_block);
}

template <class S>
DeviceStatus launch_reorder(const ReorderArgs& p, const DeviceLaunch& on) {
  if (p.sequence.padded)
    if (const DeviceStatus status = launch_zero<S>(p.y, p.sequence.tokens * p.channels, on))
      return status;
  if (p.sequence.rows * p.sequence.max_length * p.channels == 0) return 0;
  Grid grid = grid_for(p.sequence.max_length * p.channels, kThreads);
  grid.y = p.sequence.rows > 65535 ? 65535 : p.sequence.rows;
  return RILL_LAUNCH(reorder_kernel<S>, grid, kThreads, 0, on.stream, p);
}

template <class S>
DeviceStatus launch_last_pool(const LastPoolArgs& p, const DeviceLaunch& on) {
  if (p.sequence.rows * p.channels == 0) return 0;
  return RILL_LAUNCH(last_pool_kernel<S>, grid_for(p.sequence.rows * p.channels, kThreads),
                     kThreads, 0, on.stream, p);
}

template <class S>
DeviceStatus launch_last_pool_backward(const LastPoolBackwardArgs& p, const DeviceLaunch& on) {
  if (p.dx)
    if (const DeviceStatus status = launch_zero<S>(p.dx, p.sequence.tokens * p.channels, on))
      return status;
  if (p.sequence.rows * p.channels == 0) return 0;
  return RILL_LAUNCH(last_pool_backward_kernel<S>, grid_for(p.sequence.rows * p.channels, kThreads),
                     kThreads, 0, on.stream, p);
}

template <class S>
DeviceStatus launch_mean_pool(const MeanPoolArgs& p, const DeviceLaunch& on) {
  if (p.sequence.rows == 0) return 0;
  if (p.channels > 0)
    RILL_LAUNCH_OR_RETURN(mean_pool_kernel<S>, grid_for(p.sequence.rows * p.channels, kThreads),
                          kThreads, 0, on.stream, p);
  return RILL_LAUNCH(mean_pool_count_kernel, grid_for(p.sequence.rows, kThreads), kThreads, 0,
                     on.stream, p);
}

template <class S>
DeviceStatus launch_mean_pool_backward(const MeanPoolBackwardArgs& p, const DeviceLaunch& on) {
  if (p.sequence.padded)
    if (const DeviceStatus status = launch_zero<S>(p.dx, p.sequence.tokens * p.channels, on))
      return status;
  if (p.sequence.rows * p.channels == 0) return 0;
  return RILL_LAUNCH(mean_pool_backward_kernel<S>, grid_for(p.sequence.rows * p.channels, kThreads),
                     kThreads, 0, on.stream, p);
}

template DeviceStatus launch_zero<float>(void*, std::int64_t, const DeviceLaunch&);
#if !defined(__CUDACC__)
template DeviceStatus launch_zero<double>(void*, std::int64_t, const DeviceLaunch&);
#endif
RILL_INSTANTIATE(launch_mean_pool, MeanPoolArgs)
RILL_INSTANTIATE(launch_mean_pool_backward, MeanPoolBackwardArgs)
RILL_INSTANTIATE(launch_embedding, EmbeddingArgs)
RILL_INSTANTIATE(launch_embedding_backward, EmbeddingBackwardArgs)
RILL_INSTANTIATE(launch_reorder, ReorderArgs)
RILL_INSTANTIATE(launch_last_pool, LastPoolArgs)
RILL_INSTANTIATE(launch_last_pool_backward, LastPoolBackwardArgs)

}  // namespace rill
