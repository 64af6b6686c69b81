// Private: numbers in the text fields of a checkpoint.
#pragma once

#include <charconv>
#include <cmath>
#include <string>

#include <rill/core/archive.h>
#include <rill/core/check.h>

namespace rill {

/// The number >= 0 under `key`; Error(kFile) where the text is anything else.
template <class T>
T number_from(const TensorReader& reader, const std::string& key) {
  const std::string text = reader.text(key);
  const char* end = text.data() + text.size();
  T value{};
  const auto [stopped, error] = std::from_chars(text.data(), end, value);
  check(error == std::errc{} && stopped == end && value >= T(0) &&
            std::isfinite(static_cast<double>(value)),
        ErrorCode::kFile, "The checkpoint is damaged: {} is a number from 0, '{}' came.", key,
        text);
  return value;
}

}  // namespace rill
