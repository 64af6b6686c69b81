// The one header that kernels are written against. Under nvcc it is CUDA; under g++ it is the
// execution model (model/engine.h), in which the same source passes the laws where there is no GPU.
// What the model cannot show (bandwidth, occupancy) stays behind wrappers as thin as these.
//
//   template <class S>
//   RILL_KERNEL(256) void scale_kernel(ScaleArgs p) {
//     for (std::int64_t i = grid_thread(); i < p.count; i += grid_threads()) ...
//   }
//   DeviceStatus launch_scale(const ScaleArgs& p, const DeviceLaunch& on) {
//     return RILL_LAUNCH(scale_kernel<float>, grid_for(p.count, 256), 256, 0, on.stream, p);
//   }
//
// A kernel loads the storage type S, computes in Compute<S> and stores S. Compiled for float and,
// where a table has them, bfloat16 and half; in the model for double, where it is the oracle.
#pragma once

#include <math.h>  // overloads for float in the global namespace, as in CUDA
#include <cstdint>

#include <rill/core/device_launch.h>
#include <rill/core/half.h>  // the 16-bit types, alike on both sides, so that tables name launchers

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <type_traits>
#else
#include <rill/core/cuda/model/engine.h>
#include <rill/core/cuda/model/stream.h>

#include <algorithm>
#include <tuple>
#endif

namespace rill {

struct Grid {
  std::int64_t x = 1, y = 1, z = 1;
};

/// Blocks for `count` elements, one a thread, capped: kernels walk the rest in strides of the grid.
inline Grid grid_for(std::int64_t count, int threads, std::int64_t cap = 132 * 32) {
  const std::int64_t blocks = (count + threads - 1) / threads;
  return {blocks < 1 ? 1 : (blocks > cap ? cap : blocks), 1, 1};
}

constexpr int kWarpSize = 32;

#if defined(__CUDACC__)

/// RILL_KERNEL(threads) or RILL_KERNEL(threads, blocks that must fit an SM).
#define RILL_KERNEL(...) __global__ __launch_bounds__(__VA_ARGS__)
#define RILL_DEVICE __device__ __forceinline__
#define RILL_UNROLL _Pragma("unroll")
/// Keeps a loop that the compiler would unroll: less code, where nothing in it is indexed
/// registers.
#define RILL_ROLL _Pragma("unroll 1")
/// Shared memory of `count` elements, the same for all threads of the block; it begins at a
/// multiple of 16 bytes.
#define RILL_SHARED(type, name, count) __shared__ __align__(16) type name[count]
#define RILL_DYNAMIC_SHARED(type, name)                       \
  extern __shared__ __align__(16) char rill_dynamic_shared[]; \
  type* const name = reinterpret_cast<type*>(rill_dynamic_shared)
/// `count` elements of a launch's dynamic shared memory, from a byte that is a multiple of 16.
#define RILL_SHARED_PART(type, name, first_byte, count)       \
  extern __shared__ __align__(16) char rill_dynamic_shared[]; \
  type* const name = reinterpret_cast<type*>(rill_dynamic_shared + (first_byte))
#define RILL_LAUNCH(kernel, grid, threads, shared_bytes, stream, ...) \
  ::rill::launch_on_device(kernel, grid, threads, shared_bytes, stream, __VA_ARGS__)
/// A launch whose blocks may wait for one another: all of them run at once, or the launch fails.
#define RILL_LAUNCH_COOPERATIVE(kernel, grid, threads, shared_bytes, stream, ...) \
  ::rill::launch_cooperative(kernel, grid, threads, shared_bytes, stream, __VA_ARGS__)

template <class T>
using Shared = T*;

// 48 KB a block, those that the kernel declares among them, need no leave.
inline DeviceStatus allow_shared(const void* kernel, std::size_t shared_bytes) {
  if (shared_bytes == 0) return cudaSuccess;
  return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              static_cast<int>(shared_bytes));
}

