// Device code of the chunked kernels' arguments (chunk.h), and the types they are made for.
#pragma once

#include <rill/core/cuda/device.h>
#include <rill/scan/cuda/chunk.h>

namespace rill {

template <DType kType>
struct ChunkTypeOf;
template <>
struct ChunkTypeOf<DType::kBFloat16> {
  using Type = BFloat16;
};
template <>
struct ChunkTypeOf<DType::kFloat16> {
  using Type = Half;
};
template <DType kType>
using ChunkType = typename ChunkTypeOf<kType>::Type;

#define RILL_INSTANTIATE_CHUNKED(launcher, args)                                      \
  template DeviceStatus launcher<DType::kBFloat16>(const args&, const DeviceLaunch&); \
  template DeviceStatus launcher<DType::kFloat16>(const args&, const DeviceLaunch&);

RILL_HOST_DEVICE constexpr std::int64_t chunk_slices(std::int64_t width) {
  return (width + kChunkTokens - 1) / kChunkTokens;
}

/// Where the state of `task`'s chunk number `place` of the window lies.
RILL_DEVICE float* chunk_state(const ChunkStates& states, const SeqArgs& s,
                               const ChunkWindow& window, std::int64_t task, std::int64_t heads,
                               std::int64_t place, std::int64_t size) {
  const std::int64_t row = task / heads, head = task % heads;
  if (!states.data) return nullptr;
  if (!states.kept)
    return states.data + ((task - window.first_task) * window.chunks + place) * size;
  const std::int64_t number = kept_chunk(s.start[row], row, window.first_chunk + place);
  return states.data + (number * heads + head) * size;
}

}  // namespace rill
