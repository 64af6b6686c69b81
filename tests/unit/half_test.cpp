// bfloat16 and half: every bit pattern, every rounding between two neighbours, overflow, NaN. The
// values are taken from the definition, (-1)^s 2^(e - bias) (1 + m / 2^M), in double.
#include <rill/core/error.h>
#include <rill/core/half.h>
#include <rill/core/tensor.h>
#include <rill/tests/support/catch.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

using namespace rill;

namespace {

template <class T>
struct Format;
template <>
struct Format<Half> {
  static constexpr int kMantissa = 10, kBias = 15, kMaxExponent = 31;
};
template <>
struct Format<BFloat16> {
  static constexpr int kMantissa = 7, kBias = 127, kMaxExponent = 255;
};

// What finite bits mean; for the exponent of infinity, the value that would come next.
template <class T>
double defined_value(std::uint16_t bits) {
  using F = Format<T>;
  const int exponent = (bits & 0x7fff) >> F::kMantissa, mantissa = bits & ((1 << F::kMantissa) - 1);
  const double magnitude = exponent == 0 ? std::ldexp(mantissa, 1 - F::kBias - F::kMantissa)
                                         : std::ldexp(mantissa + (1 << F::kMantissa),
                                                      exponent - F::kBias - F::kMantissa);
  return bits & 0x8000 ? -magnitude : magnitude;
}

template <class T>
constexpr std::uint16_t kInfiniteBits = Format<T>::kMaxExponent << Format<T>::kMantissa;

}  // namespace

TEMPLATE_TEST_CASE("16-bit floats: every pattern is its value and comes back", "", Half, BFloat16) {
  for (unsigned word = 0; word < 0x10000; ++word) {
    const TestType value{static_cast<std::uint16_t>(word)};
    const float wide = value;
    CAPTURE(word, wide);
    const unsigned magnitude = word & 0x7fff;
    REQUIRE(std::signbit(wide) == (word >= 0x8000));
    if (magnitude > kInfiniteBits<TestType>) {
      REQUIRE(std::isnan(wide));
      REQUIRE(std::isnan(static_cast<float>(TestType::from_float(wide))));
      REQUIRE((TestType::from_float(wide).bits & 0x8000) == (word & 0x8000));
      continue;
    }
    if (magnitude == kInfiniteBits<TestType>)
      REQUIRE(std::isinf(wide));
    else
      REQUIRE(static_cast<double>(wide) == defined_value<TestType>(value.bits));
    REQUIRE(TestType::from_float(wide).bits == word);
  }
}

TEMPLATE_TEST_CASE("16-bit floats: the nearest one, and of two the even one", "", Half, BFloat16) {
  // Between all neighbours: zero, subnormals, powers of two, and the largest one with what would
  // come next, which is infinity.
  for (unsigned word = 0; word < kInfiniteBits<TestType>; ++word) {
    const auto low = static_cast<std::uint16_t>(word), high = static_cast<std::uint16_t>(word + 1);
    const double exact = (defined_value<TestType>(low) + defined_value<TestType>(high)) / 2;
    const auto middle = static_cast<float>(exact);
    CAPTURE(word, middle);
    REQUIRE(static_cast<double>(middle) == exact);
    const std::uint16_t even = word % 2 == 0 ? low : high;
    for (const float sign : {1.0f, -1.0f}) {
      const std::uint16_t bit = sign < 0 ? 0x8000 : 0;
      REQUIRE(TestType::from_float(sign * middle).bits == (even | bit));
      REQUIRE(TestType::from_float(sign * std::nextafter(middle, 0.0f)).bits == (low | bit));
      REQUIRE(TestType::from_float(sign * std::nextafter(middle, INFINITY)).bits == (high | bit));
    }
  }
}

TEMPLATE_TEST_CASE("16-bit floats: too large is infinite, NaN stays NaN", "", Half, BFloat16) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float value : {infinity, std::numeric_limits<float>::max()}) {
    CHECK(TestType::from_float(value).bits == kInfiniteBits<TestType>);
    CHECK(TestType::from_float(-value).bits == (kInfiniteBits<TestType> | 0x8000));
  }
  // The payloads that a truncation would lose: those in the low bits alone.
  for (const std::uint32_t word : {0x7f800001u, 0x7f80ffffu, 0x7fc00000u, 0x7fffffffu, 0xff800001u,
                                   0xffffffffu, 0x7f801fffu}) {
    CAPTURE(word);
    CHECK(std::isnan(static_cast<float>(TestType::from_float(std::bit_cast<float>(word)))));
  }
  CHECK(TestType::from_float(std::numeric_limits<float>::denorm_min()).bits == 0);
  CHECK(TestType::from_float(-0.0f).bits == 0x8000);
}

TEST_CASE("tensors of 16-bit floats convert element by element") {
  const Tensor x = Tensor::from(
      std::vector<float>{1.0f, 1.0f + 0x1p-11f, 1.0f + 0x3p-11f, 65519.0f, 65520.0f, 0x1p-25f},
      {6});
  const Tensor half = x.to(DType::kFloat16);
  CHECK(half.bytes() == 12);
  const Tensor back = half.to(DType::kFloat32);
  const auto values = back.span<float>();
  CHECK(std::vector<float>(values.begin(), values.end()) ==
        std::vector<float>{1.0f, 1.0f, 1.0f + 0x1p-9f, 65504.0f,
                           std::numeric_limits<float>::infinity(), 0.0f});
  // copy_from converts as to() does.
  const Tensor copied = Tensor::zeros({6}, DType::kBFloat16);
  copied.copy_from(half);
  const Tensor direct = half.to(DType::kBFloat16);
  CHECK(std::memcmp(copied.raw(), direct.raw(), copied.bytes()) == 0);
  CHECK(static_cast<float>(static_cast<const BFloat16*>(direct.raw())[3]) == 65536.0f);
  CHECK_THROWS_AS(half.to(DType::kInt32), Error);
}
