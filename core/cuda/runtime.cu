// Memory and streams of the CUDA devices.
#include <cuda_runtime.h>
#include <rill/core/device_launch.h>

#include <cstdint>

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

// The device's own pool, in stream order on the legacy stream: neither call waits. What is freed
// stays with the process.
DeviceStatus allocate(int device, std::size_t bytes, void** data) {
  const OnDevice on(device);
  if (on.status() != cudaSuccess) return on.status();
  cudaMemPool_t pool{};
  cudaError_t error = cudaDeviceGetDefaultMemPool(&pool, device);
  if (error != cudaSuccess) return error;
  std::uint64_t keep = UINT64_MAX;
  error = cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keep);
  if (error != cudaSuccess) return error;
  return cudaMallocAsync(data, bytes > 0 ? bytes : 1, nullptr);
}

void release(int device, void* data) {
  const OnDevice on(device);
  cudaFreeAsync(data, nullptr);
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

cudaMemoryType memory_type(const void* address) {
  cudaPointerAttributes attributes{};
  return cudaPointerGetAttributes(&attributes, address) == cudaSuccess ? attributes.type
                                                                       : cudaMemoryTypeUnregistered;
}

DeviceStatus copy(int device, void* target, const void* source, std::size_t bytes,
                  DeviceStream stream) {
  const OnDevice on(device);
  if (on.status() != cudaSuccess) return on.status();
  const auto s = static_cast<cudaStream_t>(stream);
  const cudaError_t error = cudaMemcpyAsync(target, source, bytes, cudaMemcpyDefault, s);
  if (error != cudaSuccess) return error;
  // From pageable memory the call has read all of its source before it returns; from pinned memory,
  // and to the host, it has not ended.
  const cudaMemoryType to = memory_type(target), from = memory_type(source);
  const bool waits = to != cudaMemoryTypeDevice || from == cudaMemoryTypeHost;
  return waits ? cudaStreamSynchronize(s) : cudaSuccess;
}

DeviceStatus fill(int device, void* target, int byte, std::size_t bytes, DeviceStream stream) {
  const OnDevice on(device);
  if (on.status() != cudaSuccess) return on.status();
  return cudaMemsetAsync(target, byte, bytes, static_cast<cudaStream_t>(stream));
}

// Not a blocking stream: another thread's work on the legacy stream would have to wait for what is
// only written down, and fails.
DeviceStatus begin_graph(int device, DeviceStream* writing) {
  const OnDevice on(device);
  if (on.status() != cudaSuccess) return on.status();
  auto* const stream = reinterpret_cast<cudaStream_t*>(writing);
  cudaError_t error = cudaStreamCreateWithFlags(stream, cudaStreamNonBlocking);
  if (error != cudaSuccess) return error;
  error = cudaStreamBeginCapture(*stream, cudaStreamCaptureModeThreadLocal);
  if (error != cudaSuccess) cudaStreamDestroy(*stream);
  return error;
}

DeviceStatus end_graph(int device, DeviceStream writing, DeviceGraph* graph) {
  const OnDevice on(device);
  if (on.status() != cudaSuccess) return on.status();
  const auto stream = static_cast<cudaStream_t>(writing);
  cudaGraph_t written = nullptr;
  cudaError_t error = cudaStreamEndCapture(stream, &written);
  cudaStreamDestroy(stream);
  if (error != cudaSuccess) return error;
  error = cudaGraphInstantiate(reinterpret_cast<cudaGraphExec_t*>(graph), written, 0);
  cudaGraphDestroy(written);
  return error;
}

DeviceStatus run_graph(int device, DeviceGraph graph, DeviceStream stream) {
  const OnDevice on(device);
  if (on.status() != cudaSuccess) return on.status();
  return cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), static_cast<cudaStream_t>(stream));
}

void destroy_graph(int device, DeviceGraph graph) {
  const OnDevice on(device);
  cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph));
}

DeviceStatus use(int device, int* before) {
  const cudaError_t error = cudaGetDevice(before);
  if (error != cudaSuccess || *before == device) return error;
  return cudaSetDevice(device);
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
  static const DeviceApi api{device_count, allocate,    release,       make_stream, destroy_stream,
                             copy,         synchronize, describe,      fill,        begin_graph,
                             end_graph,    run_graph,   destroy_graph, use};
  return &api;
}

}  // namespace rill
