// Packing of the recurrent cells' weights; their kernels: cell_forward.h, cell_backward.h, compiled
// for one storage type in each of cells_*.cu.
#include <rill/core/cuda/launch.h>
#include <rill/core/dtype.h>
#include <rill/rnn/cuda/launch.h>

namespace rill {
namespace {

// [G H, K] -> [K, G H].
template <class S, class Weight>
RILL_KERNEL(256)
void pack_recurrent_kernel(PackRecurrentArgs p) {
  const std::int64_t all = p.gates * p.hidden;
  for (std::int64_t i = grid_thread(); i < all * p.width; i += grid_threads())
    store<S>(p.packed, i, load<Weight>(p.weight, i % all * p.width + i / all));
}

}  // namespace

template <class S>
DeviceStatus launch_pack_recurrent(const PackRecurrentArgs& p, const DeviceLaunch& on) {
  const std::int64_t count = p.gates * p.hidden * p.width;
  if (count == 0) return 0;
  if (sizeof(S) == 2 && p.weight_dtype == static_cast<std::int64_t>(DType::kFloat32))
    return RILL_LAUNCH((pack_recurrent_kernel<S, float>), grid_for(count, 256), 256, 0, on.stream,
                       p);
  return RILL_LAUNCH((pack_recurrent_kernel<S, S>), grid_for(count, 256), 256, 0, on.stream, p);
}

std::int64_t device_packed_count(std::int64_t hidden, std::int64_t gates, std::int64_t width) {
  return hidden * gates * width;
}

RILL_INSTANTIATE(launch_pack_recurrent, PackRecurrentArgs)
template DeviceStatus launch_pack_recurrent<BFloat16>(const PackRecurrentArgs&,
                                                      const DeviceLaunch&);
template DeviceStatus launch_pack_recurrent<Half>(const PackRecurrentArgs&, const DeviceLaunch&);

}  // namespace rill
