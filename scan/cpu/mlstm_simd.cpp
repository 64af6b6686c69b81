// The scalars and the normaliser of the mLSTM in float (mlstm_scan.h): the loops of
// mlstm_plain-inl.h with sums, sums of products and exponentials in vectors. The matrix state is
// linear_attention_simd.cpp's.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "rill/scan/cpu/mlstm_simd.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <rill/scan/cpu/families.h>
#include <rill/scan/cpu/mlstm_plain-inl.h>

#include <rill/core/simd_math-inl.h>
#include <rill/scan/cpu/lanes-inl.h>

HWY_BEFORE_NAMESPACE();
namespace rill {
namespace HWY_NAMESPACE {
namespace mlstm {

namespace hn = hwy::HWY_NAMESPACE;

// Not inlined: the loops that call these are compiled for the baseline.
struct VectorArithmetic {
  static HWY_NOINLINE void exp3(float* x) {
    const hn::CappedTag<float, 4> d;
    HWY_ALIGN float buffer[4] = {x[0], x[1], x[2], 0.0f};
    hn::Store(Exp(d, hn::Load(d, buffer)), d, buffer);
    std::memcpy(x, buffer, 3 * sizeof(float));
  }
  static HWY_NOINLINE float dot(const float* a, const float* b, std::int64_t n) {
    return lanes::Dot(a, b, n);
  }
  static HWY_NOINLINE void axpby(const float* x, float a, float* y, float b, std::int64_t n) {
    lanes::ForTiles(
        0, n, [&]<class D, int N, bool Part>(std::int64_t first, std::int64_t count) HWY_ATTR {
          using V = lanes::Tile<D, N, Part>;
          const auto va = hn::Set(D(), a), vb = hn::Set(D(), b);
          const V vx = V::Load(x + first, count);
          V vy = V::Load(y + first, count);
          for (int j = 0; j < N; ++j) vy.v[j] = hn::MulAdd(va, vx.v[j], hn::Mul(vb, vy.v[j]));
          vy.Store(y + first, count);
        });
  }
};

}  // namespace mlstm

void MlstmGatesF32(const MlstmGatesArgs& args, const KernelContext& context) {
  plain::mlstm_gates<float, mlstm::VectorArithmetic>(args, context);
}
void MlstmGatesBackwardF32(const MlstmGatesBackwardArgs& args, const KernelContext& context) {
  plain::mlstm_gates_backward<float, mlstm::VectorArithmetic>(args, context);
}

}  // namespace HWY_NAMESPACE
}  // namespace rill
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rill {

HWY_EXPORT(MlstmGatesF32);
HWY_EXPORT(MlstmGatesBackwardF32);

void fill_mlstm(ScanKernels& f32, ScanKernels& f64) {
  using Double = plain::PlainArithmetic<double>;
  f32.mlstm_gates = [](const MlstmGatesArgs& args, const KernelContext& context) {
    HWY_DYNAMIC_DISPATCH(MlstmGatesF32)(args, context);
  };
  f32.mlstm_gates_backward = [](const MlstmGatesBackwardArgs& args, const KernelContext& context) {
    HWY_DYNAMIC_DISPATCH(MlstmGatesBackwardF32)(args, context);
  };
  f64.mlstm_gates = &plain::mlstm_gates<double, Double>;
  f64.mlstm_gates_backward = &plain::mlstm_gates_backward<double, Double>;
}

}  // namespace rill
#endif
