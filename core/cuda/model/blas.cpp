// cuBLASLt's stand-in: the product's definition in plain loops. What the library would refuse (a
// leading dimension below the rows of a column) fails here.
#include <rill/core/cuda/blas.h>
#include <rill/core/cuda/model/memory.h>
#include <rill/core/cuda/model/stream.h>
#include <rill/core/half.h>

#include <bit>
#include <cstdint>
#include <type_traits>

namespace rill {
namespace {

// TF32: a float's range with ten bits behind the point, to nearest.
float to_tf32(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  return std::bit_cast<float>((bits + 0xfffu + (bits >> 13 & 1u)) & ~0x1fffu);
}

template <class T>
T stored(auto value) {
  if constexpr (sizeof(T) == 2)
    return T::from_float(value);
  else
    return value;
}

template <class In, class Out>
DeviceStatus multiply(const MatrixProduct& p, bool tf32) {
  using Sum = std::conditional_t<std::is_same_v<In, double>, double, float>;
  const auto *a = static_cast<const In*>(p.a), *b = static_cast<const In*>(p.b);
  const auto* bias = static_cast<const Out*>(p.bias);
  auto* d = static_cast<Out*>(p.d);
  const auto read = [&](In value) -> Sum {
    if constexpr (std::is_same_v<In, float>)
      if (tf32) return to_tf32(value);
    return value;
  };
  for (std::int64_t j = 0; j < p.n; ++j)
    for (std::int64_t i = 0; i < p.m; ++i) {
      Sum sum = 0;
      for (std::int64_t k = 0; k < p.k; ++k)
        sum += read(a[p.transpose_a ? k + i * p.lda : i + k * p.lda]) *
               read(b[p.transpose_b ? j + k * p.ldb : k + j * p.ldb]);
      Out& out = d[i + j * p.ldd];
      if (p.accumulate) sum += static_cast<Sum>(out);
      if (bias) sum += static_cast<Sum>(bias[i]);
      out = stored<Out>(sum);
    }
  return 0;
}

DeviceStatus product_now(const MatrixProduct& p, bool tf32) {
  const device_model::GlobalAccess access;
  const bool possible = p.m >= 1 && p.n >= 1 && p.k >= 1 && p.lda >= (p.transpose_a ? p.k : p.m) &&
                        p.ldb >= (p.transpose_b ? p.n : p.k) && p.ldd >= p.m;
  if (!possible) return kProductFailed;
  if (p.input == DType::kFloat64 && p.output == DType::kFloat64)
    return multiply<double, double>(p, false);
  if (p.input == DType::kFloat32 && p.output == DType::kFloat32)
    return multiply<float, float>(p, tf32);
  const bool to_float = p.output == DType::kFloat32;
  if (p.input == DType::kBFloat16 && (to_float || p.output == p.input))
    return to_float ? multiply<BFloat16, float>(p, false) : multiply<BFloat16, BFloat16>(p, false);
  if (p.input == DType::kFloat16 && (to_float || p.output == p.input))
    return to_float ? multiply<Half, float>(p, false) : multiply<Half, Half>(p, false);
  return kNoProductLibrary;
}

}  // namespace

DeviceStatus matrix_product(const MatrixProduct& p, const DeviceLaunch& on) {
  return device_model::hand_over(on.stream, [p, tf32 = on.tf32] { return product_now(p, tf32); });
}

}  // namespace rill
