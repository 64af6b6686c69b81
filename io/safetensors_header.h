// Private: the header of one safetensors file, read and checked.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <rill/io/safetensors.h>

#include "byte_source.h"

namespace rill {

struct SafetensorsEntry {
  SafetensorsInfo info;
  std::uint64_t begin = 0;  // in the buffer; while parsing [begin, end) is what the file says
  std::uint64_t end = 0;
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;  // by name
  std::map<std::string, std::string, std::less<>> metadata;
  std::uint64_t buffer = 0;  // where the buffer begins in the file
};

/// Error(kFile) for whatever the reference implementation refuses, and for repeated metadata keys.
SafetensorsHeader read_safetensors_header(const ByteSource& source, bool lenient);

}  // namespace rill
