// Kernels that move elements: copies, fills, dropout, reordering of time and pooling over it. One
// loop for float and double, without vector functions: they are bound by memory.
#include <array>
#include <cstring>

#include <rill/core/cpu/core_cpu.h>
#include <rill/core/random.h>

namespace rill::cpu {
namespace {

constexpr std::int64_t kChannelTile = 64;

void copy(const CopyArgs& args, const KernelContext& context) {
  const char* source = static_cast<const char*>(args.source);
  char* target = static_cast<char*>(args.target);
  if (args.rows == 1 || (args.source_stride == args.bytes && args.target_stride == args.bytes)) {
    for_tiles(context, args.rows * args.bytes, kTile * 8,
              [&](std::int64_t first, std::int64_t last) {
                std::memcpy(target + first, source + first, static_cast<std::size_t>(last - first));
              });
    return;
  }
  for_tiles(context, args.rows, row_tile(args.bytes / 8),
            [&](std::int64_t first, std::int64_t last) {
              for (std::int64_t r = first; r < last; ++r)
                std::memcpy(target + r * args.target_stride, source + r * args.source_stride,
                            static_cast<std::size_t>(args.bytes));
            });
}

template <class T>
void fill(const FillArgs& args, const KernelContext& context) {
  const T value =
      static_cast<T>(args.scale) * (args.value ? *static_cast<const T*>(args.value) : T(1));
  T* y = static_cast<T*>(args.y);
  for_tiles(context, args.count, kTile,
            [&](std::int64_t first, std::int64_t last) { std::fill(y + first, y + last, value); });
}

template <class T>
void dropout(const DropoutArgs& args, const KernelContext& context) {
  const T scale = static_cast<T>(1.0 / (1.0 - args.p));
  const std::uint32_t threshold = static_cast<std::uint32_t>(args.p * 0x1p32);  // dropped below it
  const std::array<std::uint32_t, 2> key{static_cast<std::uint32_t>(args.key),
                                         static_cast<std::uint32_t>(args.key >> 32)};
  for_tiles(context, args.batch * args.length, row_tile(args.channels),
            [&](std::int64_t first, std::int64_t last) {
              for (std::int64_t token = first; token < last; ++token) {
                const std::uint64_t t = static_cast<std::uint64_t>(args.time + token % args.length);
                const std::uint32_t row = static_cast<std::uint32_t>(token / args.length);
                const T* x = static_cast<const T*>(args.x) + token * args.channels;
                T* y = static_cast<T*>(args.y) + token * args.channels;
                for (std::int64_t c = 0; c < args.channels; c += 4) {
                  const auto words =
                      philox({static_cast<std::uint32_t>(c / 4), static_cast<std::uint32_t>(t),
                              static_cast<std::uint32_t>(t >> 32), row},
                             key);
                  for (std::int64_t i = c; i < std::min(args.channels, c + 4); ++i)
                    y[i] = words[static_cast<std::size_t>(i - c)] < threshold ? T(0) : x[i] * scale;
                }
              }
            });
}

/// Zeroes the tokens of [tokens, channels] that belong to no row.
template <class T>
void zero_outside(T* y, std::int64_t channels, const SeqArgs& sequence) {
  std::int64_t next = 0;
  for (std::int64_t r = 0; r < sequence.rows; ++r) {
    std::fill(y + next * channels, y + sequence.start[r] * channels, T(0));
    next = sequence.start[r] + sequence.length[r];
  }
  std::fill(y + next * channels, y + sequence.tokens * channels, T(0));
}

template <class T>
void reorder(const ReorderArgs& args, const KernelContext& context) {
  const T* x = static_cast<const T*>(args.x);
  T* y = static_cast<T*>(args.y);
  const SeqArgs& sequence = args.sequence;
  if (sequence.padded) zero_outside(y, args.channels, sequence);
  context.parallel_for(sequence.rows, [&](std::int64_t r) {
    const std::int64_t start = sequence.start[r], length = sequence.length[r];
    for (std::int64_t t = 0; t < length; ++t) {
      const std::int64_t from = args.reverse ? start + length - 1 - t : start + t;
      std::copy_n(x + from * args.channels, args.channels, y + (start + t) * args.channels);
    }
  });
}

/// The step of a row from which its running state counts: its last reset, or 0.
std::int64_t last_reset(const SeqArgs& sequence, std::int64_t row, bool& reset) {
  reset = false;
  if (!sequence.reset) return 0;
  for (std::int64_t t = sequence.length[row] - 1; t >= 0; --t)
    if (sequence.reset[sequence.start[row] + t]) {
      reset = true;
      return t;
    }
  return 0;
}

/// Calls task(row, first channel, last channel).
template <class Task>
void for_row_tiles(const KernelContext& context, std::int64_t rows, std::int64_t channels,
                   const Task& task) {
  const std::int64_t tiles = (channels + kChannelTile - 1) / kChannelTile;
  context.parallel_for(rows * tiles, [&](std::int64_t i) {
    const std::int64_t first = i % tiles * kChannelTile;
    task(i / tiles, first, std::min(channels, first + kChannelTile));
  });
}

template <class T>
void mean_pool(const MeanPoolArgs& args, const KernelContext& context) {
  const SeqArgs& sequence = args.sequence;
  const T* x = static_cast<const T*>(args.x);
  T* y = static_cast<T*>(args.y);
  const std::int64_t channels = args.channels;
  const auto count_of = [&](std::int64_t row) {
    bool reset = false;
    const std::int64_t first = last_reset(sequence, row, reset);
    return (reset ? 0 : args.count_in[row]) + sequence.length[row] - first;
  };
  for_row_tiles(
      context, sequence.rows, channels, [&](std::int64_t row, std::int64_t c0, std::int64_t c1) {
        bool reset = false;
        const std::int64_t first = last_reset(sequence, row, reset);
        std::array<double, kChannelTile> sum{};
        if (!reset)
          std::copy(args.sum_in + row * channels + c0, args.sum_in + row * channels + c1,
                    sum.begin());
        for (std::int64_t t = sequence.start[row] + first;
             t < sequence.start[row] + sequence.length[row]; ++t)
          for (std::int64_t c = c0; c < c1; ++c)
            sum[static_cast<std::size_t>(c - c0)] += static_cast<double>(x[t * channels + c]);
        const std::int64_t count = count_of(row);
        for (std::int64_t c = c0; c < c1; ++c) {
          const double total = sum[static_cast<std::size_t>(c - c0)];
          args.sum_out[row * channels + c] = total;
          y[row * channels + c] =
              count > 0 ? static_cast<T>(total / static_cast<double>(count)) : T(0);
        }
      });
  // Only now: count_out may be count_in, which all tiles of a row read.
  for (std::int64_t row = 0; row < sequence.rows; ++row) args.count_out[row] = count_of(row);
}

template <class T>
void mean_pool_backward(const MeanPoolBackwardArgs& args, const KernelContext& context) {
  const SeqArgs& sequence = args.sequence;
  const T *dy = static_cast<const T*>(args.dy), *dsum_out = static_cast<const T*>(args.dsum_out);
  T *dx = static_cast<T*>(args.dx), *dsum_in = static_cast<T*>(args.dsum_in);
  const std::int64_t channels = args.channels;
  if (dx && sequence.padded) zero_outside(dx, channels, sequence);
  for_row_tiles(context, sequence.rows, channels,
                [&](std::int64_t row, std::int64_t c0, std::int64_t c1) {
                  bool reset = false;
                  const std::int64_t first = last_reset(sequence, row, reset);
                  for (std::int64_t c = c0; c < c1; ++c) {
                    const std::int64_t i = row * channels + c;
                    const std::int64_t count = args.count_out[row];
                    const T dsum = (dy && count > 0 ? dy[i] / static_cast<T>(count) : T(0)) +
                                   (dsum_out ? dsum_out[i] : T(0));
                    if (dsum_in) dsum_in[i] = reset ? T(0) : dsum;
                    for (std::int64_t t = 0; dx && t < sequence.length[row]; ++t)
                      dx[(sequence.start[row] + t) * channels + c] = t < first ? T(0) : dsum;
                  }
                });
}

template <class T>
void last_pool(const LastPoolArgs& args, const KernelContext& context) {
  const SeqArgs& sequence = args.sequence;
  const std::int64_t channels = args.channels;
  context.parallel_for(sequence.rows, [&](std::int64_t row) {
    const std::int64_t length = sequence.length[row];
    const T* from =
        length > 0 ? static_cast<const T*>(args.x) + (sequence.start[row] + length - 1) * channels
                   : static_cast<const T*>(args.last_in) + row * channels;
    std::copy_n(from, channels, static_cast<T*>(args.y) + row * channels);
    T* last = static_cast<T*>(args.last_out) + row * channels;
    if (last != from) std::copy_n(from, channels, last);
  });
}

template <class T>
void last_pool_backward(const LastPoolBackwardArgs& args, const KernelContext& context) {
  const SeqArgs& sequence = args.sequence;
  const std::int64_t channels = args.channels;
  T *dx = static_cast<T*>(args.dx), *dlast_in = static_cast<T*>(args.dlast_in);
  const T *dy = static_cast<const T*>(args.dy), *dlast = static_cast<const T*>(args.dlast_out);
  if (dx) std::fill_n(dx, sequence.tokens * channels, T(0));
  context.parallel_for(sequence.rows, [&](std::int64_t row) {
    const std::int64_t length = sequence.length[row];
    for (std::int64_t c = 0; c < channels; ++c) {
      const std::int64_t i = row * channels + c;
      const T gradient = (dy ? dy[i] : T(0)) + (dlast ? dlast[i] : T(0));
      if (dlast_in) dlast_in[i] = length > 0 ? T(0) : gradient;
      if (dx && length > 0) dx[(sequence.start[row] + length - 1) * channels + c] = gradient;
    }
  });
}

}  // namespace

template <class T>
void add_movement(CoreKernels& table) {
  table.copy = copy;
  table.fill = fill<T>;
  table.dropout = dropout<T>;
  table.reorder = reorder<T>;
  table.mean_pool = mean_pool<T>;
  table.mean_pool_backward = mean_pool_backward<T>;
  table.last_pool = last_pool<T>;
  table.last_pool_backward = last_pool_backward<T>;
}

template void add_movement<float>(CoreKernels&);
template void add_movement<double>(CoreKernels&);

}  // namespace rill::cpu
