// Private: what tells one data set from another.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>

#include <rill/core/format.h>
#include <rill/core/tensor.h>

namespace rill {

inline constexpr std::uint64_t kHashStart = 0xcbf29ce484222325u;

/// A hash of bytes, eight at a time (FNV-1a on words, turned so that every bit of a word reaches
/// every bit of the hash). It tells mistakes, not forgeries.
inline std::uint64_t hash_of_bytes(const void* data, std::size_t size,
                                   std::uint64_t hash = kHashStart) {
  const char* bytes = static_cast<const char*>(data);
  std::size_t left = size;
  for (std::size_t n = 0; left > 0; bytes += n, left -= n) {
    std::uint64_t word = 0;
    n = left < sizeof(word) ? left : sizeof(word);
    std::memcpy(&word, bytes, n);
    hash = std::rotl((hash ^ word) * 0x9E3779B97F4A7C15u, 29);
  }
  return hash;
}

/// Of the array's bytes.
inline std::uint64_t hash_of(const Tensor& tensor, std::uint64_t hash = kHashStart) {
  return hash_of_bytes(tensor.raw(), tensor.bytes(), hash);
}

/// "text of 4298239 bytes (1f2e3d4c5b6a7988)".
inline std::string fingerprint_of(const std::string& what, std::uint64_t hash) {
  return formatted("{} ({:016x})", what, hash);
}

}  // namespace rill
