// Private: what CUB offers for the work of our own kernels, to stand beside them.
#pragma once

#include <cstddef>
#include <cstdint>

#include <rill/core/device_launch.h>

namespace rill::bench {

/// h_t = a_t h_{t-1} + b_t over `length` numbers, from 0: cub::DeviceScan on pairs (a, b). Call it
/// with `scratch` null to learn `scratch_bytes`.
struct CubScanArgs {
  const float *a = nullptr, *b = nullptr;
  float* h = nullptr;
  std::int64_t length = 0;
  void* scratch = nullptr;
};
DeviceStatus cub_device_scan(const CubScanArgs& args, std::size_t& scratch_bytes,
                             DeviceStream stream);

/// The same for `rows` rows, time contiguous: cub::BlockScan, a block a row, tile after tile.
struct CubRowsArgs {
  const float *a = nullptr, *b = nullptr;  // [rows, length]
  float* h = nullptr;
  std::int64_t rows = 0, length = 0;
};
DeviceStatus cub_block_scan(const CubRowsArgs& args, DeviceStream stream);

/// result[0] = sum of x: cub::DeviceReduce.
DeviceStatus cub_sum(const float* x, std::int64_t count, float* result, void* scratch,
                     std::size_t& scratch_bytes, DeviceStream stream);

}  // namespace rill::bench
