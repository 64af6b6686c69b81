#include "byte_source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>

#include <rill/core/check.h>

#include "quote.h"

namespace rill {
namespace {

class FileSource final : public ByteSource {
 public:
  explicit FileSource(const std::filesystem::path& path) : name_(quote(path.string())) {
    // O_NONBLOCK: opening a pipe must not wait for a writer; it changes nothing for regular files.
    descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    check(descriptor_ >= 0, ErrorCode::kFile, "The file {} cannot be opened: {}.", name_,
          std::generic_category().message(errno));
    struct stat status {};
    const bool regular = ::fstat(descriptor_, &status) == 0 && S_ISREG(status.st_mode);
    if (!regular) ::close(descriptor_);
    check(regular, ErrorCode::kFile, "{} is not a regular file.", name_);
    size_ = static_cast<std::uint64_t>(status.st_size);
  }
  ~FileSource() override { ::close(descriptor_); }
  FileSource(const FileSource&) = delete;
  FileSource& operator=(const FileSource&) = delete;

  std::uint64_t size() const noexcept override { return size_; }
  const std::string& name() const noexcept override { return name_; }

  void read(std::uint64_t offset, std::span<std::byte> into) const override {
    constexpr std::size_t kMost = std::size_t{1} << 30;  // Linux reads at most 2 GiB - 4 KiB a call
    while (!into.empty()) {
      const ssize_t got = ::pread(descriptor_, into.data(), std::min(into.size(), kMost),
                                  static_cast<off_t>(offset));
      if (got < 0 && errno == EINTR) continue;
      check(got >= 0, ErrorCode::kSystem, "The file {} cannot be read at byte {}: {}.", name_,
            offset, std::generic_category().message(errno));
      check(got > 0, ErrorCode::kFile, "The file {} ends at byte {}, {} more bytes were expected.",
            name_, offset, into.size());
      offset += static_cast<std::uint64_t>(got);
      into = into.subspan(static_cast<std::size_t>(got));
    }
  }

 private:
  std::string name_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;
};

class MemorySource final : public ByteSource {
 public:
  MemorySource(std::span<const std::byte> bytes, const std::string& name)
      : bytes_(bytes), name_(quote(name)) {}

  std::uint64_t size() const noexcept override { return bytes_.size(); }
  const std::string& name() const noexcept override { return name_; }

  void read(std::uint64_t offset, std::span<std::byte> into) const override {
    check(offset <= bytes_.size() && into.size() <= bytes_.size() - offset, ErrorCode::kFile,
          "{} ends at byte {}, {} bytes from byte {} were expected.", name_, bytes_.size(),
          into.size(), offset);
    if (!into.empty()) std::memcpy(into.data(), bytes_.data() + offset, into.size());
  }

 private:
  std::span<const std::byte> bytes_;
  std::string name_;
};

}  // namespace

std::unique_ptr<ByteSource> open_source(const std::filesystem::path& path) {
  return std::make_unique<FileSource>(path);
}

std::unique_ptr<ByteSource> view_source(std::span<const std::byte> bytes, const std::string& name) {
  return std::make_unique<MemorySource>(bytes, name);
}

std::vector<std::byte> read_all(const ByteSource& source) {
  std::vector<std::byte> bytes(source.size());
  source.read(0, bytes);
  return bytes;
}

}  // namespace rill