template <class... Parameters, class... Args>
DeviceStatus launch_on_device(void (*kernel)(Parameters...), Grid grid, int threads,
                              std::size_t shared_bytes, DeviceStream stream, const Args&... args) {
  if (const DeviceStatus error = allow_shared(reinterpret_cast<const void*>(kernel), shared_bytes))
    return error;
  kernel<<<dim3(static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y),
                static_cast<unsigned>(grid.z)),
           threads, shared_bytes, static_cast<cudaStream_t>(stream)>>>(args...);
  return cudaGetLastError();
}

template <class... Parameters>
DeviceStatus launch_cooperative(void (*kernel)(Parameters...), Grid grid, int threads,
                                std::size_t shared_bytes, DeviceStream stream, Parameters... args) {
  const auto* function = reinterpret_cast<const void*>(kernel);
  if (const DeviceStatus error = allow_shared(function, shared_bytes)) return error;
  void* addresses[] = {&args...};
  return cudaLaunchCooperativeKernel(
      function,
      dim3(static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y),
           static_cast<unsigned>(grid.z)),
      dim3(static_cast<unsigned>(threads)), addresses, shared_bytes,
      static_cast<cudaStream_t>(stream));
}

/// Of the calling thread's device.
inline DeviceLimits device_limits() {
  int device = 0, multiprocessors = 1, shared_bytes = 0, cooperative = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device);
  cudaDeviceGetAttribute(&shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  cudaDeviceGetAttribute(&cooperative, cudaDevAttrCooperativeLaunch, device);
  return {multiprocessors, static_cast<std::size_t>(shared_bytes), cooperative != 0};
}

RILL_DEVICE int thread_index() { return static_cast<int>(threadIdx.x); }
RILL_DEVICE std::int64_t block_index() { return blockIdx.x; }
RILL_DEVICE std::int64_t block_index_y() { return blockIdx.y; }
RILL_DEVICE std::int64_t block_index_z() { return blockIdx.z; }
RILL_DEVICE std::int64_t block_count() { return gridDim.x; }
RILL_DEVICE int block_threads() { return static_cast<int>(blockDim.x); }
RILL_DEVICE void block_sync() { __syncthreads(); }
RILL_DEVICE void warp_sync() { __syncwarp(); }
template <class T>
RILL_DEVICE T shuffle_xor(T value, int mask) {
  return __shfl_xor_sync(0xffffffffu, value, mask);
}
template <class T>
RILL_DEVICE T shuffle_up(T value, int distance) {
  return __shfl_up_sync(0xffffffffu, value, distance);
}
template <class T>
RILL_DEVICE T shuffle_down(T value, int distance) {
  return __shfl_down_sync(0xffffffffu, value, distance);
}
template <class T>
RILL_DEVICE T shuffle(T value, int lane) {
  return __shfl_sync(0xffffffffu, value, lane);
}
/// Bit l is lane l's `value`.
RILL_DEVICE unsigned ballot(bool value) { return __ballot_sync(0xffffffffu, value); }
RILL_DEVICE unsigned atomic_ticket(unsigned* counter) { return atomicAdd(counter, 1u); }
/// A flag between blocks: what was written before store_release is seen after load_acquire.
RILL_DEVICE void store_release(unsigned* flag, unsigned value) {
  asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(flag), "r"(value) : "memory");
}
RILL_DEVICE unsigned load_acquire(const unsigned* flag) {
  unsigned value;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(flag) : "memory");
  return value;
}
RILL_DEVICE void spin_wait() { __nanosleep(20); }
/// What this thread wrote is seen by the device before what it writes next.
RILL_DEVICE void memory_fence() { __threadfence(); }
/// 2^x to 2 ulp, denormals as 0.
RILL_DEVICE float fast_exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
RILL_DEVICE float fused_multiply_add(float a, float b, float c) { return fmaf(a, b, c); }
RILL_DEVICE double fused_multiply_add(double a, double b, double c) { return fma(a, b, c); }

