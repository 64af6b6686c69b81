// The delta rule in float (delta_rule.h): w = beta (v - S^T k), S = S + k w^T, out = scale S^T q.
// Forward: vector lanes run over value channels as in linear_attention_simd.cpp. One pass over S
// writes token t's update, reads it out with q_t and with k_{t+1}, so that S is loaded once a
// token. Backward: lanes run over key channels, S is held transposed [V, K].
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "rill/scan/cpu/delta_rule_simd.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <rill/scan/cpu/delta_rule_plain-inl.h>
#include <rill/scan/cpu/families.h>

#include <rill/scan/cpu/matrix_back-inl.h>

HWY_BEFORE_NAMESPACE();
namespace rill {
namespace HWY_NAMESPACE {
namespace delta {

namespace hn = hwy::HWY_NAMESPACE;
using namespace lanes;

struct Place {
  std::int64_t row, head, column, count;
};

// S^T k of a tile: the sum over keys in order.
template <class D, int N, bool Part>
HWY_INLINE Tile<D, N, Part> Read(const float* state, const float* k, std::int64_t keys,
                                 std::int64_t values, std::int64_t count) {
  using V = Tile<D, N, Part>;
  V sum = V::Zero();
  for (std::int64_t i = 0; i < keys; ++i) {
    const V x = V::Load(state + i * values, count);
    const hn::Vec<D> ki = hn::Set(D(), k[i]);
    for (int j = 0; j < N; ++j) sum.v[j] = hn::MulAdd(ki, x.v[j], sum.v[j]);
  }
  return sum;
}

template <class D, int N, bool Part>
HWY_INLINE void ForwardTile(const DeltaRuleArgs& a, const Place& p) {
  using V = Tile<D, N, Part>;
  using Vector = hn::Vec<D>;
  const D d;
  const SeqArgs& s = a.sequence;
  const std::int64_t keys = a.keys, values = a.values, heads = a.heads;
  const std::int64_t offset = (p.row * heads + p.head) * keys * values + p.column;
  float* HWY_RESTRICT state = Floats(a.final_state) + offset;
  if (a.final_state != a.initial)
    CopyTile<V>(Floats(a.initial) + offset, state, keys, values, p.count);
  const Vector scale = hn::Set(d, static_cast<float>(a.scale));
  const std::int64_t start = s.start[p.row], length = s.length[p.row];
  std::int64_t slot = matrix_slot(start, p.row);
  const auto key = [&](std::int64_t t) { return Floats(a.k) + (t * heads + p.head) * keys; };
  V seen = V::Zero();  // S^T k of the next token
  if (length > 0 && !matrix::fresh_before(s, start))
    seen = Read<D, N, Part>(state, key(start), keys, values, p.count);
  for (std::int64_t step = 0; step < length; ++step) {
    const std::int64_t t = start + step;
    if (a.kept && step % kMatrixChunk == 0) {
      float* kept = Floats(a.kept) + (slot++ * heads + p.head) * keys * values + p.column;
      CopyTile<V>(state, kept, keys, values, p.count);
    }
    if (matrix::fresh_before(s, t)) ClearTile<V>(state, keys, values, p.count);
    const float* HWY_RESTRICT q = Floats(a.q) + (t * heads + p.head) * keys;
    const float* HWY_RESTRICT k = key(t);
    const Vector beta = hn::Set(d, Floats(a.beta)[t * heads + p.head]);
    V w = V::Load(Floats(a.v) + (t * heads + p.head) * values + p.column, p.count);
    for (int j = 0; j < N; ++j) w.v[j] = hn::Mul(beta, hn::Sub(w.v[j], seen.v[j]));
    V out = V::Zero();
    seen = V::Zero();
    const auto row = [&](std::int64_t i) HWY_ATTR {
      V x = V::Load(state + i * values, p.count);
      const Vector ki = hn::Set(d, k[i]), qi = hn::Set(d, q[i]);
      for (int j = 0; j < N; ++j) {
        x.v[j] = hn::MulAdd(ki, w.v[j], x.v[j]);
        out.v[j] = hn::MulAdd(qi, x.v[j], out.v[j]);
      }
      x.Store(state + i * values, p.count);
      return x;
    };
    if (step + 1 < length && !matrix::fresh_before(s, t + 1)) {
      const float* HWY_RESTRICT next = key(t + 1);
      for (std::int64_t i = 0; i < keys; ++i) {
        const V x = row(i);
        const Vector ni = hn::Set(d, next[i]);
        for (int j = 0; j < N; ++j) seen.v[j] = hn::MulAdd(ni, x.v[j], seen.v[j]);
      }
    } else {
      for (std::int64_t i = 0; i < keys; ++i) row(i);
    }
    for (int j = 0; j < N; ++j) out.v[j] = hn::Mul(out.v[j], scale);
    out.Store(Floats(a.out) + (t * heads + p.head) * values + p.column, p.count);
  }
}

void Forward(const DeltaRuleArgs& a, const KernelContext& context) {
  const SeqArgs& s = a.sequence;
  const std::int64_t tile = matrix::value_tile(s.rows, a.heads, a.values);
  const std::int64_t tiles = (a.values + tile - 1) / tile;
  context.parallel_for(s.rows * a.heads * tiles, [&](std::int64_t task) HWY_ATTR {
    const std::int64_t row = task / tiles / a.heads, head = task / tiles % a.heads;
    const std::int64_t begin = task % tiles * tile, end = std::min(begin + tile, a.values);
    ForTiles(begin, end,
             [&]<class D, int N, bool Part>(std::int64_t first, std::int64_t count) HWY_ATTR {
               ForwardTile<D, N, Part>(a, {row, head, first, count});
             });
    matrix::clear_padding<float>(s, row, a.out, a.heads * a.values, head * a.values + begin,
                                 end - begin);
  });
}

class Backward : MatrixBack<DeltaRuleArgs> {
 public:
  Backward(const DeltaRuleBackwardArgs& args, std::int64_t row, std::int64_t head, float* scratch)
      : MatrixBack(args.forward, row, head, scratch), b_(args) {
    errors_ = Take(kMatrixChunk * values_);
  }

