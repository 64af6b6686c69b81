#include <cuda_runtime.h>

#include <rill/bench/cuda/cub_kernels.h>

#include <thrust/iterator/counting_iterator.h>
#include <thrust/iterator/transform_iterator.h>
#include <thrust/iterator/transform_output_iterator.h>
#include <cub/block/block_load.cuh>
#include <cub/block/block_scan.cuh>
#include <cub/block/block_store.cuh>
#include <cub/device/device_reduce.cuh>
#include <cub/device/device_scan.cuh>

namespace rill::bench {
namespace {

// h -> scale h + shift.
struct Map {
  float scale, shift;
};

// First `first`, then `then`; not commutative.
struct Compose {
  __host__ __device__ Map operator()(const Map& first, const Map& then) const {
    return {first.scale * then.scale, fmaf(then.scale, first.shift, then.shift)};
  }
};

struct ReadMap {
  const float *a, *b;
  __host__ __device__ Map operator()(std::int64_t i) const { return {a[i], b[i]}; }
};

struct KeepShift {
  __host__ __device__ float operator()(const Map& map) const { return map.shift; }
};

constexpr int kThreads = 256, kItems = 8, kTile = kThreads * kItems;

// The map of all tiles before, for BlockScan.
struct Running {
  Map map{1.f, 0.f};
  __device__ Map operator()(const Map& tile) {
    const Map before = map;
    map = Compose{}(before, tile);
    return before;
  }
};

__global__ __launch_bounds__(kThreads) void block_scan_kernel(CubRowsArgs p) {
  using Load = cub::BlockLoad<float, kThreads, kItems, cub::BLOCK_LOAD_WARP_TRANSPOSE>;
  using Scan = cub::BlockScan<Map, kThreads, cub::BLOCK_SCAN_WARP_SCANS>;
  using Store = cub::BlockStore<float, kThreads, kItems, cub::BLOCK_STORE_WARP_TRANSPOSE>;
  __shared__ union {
    typename Load::TempStorage load;
    typename Scan::TempStorage scan;
    typename Store::TempStorage store;
  } shared;
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * p.length;
  Running running;
  for (std::int64_t first = 0; first < p.length; first += kTile) {
    const auto count = static_cast<int>(p.length - first < kTile ? p.length - first : kTile);
    float a[kItems], b[kItems];
    Map maps[kItems];
    Load(shared.load).Load(p.a + row + first, a, count, 1.f);
    __syncthreads();
    Load(shared.load).Load(p.b + row + first, b, count, 0.f);
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kItems; ++i) maps[i] = {a[i], b[i]};
    Scan(shared.scan).InclusiveScan(maps, maps, Compose{}, running);
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kItems; ++i) b[i] = maps[i].shift;
    Store(shared.store).Store(p.h + row + first, b, count);
    __syncthreads();
  }
}

}  // namespace

DeviceStatus cub_device_scan(const CubScanArgs& p, std::size_t& scratch_bytes,
                             DeviceStream stream) {
  const auto maps = thrust::make_transform_iterator(thrust::counting_iterator<std::int64_t>(0),
                                                    ReadMap{p.a, p.b});
  const auto h = thrust::make_transform_output_iterator(p.h, KeepShift{});
  return cub::DeviceScan::InclusiveScan(p.scratch, scratch_bytes, maps, h, Compose{}, p.length,
                                        static_cast<cudaStream_t>(stream));
}

DeviceStatus cub_block_scan(const CubRowsArgs& p, DeviceStream stream) {
  block_scan_kernel<<<static_cast<unsigned>(p.rows), kThreads, 0,
                      static_cast<cudaStream_t>(stream)>>>(p);
  return cudaGetLastError();
}

DeviceStatus cub_sum(const float* x, std::int64_t count, float* result, void* scratch,
                     std::size_t& scratch_bytes, DeviceStream stream) {
  return cub::DeviceReduce::Sum(scratch, scratch_bytes, x, result, count,
                                static_cast<cudaStream_t>(stream));
}

}  // namespace rill::bench