RILL_DEVICE float to_compute(float v) { return v; }
RILL_DEVICE double to_compute(double v) { return v; }
RILL_DEVICE float to_compute(BFloat16 v) {
  return __bfloat162float(__nv_bfloat16(__nv_bfloat16_raw{v.bits}));
}
RILL_DEVICE float to_compute(Half v) { return __half2float(__half(__half_raw{v.bits})); }
template <class S, class C>
RILL_DEVICE S from_compute(C v) {
  if constexpr (std::is_same_v<S, BFloat16>)
    return {static_cast<__nv_bfloat16_raw>(__float2bfloat16(static_cast<float>(v))).x};
  else if constexpr (std::is_same_v<S, Half>)
    return {static_cast<__half_raw>(__float2half(static_cast<float>(v))).x};
  else
    return static_cast<S>(v);
}

/// sizeof(V) bytes at an address that is a multiple of it, in one access.
template <class V>
RILL_DEVICE V load_vector(const void* address) {
  return *static_cast<const V*>(address);
}
template <class V>
RILL_DEVICE void store_vector(void* address, const V& value) {
  *static_cast<V*>(address) = value;
}
/// x[i], ..., x[i + kCount - 1] in accesses as wide as may be; i is a multiple of kCount.
template <int kCount, class T>
RILL_DEVICE void load_shared(Shared<T> x, std::int64_t i, T (&values)[kCount]) {
  constexpr int kBytes = kCount * static_cast<int>(sizeof(T));
  struct alignas(kBytes < 16 ? kBytes : 16) Run {
    T values[kCount];
  };
  const Run run = *reinterpret_cast<const Run*>(x + i);
#pragma unroll
  for (int k = 0; k < kCount; ++k) values[k] = run.values[k];
}
/// The block's threads copy x[0], ..., x[count - 1] from global memory, 16 bytes at a time where
/// `count` allows it; both ends are multiples of 16 bytes.
template <class T>
RILL_DEVICE void copy_to_shared(Shared<T> x, const T* from, std::int64_t count) {
  if (count * static_cast<std::int64_t>(sizeof(T)) % 16 != 0) {
    for (std::int64_t i = thread_index(); i < count; i += block_threads()) x[i] = from[i];
    return;
  }
  const std::int64_t words = count * static_cast<std::int64_t>(sizeof(T)) / 16;
  for (std::int64_t i = thread_index(); i < words; i += block_threads())
    reinterpret_cast<uint4*>(x)[i] = reinterpret_cast<const uint4*>(from)[i];
}

#else  // the execution model

