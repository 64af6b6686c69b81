// Memory: blocks of 64-byte aligned memory, taken from a pool that keeps freed blocks for the next
// call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include <rill/core/dtype.h>

namespace rill {

/// Keeps freed blocks by size class, so that a loop that asks for the same sizes again allocates
/// nothing. Big blocks are advised to use huge pages (they read a third faster). Thread safe.
class MemoryPool : public std::enable_shared_from_this<MemoryPool> {
 public:
  MemoryPool();
  ~MemoryPool();
  MemoryPool(const MemoryPool&) = delete;
  MemoryPool& operator=(const MemoryPool&) = delete;

  /// At least `bytes` bytes, aligned to 64, not initialised. Error(kSystem) where the system has
  /// none.
  void* allocate(std::size_t bytes);
  void release(void* data, std::size_t bytes) noexcept;
  /// Bytes handed out now, and the most there ever were.
  std::size_t bytes_in_use() const noexcept;
  std::size_t peak_bytes() const noexcept;
  /// Gives the kept blocks back to the system.
  void trim() noexcept;

  /// The pool of tensors that belong to no Exec (parameters, states).
  static const std::shared_ptr<MemoryPool>& process_pool();

 private:
  struct Lists;
  std::unique_ptr<Lists> lists_;
};

}  // namespace rill
