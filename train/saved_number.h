// Private: numbers in the text fields of a checkpoint.
#pragma once

#include <charconv>
#include <cstdint>
#include <string>

#include <rill/core/archive.h>
#include <rill/core/check.h>
#include <rill/io/quote.h>

namespace rill {

/// More than any run reaches; sums and products with them stay far from overflow.
inline constexpr std::int64_t kMostSteps = std::int64_t{1} << 40;  // as many as a run may ask for
inline constexpr std::int64_t kMostTime = std::int64_t{1} << 62;
inline constexpr double kMostSeconds = 1e12;

/// The number from 0 to `most` under `key`; Error(kFile) where the text is anything else.
template <class T>
T number_from(const TensorReader& reader, const std::string& key, T most) {
  const std::string text = reader.text(key);
  const char* end = text.data() + text.size();
  T value{};
  const auto [stopped, error] = std::from_chars(text.data(), end, value);
  // Written so that NaN is out of range.
  check(error == std::errc{} && stopped == end && value >= T(0) && value <= most, ErrorCode::kFile,
        "The checkpoint is damaged: {} is a number from 0 to {}, {} came.", key, most, quote(text));
  return value;
}

}  // namespace rill
