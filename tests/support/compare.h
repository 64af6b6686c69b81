// How tests compare arrays: bit for bit, or by the error against a double-precision reference.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include <rill/core/tensor.h>

namespace rill::test {

inline bool same_bits(const Tensor& a, const Tensor& b) {
  if (a.shape() != b.shape() || a.dtype() != b.dtype()) return false;
  if (!a.defined()) return true;
  const Tensor left = a.to(Device{}), right = b.to(Device{});
  return std::memcmp(left.raw(), right.raw(), left.bytes()) == 0;
}

inline double epsilon_of(DType dtype) {
  return dtype == DType::kFloat64 ? std::numeric_limits<double>::epsilon()
                                  : static_cast<double>(std::numeric_limits<float>::epsilon());
}

/// max|y - reference| / max|reference|. A NaN or a difference in shape is infinite; where the
/// reference is all zero, y must be; an empty array has no error. Infinite elements must be equal.
inline double error_of(const Tensor& y, const Tensor& reference) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (y.numel() != reference.numel()) return kInfinity;
  const Tensor a = y.to(Device{}).to(DType::kFloat64);
  const Tensor b = reference.to(Device{}).to(DType::kFloat64);
  double largest = 0, difference = 0;
  for (std::int64_t i = 0; i < a.numel(); ++i) {
    const double u = a.data<double>()[i], v = b.data<double>()[i];
    if (std::isnan(u) || std::isnan(v)) return kInfinity;
    if (std::isinf(u) || std::isinf(v)) {
      if (u != v) return kInfinity;
      continue;
    }
    largest = std::max(largest, std::abs(v));
    difference = std::max(difference, std::abs(u - v));
  }
  if (largest == 0) return difference == 0 ? 0 : kInfinity;
  return difference / largest;
}

}  // namespace rill::test
