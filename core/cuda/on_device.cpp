#include <rill/core/cuda/on_device.h>

#include <cstddef>
#include <vector>

namespace rill {

const DeviceLaunch& launch_of(const KernelContext& context) {
  if (context.launch) return *context.launch;
#if defined(RILL_DEVICE_MODEL)
  constexpr std::size_t kWorkspaceBytes = std::size_t{1} << 22;
  thread_local std::vector<std::max_align_t> memory(kWorkspaceBytes / sizeof(std::max_align_t));
  thread_local const DeviceLaunch launch{nullptr, memory.data(), kWorkspaceBytes};
  return launch;
#else
  fail(ErrorCode::kDevice, "A CUDA kernel was called without a stream.");
#endif
}

void check_launch(DeviceStatus status) {
  if (status == 0) return;
  check(status != kWorkspaceTooSmall, ErrorCode::kUnsupported,
        "CUDA: a kernel's partial results do not fit into its workspace; fewer rows or channels at "
        "a time will.");
  check(status != kSizeNotSupported, ErrorCode::kUnsupported,
        "CUDA: no kernel is made for a state of this size.");
  const DeviceApi* api = cuda_device_api();
  fail(ErrorCode::kSystem, "CUDA: {}.", api ? api->describe(status) : "there is no device");
}

}  // namespace rill
