// Private: the graphs of a Stepper on a device, one for each place that a state was found in.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <span>
#include <vector>

#include <rill/core/device_queue.h>
#include <rill/core/tensor.h>

namespace rill {

class StepGraphs {
 public:
  explicit StepGraphs(const DeviceQueue& queue) : queue_(queue) {}
  ~StepGraphs();
  StepGraphs(const StepGraphs&) = delete;
  StepGraphs& operator=(const StepGraphs&) = delete;

  /// Runs the graph of a state whose fields lie there, without allocating; false where there is
  /// none yet. Error(kSystem) where the device fails.
  bool run(std::span<const Tensor> fields);
  /// Makes the graph: `write` hands the step's work over once, to be written down.
  using Write = std::function<void(const DeviceLaunch&)>;
  void add(std::span<const Tensor> fields, const Write& write);

 private:
  struct Graph {
    std::vector<const void*> places;
    DeviceGraph graph = nullptr;
  };
  // A server moves a few states through one Stepper; the least used graph gives way.
  static constexpr std::size_t kMost = 16;

  bool is_of(const Graph& graph, std::span<const Tensor> fields) const;
  void drop_last() noexcept;
  DeviceGraph written(const Write& write) const;

  const DeviceQueue& queue_;
  std::list<Graph> graphs_;  // the last used first
};

}  // namespace rill
