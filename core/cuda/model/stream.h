// Streams of the execution model's device. Work runs when it is handed over, or is written down
// while a graph is made.
#pragma once

#include <functional>
#include <vector>

#include <rill/core/device_launch.h>

namespace rill::device_model {

using Work = std::function<DeviceStatus()>;
struct Stream {
  bool writing = false;
  std::vector<Work> written;
};

inline DeviceStatus hand_over(DeviceStream stream, Work work) {
  auto* const s = static_cast<Stream*>(stream);
  if (!s || !s->writing) return work();
  s->written.push_back(std::move(work));
  return 0;
}

}  // namespace rill::device_model
