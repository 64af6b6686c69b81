#include <rill/io/atomic_file.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <system_error>

#include <rill/core/check.h>

#include "quote.h"

namespace rill {
namespace {

std::filesystem::path folder_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

// A link keeps its place and its target is replaced; anything that is not a regular file is
// refused, so that writing to /dev/null does not put a file there.
std::filesystem::path resolve(const std::filesystem::path& path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) return path;
  check(std::filesystem::is_regular_file(status), ErrorCode::kSystem,
        "{} cannot be written: it exists and is not a regular file.", quote(path.string()));
  const auto real = std::filesystem::canonical(path, error);
  return error ? path : real;
}

}  // namespace

AtomicFile::AtomicFile(const std::filesystem::path& path) : target_(resolve(path)) {
  static std::atomic<unsigned> counter{0};
  do {
    temporary_ = folder_of(target_) / formatted(".{}.tmp-{}-{}", target_.filename().string(),
                                                ::getpid(), counter.fetch_add(1));
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  } while (descriptor_ < 0 && (errno == EEXIST || errno == EINTR));
  if (descriptor_ < 0) {
    const int error_number = errno;
    temporary_.clear();
    give_up("cannot be created", error_number);
  }
}

AtomicFile::~AtomicFile() { discard(); }

void AtomicFile::discard() noexcept {
  if (descriptor_ >= 0) ::close(descriptor_);
  descriptor_ = -1;
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
  temporary_.clear();
}

void AtomicFile::give_up(const char* what, int error_number) {
  discard();
  fail(ErrorCode::kSystem, "The file {} {}: {}; nothing was changed.", quote(target_.string()),
       what, std::generic_category().message(error_number));
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  constexpr std::size_t kMost = std::size_t{1} << 30;  // Linux writes at most 2 GiB - 4 KiB a call
  if (descriptor_ < 0) give_up("cannot be written after it was closed", EBADF);
  while (!bytes.empty()) {
    const ssize_t done = ::write(descriptor_, bytes.data(), std::min(bytes.size(), kMost));
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) give_up("cannot be written", done < 0 ? errno : ENOSPC);
    bytes = bytes.subspan(static_cast<std::size_t>(done));
  }
}

void AtomicFile::write(std::string_view text) { write(std::as_bytes(std::span(text))); }

void AtomicFile::commit() {
  if (descriptor_ < 0) give_up("cannot be written after it was closed", EBADF);
  if (::fsync(descriptor_) != 0) give_up("cannot be synced to the disk", errno);
  const int descriptor = descriptor_;
  descriptor_ = -1;
  // A network file system may report a full disk only here.
  if (::close(descriptor) != 0) give_up("cannot be closed", errno);
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) give_up("cannot be put in place", errno);
  temporary_.clear();
  // The rename itself must reach the disk; file systems that cannot sync a folder say EINVAL, which
  // is no loss.
  const int folder = ::open(folder_of(target_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return;
  const int error_number = ::fsync(folder) == 0 ? 0 : errno;
  ::close(folder);
  check(error_number == 0 || error_number == EINVAL || error_number == ENOTSUP, ErrorCode::kSystem,
        "The file {} was written, but its folder cannot be synced to the disk: {}.",
        quote(target_.string()), std::generic_category().message(error_number));
}

void write_file_atomically(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  AtomicFile file(path);
  file.write(bytes);
  file.commit();
}

void write_file_atomically(const std::filesystem::path& path, std::string_view text) {
  write_file_atomically(path, std::as_bytes(std::span(text)));
}

}  // namespace rill
