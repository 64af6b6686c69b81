// AdamW's update of one parameter, and the squared norm of a gradient. Elements are independent and
// sums are cut by sizes alone: bits depend neither on threads nor on the vector target.
#include <rill/core/cpu/core_cpu.h>

#include <cmath>

namespace rill::cpu {
namespace {

template <class T>
void adamw(const AdamWArgs& args, const KernelContext& context) {
  for_tiles(context, args.count, kTile, [&](std::int64_t first, std::int64_t last) {
    const T* gradient = static_cast<const T*>(args.gradient);
    T* value = static_cast<T*>(args.value);
    T* m = static_cast<T*>(args.m);
    T* v = static_cast<T*>(args.v);
    const T scale = static_cast<T>(args.gradient_scale), beta1 = static_cast<T>(args.beta1),
            beta2 = static_cast<T>(args.beta2), step_size = static_cast<T>(args.step_size),
            v_scale = static_cast<T>(args.v_scale), eps = static_cast<T>(args.eps),
            keep = static_cast<T>(args.keep);
    for (std::int64_t i = first; i < last; ++i) {
      const T g = gradient[i] * scale;
      m[i] = beta1 * m[i] + (T(1) - beta1) * g;
      v[i] = beta2 * v[i] + (T(1) - beta2) * g * g;
      value[i] = keep * value[i] - step_size * m[i] / (std::sqrt(v[i] * v_scale) + eps);
    }
  });
}

template <class T>
void squared_norm(const SquaredNormArgs& args, const KernelContext& context) {
  const T* x = static_cast<const T*>(args.x);
  for_tiles(context, args.count, kSumTile, [&](std::int64_t first, std::int64_t last) {
    double sum = 0;
    for (std::int64_t i = first; i < last; ++i)
      sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    args.partial[first / kSumTile] = sum;
  });
  double total = args.accumulate ? *args.result : 0.0;
  for (std::int64_t i = 0; i < (args.count + kSumTile - 1) / kSumTile; ++i)
    total += args.partial[i];
  *args.result = total;
}

}  // namespace

template <class T>
void add_optimizer(CoreKernels& table) {
  table.adamw = adamw<T>;
  table.squared_norm = squared_norm<T>;
}

template void add_optimizer<float>(CoreKernels&);
template void add_optimizer<double>(CoreKernels&);

}  // namespace rill::cpu
