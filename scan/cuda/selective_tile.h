// How the device's selective scan lays channels out over threads.
#pragma once

#include <cstdint>

namespace rill {

constexpr int kSelectiveThreads = 128;  // of a block
constexpr int kSelectiveStates = 4;     // of a thread
constexpr int kMostLanes = 32;          // threads of a channel

/// Threads that share a channel, a power of two; 0 where `states` are too many.
constexpr int selective_lanes(std::int64_t states) {
  int lanes = 1;
  while (lanes < kMostLanes && lanes * kSelectiveStates < states) lanes *= 2;
  return lanes * kSelectiveStates >= states ? lanes : 0;
}

/// Channels of a block.
constexpr std::int64_t selective_tile_channels(std::int64_t states) {
  const int lanes = selective_lanes(states);
  return kSelectiveThreads / (lanes == 0 ? kMostLanes : lanes);
}

}  // namespace rill
