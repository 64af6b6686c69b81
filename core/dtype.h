// Element types and devices.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace rill {

/// Element types. Activations are float32 or float64; bfloat16 and float16 are storage for weights;
/// the integers are for tokens, masks and positions. There is no complex type: a complex array has
/// a last axis of 2.
enum class DType : std::uint8_t { kFloat32, kFloat64, kInt32, kInt64, kUInt8, kBFloat16, kFloat16 };

/// Bytes of one element.
constexpr std::size_t size_of(DType type) noexcept {
  switch (type) {
    case DType::kFloat64:
    case DType::kInt64:
      return 8;
    case DType::kFloat32:
    case DType::kInt32:
      return 4;
    case DType::kBFloat16:
    case DType::kFloat16:
      return 2;
    case DType::kUInt8:
      return 1;
  }
  return 0;
}

/// "float32", "float64", ...
constexpr const char* name_of(DType type) noexcept {
  switch (type) {
    case DType::kFloat32:
      return "float32";
    case DType::kFloat64:
      return "float64";
    case DType::kInt32:
      return "int32";
    case DType::kInt64:
      return "int64";
    case DType::kUInt8:
      return "uint8";
    case DType::kBFloat16:
      return "bfloat16";
    case DType::kFloat16:
      return "float16";
  }
  return "?";
}

constexpr bool is_floating(DType type) noexcept {
  return type == DType::kFloat32 || type == DType::kFloat64 || type == DType::kBFloat16 ||
         type == DType::kFloat16;
}

/// DType of a C++ type: dtype_of<float>() == DType::kFloat32.
template <class T>
constexpr DType dtype_of() noexcept;
template <>
constexpr DType dtype_of<float>() noexcept {
  return DType::kFloat32;
}
template <>
constexpr DType dtype_of<double>() noexcept {
  return DType::kFloat64;
}
template <>
constexpr DType dtype_of<std::int32_t>() noexcept {
  return DType::kInt32;
}
template <>
constexpr DType dtype_of<std::int64_t>() noexcept {
  return DType::kInt64;
}
template <>
constexpr DType dtype_of<std::uint8_t>() noexcept {
  return DType::kUInt8;
}

/// Where memory lies and kernels run.
struct Device {
  enum class Type : std::uint8_t { kCpu, kCuda };
  Type type = Type::kCpu;
  int index = 0;
  friend bool operator==(const Device&, const Device&) = default;
};

/// "cpu" or "cuda:0".
std::string to_string(Device device);
/// The device that "cpu", "cuda" (the first) or "cuda:N" names, whether it is there or not;
/// Error(kConfig) for any other text.
Device device_from(std::string_view text);

}  // namespace rill
