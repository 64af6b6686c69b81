// Private: what tells one data set from another.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>

#include <rill/core/format.h>
#include <rill/core/tensor.h>

namespace rill {

/// A hash of the array's bytes, eight at a time (FNV-1a on words, turned so that every bit of a
/// word reaches every bit of the hash). It tells mistakes, not forgeries.
inline std::uint64_t hash_of(const Tensor& tensor, std::uint64_t hash = 0xcbf29ce484222325u) {
  const char* bytes = static_cast<const char*>(tensor.raw());
  std::size_t left = tensor.bytes();
  for (std::size_t n = 0; left > 0; bytes += n, left -= n) {
    std::uint64_t word = 0;
    n = left < sizeof(word) ? left : sizeof(word);
    std::memcpy(&word, bytes, n);
    hash = std::rotl((hash ^ word) * 0x9E3779B97F4A7C15u, 29);
  }
  return hash;
}

/// "text of 4298239 bytes (1f2e3d4c5b6a7988)".
inline std::string fingerprint_of(const std::string& what, std::uint64_t hash) {
  return formatted("{} ({:016x})", what, hash);
}

}  // namespace rill
