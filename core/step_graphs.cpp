#include <rill/core/check.h>
#include <rill/core/step_graphs.h>

#include <algorithm>

namespace rill {

StepGraphs::~StepGraphs() {
  while (!graphs_.empty()) drop_last();
}

// No graph goes while it may still run.
void StepGraphs::drop_last() noexcept {
  const int device = queue_.device().index;
  queue_.api().synchronize(device, queue_.launch().stream);
  queue_.api().destroy_graph(device, graphs_.back().graph);
  graphs_.pop_back();
}

bool StepGraphs::is_of(const Graph& graph, std::span<const Tensor> fields) const {
  return std::ranges::equal(graph.places, fields, {}, {},
                            [](const Tensor& field) -> const void* { return field.raw(); });
}

DeviceGraph StepGraphs::written(const Write& write) const {
  const Device device = queue_.device();
  const DeviceApi& api = queue_.api();
  DeviceLaunch launch = queue_.launch();
  DeviceGraph graph = nullptr;
  check_launch(api.begin_graph(device.index, &launch.stream));
  try {
    write(launch);
  } catch (...) {
    if (api.end_graph(device.index, launch.stream, &graph) == 0)
      api.destroy_graph(device.index, graph);
    throw;
  }
  check_launch(api.end_graph(device.index, launch.stream, &graph));
  return graph;
}

bool StepGraphs::run(std::span<const Tensor> fields) {
  const auto found =
      std::ranges::find_if(graphs_, [&](const Graph& graph) { return is_of(graph, fields); });
  if (found == graphs_.end()) return false;
  graphs_.splice(graphs_.begin(), graphs_, found);
  check_launch(queue_.api().run_graph(queue_.device().index, found->graph, queue_.launch().stream));
  return true;
}

void StepGraphs::add(std::span<const Tensor> fields, const Write& write) {
  Graph made;
  for (const Tensor& field : fields) made.places.push_back(field.raw());
  made.graph = written(write);
  graphs_.push_front(std::move(made));
  if (graphs_.size() > kMost) drop_last();
}

}  // namespace rill
