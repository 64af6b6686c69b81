// How the device's selective scan cuts its work: channels over threads, time over blocks. From
// sizes alone, never from the card that is there, so that a result's bits do not depend on it. They
// may depend on how many rows there are, and how long, since few rows are cut otherwise than many.
#pragma once

#include <cstdint>

#include <rill/scan/scan_args.h>

namespace rill {

constexpr int kSelectiveThreads = 128;      // of a block that goes forward
constexpr int kSelectiveBackThreads = 256;  // of a block that goes back
constexpr int kNarrow = 4, kWide = 16;      // states of a thread
constexpr int kTileItems = 8;               // elements of a tile of steps for a thread, at most
constexpr int kMostLanes = 32;              // threads of a channel
constexpr std::int64_t kMostStates = kMostLanes * kNarrow;
/// Blocks that fill the card that sizes are chosen for (132 multiprocessors), once and twice.
constexpr std::int64_t kOneEach = 128, kTwoEach = 264;
/// Steps of a segment, at least: its first pass has to be small beside the block's start.
constexpr std::int64_t kShortestSegment = 64;

/// Threads that share a channel, a power of two.
constexpr int selective_lanes(std::int64_t states, int per) {
  int lanes = 1;
  while (lanes < kMostLanes && lanes * per < states) lanes *= 2;
  return lanes;
}

struct SelectiveCut {
  int per = kNarrow;          // states of a thread
  int lanes = 1;              // threads of a channel
  int groups = 1;             // of channels that a block takes one after the other
  int tile_steps = 1;         // steps that a block going forward makes ready at once
  std::int64_t channels = 1;  // of a group
  std::int64_t tiles = 1;     // blocks beside each other
  std::int64_t segments = 1;  // of a row's time
  std::int64_t steps = 1;     // of a segment, a multiple of kSelectiveChunk

  /// Segments of time where there are fewer than `few` blocks, up to kTwoEach blocks.
  constexpr void cut_time(std::int64_t blocks, std::int64_t few, std::int64_t max_length) {
    segments = blocks > 0 && blocks < few ? (kTwoEach + blocks - 1) / blocks : 1;
    const std::int64_t most = max_length / kShortestSegment;
    segments = segments < most ? segments : most;
    if (segments < 1) segments = 1;
    steps = (max_length + segments - 1) / segments;
    steps = (steps + kSelectiveChunk - 1) / kSelectiveChunk * kSelectiveChunk;
    if (steps < 1) steps = kSelectiveChunk;
    segments = max_length > 0 ? (max_length + steps - 1) / steps : 1;
  }
};

/// Forward. A channel in one thread is least work; where that leaves multiprocessors without two
/// blocks, four times as many threads hold four states each (about a quarter more instructions,
/// counted, not measured); where that leaves some without any block, time is cut as well, at the
/// price of a first pass over it (about six tenths of the work again).
constexpr SelectiveCut selective_cut(std::int64_t rows, std::int64_t channels, std::int64_t states,
                                     std::int64_t max_length) {
  SelectiveCut cut;
  for (const int per : {kWide, kNarrow}) {
    cut.per = per;
    cut.lanes = selective_lanes(states, per);
    cut.channels = kSelectiveThreads / cut.lanes;
    cut.tiles = (channels + cut.channels - 1) / cut.channels;
    if (states > kNarrow && rows * cut.tiles >= kTwoEach) break;
  }
  cut.tile_steps = cut.lanes < 4 ? kTileItems * cut.lanes : 4 * kTileItems;
  cut.cut_time(rows * cut.tiles, cut.per == kWide ? 0 : kOneEach, max_length);
  return cut;
}

/// Back. A block takes several groups of channels one after the other and adds their parts of dB
/// and dC, so that memory holds few of them. The first pass over segments is a fifth of the work.
constexpr SelectiveCut selective_back_cut(std::int64_t rows, std::int64_t channels,
                                          std::int64_t states, std::int64_t max_length) {
  SelectiveCut cut;
  cut.lanes = selective_lanes(states, kNarrow);
  if (cut.lanes < 2) cut.lanes = 2;  // a block's steps have to fit into shared memory
  cut.channels = kSelectiveBackThreads / cut.lanes;
  const std::int64_t all = (channels + cut.channels - 1) / cut.channels;
  const std::int64_t most = cut.lanes == kMostLanes ? 1 : cut.lanes == 2 ? 2 : 4;
  cut.groups = static_cast<int>(all < 1 ? 1 : all < most ? all : most);
  cut.tiles = (all + cut.groups - 1) / cut.groups;
  cut.cut_time(rows * cut.tiles, kTwoEach, max_length);
  return cut;
}

/// What the op has to know of it.
constexpr SelectivePlan selective_plan(std::int64_t rows, std::int64_t channels,
                                       std::int64_t states, std::int64_t max_length) {
  const SelectiveCut back = selective_back_cut(rows, channels, states, max_length);
  return {back.groups * back.channels, selective_cut(rows, channels, states, max_length).segments,
          back.segments};
}

}  // namespace rill
