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
/// Rill's own: cuFFT is not installed; cuFFT refused a transform.
constexpr DeviceStatus kNoFftLibrary = -3, kFftFailed = -4;
/// Rill's own: cuBLASLt is not installed or takes no such product; cuBLASLt failed.
constexpr DeviceStatus kNoProductLibrary = -5, kProductFailed = -6;
/// cudaStream_t; null: the device's own (legacy) stream, in order with every other.
using DeviceStream = void*;
/// cudaGraphExec_t: launches and copies that were written down, to be run again as one.
using DeviceGraph = void*;

/// Where a kernel is launched. The workspace belongs to the stream: a launcher may use it for
/// partial results until its own kernels end.
struct DeviceLaunch {
  DeviceStream stream = nullptr;
  void* workspace = nullptr;
  std::size_t workspace_bytes = 0;
  bool tf32 = false;  // large float products may round their inputs to TF32
  int device = 0;
};

/// What a device offers a launch.
struct DeviceLimits {
  int multiprocessors = 1;
  std::size_t shared_bytes = 0;  // of a block, by choice (above 48 KB)
  bool cooperative = false;      // launches whose blocks all run at once
};

/// Memory, streams and graphs of the CUDA devices. `copy` takes addresses of the host and of the
/// device alike, after what the stream holds. Where the target is the host's it has ended on
/// return; where the source is, the source is free to change on return.
struct DeviceApi {
  int (*device_count)();
  DeviceStatus (*allocate)(int device, std::size_t bytes, void** data);
  void (*release)(int device, void* data);  // after all work that was handed to the device before
  DeviceStatus (*make_stream)(int device, DeviceStream* stream);
  void (*destroy_stream)(int device, DeviceStream stream);
  DeviceStatus (*copy)(int device, void* target, const void* source, std::size_t bytes,
                       DeviceStream stream);
  DeviceStatus (*synchronize)(int device, DeviceStream stream);
  const char* (*describe)(DeviceStatus status);
  DeviceStatus (*fill)(int device, void* target, int byte, std::size_t bytes, DeviceStream stream);
  // A stream of its own on which nothing runs: launches, and copies inside the device, are written
  // down, until end_graph makes a graph of them and ends the stream, even where it fails.
  DeviceStatus (*begin_graph)(int device, DeviceStream* writing);
  DeviceStatus (*end_graph)(int device, DeviceStream writing, DeviceGraph* graph);
  DeviceStatus (*run_graph)(int device, DeviceGraph graph, DeviceStream stream);
  void (*destroy_graph)(int device, DeviceGraph graph);
  // Makes a device the calling thread's, for launches; `before` is the one that was.
  DeviceStatus (*use)(int device, int* before);
};

/// Null where the build has no CUDA.
const DeviceApi* cuda_device_api();

}  // namespace rill
