// Vector kernels (float) for activations and gates. The formulas and the forms of the derivatives
// are those of elementwise_plain-inl.h, on the functions of simd_math-inl.h.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "rill/core/cpu/activation_simd.cpp"
#include <hwy/foreach_target.h>
//
#include <hwy/highway.h>

#include <rill/core/cpu/core_cpu.h>
#include <rill/core/simd-inl.h>
#include <rill/core/simd_math-inl.h>

HWY_BEFORE_NAMESPACE();
namespace rill {
namespace HWY_NAMESPACE {
namespace {

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

HWY_INLINE V constant(float value) { return hn::Set(D(), value); }

// e / (1 + e)^2 with e = exp(-|x|): sigma(x) (1 - sigma(x)) without cancellation.
HWY_INLINE V SigmoidDerivative(V x) {
  const V e = Exp(D(), hn::Neg(hn::Abs(x)));
  const V s = hn::Add(constant(1.0f), e);
  return hn::Div(e, hn::Mul(s, s));
}

// sqrt(2 / pi) (x + 0.044715 x^3).
HWY_INLINE V GeluTanhArgument(V x) {
  const V cubic = hn::MulAdd(hn::Mul(constant(0.044715f), hn::Mul(x, x)), x, x);
  return hn::Mul(constant(0.79788456f), cubic);
}

template <Unary kKind>
HWY_INLINE V Activate(V x) {
  const D d;
  const V one = constant(1.0f);
  const V lowest = constant(-3.402823466e38f);  // -infinity times 0 would be NaN
  if constexpr (kKind == Unary::kSilu) return Silu(d, x);
  if constexpr (kKind == Unary::kGelu) return hn::Mul(hn::Max(lowest, x), NormalCdf(d, x));
  if constexpr (kKind == Unary::kGeluTanh) {
    x = hn::Max(lowest, x);
    return hn::Mul(hn::Mul(constant(0.5f), x), hn::Add(one, Tanh(d, GeluTanhArgument(x))));
  }
  if constexpr (kKind == Unary::kSigmoid) return Sigmoid(d, x);
  if constexpr (kKind == Unary::kTanh) return Tanh(d, x);
  if constexpr (kKind == Unary::kRelu) return hn::Max(hn::Zero(d), x);
  if constexpr (kKind == Unary::kSoftplus) return Softplus(d, x);
  if constexpr (kKind == Unary::kLogSigmoid) return LogSigmoid(d, x);
  if constexpr (kKind == Unary::kExp) return Exp(d, x);
  if constexpr (kKind == Unary::kLog) return Log(d, x);
  if constexpr (kKind == Unary::kSquare) return hn::Mul(x, x);
  if constexpr (kKind == Unary::kSqrt) return hn::Sqrt(x);
  if constexpr (kKind == Unary::kNegate) return hn::Neg(x);
  if constexpr (kKind == Unary::kReciprocal) return hn::Div(one, x);
  if constexpr (kKind == Unary::kEluPlusOne)
    return hn::IfThenElse(hn::Gt(x, hn::Zero(d)), hn::Add(x, one), Exp(d, x));
  if constexpr (kKind == Unary::kMinGru)
    return hn::IfThenElse(hn::Ge(x, hn::Zero(d)), hn::Add(x, constant(0.5f)), Sigmoid(d, x));
}

template <Unary kKind>
HWY_INLINE V Derivative(V x, [[maybe_unused]] V y) {
  const D d;
  const V one = constant(1.0f);
  if constexpr (kKind == Unary::kSilu) return hn::MulAdd(x, SigmoidDerivative(x), Sigmoid(d, x));
  if constexpr (kKind == Unary::kGelu) {
    const V density =
        hn::Mul(constant(0.39894228f), Exp(d, hn::Mul(constant(-0.5f), hn::Mul(x, x))));
    return hn::MulAdd(x, density, NormalCdf(d, x));
  }
  if constexpr (kKind == Unary::kGeluTanh) {
    // From 10 on the derivative is 0 or 1 to the last bit; the square of a large x is infinite, and
    // times 0 it would be NaN. NaN passes.
    x = hn::Min(constant(10.0f), hn::Max(constant(-10.0f), x));
    const V u = GeluTanhArgument(x);
    const V half = constant(0.5f);
    // tanh'(u) = 4 sigma'(2u).
    const V slope = hn::Mul(constant(4.0f), SigmoidDerivative(hn::Add(u, u)));
    const V inner = hn::MulAdd(constant(3.0f * 0.044715f), hn::Mul(x, x), one);
    const V outer =
        hn::Mul(hn::Mul(hn::Mul(half, x), slope), hn::Mul(constant(0.79788456f), inner));
    return hn::MulAdd(half, hn::Add(one, Tanh(d, u)), outer);
  }
  if constexpr (kKind == Unary::kSigmoid) return SigmoidDerivative(x);
  if constexpr (kKind == Unary::kTanh)
    return hn::Mul(constant(4.0f), SigmoidDerivative(hn::Add(x, x)));
  if constexpr (kKind == Unary::kRelu) return hn::IfThenElseZero(hn::Gt(x, hn::Zero(d)), one);
  if constexpr (kKind == Unary::kSoftplus) return Sigmoid(d, x);
  if constexpr (kKind == Unary::kLogSigmoid) return Sigmoid(d, hn::Neg(x));
  if constexpr (kKind == Unary::kExp) return y;
  if constexpr (kKind == Unary::kLog) return hn::Div(one, x);
  if constexpr (kKind == Unary::kSquare) return hn::Add(x, x);
  if constexpr (kKind == Unary::kSqrt) return hn::Div(constant(0.5f), y);
  if constexpr (kKind == Unary::kNegate) return constant(-1.0f);
  if constexpr (kKind == Unary::kReciprocal) return hn::Neg(hn::Mul(y, y));
  if constexpr (kKind == Unary::kEluPlusOne)
    return hn::IfThenElse(hn::Gt(x, hn::Zero(d)), one, Exp(d, x));
  if constexpr (kKind == Unary::kMinGru)
    return hn::IfThenElse(hn::Ge(x, hn::Zero(d)), one, SigmoidDerivative(x));
}

template <Unary kKind>
void UnaryTile(const float* x, float* y, std::int64_t count) {
  const D d;
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t i = 0;
  for (; i + lanes <= count; i += lanes) hn::StoreU(Activate<kKind>(hn::LoadU(d, x + i)), d, y + i);
  if (i < count) StoreN(d, Activate<kKind>(LoadN(d, x + i, count - i)), y + i, count - i);
}

template <Unary kKind>
void UnaryBackwardTile(const float* x, const float* y, const float* dy, float* dx,
                       std::int64_t count) {
  const D d;
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t i = 0; i < count; i += lanes) {
    const std::int64_t n = count - i;
    const V slope = Derivative<kKind>(LoadN(d, x + i, n), LoadN(d, y + i, n));
    StoreN(d, hn::Mul(LoadN(d, dy + i, n), slope), dx + i, n);
  }
}

template <Unary kKind>
void GatedRow(const float* x, const float* gate, float* y, std::int64_t count) {
  const D d;
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t i = 0; i < count; i += lanes) {
    const std::int64_t n = count - i;
    StoreN(d, hn::Mul(Activate<kKind>(LoadN(d, gate + i, n)), LoadN(d, x + i, n)), y + i, n);
  }
}

template <Unary kKind>
void GatedBackwardRow(const float* x, const float* gate, const float* dy, float* dx, float* dgate,
                      std::int64_t count) {
  const D d;
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t i = 0; i < count; i += lanes) {
    const std::int64_t n = count - i;
    const V g = LoadN(d, gate + i, n), v = LoadN(d, dy + i, n);
    const V a = Activate<kKind>(g);
    StoreN(d, hn::Mul(hn::Mul(v, LoadN(d, x + i, n)), Derivative<kKind>(g, a)), dgate + i, n);
    StoreN(d, hn::Mul(v, a), dx + i, n);
  }
}