  void Run() {
    Walk(
        b_.dfinal, b_.dinitial, [&](std::int64_t t, std::int64_t i) { Again(t, i); },
        [&](std::int64_t t, std::int64_t i) { Step(t, i); });
    plain::delta_rule_clear<float>(b_, row_, head_);
  }

 private:
  // w = beta times the error, what is written at the key.
  void LoadWrite(std::int64_t t, const float* error) {
    ScaleValues(Floats(a_.beta)[Head(t)], error, w_);
  }

  // The error v - S^T k of state i, state i + 1, and dq = S dout.
  void Again(std::int64_t t, std::int64_t i) {
    LoadKeys(t);
    LoadOut(t, b_.dout, static_cast<float>(a_.scale));
    const Before before = StateBefore(t, i);
    ForBlocks(padded_, [&]<int N>(std::int64_t c) HWY_ATTR {
      using V = Tile<Tag, N, false>;
      const V k = V::Load(k_ + c, 0);
      for (std::int64_t v = 0; v < values_; ++v) {
        const V s = V::Load(before.data + v * before.stride + c, 0);
        AddToSum<N>(v, c, s, k);
      }
    });
    SumVectors(x_, values_, sums_);
    float* error = errors_ + i * values_;
    const float* value = Floats(a_.v) + Head(t) * values_;
    for (std::int64_t j = 0; j < values_; ++j) error[j] = value[j] - sums_[j];
    LoadWrite(t, error);
    float* HWY_RESTRICT after = State(i + 1);
    ForBlocks(padded_, [&]<int N>(std::int64_t c) HWY_ATTR {
      using V = Tile<Tag, N, false>;
      const Tag d;
      const V k = V::Load(k_ + c, 0);
      V dq = V::Zero();
      for (std::int64_t v = 0; v < values_; ++v) {
        const Vec w = hn::Set(d, w_[v]), dout = hn::Set(d, dout_[v]);
        V s = V::Load(before.data + v * before.stride + c, 0);
        for (int j = 0; j < N; ++j) {
          s.v[j] = hn::MulAdd(w, k.v[j], s.v[j]);
          dq.v[j] = hn::MulAdd(dout, s.v[j], dq.v[j]);
        }
        s.Store(after + v * padded_ + c, 0);
      }
      dq.Store(dq_ + c, 0);
    });
    StoreKeys(t, dq_, b_.dq);
  }

