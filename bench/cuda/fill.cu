#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <rill/bench/cuda/fill.h>

namespace rill::bench {
namespace {

// SplitMix64's output function.
__device__ std::uint64_t mixed(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

template <class T>
__global__ void fill_kernel(T* data, std::int64_t count, float low, float high,
                            std::uint64_t seed) {
  const std::int64_t threads = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += threads) {
    const std::uint64_t bits =
        mixed((seed << 40) + static_cast<std::uint64_t>(i) * 0x9e3779b97f4a7c15ull);
    const float unit = static_cast<float>(bits >> 40) * 0x1p-24f;
    data[i] = static_cast<T>(low + (high - low) * unit);
  }
}

template <class T>
DeviceStatus fill(void* data, std::int64_t count, double low, double high, std::uint64_t seed,
                  DeviceStream stream) {
  fill_kernel<<<4096, 256, 0, static_cast<cudaStream_t>(stream)>>>(
      static_cast<T*>(data), count, static_cast<float>(low), static_cast<float>(high), seed);
  return cudaGetLastError();
}

}  // namespace

DeviceStatus fill_uniform(void* data, std::int64_t count, DType dtype, double low, double high,
                          std::uint64_t seed, DeviceStream stream) {
  switch (dtype) {
    case DType::kFloat32:
      return fill<float>(data, count, low, high, seed, stream);
    case DType::kBFloat16:
      return fill<__nv_bfloat16>(data, count, low, high, seed, stream);
    case DType::kFloat16:
      return fill<__half>(data, count, low, high, seed, stream);
    case DType::kInt64:
      return fill<std::int64_t>(data, count, low, high, seed, stream);
    case DType::kFloat64:
    case DType::kInt32:
    case DType::kUInt8:
      break;
  }
  return cudaErrorInvalidValue;
}

}  // namespace rill::bench