template <Unary kKind>
struct Kind {
  static constexpr Unary value = kKind;
};

template <class F>
void WithKind(std::int64_t kind, const F& f) {
  switch (static_cast<Unary>(kind)) {
    case Unary::kSilu:
      return f(Kind<Unary::kSilu>());
    case Unary::kGelu:
      return f(Kind<Unary::kGelu>());
    case Unary::kGeluTanh:
      return f(Kind<Unary::kGeluTanh>());
    case Unary::kSigmoid:
      return f(Kind<Unary::kSigmoid>());
    case Unary::kTanh:
      return f(Kind<Unary::kTanh>());
    case Unary::kRelu:
      return f(Kind<Unary::kRelu>());
    case Unary::kSoftplus:
      return f(Kind<Unary::kSoftplus>());
    case Unary::kLogSigmoid:
      return f(Kind<Unary::kLogSigmoid>());
    case Unary::kExp:
      return f(Kind<Unary::kExp>());
    case Unary::kLog:
      return f(Kind<Unary::kLog>());
    case Unary::kSquare:
      return f(Kind<Unary::kSquare>());
    case Unary::kSqrt:
      return f(Kind<Unary::kSqrt>());
    case Unary::kNegate:
      return f(Kind<Unary::kNegate>());
    case Unary::kReciprocal:
      return f(Kind<Unary::kReciprocal>());
    case Unary::kEluPlusOne:
      return f(Kind<Unary::kEluPlusOne>());
    case Unary::kMinGru:
      return f(Kind<Unary::kMinGru>());
  }
}

