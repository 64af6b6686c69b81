// Private: where a reader takes its bytes from, a file or memory. Files are read with pread and not
// mapped: a mapped file that someone truncates kills the process, a short read is an Error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace rill {

/// A fixed number of bytes that can be read from any offset, by several threads at once.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  virtual std::uint64_t size() const noexcept = 0;
  /// Fills `into` with the bytes from `offset`. Error(kFile) where they end before, Error(kSystem)
  /// where the system fails.
  virtual void read(std::uint64_t offset, std::span<std::byte> into) const = 0;
  /// What messages call it: "'weights.safetensors'".
  virtual const std::string& name() const noexcept = 0;
};

/// Error(kFile) where `path` is missing or is not a regular file.
std::unique_ptr<ByteSource> open_source(const std::filesystem::path& path);

/// Bytes that the caller keeps alive.
std::unique_ptr<ByteSource> view_source(std::span<const std::byte> bytes, const std::string& name);

/// All of a source's bytes.
std::vector<std::byte> read_all(const ByteSource& source);

}  // namespace rill
