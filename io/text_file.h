// Whole files as text or as bytes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include <rill/core/tensor.h>

namespace rill {

/// The file's bytes; pipes and devices are read to their end. Error(kFile) where it is missing, a
/// folder, or holds more than `max_bytes`; Error(kSystem) where reading fails.
std::string read_text_file(const std::filesystem::path& path,
                           std::int64_t max_bytes = std::int64_t{1} << 30);

/// The file's bytes as a tensor uint8 [size]; errors as above.
Tensor read_bytes_file(const std::filesystem::path& path,
                       std::int64_t max_bytes = std::int64_t{1} << 40);

}  // namespace rill
