#include <rill/core/cuda/on_device.h>

#include <cstddef>
#include <cstring>
#include <vector>

#if defined(RILL_DEVICE_MODEL)
#include <rill/core/cuda/model/memory.h>
#endif

namespace rill {

const DeviceLaunch& launch_of(const KernelContext& context) {
  if (context.launch) return *context.launch;
#if defined(RILL_DEVICE_MODEL)
  constexpr std::size_t kWorkspaceBytes = std::size_t{1} << 22;
  thread_local std::vector<std::max_align_t> memory(kWorkspaceBytes / sizeof(std::max_align_t));
  thread_local const DeviceLaunch launch{.workspace = memory.data(),
                                         .workspace_bytes = kWorkspaceBytes};
  return launch;
#else
  fail(ErrorCode::kDevice, "A CUDA kernel was called without a stream.");
#endif
}

CurrentDevice::CurrentDevice(int device) : api_(*cuda_device_api()), device_(device) {
  check_launch(api_.use(device, &before_));
}

CurrentDevice::~CurrentDevice() {
  if (before_ != device_) api_.use(before_, &device_);
}

#if defined(RILL_DEVICE_MODEL)
void check_addresses(const void* args, std::size_t bytes, const KernelContext& context) {
  if (!context.launch) return;
  // Sizes are below the one bound, and the bits of doubles above the other.
  constexpr std::uintptr_t kLowest = std::uintptr_t{1} << 32, kHighest = std::uintptr_t{1} << 47;
  for (std::size_t at = 0; at + sizeof(std::uintptr_t) <= bytes; at += sizeof(std::uintptr_t)) {
    std::uintptr_t word = 0;
    std::memcpy(&word, static_cast<const char*>(args) + at, sizeof(word));
    check(word < kLowest || word >= kHighest || device_model::is_global(word), ErrorCode::kDevice,
          "A kernel on the device was given an address of the host (byte {} of its arguments).",
          at);
  }
}
#endif

}  // namespace rill