void UnaryKernel(const UnaryArgs& args, const KernelContext& context) {
  const float* x = static_cast<const float*>(args.x);
  float* y = static_cast<float*>(args.y);
  WithKind(args.kind, [&](auto kind) {
    cpu::for_tiles(context, args.count, cpu::kTile, [&](std::int64_t first, std::int64_t last) {
      UnaryTile<decltype(kind)::value>(x + first, y + first, last - first);
    });
  });
}

void UnaryBackwardKernel(const UnaryBackwardArgs& args, const KernelContext& context) {
  const float *x = static_cast<const float*>(args.x), *y = static_cast<const float*>(args.y);
  const float* dy = static_cast<const float*>(args.dy);
  float* dx = static_cast<float*>(args.dx);
  WithKind(args.kind, [&](auto kind) {
    cpu::for_tiles(context, args.count, cpu::kTile, [&](std::int64_t first, std::int64_t last) {
      UnaryBackwardTile<decltype(kind)::value>(x + first, y + first, dy + first, dx + first,
                                               last - first);
    });
  });
}

void GatedKernel(const GatedArgs& args, const KernelContext& context) {
  const float *x = static_cast<const float*>(args.x), *gate = static_cast<const float*>(args.gate);
  float* y = static_cast<float*>(args.y);
  WithKind(args.kind, [&](auto kind) {
    cpu::for_tiles(context, args.tokens, cpu::row_tile(args.channels),
                   [&](std::int64_t first, std::int64_t last) {
                     for (std::int64_t t = first; t < last; ++t)
                       GatedRow<decltype(kind)::value>(x + t * args.x_row, gate + t * args.gate_row,
                                                       y + t * args.channels, args.channels);
                   });
  });
}

void GatedBackwardKernel(const GatedBackwardArgs& args, const KernelContext& context) {
  const float *x = static_cast<const float*>(args.x), *gate = static_cast<const float*>(args.gate);
  const float* dy = static_cast<const float*>(args.dy);
  float *dx = static_cast<float*>(args.dx), *dgate = static_cast<float*>(args.dgate);
  WithKind(args.kind, [&](auto kind) {
    cpu::for_tiles(context, args.tokens, cpu::row_tile(args.channels),
                   [&](std::int64_t first, std::int64_t last) {
                     for (std::int64_t t = first; t < last; ++t)
                       GatedBackwardRow<decltype(kind)::value>(
                           x + t * args.x_row, gate + t * args.gate_row, dy + t * args.channels,
                           dx + t * args.x_row, dgate + t * args.gate_row, args.channels);
                   });
  });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rill
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rill {

HWY_EXPORT(UnaryKernel);
HWY_EXPORT(UnaryBackwardKernel);
HWY_EXPORT(GatedKernel);
HWY_EXPORT(GatedBackwardKernel);

namespace cpu {

void add_activations(CoreKernels& table) {
  table.unary = [](const UnaryArgs& args, const KernelContext& context) {
    HWY_DYNAMIC_DISPATCH(UnaryKernel)(args, context);
  };
  table.unary_backward = [](const UnaryBackwardArgs& args, const KernelContext& context) {
    HWY_DYNAMIC_DISPATCH(UnaryBackwardKernel)(args, context);
  };
  table.gated = [](const GatedArgs& args, const KernelContext& context) {
    HWY_DYNAMIC_DISPATCH(GatedKernel)(args, context);
  };
  table.gated_backward = [](const GatedBackwardArgs& args, const KernelContext& context) {
    HWY_DYNAMIC_DISPATCH(GatedBackwardKernel)(args, context);
  };
}

}  // namespace cpu
}  // namespace rill
#endif
