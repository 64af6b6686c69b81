// Memory: blocks of 64-byte aligned memory of the host or of a device, taken from a pool that keeps
// freed blocks for the next call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include <rill/core/dtype.h>

namespace rill {

/// Keeps freed blocks by size class, so that a loop that asks for the same sizes again allocates
/// nothing. Big blocks of the host are advised to use huge pages (they read a third faster). Thread
/// safe. A device's pool that keeps blocks serves one Exec: a block is used again in the order of
/// that Exec's work.
class MemoryPool : public std::enable_shared_from_this<MemoryPool> {
 public:
  /// Of the host, or of a device; Error(kDevice) where that is absent. `keep`: freed blocks are
  /// kept for the next call.
  explicit MemoryPool(Device device = {}, bool keep = true);
  ~MemoryPool();
  MemoryPool(const MemoryPool&) = delete;
  MemoryPool& operator=(const MemoryPool&) = delete;

  Device device() const noexcept { return device_; }
  /// At least `bytes` bytes, aligned to 64, not initialised. Error(kSystem) where the system, or
  /// the device, has none.
  void* allocate(std::size_t bytes);
  void release(void* data, std::size_t bytes) noexcept;
  /// From now on every block that a pool hands out is filled with NaN patterns: what is read before
  /// it was written shows. For tests.
  static void fill_with_nan(bool fill) noexcept;
  /// Bytes handed out now, and the most there ever were.
  std::size_t bytes_in_use() const noexcept;
  std::size_t peak_bytes() const noexcept;
  /// Gives the kept blocks back to the system.
  void trim() noexcept;

  /// The pool of tensors that belong to no Exec (parameters, states); of a device it keeps nothing.
  static const std::shared_ptr<MemoryPool>& process_pool();
  static std::shared_ptr<MemoryPool> process_pool(Device device);

 private:
  void* from_system(std::size_t size);
  void to_system(void* data) noexcept;

  Device device_;
  bool keep_;
  struct Lists;
  std::unique_ptr<Lists> lists_;
};

}  // namespace rill
