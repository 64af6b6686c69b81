// The program `laws-device`: the CUDA kernels, in the execution model that runs them without a GPU.
#include "law.h"

#include <rill/core/cuda/model/engine.h>
#include <rill/core/cuda/model/memory.h>

namespace rill::laws {

Device device_under_law() { return {Device::Type::kCuda, 0}; }
std::string device_target() { return "model"; }

int prepare(bool) {
  MemoryPool::fill_with_nan(true);
  return 0;
}

void choose_order(const std::string& law) {
  constexpr std::uint64_t kOrders = 4;  // ascending, descending, two shuffles
  std::uint64_t sum = 0;
  for (const char c : law) sum = 10 * sum + static_cast<unsigned char>(c);
  device_model::set_schedule(sum % kOrders);
  device_model::guard_global(law != "5");  // which launches a hundred thousand kernels
}

}  // namespace rill::laws
