// Files that appear whole or not at all: written under a temporary name in the same folder, synced,
// renamed.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace rill {

/// Writes a file that replaces `path` at commit() in one step; until then `path` is untouched. A
/// file that was not committed is removed by the destructor (a killed process leaves
/// ".NAME.tmp-PID-COUNT" beside the target). Every failure (disk full, no permission, target not a
/// regular file) removes the temporary file and throws Error(kSystem).
class AtomicFile {
 public:
  explicit AtomicFile(const std::filesystem::path& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);
  /// Syncs the file, renames it over the target, syncs the folder. Nothing may be written after it.
  void commit();

 private:
  [[noreturn]] void give_up(const char* what, int error_number);
  void discard() noexcept;

  std::filesystem::path target_;
  std::filesystem::path temporary_;
  int descriptor_ = -1;
};

/// The whole file at once; errors as AtomicFile's.
void write_file_atomically(const std::filesystem::path& path, std::span<const std::byte> bytes);
void write_file_atomically(const std::filesystem::path& path, std::string_view text);

}  // namespace rill
