// Packing of weights for all products, and the plain product y[m, n] = sum_k x[m, k] W[n, k] +
// b[n], k in order for every element: in double the oracle of the float kernels (linear_simd.cpp),
// in float the measure of their errors. Layouts: linear.h.
#include <rill/core/cpu/linear.h>
#include <rill/core/half.h>

#include <algorithm>
#include <array>

namespace rill {
namespace {

constexpr std::int64_t kP = kLinearPanel;

std::int64_t panels_of(std::int64_t n) { return (n + kP - 1) / kP; }

template <class To, class From>
To convert(From value) {
  if constexpr (std::is_same_v<To, From>)
    return value;
  else
    return static_cast<To>(static_cast<float>(value));
}

// Steps [k0, k1) of panels [p0, p1), W k-major: rows of W are read once, in the order of memory.
template <class To, class From>
void pack_k_major(const PackArgs& args, std::int64_t p0, std::int64_t p1, std::int64_t k0,
                  std::int64_t k1) {
  for (std::int64_t k = k0; k < k1; ++k) {
    const From* w = static_cast<const From*>(args.w) + k * args.stride;
    To* out = static_cast<To*>(args.packed) + k * kP;
    for (std::int64_t p = p0; p < p1; ++p) {
      const std::int64_t columns = std::min(kP, args.n - p * kP);
      const From* from = w + p * kP;
      To* to = out + p * args.k * kP;
      if (columns == kP) {
        for (std::int64_t j = 0; j < kP; ++j) to[j] = convert<To>(from[j]);
        continue;
      }
      for (std::int64_t j = 0; j < columns; ++j) to[j] = convert<To>(from[j]);
      for (std::int64_t j = columns; j < kP; ++j) to[j] = To{};
    }
  }
}

// The same, W row by row: squares of a panel's columns by as many steps, so that both sides are
// read and written in whole lines.
template <class To, class From>
void pack_rows(const PackArgs& args, std::int64_t p, std::int64_t k0, std::int64_t k1) {
  const From* w = static_cast<const From*>(args.w) + p * kP * args.stride;
  To* out = static_cast<To*>(args.packed) + p * args.k * kP;
  const std::int64_t columns = std::min(kP, args.n - p * kP);
  for (std::int64_t square = k0; square < k1; square += kP) {
    const std::int64_t end = std::min(k1, square + kP);
    for (std::int64_t j = 0; j < columns; ++j)
      for (std::int64_t k = square; k < end; ++k)
        out[k * kP + j] = convert<To>(w[j * args.stride + k]);
    for (std::int64_t k = square; k < end; ++k)
      for (std::int64_t j = columns; j < kP; ++j) out[k * kP + j] = To{};
  }
}

template <class To, class From>
void pack_as(const PackArgs& args, const KernelContext& context) {
  // Blocks of k by groups of panels: a group reads whole lines of k-major sources.
  constexpr std::int64_t kBlock = 256, kGroup = 8;
  const std::int64_t panels = panels_of(args.n);
  const std::int64_t groups = (panels + kGroup - 1) / kGroup,
                     blocks = (args.k + kBlock - 1) / kBlock;
  const auto task = [&](std::int64_t i) {
    const std::int64_t p0 = i / blocks * kGroup, k0 = i % blocks * kBlock;
    const std::int64_t k1 = std::min(args.k, k0 + kBlock);
    const std::int64_t p1 = std::min(panels, p0 + kGroup);
    if (args.transposed) return pack_k_major<To, From>(args, p0, p1, k0, k1);
    for (std::int64_t p = p0; p < p1; ++p) pack_rows<To, From>(args, p, k0, k1);
  };
  if (args.n * args.k < 65536) return KernelContext{}.parallel_for(groups * blocks, task);
  context.parallel_for(groups * blocks, task);
}

// A row by one panel: the sums stay in registers, as pairs of doubles or fours of floats.
template <class T>
struct Group {
  typedef T Type __attribute__((vector_size(16)));
  static constexpr int kSize = 16 / sizeof(T);
};

template <class T, int... I>
inline __attribute__((always_inline)) void row_by_panel(const T* x, std::int64_t x_col, const T* b,
                                                        std::int64_t k, T* sums,
                                                        std::integer_sequence<int, I...>) {
  using V = typename Group<T>::Type;
  const auto load = [](const T* p) {
    V v;
    __builtin_memcpy(&v, p, sizeof(v));
    return v;
  };
  constexpr int kSize = Group<T>::kSize;
  std::array<V, sizeof...(I)> s = {load(sums + kSize * I)...};
  for (std::int64_t i = 0; i < k; ++i) {
    const V a = x[i * x_col] - V{};
    const T* row = b + i * kP;
    ((s[I] += a * load(row + kSize * I)), ...);
  }
  (__builtin_memcpy(sums + kSize * I, &s[I], sizeof(V)), ...);
}

template <class T>
void linear_plain(const LinearArgs& args, const KernelContext& context) {
  const T* x = static_cast<const T*>(args.x);
  const T* packed = static_cast<const T*>(args.packed);
  const T* bias = static_cast<const T*>(args.bias);
  T* y = static_cast<T*>(args.y);
  constexpr std::int64_t kRows = 64;
  const std::int64_t panels = panels_of(args.n), row_blocks = (args.m + kRows - 1) / kRows;
  const auto task = [&](std::int64_t i) {
    const std::int64_t n0 = i % panels * kP, m0 = i / panels * kRows;
    const std::int64_t columns = std::min(kP, args.n - n0);
    for (std::int64_t m = m0; m < std::min(args.m, m0 + kRows); ++m) {
      T sums[kP] = {};
      T* row = y + m * args.y_row + n0;
      if (args.accumulate) std::copy_n(row, columns, sums);
      if (bias)
        for (std::int64_t j = 0; j < columns; ++j) sums[j] += bias[n0 + j];
      row_by_panel(x + m * args.x_row, args.x_col, packed + n0 * args.k, args.k, sums,
                   std::make_integer_sequence<int, kP / Group<T>::kSize>{});
      std::copy_n(sums, columns, row);
    }
  };
  if (args.m * args.n * args.k < 65536)
    return KernelContext{}.parallel_for(row_blocks * panels, task);
  context.parallel_for(row_blocks * panels, task);
}

template <class T>
void pack_plain(const PackArgs& args, const KernelContext& context) {
  switch (static_cast<DType>(args.dtype)) {
    case DType::kFloat64:
      return pack_as<T, double>(args, context);
    case DType::kBFloat16:
      return pack_as<T, BFloat16>(args, context);
    case DType::kFloat16:
      return pack_as<T, Half>(args, context);
    default:
      return pack_as<T, float>(args, context);
  }
}

template <class T>
std::int64_t packed_bytes_plain(std::int64_t n, std::int64_t k, DType) {
  return panels_of(n) * kP * k * static_cast<std::int64_t>(sizeof(T));
}

}  // namespace

void pack_f32(const PackArgs& args, const KernelContext& context) {
  // float products convert 16-bit weights as they read them: the packed copy keeps their type.
  if (static_cast<DType>(args.dtype) == DType::kFloat32)
    return pack_as<float, float>(args, context);
  pack_as<std::uint16_t, std::uint16_t>(args, context);
}

void pack_f64(const PackArgs& args, const KernelContext& context) {
  pack_plain<double>(args, context);
}

std::int64_t packed_bytes_f32(std::int64_t n, std::int64_t k, DType weight) {
  return panels_of(n) * kP * k * static_cast<std::int64_t>(size_of(weight));
}

std::int64_t packed_bytes_f64(std::int64_t n, std::int64_t k, DType weight) {
  return packed_bytes_plain<double>(n, k, weight);
}

void linear_f64(const LinearArgs& args, const KernelContext& context) {
  linear_plain<double>(args, context);
}

void pack_plain_f32(const PackArgs& args, const KernelContext& context) {
  pack_plain<float>(args, context);
}

std::int64_t packed_bytes_plain_f32(std::int64_t n, std::int64_t k, DType weight) {
  return packed_bytes_plain<float>(n, k, weight);
}

void linear_plain_f32(const LinearArgs& args, const KernelContext& context) {
  linear_plain<float>(args, context);
}

}  // namespace rill
