// Private: block-diagonal products in plain loops (block_linear.h): double, and blocks of other
// sizes than 4 by 4.
#pragma once

#include <algorithm>

#include <rill/scan/kernels.h>

namespace rill::plain {

template <class T>
void block_linear(const BlockLinearArgs& a, const KernelContext& context) {
  const std::int64_t width = a.groups * a.outputs;
  context.parallel_for((a.tokens + 31) / 32, [&](std::int64_t task) {
    for (std::int64_t t = task * 32; t < std::min((task + 1) * 32, a.tokens); ++t) {
      const T* x = static_cast<const T*>(a.x) + t * a.groups * a.inputs;
      T* y = static_cast<T*>(a.y) + t * width;
      for (std::int64_t c = 0; c < width; ++c) {
        T sum = 0;
        for (std::int64_t i = 0; i < a.inputs; ++i)
          sum += static_cast<const T*>(a.weight)[i * width + c] * x[c / a.outputs * a.inputs + i];
        y[c] = sum;
      }
    }
  });
}

template <class T>
void block_linear_weight(const BlockLinearWeightArgs& a, const KernelContext& context) {
  context.parallel_for(a.groups, [&](std::int64_t g) {
    T* dweight = static_cast<T*>(a.dweight) + g * a.outputs * a.inputs;
    for (std::int64_t t = 0; t < a.tokens; ++t) {
      const T* x = static_cast<const T*>(a.x) + (t * a.groups + g) * a.inputs;
      const T* dy = static_cast<const T*>(a.dy) + (t * a.groups + g) * a.outputs;
      for (std::int64_t o = 0; o < a.outputs; ++o)
        for (std::int64_t i = 0; i < a.inputs; ++i) dweight[o * a.inputs + i] += dy[o] * x[i];
    }
  });
}

template <class T>
void block_pack(const BlockPackArgs& a, const KernelContext&) {
  const T* w = static_cast<const T*>(a.weight);
  T* packed = static_cast<T*>(a.packed);
  for (std::int64_t g = 0; g < a.groups; ++g)
    for (std::int64_t o = 0; o < a.outputs; ++o)
      for (std::int64_t i = 0; i < a.inputs; ++i, ++w)
        packed[a.transposed ? (o * a.groups + g) * a.inputs + i
                            : (i * a.groups + g) * a.outputs + o] = *w;
}

}  // namespace rill::plain
