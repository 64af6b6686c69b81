// Memory and streams of the CUDA devices.
#include <cuda_runtime.h>
#include <rill/core/device_launch.h>

namespace rill {
namespace {

// While alive, `device` is the calling thread's; the caller's comes back afterwards.
class OnDevice {
 public:
  explicit OnDevice(int device) {
    cudaGetDevice(&before_);
    status_ = before_ == device ? cudaSuccess : cudaSetDevice(device);
  }
  ~OnDevice() { cudaSetDevice(before_); }
  cudaError_t status() const { return status_; }

 private:
  int before_ = 0;
  cudaError_t status_;
};

int device_count() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

DeviceStatus allocate(int device, std::size_t bytes, void** data) {
  const OnDevice on(device);
  return on.status() != cudaSuccess ? on.status() : cudaMalloc(data, bytes);
}

void release(int device, void* data) {
  const OnDevice on(device);
  cudaFree(data);
}

// A blocking stream: what runs on the legacy stream (copies of tensors that belong to no Exec) is
// in order with it.
DeviceStatus make_stream(int device, DeviceStream* stream) {
  const OnDevice on(device);
  if (on.status() != cudaSuccess) return on.status();
  return cudaStreamCreate(reinterpret_cast<cudaStream_t*>(stream));
}

void destroy_stream(int device, DeviceStream stream) {
  const OnDevice on(device);
  cudaStreamDestroy(static_cast<cudaStream_t>(stream));
}

DeviceStatus copy(int device, void* target, const void* source, std::size_t bytes,
                  DeviceStream stream) {
  const OnDevice on(device);
  if (on.status() != cudaSuccess) return on.status();
  const auto s = static_cast<cudaStream_t>(stream);
  const cudaError_t error = cudaMemcpyAsync(target, source, bytes, cudaMemcpyDefault, s);
  if (error != cudaSuccess) return error;
  cudaPointerAttributes from{}, to{};
  cudaPointerGetAttributes(&from, source);
  cudaPointerGetAttributes(&to, target);
  const bool on_card = from.type == cudaMemoryTypeDevice && to.type == cudaMemoryTypeDevice;
  return on_card ? cudaSuccess : cudaStreamSynchronize(s);
}

DeviceStatus synchronize(int device, DeviceStream stream) {
  const OnDevice on(device);
  if (on.status() != cudaSuccess) return on.status();
  return cudaStreamSynchronize(static_cast<cudaStream_t>(stream));
}

const char* describe(DeviceStatus status) {
  return cudaGetErrorString(static_cast<cudaError_t>(status));
}

}  // namespace

const DeviceApi* cuda_device_api() {
  static const DeviceApi api{device_count,   allocate, release,     make_stream,
                             destroy_stream, copy,     synchronize, describe};
  return &api;
}

}  // namespace rill
