// Sums over the value channels of a head that are too many for one block. Each slice of them gives
// a part; parts are added in the order of slices. Where the launch's workspace holds a part a
// slice, the slices run side by side and add_slices() adds them; else one block takes a head's
// slices in turn and adds to the result itself. Both give the same bits in float.
#pragma once

#include <rill/core/cuda/launch.h>
#include <rill/scan/cuda/matrix_tile.h>

namespace rill {

constexpr int kSliceSums = 4;

struct SliceSums {
  std::int64_t slices = 1;
  std::int64_t apart = 0;  // 1: side by side
  void* parts = nullptr;   // Compute<S>: a slice's `whole` numbers behind another
  std::int64_t whole = 0;
  std::int64_t first[kSliceSums] = {}, count[kSliceSums] = {};  // of each sum within a slice

  /// Slice `slice` of element i of sum `kind`, which goes to `target` in the end.
  template <class S>
  RILL_DEVICE void put(void* target, int kind, std::int64_t slice, std::int64_t i,
                       Compute<S> value) const {
    if (apart)
      static_cast<Compute<S>*>(parts)[slice * whole + place(kind) + i] = value;
    else
      store<S>(target, i, slice > 0 ? load<S>(target, i) + value : value);
  }
  /// clear_behind() of a sum.
  template <class S>
  RILL_DEVICE void clear(const SeqArgs& s, std::int64_t row, void* target, int kind,
                         std::int64_t slice, std::int64_t channels, std::int64_t column,
                         std::int64_t columns) const {
    if (!target) return;
    if (apart)
      clear_behind<Compute<S>>(s, row,
                               static_cast<Compute<S>*>(parts) + slice * whole + place(kind),
                               channels, column, columns);
    else if (slice == 0)
      clear_behind<S>(s, row, target, channels, column, columns);
  }
  /// first[kind] without an array in local memory.
  RILL_DEVICE std::int64_t place(int kind) const {
    return kind == 0 ? first[0] : kind == 1 ? first[1] : kind == 2 ? first[2] : first[3];
  }
};

template <class S>
RILL_KERNEL(256)
void add_slices_kernel(SliceSums sums, int kind, void* target) {
  using C = Compute<S>;
  const C* parts = static_cast<const C*>(sums.parts) + sums.place(kind);
  const std::int64_t count = kind == 0   ? sums.count[0]
                             : kind == 1 ? sums.count[1]
                             : kind == 2 ? sums.count[2]
                                         : sums.count[3];
  for (std::int64_t i = grid_thread(); i < count; i += grid_threads()) {
    C sum = parts[i];
    for (std::int64_t s = 1; s < sums.slices; ++s) sum += parts[s * sums.whole + i];
    store<S>(target, i, sum);
  }
}

struct SumCounts {
  std::int64_t of[kSliceSums];
};
struct SumTargets {
  void* of[kSliceSums];
};

template <class S>
SliceSums plan_slices(std::int64_t values, std::int64_t columns, const DeviceLaunch& on,
                      const SumCounts& counts) {
  SliceSums sums;
  sums.slices = (values + columns - 1) / columns;
  for (int kind = 0; kind < kSliceSums; ++kind) {
    sums.first[kind] = sums.whole;
    sums.count[kind] = counts.of[kind];
    sums.whole += counts.of[kind];
  }
  const auto room = static_cast<std::int64_t>(on.workspace_bytes / sizeof(Compute<S>));
  sums.apart = sums.slices > 1 && sums.slices <= 65535 && room / sums.slices >= sums.whole;
  sums.parts = on.workspace;
  return sums;
}

template <class S>
DeviceStatus add_slices(const SliceSums& sums, const SumTargets& targets, const DeviceLaunch& on) {
  if (!sums.apart) return 0;
  for (int kind = 0; kind < kSliceSums; ++kind)
    if (targets.of[kind] && sums.count[kind] > 0)
      RILL_LAUNCH_OR_RETURN(add_slices_kernel<S>, grid_for(sums.count[kind], 256), 256, 0,
                            on.stream, sums, kind, targets.of[kind]);
  return 0;
}

}  // namespace rill
