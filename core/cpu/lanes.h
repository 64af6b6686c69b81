// Private: tasks that need scratch memory. It is taken before the tasks run, a part for every lane,
// because a task must not throw: a failed allocation in a worker would end the program.
#pragma once

#include <atomic>
#include <cstdint>

#include <rill/core/kernel.h>

namespace rill {

/// Runs task(i, lane) once for every i in [0, tasks), at most one at a time on each of `lanes`
/// lanes. A lane takes the next task when it is done with one; which lane runs a task touches no
/// result, since a task fills its scratch anew.
template <class Task>
void parallel_lanes(const KernelContext& context, std::int64_t tasks, std::int64_t lanes,
                    const Task& task) {
  std::atomic<std::int64_t> next{0};
  context.parallel_for(lanes, [&](std::int64_t lane) {
    for (std::int64_t i = next++; i < tasks; i = next++) task(i, lane);
  });
}

}  // namespace rill
