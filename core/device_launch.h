// Private: what a launch on a device needs, in types that host and device code share.
#pragma once

#include <cstddef>

namespace rill {

/// cudaError_t as a number: 0 is success.
using DeviceStatus = int;
/// Rill's own: a launcher needs more workspace than there is.
constexpr DeviceStatus kWorkspaceTooSmall = -1;
/// Rill's own: a size that no kernel is made for.
constexpr DeviceStatus kSizeNotSupported = -2;
/// cudaStream_t; null in the execution model.
using DeviceStream = void*;

/// Where a kernel is launched. The workspace belongs to the stream: a launcher may use it for
/// partial results until its own kernels end.
struct DeviceLaunch {
  DeviceStream stream = nullptr;
  void* workspace = nullptr;
  std::size_t workspace_bytes = 0;
};

/// Memory and streams of the CUDA devices. `copy` takes addresses of the host and of the device
/// alike, after what the stream holds; it has ended on return where the host is involved.
struct DeviceApi {
  int (*device_count)();
  DeviceStatus (*allocate)(int device, std::size_t bytes, void** data);
  void (*release)(int device, void* data);
  DeviceStatus (*make_stream)(int device, DeviceStream* stream);
  void (*destroy_stream)(int device, DeviceStream stream);
  DeviceStatus (*copy)(int device, void* target, const void* source, std::size_t bytes,
                       DeviceStream stream);
  DeviceStatus (*synchronize)(int device, DeviceStream stream);
  const char* (*describe)(DeviceStatus status);
};

/// Null where the build has no CUDA.
const DeviceApi* cuda_device_api();

}  // namespace rill
