// Host code: how a call is cut into launches, so that what its kernels hand to each other fits into
// the memory there is.
#pragma once

#include <algorithm>
#include <cstdint>

#include <rill/scan/cuda/chunk.h>

namespace rill {

inline ChunkOperand chunk_operand(const void* data, std::int64_t width) {
  const bool aligned = width % 8 == 0 && reinterpret_cast<std::uintptr_t>(data) % 16 == 0;
  return {data, width, aligned ? 1 : 0};
}

/// Memory of a backward call: its scratch (matrix_scratch), or the workspace where that is larger.
struct ChunkRoom {
  float* data = nullptr;
  std::size_t bytes = 0;

  static ChunkRoom of(void* scratch, std::int64_t lanes, std::int64_t keys, std::int64_t values,
                      const DeviceLaunch& on) {
    const std::size_t own =
        static_cast<std::size_t>(lanes * matrix_scratch(keys, values)) * sizeof(float);
    if (own >= on.workspace_bytes) return {static_cast<float*>(scratch), own};
    return {static_cast<float*>(on.workspace), on.workspace_bytes};
  }
};

/// Windows of `tasks` rows and heads by `chunks` chunks. They depend on sizes and the memory alone,
/// and touch no bits: a state goes from window to window in float.
struct ChunkPlan {
  std::int64_t all_tasks = 0, all_chunks = 0;
  std::int64_t tasks = 0, chunks = 0;  // of a window; 0: the memory does not hold a chunk

  /// For kernels that need `bytes` a task and chunk; 0: everything at once.
  static ChunkPlan of(const SeqArgs& s, std::int64_t heads, std::int64_t bytes, std::size_t room) {
    ChunkPlan plan;
    plan.all_tasks = plan.tasks = s.rows * heads;
    plan.all_chunks = plan.chunks =
        std::max<std::int64_t>(1, (s.max_length + kChunkTokens - 1) / kChunkTokens);
    if (bytes == 0) return plan;
    const std::int64_t units = static_cast<std::int64_t>(room) / bytes;
    plan.tasks = std::min(plan.all_tasks, units);
    plan.chunks = plan.tasks > 0 ? std::min(plan.all_chunks, units / plan.tasks) : 0;
    return plan;
  }

  /// body(window) for all of them, until one fails; chunks in the order of time, or against it.
  template <class Body>
  DeviceStatus for_each(bool reverse, const Body& body) const {
    if (tasks == 0) return kWorkspaceTooSmall;
    const std::int64_t windows = (all_chunks + chunks - 1) / chunks;
    for (std::int64_t task = 0; task < all_tasks; task += tasks)
      for (std::int64_t i = 0; i < windows; ++i) {
        const std::int64_t first = (reverse ? windows - 1 - i : i) * chunks;
        const ChunkWindow window{task, std::min(tasks, all_tasks - task), first,
                                 std::min(chunks, all_chunks - first)};
        if (const DeviceStatus status = body(window, i == 0); status != 0) return status;
      }
    return 0;
  }
};

}  // namespace rill
