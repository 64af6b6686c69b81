// The arrays of tests/golden/io (see make_golden.py there).
#pragma once

#include <filesystem>

#include <rill/core/tensor.h>
#include <rill/tests/support/catch.h>

namespace rill::test {

inline std::filesystem::path io_golden(const std::string& name) {
  return std::filesystem::path(RILL_SOURCE_DIR) / "tests/golden/io" / name;
}

/// Element i: i * 7 % 23 in integers, (i * 7 % 23 - 5) / 4 in floating types.
inline Tensor golden_tensor(const Shape& shape, DType dtype) {
  const bool floating = is_floating(dtype);
  const Tensor wide = Tensor::empty(shape, floating ? DType::kFloat64 : DType::kInt64);
  for (std::int64_t i = 0; i < wide.numel(); ++i) {
    const std::int64_t value = i * 7 % 23;
    if (floating)
      wide.data<double>()[i] = static_cast<double>(value - 5) / 4;
    else
      wide.data<std::int64_t>()[i] = value;
  }
  return wide.to(dtype);
}

inline void check_same(const Tensor& value, const Tensor& expected) {
  REQUIRE(value.defined());
  CHECK(to_string(value.shape()) == to_string(expected.shape()));
  REQUIRE(value.shape() == expected.shape());
  REQUIRE(value.dtype() == expected.dtype());
  CHECK(std::string_view(static_cast<const char*>(value.raw()), value.bytes()) ==
        std::string_view(static_cast<const char*>(expected.raw()), expected.bytes()));
}

}  // namespace rill::test
