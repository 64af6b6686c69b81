// Global memory of the execution model's device: address space that only kernels and copies may
// touch. Host code that reads a device's array ends there, as it does on a machine with a card.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rill::device_model {

/// Aligned to 256, filled with NaN patterns (the first 16 MiB); null where the model has no more.
void* allocate_global(std::size_t bytes);
void release_global(void* data);
/// True for an address inside the device's memory.
bool is_global(std::uintptr_t address) noexcept;

/// Whether host code is kept away (it is, unless said otherwise): what launches often pays for it.
void guard_global(bool guard);

/// While one is alive, global memory may be read and written.
class GlobalAccess {
 public:
  GlobalAccess();
  ~GlobalAccess();
  GlobalAccess(const GlobalAccess&) = delete;
  GlobalAccess& operator=(const GlobalAccess&) = delete;
};

}  // namespace rill::device_model