  // Back through token t: state i before it. First the read-out and the write, then the error.
  void Step(std::int64_t t, std::int64_t i) {
    LoadKeys(t);
    LoadOut(t, b_.dout, static_cast<float>(a_.scale));
    const float* error = errors_ + i * values_;
    LoadWrite(t, error);
    ForBlocks(padded_, [&]<int N>(std::int64_t c) HWY_ATTR {
      using V = Tile<Tag, N, false>;
      const Tag d;
      const V q = V::Load(q_ + c, 0), k = V::Load(k_ + c, 0);
      V dk = V::Zero();
      for (std::int64_t v = 0; v < values_; ++v) {
        const Vec w = hn::Set(d, w_[v]), dout = hn::Set(d, dout_[v]);
        V ds = V::Load(ds_ + v * padded_ + c, 0);
        for (int j = 0; j < N; ++j) {
          ds.v[j] = hn::MulAdd(dout, q.v[j], ds.v[j]);
          dk.v[j] = hn::MulAdd(w, ds.v[j], dk.v[j]);
        }
        AddToSum<N>(v, c, ds, k);
        ds.Store(ds_ + v * padded_ + c, 0);
      }
      dk.Store(dk_ + c, 0);
    });
    SumVectors(x_, values_, sums_);
    Floats(b_.dbeta)[Head(t)] = Dot(sums_, error, values_);
    float* dv = Floats(b_.dv) + Head(t) * values_;
    ScaleValues(Floats(a_.beta)[Head(t)], sums_, dv);
    BackThroughError(t, i, dv);
    StoreKeys(t, dk_, b_.dk);
  }
  // dk -= S dv, dS -= k dv^T; behind a reset no gradient is left.
  void BackThroughError(std::int64_t t, std::int64_t i, const float* dv) {
    const Before before = StateBefore(t, i);
    if (before.stride == 0) {
      std::memset(ds_, 0, Bytes(values_ * padded_));
      return;
    }
    ForBlocks(padded_, [&]<int N>(std::int64_t c) HWY_ATTR {
      using V = Tile<Tag, N, false>;
      const V k = V::Load(k_ + c, 0);
      V dk = V::Load(dk_ + c, 0);
      for (std::int64_t v = 0; v < values_; ++v) {
        const Vec d = hn::Set(Tag(), -dv[v]);
        V ds = V::Load(ds_ + v * padded_ + c, 0);
        const V s = V::Load(before.data + v * before.stride + c, 0);
        for (int j = 0; j < N; ++j) {
          dk.v[j] = hn::MulAdd(d, s.v[j], dk.v[j]);
          ds.v[j] = hn::MulAdd(d, k.v[j], ds.v[j]);
        }
        ds.Store(ds_ + v * padded_ + c, 0);
      }
      dk.Store(dk_ + c, 0);
    });
  }
  // x[v] += a . b over the channels of a block, lanes apart.
  template <int N>
  HWY_INLINE void AddToSum(std::int64_t v, std::int64_t c, const Tile<Tag, N, false>& a,
                           const Tile<Tag, N, false>& b) {
    const Tag d;
    float* x = x_ + v * Count();
    Vec sum = c == 0 ? hn::Zero(d) : hn::Load(d, x);
    for (int j = 0; j < N; ++j) sum = hn::MulAdd(a.v[j], b.v[j], sum);
    hn::Store(sum, d, x);
  }

  const DeltaRuleBackwardArgs& b_;
  float* errors_;  // [kMatrixChunk, V]
};

}  // namespace delta

void DeltaRuleF32(const DeltaRuleArgs& args, const KernelContext& context) {
  delta::Forward(args, context);
}
void DeltaRuleBackwardF32(const DeltaRuleBackwardArgs& b, const KernelContext& context) {
  const DeltaRuleArgs& a = b.forward;
  const std::int64_t size = matrix_scratch(a.keys, a.values);
  matrix::for_lanes(context, a.sequence.rows * a.heads, b.lanes,
                    [&](std::int64_t task, std::int64_t lane) HWY_ATTR {
                      delta::Backward(b, task / a.heads, task % a.heads,
                                      lanes::Floats(b.scratch) + lane * size)
                          .Run();
                    });
}

}  // namespace HWY_NAMESPACE
}  // namespace rill
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rill {

HWY_EXPORT(DeltaRuleF32);
HWY_EXPORT(DeltaRuleBackwardF32);

void fill_delta_rule(ScanKernels& f32, ScanKernels& f64) {
  f32.delta_rule = [](const DeltaRuleArgs& args, const KernelContext& context) {
    HWY_DYNAMIC_DISPATCH(DeltaRuleF32)(args, context);
  };
  f32.delta_rule_backward = [](const DeltaRuleBackwardArgs& args, const KernelContext& context) {
    HWY_DYNAMIC_DISPATCH(DeltaRuleBackwardF32)(args, context);
  };
  f64.delta_rule = &plain::delta_rule<double>;
  f64.delta_rule_backward = &plain::delta_rule_backward<double>;
}

}  // namespace rill
#endif
