// The execution model as a device: one card, whose memory host code cannot touch (memory.h) and
// which holds NaN patterns at first, so that what nobody wrote shows.
#include <rill/core/cuda/model/engine.h>
#include <rill/core/cuda/model/memory.h>
#include <rill/core/cuda/model/stream.h>

#include <cstring>
#include <memory>

namespace rill {
namespace {

using device_model::Stream;
constexpr DeviceStatus kOutOfMemory = 2, kNotWriting = 3;

int device_count() { return 1; }

DeviceStatus allocate(int, std::size_t bytes, void** data) {
  *data = device_model::allocate_global(bytes > 0 ? bytes : 1);
  return *data ? 0 : kOutOfMemory;
}

void release(int, void* data) { device_model::release_global(data); }

DeviceStatus make_stream(int, DeviceStream* stream) {
  *stream = new Stream;
  return 0;
}

void destroy_stream(int, DeviceStream stream) { delete static_cast<Stream*>(stream); }

DeviceStatus copy(int, void* target, const void* source, std::size_t bytes, DeviceStream stream) {
  return device_model::hand_over(stream, [=] {
    const device_model::GlobalAccess access;
    std::memmove(target, source, bytes);
    return 0;
  });
}

DeviceStatus fill(int, void* target, int byte, std::size_t bytes, DeviceStream stream) {
  return device_model::hand_over(stream, [=] {
    const device_model::GlobalAccess access;
    std::memset(target, byte, bytes);
    return 0;
  });
}

DeviceStatus use(int device, int* before) {
  *before = device;
  return 0;
}

DeviceStatus synchronize(int, DeviceStream) { return 0; }

DeviceStatus begin_graph(int, DeviceStream* writing) {
  auto stream = std::make_unique<Stream>();
  stream->writing = true;
  *writing = stream.release();
  return 0;
}

DeviceStatus end_graph(int, DeviceStream writing, DeviceGraph* graph) {
  const std::unique_ptr<Stream> stream(static_cast<Stream*>(writing));
  if (!stream->writing) return kNotWriting;
  *graph = new std::vector<device_model::Work>(std::move(stream->written));
  return 0;
}

DeviceStatus run_graph(int, DeviceGraph graph, DeviceStream) {
  for (const device_model::Work& work : *static_cast<std::vector<device_model::Work>*>(graph))
    if (const DeviceStatus status = work()) return status;
  return 0;
}

void destroy_graph(int, DeviceGraph graph) {
  delete static_cast<std::vector<device_model::Work>*>(graph);
}

const char* describe(DeviceStatus status) {
  if (status == kOutOfMemory) return "out of memory";
  if (status == kNotWriting) return "no graph was begun";
  return device_model::last_error().c_str();
}

}  // namespace

const DeviceApi* cuda_device_api() {
  static const DeviceApi api{device_count, allocate,    release,       make_stream, destroy_stream,
                             copy,         synchronize, describe,      fill,        begin_graph,
                             end_graph,    run_graph,   destroy_graph, use};
  return &api;
}

}  // namespace rill