#define RILL_KERNEL(...) inline
#define RILL_DEVICE inline
#define RILL_UNROLL
#define RILL_ROLL
#define RILL_SHARED(type, name, count)                                                           \
  static const char rill_site_##name = 0;                                                        \
  const ::rill::Shared<type> name(                                                               \
      ::rill::device_model::shared_memory(&rill_site_##name, #name, count, sizeof(type)), #name, \
      count)
#define RILL_DYNAMIC_SHARED(type, name)                                              \
  std::size_t rill_count_##name = 0;                                                 \
  const ::rill::device_model::SharedMemory rill_memory_##name =                      \
      ::rill::device_model::dynamic_shared_memory(sizeof(type), &rill_count_##name); \
  const ::rill::Shared<type> name(rill_memory_##name, #name,                         \
                                  static_cast<std::int64_t>(rill_count_##name))
#define RILL_SHARED_PART(type, name, first_byte, count)                                 \
  static const char rill_site_##name = 0;                                               \
  const ::rill::Shared<type> name(                                                      \
      ::rill::device_model::shared_part(&rill_site_##name, #name,                       \
                                        static_cast<std::size_t>(first_byte),           \
                                        static_cast<std::size_t>(count), sizeof(type)), \
      #name, count)
#define RILL_LAUNCH(kernel, grid, threads, shared_bytes, stream, ...)                             \
  ::rill::launch_in_model([=](const auto&... rill_args) { kernel(rill_args...); }, #kernel, grid, \
                          threads, shared_bytes, stream, false, __VA_ARGS__)
#define RILL_LAUNCH_COOPERATIVE(kernel, grid, threads, shared_bytes, stream, ...)                 \
  ::rill::launch_in_model([=](const auto&... rill_args) { kernel(rill_args...); }, #kernel, grid, \
                          threads, shared_bytes, stream, true, __VA_ARGS__)

template <class T>
using Shared = device_model::Shared<T>;

/// Arguments are copied, as a launch does: what is written down is run later.
template <class Kernel, class... Args>
DeviceStatus launch_in_model(const Kernel& kernel, const char* name, Grid grid, int threads,
                             std::size_t shared_bytes, DeviceStream stream, bool cooperative,
                             const Args&... args) {
  return device_model::hand_over(stream, [=, copies = std::tuple(args...)]() -> DeviceStatus {
    const auto body = [&] { std::apply(kernel, copies); };
    if (grid.x > 0x7fffffff || grid.y > 65535 || grid.z > 65535)
      return device_model::launch(name, {0, 0, 0}, {1, 1, 1}, 0, false, body);  // refused there
    const device_model::Index3 blocks{static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y),
                                      static_cast<unsigned>(grid.z)};
    return device_model::launch(name, blocks, {static_cast<unsigned>(threads), 1, 1}, shared_bytes,
                                cooperative, body);
  });
}
inline DeviceLimits device_limits() {
  const device_model::Card& card = device_model::card();
  return {card.multiprocessors, card.shared_bytes, card.cooperative};
}

inline int thread_index() { return static_cast<int>(device_model::self().thread.x); }
inline std::int64_t block_index() { return device_model::self().block.x; }
inline std::int64_t block_index_y() { return device_model::self().block.y; }
inline std::int64_t block_index_z() { return device_model::self().block.z; }
inline std::int64_t block_count() { return device_model::self().grid_size.x; }
inline int block_threads() { return static_cast<int>(device_model::self().block_size.x); }
inline void block_sync() { device_model::block_barrier(); }
inline void warp_sync() { device_model::warp_barrier(); }
/// A lane that is not there gives the caller's own value, as shuffles out of range do.
template <class T>
T shuffle_from(T value, int lane) {
  const std::byte* lanes = device_model::warp_exchange(&value, sizeof(T));
  if (lane >= 0 && lane < device_model::warp_lanes())
    std::memcpy(&value, lanes + static_cast<std::size_t>(lane) * device_model::kExchangeBytes,
                sizeof(T));
  return value;
}
template <class T>
T shuffle_xor(T value, int mask) {
  return shuffle_from(value, device_model::self().lane ^ mask);
}
template <class T>
T shuffle_up(T value, int distance) {
  return shuffle_from(value, device_model::self().lane - distance);
}
template <class T>
T shuffle_down(T value, int distance) {
  return shuffle_from(value, device_model::self().lane + distance);
}
template <class T>
T shuffle(T value, int lane) {
  return shuffle_from(value, lane & (kWarpSize - 1));
}
inline unsigned ballot(bool value) {
  const unsigned char mine = value;
  const std::byte* lanes = device_model::warp_exchange(&mine, 1);
  unsigned bits = 0;
  for (int l = 0; l < device_model::warp_lanes(); ++l)
    bits |= static_cast<unsigned>(lanes[static_cast<std::size_t>(l) * device_model::kExchangeBytes])
            << l;
  return bits;
}
inline unsigned atomic_ticket(unsigned* counter) { return (*counter)++; }
inline void store_release(unsigned* flag, unsigned value) { *flag = value; }
inline unsigned load_acquire(const unsigned* flag) { return *flag; }
inline void spin_wait() { device_model::spin(); }
inline void memory_fence() {}
inline float fast_exp2(float x) { return x < -126.0f ? 0.0f : std::exp2(x); }
inline float fused_multiply_add(float a, float b, float c) { return std::fma(a, b, c); }
inline double fused_multiply_add(double a, double b, double c) { return std::fma(a, b, c); }

inline float to_compute(float v) { return v; }
inline double to_compute(double v) { return v; }
inline float to_compute(BFloat16 v) { return v; }
inline float to_compute(Half v) { return v; }
template <class S, class C>
S from_compute(C v) {
  if constexpr (sizeof(S) == 2)
    return S::from_float(static_cast<float>(v));
  else
    return static_cast<S>(v);
}

template <class V>
V load_vector(const void* address) {
  if (reinterpret_cast<std::uintptr_t>(address) % sizeof(V) != 0)
    device_model::fail_launch("a load of " + std::to_string(sizeof(V)) + " bytes is not aligned");
  V value;
  std::memcpy(&value, address, sizeof(V));
  return value;
}
template <class V>
void store_vector(void* address, const V& value) {
  if (reinterpret_cast<std::uintptr_t>(address) % sizeof(V) != 0)
    device_model::fail_launch("a store of " + std::to_string(sizeof(V)) + " bytes is not aligned");
  std::memcpy(address, &value, sizeof(V));
}
template <int kCount, class T>
void load_shared(const Shared<T>& x, std::int64_t i, T (&values)[kCount]) {
  for (int k = 0; k < kCount; ++k) values[k] = x[i + k];
}
template <class T>
void copy_to_shared(const Shared<T>& x, const T* from, std::int64_t count) {
  if (count * static_cast<std::int64_t>(sizeof(T)) % 16 == 0 &&
      reinterpret_cast<std::uintptr_t>(from) % 16 != 0)
    device_model::fail_launch("a copy to shared memory begins between multiples of 16 bytes");
  for (std::int64_t i = thread_index(); i < count; i += block_threads()) x[i] = from[i];
}

#endif

/// What S is computed in.
template <class S>
struct ComputeOf {
  using Type = float;
};
template <>
struct ComputeOf<double> {
  using Type = double;
};
template <class S>
using Compute = typename ComputeOf<S>::Type;

template <class S>
RILL_DEVICE Compute<S> load(const void* array, std::int64_t i) {
  return to_compute(static_cast<const S*>(array)[i]);
}
template <class S, class C>
RILL_DEVICE void store(void* array, std::int64_t i, C value) {
  static_cast<S*>(array)[i] = from_compute<S>(value);
}

RILL_DEVICE int lane_index() { return thread_index() % kWarpSize; }
RILL_DEVICE int warp_index() { return thread_index() / kWarpSize; }
/// This thread's number in the grid's first axis, and how many there are.
RILL_DEVICE std::int64_t grid_thread() { return block_index() * block_threads() + thread_index(); }
RILL_DEVICE std::int64_t grid_threads() { return block_count() * block_threads(); }

/// Sums over the 32 lanes of a full warp, in a fixed order; every lane gets it.
template <class T>
RILL_DEVICE T warp_sum(T value) {
  for (int mask = kWarpSize / 2; mask > 0; mask /= 2) value += shuffle_xor(value, mask);
  return value;
}
template <class T>
RILL_DEVICE T warp_max(T value) {
  for (int mask = kWarpSize / 2; mask > 0; mask /= 2) {
    const T other = shuffle_xor(value, mask);
    value = other > value ? other : value;
  }
  return value;
}

/// Sums over a block of `kThreads` (a multiple of 32) threads, in a fixed order; every thread gets
/// it. `parts`: shared memory of kThreads / 32 elements, free again after the call.
template <int kThreads, class T>
RILL_DEVICE T block_sum(T value, Shared<T> parts) {
  value = warp_sum(value);
  if (kThreads == kWarpSize) return value;
  if (lane_index() == 0) parts[warp_index()] = value;
  block_sync();
  T sum = T(0);
  for (int w = 0; w < kThreads / kWarpSize; ++w) sum += parts[w];
  block_sync();
  return sum;
}

}  // namespace rill
