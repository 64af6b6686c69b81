// Private: the causal convolution as plain loops, any floating type. float64's form, and the oracle
// of the vector form.
#pragma once

#include <cmath>
#include <vector>

#include <rill/scan/cpu/conv_taps.h>
#include <rill/scan/kernels.h>

namespace rill::plain {

template <class T>
T sigmoid(T x) {
  return T(1) / (T(1) + std::exp(-x));
}

/// d silu / dx.
template <class T>
T silu_slope(T x) {
  const T s = sigmoid(x);
  return s * (T(1) + x * (T(1) - s));
}

/// The sum of one step and channel, before the activation.
template <class T, class Args>
T conv_sum(const Args& args, const ConvRow& walk, std::int64_t i, std::int64_t c) {
  T sum = args.bias ? static_cast<const T*>(args.bias)[c] : T(0);
  for (std::int64_t k = 0; k < args.width; ++k) {
    const T* x = walk.source(static_cast<const T*>(args.x), static_cast<const T*>(args.initial),
                             args.channels, i - args.width + 1 + k);
    sum += static_cast<const T*>(args.weight)[k * args.channels + c] * (x ? x[c] : T(0));
  }
  return sum;
}

template <class T>
void causal_conv_row(const CausalConvArgs& args, std::int64_t row) {
  const std::int64_t channels = args.channels, width = args.width;
  ConvRow walk(args.sequence, row, width);
  for (std::int64_t i = 0; i < walk.length(); ++i) {
    walk.enter(i);
    for (std::int64_t c = 0; c < channels; ++c) {
      const T sum = conv_sum<T>(args, walk, i, c);
      static_cast<T*>(args.y)[(walk.start() + i) * channels + c] =
          args.silu ? sum * sigmoid(sum) : sum;
    }
  }
  // Upwards, so that the final state may lie where the initial one does.
  T* last = static_cast<T*>(args.final_state) + row * (width - 1) * channels;
  for (std::int64_t m = 0; m < width - 1; ++m) {
    const T* x = walk.source(static_cast<const T*>(args.x), static_cast<const T*>(args.initial),
                             channels, walk.length() - width + 1 + m);
    for (std::int64_t c = 0; c < channels; ++c) last[m * channels + c] = x ? x[c] : T(0);
  }
}

template <class T>
void causal_conv(const CausalConvArgs& args, const KernelContext& context) {
  zero_outside(args.sequence, static_cast<T*>(args.y), args.channels);
  context.parallel_for(args.sequence.rows,
                       [&](std::int64_t row) { causal_conv_row<T>(args, row); });
}

/// The gradient of input j (j < 0: of the state) from later sums; `limit`: the first step that does
/// not see it.
template <class T>
T conv_input_gradient(const CausalConvBackwardArgs& args, const ConvRow& walk, std::int64_t j,
                      std::int64_t limit, std::int64_t c) {
  T sum(0);
  for (std::int64_t k = args.width - 1; k >= 0; --k) {
    const std::int64_t i = j + args.width - 1 - k;
    if (i < 0 || i >= limit) continue;
    sum += static_cast<const T*>(args.weight)[k * args.channels + c] *
           static_cast<const T*>(args.dpre)[(walk.start() + i) * args.channels + c];
  }
  return sum;
}

template <class T>
void causal_conv_backward_row(const CausalConvBackwardArgs& args, std::int64_t row) {
  const std::int64_t channels = args.channels, width = args.width;
  const std::int64_t slots = width - 1;
  ConvRow walk(args.sequence, row, width);
  for (std::int64_t i = 0; i < walk.length(); ++i) {
    walk.enter(i);
    for (std::int64_t c = 0; c < channels; ++c) {
      const std::int64_t at = (walk.start() + i) * channels + c;
      T g = args.dy ? static_cast<const T*>(args.dy)[at] : T(0);
      if (args.silu) g *= silu_slope(conv_sum<T>(args, walk, i, c));
      static_cast<T*>(args.dpre)[at] = g;
      if (args.dbias) static_cast<T*>(args.dbias)[c] += g;
      for (std::int64_t k = 0; k < width; ++k) {
        const T* x = walk.source(static_cast<const T*>(args.x), static_cast<const T*>(args.initial),
                                 channels, i - slots + k);
        static_cast<T*>(args.dweight)[k * channels + c] += g * (x ? x[c] : T(0));
      }
    }
  }
  const T* dfinal = static_cast<const T*>(args.dfinal);
  std::int64_t limit = walk.length();
  for (std::int64_t j = walk.length() - 1; j >= -slots; --j) {
    const std::int64_t slot =
        j - walk.length() + slots;  // where this input lies in the final state
    const bool kept = dfinal && slot >= 0 && limit == walk.length();
    T* out = j >= 0 ? static_cast<T*>(args.dx) + (walk.start() + j) * channels
                    : static_cast<T*>(args.dinitial) + (row * slots + j + slots) * channels;
    for (std::int64_t c = 0; c < channels; ++c)
      out[c] = conv_input_gradient<T>(args, walk, j, limit, c) +
               (kept ? dfinal[(row * slots + slot) * channels + c] : T(0));
    if (j >= 0 && is_reset(args.sequence, walk.start() + j)) limit = j;
  }
}

template <class T>
void causal_conv_backward(const CausalConvBackwardArgs& args, const KernelContext&) {
  zero_outside(args.sequence, static_cast<T*>(args.dx), args.channels);
  std::fill_n(static_cast<T*>(args.dweight), args.width * args.channels, T(0));
  for (std::int64_t row = 0; row < args.sequence.rows; ++row)
    causal_conv_backward_row<T>(args, row);
}

template <class T>
void transpose(const TransposeArgs& args, const KernelContext&) {
  const T* source = static_cast<const T*>(args.source);
  T* target = static_cast<T*>(args.target);
  for (std::int64_t r = 0; r < args.rows; ++r)
    for (std::int64_t c = 0; c < args.columns; ++c) {
      T& out = target[c * args.rows + r];
      out = args.accumulate ? out + source[r * args.columns + c] : source[r * args.columns + c];
    }
}

}  // namespace rill::plain
