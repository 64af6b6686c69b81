// The execution model as a device: one card whose memory is the host's, each block of it alone, so
// that AddressSanitizer knows its bounds, and filled with NaN patterns, so that what nobody wrote
// shows.
#include <rill/core/cuda/model/engine.h>
#include <rill/core/device_launch.h>

#include <cstdlib>
#include <cstring>

namespace rill {
namespace {

int device_count() { return 1; }

DeviceStatus allocate(int, std::size_t bytes, void** data) {
  constexpr std::size_t kAlignment = 256;
  if (posix_memalign(data, kAlignment, bytes > 0 ? bytes : 1) != 0) return 2;
  std::memset(*data, 0xff, bytes);
  return 0;
}

void release(int, void* data) { std::free(data); }

DeviceStatus make_stream(int, DeviceStream* stream) {
  *stream = nullptr;
  return 0;
}

void destroy_stream(int, DeviceStream) {}

DeviceStatus copy(int, void* target, const void* source, std::size_t bytes, DeviceStream) {
  std::memmove(target, source, bytes);
  return 0;
}

DeviceStatus synchronize(int, DeviceStream) { return 0; }

const char* describe(DeviceStatus status) {
  return status == 2 ? "out of memory" : device_model::last_error().c_str();
}

}  // namespace

const DeviceApi* cuda_device_api() {
  static const DeviceApi api{device_count,   allocate, release,     make_stream,
                             destroy_stream, copy,     synchronize, describe};
  return &api;
}

}  // namespace rill
