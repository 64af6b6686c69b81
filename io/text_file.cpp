#include <rill/io/text_file.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <system_error>

#include <rill/core/check.h>

#include "byte_source.h"
#include "quote.h"

namespace rill {
namespace {

void check_size(const std::string& name, std::uint64_t size, std::int64_t max_bytes) {
  check(size <= static_cast<std::uint64_t>(max_bytes), ErrorCode::kFile,
        "The file {} is larger than the {} bytes that are allowed here.", name, max_bytes);
}

}  // namespace

std::string read_text_file(const std::filesystem::path& path, std::int64_t max_bytes) {
  const std::string name = quote(path.string());
  std::error_code error;
  check(!std::filesystem::is_directory(path, error), ErrorCode::kFile,
        "{} is a folder, not a file.", name);
  std::FILE* file = std::fopen(path.c_str(), "rbe");
  check(file != nullptr, ErrorCode::kFile, "The file {} cannot be opened: {}.", name,
        std::generic_category().message(errno));
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> closer(file, &std::fclose);
  std::string text;
  char buffer[1 << 16];
  while (const std::size_t got = std::fread(buffer, 1, sizeof buffer, file)) {
    check_size(name, text.size() + got, max_bytes);
    text.append(buffer, got);
  }
  check(std::ferror(file) == 0, ErrorCode::kSystem, "The file {} cannot be read: {}.", name,
        std::generic_category().message(errno));
  return text;
}

Tensor read_bytes_file(const std::filesystem::path& path, std::int64_t max_bytes) {
  std::error_code error;
  if (std::filesystem::exists(path, error) && !std::filesystem::is_regular_file(path, error)) {
    const std::string text = read_text_file(path, max_bytes);
    Tensor bytes = Tensor::empty({static_cast<std::int64_t>(text.size())}, DType::kUInt8);
    if (!text.empty()) std::memcpy(bytes.raw(), text.data(), text.size());
    return bytes;
  }
  const auto source = open_source(path);
  check_size(source->name(), source->size(), max_bytes);
  Tensor bytes = Tensor::empty({static_cast<std::int64_t>(source->size())}, DType::kUInt8);
  source->read(0, {static_cast<std::byte*>(bytes.raw()), bytes.bytes()});
  return bytes;
}

}  // namespace rill
