// Private: what each file of core/cpu adds to the CPU's tables of core kernels.
#pragma once

#include <algorithm>

#include <rill/core/kernels.h>

namespace rill::cpu {

// Vector kernels, float.
void add_activations(CoreKernels& table);
void add_arithmetic(CoreKernels& table);
void add_norms(CoreKernels& table);
void add_losses(CoreKernels& table);

// Plain loops; T is float or double.
template <class T>
void add_plain(CoreKernels& table);
/// What moves elements and does next to no arithmetic: the same loops for both types.
template <class T>
void add_movement(CoreKernels& table);
/// What an optimiser's step is made of; the compiler's own vectors, T is float or double.
template <class T>
void add_optimizer(CoreKernels& table);

/// Elements in a task: cut by sizes alone.
constexpr std::int64_t kTile = 16384;

/// Calls task(first, last) for [0, count) in stretches of `tile`.
template <class Task>
void for_tiles(const KernelContext& context, std::int64_t count, std::int64_t tile,
               const Task& task) {
  context.parallel_for((count + tile - 1) / tile,
                       [&](std::int64_t i) { task(i * tile, std::min(count, (i + 1) * tile)); });
}

/// Rows in a task, so that it has about kTile elements.
inline std::int64_t row_tile(std::int64_t width) {
  return std::max<std::int64_t>(1, kTile / std::max<std::int64_t>(width, 1));
}

/// Sums over tokens are taken in stretches of this many, which are then added: the rounding grows
/// with the root of both.
constexpr std::int64_t kSumBlock = 128;

}  // namespace rill::cpu
