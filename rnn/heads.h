// Private: how many heads a layer has where it is not told, and the options about it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <string_view>

#include <rill/core/check.h>
#include <rill/core/init.h>

namespace rill {

/// The published number of heads where it divides every size and leaves each head `smallest`
/// channels of the first; otherwise the largest smaller number that does; 1 where none does.
inline std::int64_t derive_heads(std::int64_t published, std::initializer_list<std::int64_t> sizes,
                                 std::int64_t smallest) {
  for (std::int64_t heads = published; heads > 1; --heads) {
    const bool divides =
        std::ranges::all_of(sizes, [&](std::int64_t size) { return size % heads == 0; });
    if (divides && *sizes.begin() / heads >= smallest) return heads;
  }
  return 1;
}

/// Error(kConfig) unless `heads` divides every size.
inline void check_divides(std::string_view layer, std::int64_t heads,
                          std::initializer_list<std::int64_t> sizes) {
  for (const std::int64_t size : sizes)
    check(heads >= 1 && size % heads == 0, ErrorCode::kConfig,
          "{}: num_heads divides the layer's channels, {} heads for {} channels came.", layer,
          heads, size);
}

/// Channels of `factor` times the width, at least 1.
inline std::int64_t expanded(std::int64_t width, double factor) {
  return std::max<std::int64_t>(std::llround(static_cast<double>(width) * factor), 1);
}

/// Glorot's uniform draw: weight [N, K], bound gain sqrt(6 / (N + K)).
inline Tensor xavier_parameter(std::int64_t n, std::int64_t k, DType dtype, std::uint64_t seed,
                               std::string_view name, double gain) {
  return uniform_parameter({n, k}, dtype, seed, name,
                           gain * std::sqrt(6.0 / static_cast<double>(n + k)));
}

}  // namespace rill
