// Plain loops for activations, products and sums; T is float or double. They are the double path,
// and in float what the vector kernels are tested against. Derivatives are written so that nothing
// cancels: sigmoid' = e / (1 + e)^2 and tanh' = 4 e^2 / (1 + e^2)^2 with e = exp(-|x|).
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include <rill/core/cpu/core_cpu.h>

namespace rill::cpu::plain {

template <class T>
constexpr T kGeluScale = static_cast<T>(0.79788456080286535588);  // sqrt(2 / pi)
template <class T>
constexpr T kGeluCube = static_cast<T>(0.044715);

template <class T>
T sigmoid(T x) {
  return T(1) / (T(1) + std::exp(-x));
}

template <class T>
T sigmoid_derivative(T x) {
  const T e = std::exp(-std::abs(x));
  return e / ((T(1) + e) * (T(1) + e));
}

template <class T>
T activate(Unary kind, T x) {
  switch (kind) {
    case Unary::kSilu:
      x = std::max(x, std::numeric_limits<T>::lowest());
      return x / (T(1) + std::exp(-x));
    case Unary::kGelu:
      x = std::max(x, std::numeric_limits<T>::lowest());
      return x * T(0.5) * std::erfc(-x * T(std::numbers::sqrt2 / 2));
    case Unary::kGeluTanh:
      x = std::max(x, std::numeric_limits<T>::lowest());
      return T(0.5) * x * (T(1) + std::tanh(kGeluScale<T> * (x + kGeluCube<T> * x * x * x)));
    case Unary::kSigmoid:
      return sigmoid(x);
    case Unary::kTanh:
      return std::tanh(x);
    case Unary::kRelu:
      return x < T(0) ? T(0) : x;
    case Unary::kSoftplus:
      return std::max(x, T(0)) + std::log1p(std::exp(-std::abs(x)));
    case Unary::kLogSigmoid:
      return std::min(x, T(0)) - std::log1p(std::exp(-std::abs(x)));
    case Unary::kExp:
      return std::exp(x);
    case Unary::kLog:
      return std::log(x);
    case Unary::kSquare:
      return x * x;
    case Unary::kSqrt:
      return std::sqrt(x);
    case Unary::kNegate:
      return -x;
    case Unary::kReciprocal:
      return T(1) / x;
    case Unary::kEluPlusOne:
      return x > T(0) ? x + T(1) : std::exp(x);
    case Unary::kMinGru:
      return x >= T(0) ? x + T(0.5) : sigmoid(x);
  }
  return T(0);
}

/// f'(x), given y = f(x) for those whose derivative is a function of it.
template <class T>
T derivative(Unary kind, T x, T y) {
  switch (kind) {
    case Unary::kSilu:
      return sigmoid(x) + x * sigmoid_derivative(x);
    case Unary::kGelu:
      return T(0.5) * std::erfc(-x * T(std::numbers::sqrt2 / 2)) +
             x * std::exp(T(-0.5) * x * x) * T(std::numbers::inv_sqrtpi / std::numbers::sqrt2);
    case Unary::kGeluTanh: {
      // From 10 on it is 0 or 1 to the last bit, and infinity times 0 would be NaN. NaN passes.
      x = std::clamp(x, T(-10), T(10));
      const T t = std::tanh(kGeluScale<T> * (x + kGeluCube<T> * x * x * x));
      return T(0.5) * (T(1) + t) +
             T(0.5) * x * (T(1) - t * t) * kGeluScale<T> * (T(1) + T(3) * kGeluCube<T> * x * x);
    }
    case Unary::kSigmoid:
      return sigmoid_derivative(x);
    case Unary::kTanh:
      return T(4) * sigmoid_derivative(T(2) * x);
    case Unary::kRelu:
      return x > T(0) ? T(1) : T(0);
    case Unary::kSoftplus:
      return sigmoid(x);
    case Unary::kLogSigmoid:
      return sigmoid(-x);
    case Unary::kExp:
      return y;
    case Unary::kLog:
      return T(1) / x;
    case Unary::kSquare:
      return T(2) * x;
    case Unary::kSqrt:
      return T(0.5) / y;
    case Unary::kNegate:
      return T(-1);
    case Unary::kReciprocal:
      return -(y * y);
    case Unary::kEluPlusOne:
      return x > T(0) ? T(1) : std::exp(x);
    case Unary::kMinGru:
      return x >= T(0) ? T(1) : sigmoid_derivative(x);
  }
  return T(0);
}

template <class T>
void unary(const UnaryArgs& args, const KernelContext& context) {
  const T* x = static_cast<const T*>(args.x);
  T* y = static_cast<T*>(args.y);
  for_tiles(context, args.count, kTile, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i)
      y[i] = activate(static_cast<Unary>(args.kind), x[i]);
  });
}

