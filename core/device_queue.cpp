#include <rill/core/check.h>
#include <rill/core/device_queue.h>

#include <cstring>

namespace rill {
namespace {

// What the kernels ask of it at most: partial results of reductions and carries of scans, cut so
// that they fit (a kernel that needs more says so).
constexpr std::size_t kWorkspaceBytes = std::size_t{1} << 25;

}  // namespace

const DeviceApi& device_api(Device device) {
  const DeviceApi* api = cuda_device_api();
  check(device.type == Device::Type::kCuda && api != nullptr, ErrorCode::kDevice,
        "There is no device {}: this build has no CUDA.", to_string(device));
  const int count = api->device_count();
  check(device.index >= 0 && device.index < count, ErrorCode::kDevice,
        "There is no device {}: this machine has {} CUDA device{}.", to_string(device),
        count == 0 ? "no" : std::to_string(count), count == 1 ? "" : "s");
  return *api;
}

void check_launch(DeviceStatus status) {
  if (status == 0) return;
  check(status != kWorkspaceTooSmall, ErrorCode::kUnsupported,
        "CUDA: a kernel's partial results do not fit into its workspace; fewer rows or channels at "
        "a time will.");
  check(status != kSizeNotSupported, ErrorCode::kUnsupported,
        "CUDA: no kernel is made for a state of this size.");
  check(status != kNoFftLibrary, ErrorCode::kUnsupported,
        "CUDA: a convolution by FFT needs the toolkit's library cuFFT, which was not found.");
  check(status != kFftFailed, ErrorCode::kSystem, "CUDA: cuFFT could not transform.");
  check(status != kProductFailed, ErrorCode::kSystem, "CUDA: cuBLASLt could not multiply.");
  const DeviceApi* api = cuda_device_api();
  fail(ErrorCode::kSystem, "CUDA: {}.", api ? api->describe(status) : "there is no device");
}

void copy_bytes(Device to, void* target, Device from, const void* source, std::size_t bytes,
                DeviceStream stream) {
  if (bytes == 0) return;
  const Device host;
  if (to == host && from == host) {
    std::memmove(target, source, bytes);
    return;
  }
  check(to == from || to == host || from == host, ErrorCode::kDevice,
        "A copy from {} to {}: copy to the host between them.", to_string(from), to_string(to));
  const Device device = to == host ? from : to;
  check_launch(device_api(device).copy(device.index, target, source, bytes, stream));
}

void fill_bytes(Device device, void* target, int byte, std::size_t bytes, DeviceStream stream) {
  if (bytes == 0) return;
  if (device == Device{}) {
    std::memset(target, byte, bytes);
    return;
  }
  check_launch(device_api(device).fill(device.index, target, byte, bytes, stream));
}

DeviceQueue::DeviceQueue(Device device) : device_(device), api_(device_api(device)) {
  launch_.device = device.index;
  check_launch(api_.make_stream(device.index, &launch_.stream));
  const DeviceStatus status = api_.allocate(device.index, kWorkspaceBytes, &launch_.workspace);
  if (status != 0) api_.destroy_stream(device.index, launch_.stream);
  check_launch(status);
  launch_.workspace_bytes = kWorkspaceBytes;
}

DeviceQueue::~DeviceQueue() {
  api_.synchronize(device_.index, launch_.stream);
  api_.release(device_.index, launch_.workspace);
  api_.destroy_stream(device_.index, launch_.stream);
}

void DeviceQueue::synchronize() const {
  check_launch(api_.synchronize(device_.index, launch_.stream));
}

}  // namespace rill