template <class T>
void unary_backward(const UnaryBackwardArgs& args, const KernelContext& context) {
  const T *x = static_cast<const T*>(args.x), *y = static_cast<const T*>(args.y),
          *dy = static_cast<const T*>(args.dy);
  T* dx = static_cast<T*>(args.dx);
  for_tiles(context, args.count, kTile, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i)
      dx[i] = dy[i] * derivative(static_cast<Unary>(args.kind), x[i], y[i]);
  });
}

template <class T>
void gated(const GatedArgs& args, const KernelContext& context) {
  for_tiles(context, args.tokens, row_tile(args.channels),
            [&](std::int64_t first, std::int64_t last) {
              for (std::int64_t t = first; t < last; ++t) {
                const T* x = static_cast<const T*>(args.x) + t * args.x_row;
                const T* gate = static_cast<const T*>(args.gate) + t * args.gate_row;
                T* y = static_cast<T*>(args.y) + t * args.channels;
                for (std::int64_t c = 0; c < args.channels; ++c)
                  y[c] = activate(static_cast<Unary>(args.kind), gate[c]) * x[c];
              }
            });
}

template <class T>
void gated_backward(const GatedBackwardArgs& args, const KernelContext& context) {
  for_tiles(context, args.tokens, row_tile(args.channels),
            [&](std::int64_t first, std::int64_t last) {
              for (std::int64_t t = first; t < last; ++t) {
                const T* x = static_cast<const T*>(args.x) + t * args.x_row;
                const T* gate = static_cast<const T*>(args.gate) + t * args.gate_row;
                const T* dy = static_cast<const T*>(args.dy) + t * args.channels;
                T* dx = static_cast<T*>(args.dx) + t * args.x_row;
                T* dgate = static_cast<T*>(args.dgate) + t * args.gate_row;
                for (std::int64_t c = 0; c < args.channels; ++c) {
                  const T a = activate(static_cast<Unary>(args.kind), gate[c]);
                  dx[c] = dy[c] * a;
                  dgate[c] = dy[c] * x[c] * derivative(static_cast<Unary>(args.kind), gate[c], a);
                }
              }
            });
}

template <class T>
void binary(const BinaryArgs& args, const KernelContext& context) {
  const T *a = static_cast<const T*>(args.a), *b = static_cast<const T*>(args.b);
  T* y = static_cast<T*>(args.y);
  for_tiles(context, args.tokens, row_tile(args.channels),
            [&](std::int64_t first, std::int64_t last) {
              for (std::int64_t t = first; t < last; ++t)
                for (std::int64_t c = 0; c < args.channels; ++c) {
                  const std::int64_t i = t * args.channels + c;
                  const T other = b[args.b_rows == 1 ? c : i];
                  switch (static_cast<Binary>(args.kind)) {
                    case Binary::kAdd:
                      y[i] = a[i] + other;
                      break;
                    case Binary::kSubtract:
                      y[i] = a[i] - other;
                      break;
                    case Binary::kMultiply:
                      y[i] = a[i] * other;
                      break;
                  }
                }
            });
}

template <class T>
void affine(const AffineArgs& args, const KernelContext& context) {
  const T* x = static_cast<const T*>(args.x);
  T* y = static_cast<T*>(args.y);
  for_tiles(context, args.count, kTile, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) y[i] = T(args.scale) * x[i] + T(args.shift);
  });
}

template <class T>
void column_sum(const ColumnSumArgs& args, const KernelContext& context) {
  const T *x = static_cast<const T*>(args.x), *z = static_cast<const T*>(args.z);
  T* out = static_cast<T*>(args.out);
  for_tiles(context, args.channels, 64, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t c = first; c < last; ++c) {
      T total = 0;
      for (std::int64_t block = 0; block < args.tokens; block += kSumBlock) {
        T part = 0;
        for (std::int64_t t = block; t < std::min(args.tokens, block + kSumBlock); ++t)
          part += x[t * args.x_row + c] * (z ? z[t * args.x_row + c] : T(1));
        total += part;
      }
      out[c] = args.accumulate ? out[c] + total : total;
    }
  });
}

template <class T>
void add_rows(const AddRowsArgs& args, const KernelContext& context) {
  for_tiles(context, args.rows, row_tile(args.columns), [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t r = first; r < last; ++r) {
      const T* source = static_cast<const T*>(args.source) + r * args.source_stride;
      T* target = static_cast<T*>(args.target) + r * args.target_stride;
      for (std::int64_t c = 0; c < args.columns; ++c) target[c] += source[c];
    }
  });
}

}  // namespace rill::cpu::plain
