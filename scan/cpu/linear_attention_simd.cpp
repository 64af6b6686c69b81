// Gated linear attention in float (linear_attention.h): S = a S + c k v^T, out = scale S^T q / d.
// Forward: vector lanes run over value channels, a tile of at most four vectors walks all of time
// with its part of S [K, tile] in the first cache level; every element's sums run over keys in
// order. Backward: lanes run over key channels, S is held transposed [V, K], so that the gradients
// of q, k and the decay need no horizontal sums; the states of a chunk are computed again from its
// start.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "rill/scan/cpu/linear_attention_simd.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <rill/scan/cpu/families.h>
#include <rill/scan/cpu/linear_attention_plain-inl.h>
#include <rill/scan/cpu/matrix_walk.h>

#include <rill/scan/cpu/matrix_back-inl.h>

HWY_BEFORE_NAMESPACE();
namespace rill {
namespace HWY_NAMESPACE {
namespace attention {

namespace hn = hwy::HWY_NAMESPACE;
using namespace lanes;

struct Place {
  std::int64_t row, head, column, count;
};

// Value channels [column, column + count) of one row and head, through all of time.
template <class D, int N, bool Part>
HWY_INLINE void ForwardTile(const LinearAttentionArgs& a, const Place& p) {
  using V = Tile<D, N, Part>;
  using Vector = hn::Vec<D>;
  const D d;
  const SeqArgs& s = a.sequence;
  const std::int64_t keys = a.keys, values = a.values, heads = a.heads;
  const std::int64_t offset = (p.row * heads + p.head) * keys * values + p.column;
  float* HWY_RESTRICT state = Floats(a.final_state) + offset;
  if (a.final_state != a.initial)
    CopyTile<V>(Floats(a.initial) + offset, state, keys, values, p.count);
  const matrix::Decay<float> decay(a, p.head);
  const Vector scale = hn::Set(d, static_cast<float>(a.scale));
  const std::int64_t start = s.start[p.row];
  std::int64_t slot = matrix_slot(start, p.row);
  for (std::int64_t step = 0; step < s.length[p.row]; ++step) {
    const std::int64_t t = start + step;
    if (a.kept && step % kMatrixChunk == 0) {
      float* kept = Floats(a.kept) + (slot++ * heads + p.head) * keys * values + p.column;
      CopyTile<V>(state, kept, keys, values, p.count);
    }
    if (matrix::fresh_before(s, t)) ClearTile<V>(state, keys, values, p.count);
    const float* HWY_RESTRICT q = Floats(a.q) + (t * heads + p.head) * keys;
    const float* HWY_RESTRICT k = Floats(a.k) + (t * heads + p.head) * keys;
    V v = V::Load(Floats(a.v) + (t * heads + p.head) * values + p.column, p.count);
    if (a.gain) {
      const Vector gain = hn::Set(d, Floats(a.gain)[t * heads + p.head]);
      for (int j = 0; j < N; ++j) v.v[j] = hn::Mul(v.v[j], gain);
    }
    V out = V::Zero();
    const auto row = [&](std::int64_t i, auto decayed) HWY_ATTR {
      V x = V::Load(state + i * values, p.count);
      const Vector ki = hn::Set(d, k[i]), qi = hn::Set(d, q[i]);
      for (int j = 0; j < N; ++j) {
        x.v[j] = hn::MulAdd(ki, v.v[j], decayed(x.v[j]));
        out.v[j] = hn::MulAdd(qi, x.v[j], out.v[j]);
      }
      x.Store(state + i * values, p.count);
    };
    if (!decay.base) {
      for (std::int64_t i = 0; i < keys; ++i) row(i, [](Vector x) HWY_ATTR { return x; });
    } else if (decay.key == 0) {
      const Vector factor = hn::Set(d, *decay.at(t));
      for (std::int64_t i = 0; i < keys; ++i)
        row(i, [&](Vector x) HWY_ATTR { return hn::Mul(factor, x); });
    } else {
      const float* HWY_RESTRICT factors = decay.at(t);
      for (std::int64_t i = 0; i < keys; ++i)
        row(i, [&](Vector x) HWY_ATTR { return hn::Mul(hn::Set(d, factors[i]), x); });
    }
    for (int j = 0; j < N; ++j) out.v[j] = hn::Mul(out.v[j], scale);
    if (a.divisor) {
      const Vector divisor = hn::Set(d, Floats(a.divisor)[t * heads + p.head]);
      for (int j = 0; j < N; ++j) out.v[j] = hn::Div(out.v[j], divisor);
    }
    out.Store(Floats(a.out) + (t * heads + p.head) * values + p.column, p.count);
  }
}

void Forward(const LinearAttentionArgs& a, const KernelContext& context) {
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

class Backward : MatrixBack<LinearAttentionArgs> {
 public:
  Backward(const LinearAttentionBackwardArgs& args, std::int64_t row, std::int64_t head,
           float* scratch)
      : MatrixBack(args.forward, row, head, scratch), b_(args), decay_(a_, head) {
    f_ = Take(padded_), df_ = Take(padded_);
    std::memset(f_, 0, Bytes(padded_));
  }

  void Run() {
    Walk(
        b_.dfinal, b_.dinitial, [&](std::int64_t t, std::int64_t i) { Again(t, i); },
        [&](std::int64_t t, std::int64_t i) { Step(t, i); });
    plain::linear_attention_clear<float>(b_, row_, head_);
  }

 private:
  float Gain(std::int64_t t) const { return a_.gain ? Floats(a_.gain)[Head(t)] : 1.0f; }
  const float* Values(std::int64_t t) const { return Floats(a_.v) + Head(t) * values_; }

  void LoadToken(std::int64_t t) {
    LoadKeys(t);
    const float scale = static_cast<float>(a_.scale);
    LoadOut(t, b_.dout, a_.divisor ? scale / Floats(a_.divisor)[Head(t)] : scale);
    LoadDecay(t);
    ScaleValues(Gain(t), Values(t), w_);
  }
  void LoadDecay(std::int64_t t) {
    if (decay_.base && decay_.key) return LoadRow(decay_.at(t), f_);
    const Tag d;
    const Vec factor = hn::Set(d, decay_.base ? *decay_.at(t) : 1.0f);
    for (std::int64_t c = 0; c < padded_; c += Count()) hn::Store(factor, d, f_ + c);
  }

  // State i + 1 of the chunk from state i, and dq = S dout.
  void Again(std::int64_t t, std::int64_t i) {
    LoadToken(t);
    const Before before = StateBefore(t, i);
    float* HWY_RESTRICT after = State(i + 1);
    ForBlocks(padded_, [&]<int N>(std::int64_t c) HWY_ATTR {
      using V = Tile<Tag, N, false>;
      const Tag d;
      const V k = V::Load(k_ + c, 0), f = V::Load(f_ + c, 0);
      V dq = V::Zero();
      for (std::int64_t v = 0; v < values_; ++v) {
        const Vec w = hn::Set(d, w_[v]), dout = hn::Set(d, dout_[v]);
        V s = V::Load(before.data + v * before.stride + c, 0);
        for (int j = 0; j < N; ++j) {
          s.v[j] = hn::MulAdd(w, k.v[j], hn::Mul(f.v[j], s.v[j]));
          dq.v[j] = hn::MulAdd(dout, s.v[j], dq.v[j]);
        }
        s.Store(after + v * padded_ + c, 0);
      }
      dq.Store(dq_ + c, 0);
    });
    StoreKeys(t, dq_, b_.dq);
  }

  // Back through token t: state i before it.
  void Step(std::int64_t t, std::int64_t i) {
    LoadToken(t);
    const Before before = StateBefore(t, i);
    if (before.stride == 0) std::memset(f_, 0, Bytes(padded_));
    ForBlocks(padded_, [&]<int N>(std::int64_t c) HWY_ATTR {
      using V = Tile<Tag, N, false>;
      const Tag d;
      const V q = V::Load(q_ + c, 0), k = V::Load(k_ + c, 0), f = V::Load(f_ + c, 0);
      V dk = V::Zero(), df = V::Zero();
      for (std::int64_t v = 0; v < values_; ++v) {
        const Vec w = hn::Set(d, w_[v]), dout = hn::Set(d, dout_[v]);
        float* HWY_RESTRICT at = ds_ + v * padded_ + c;
        float* HWY_RESTRICT x = x_ + v * Count();
        V ds = V::Load(at, 0);
        const V s = V::Load(before.data + v * before.stride + c, 0);
        Vec sum = c == 0 ? hn::Zero(d) : hn::Load(d, x);
        for (int j = 0; j < N; ++j) {
          ds.v[j] = hn::MulAdd(dout, q.v[j], ds.v[j]);
          dk.v[j] = hn::MulAdd(w, ds.v[j], dk.v[j]);
          df.v[j] = hn::MulAdd(s.v[j], ds.v[j], df.v[j]);
          sum = hn::MulAdd(ds.v[j], k.v[j], sum);
          ds.v[j] = hn::Mul(f.v[j], ds.v[j]);
        }
        ds.Store(at, 0);
        hn::Store(sum, d, x);
      }
      for (int j = 0; j < N; ++j) df.v[j] = hn::Mul(f.v[j], df.v[j]);
      dk.Store(dk_ + c, 0);
      df.Store(df_ + c, 0);
    });
    StoreKeys(t, dk_, b_.dk);
    StoreValues(t);
    StoreDecay(t);
  }
  void StoreValues(std::int64_t t) {
    SumVectors(x_, values_, sums_);
    ScaleValues(Gain(t), sums_, Floats(b_.dv) + Head(t) * values_);
    if (b_.dgain) Floats(b_.dgain)[Head(t)] = Dot(sums_, Values(t), values_);
  }
  void StoreDecay(std::int64_t t) {
    if (!b_.dlog_decay) return;
    if (decay_.key) return StoreKeys(t, df_, b_.dlog_decay);
    const Tag d;
    Vec sum = hn::Zero(d);
    for (std::int64_t c = 0; c < padded_; c += Count()) sum = hn::Add(sum, hn::Load(d, df_ + c));
    Floats(b_.dlog_decay)[Head(t)] = hn::GetLane(hn::SumOfLanes(d, sum));
  }

  const LinearAttentionBackwardArgs& b_;
  matrix::Decay<float> decay_;
  float *f_, *df_;  // [P]
};

void BackwardAll(const LinearAttentionBackwardArgs& b, const KernelContext& context) {
  const LinearAttentionArgs& a = b.forward;
  const std::int64_t size = matrix_scratch(a.keys, a.values);
  matrix::for_lanes(
      context, a.sequence.rows * a.heads, b.lanes,
      [&](std::int64_t task, std::int64_t lane) HWY_ATTR {
        Backward(b, task / a.heads, task % a.heads, Floats(b.scratch) + lane * size).Run();
      });
}

}  // namespace attention

void LinearAttentionF32(const LinearAttentionArgs& args, const KernelContext& context) {
  attention::Forward(args, context);
}
void LinearAttentionBackwardF32(const LinearAttentionBackwardArgs& args,
                                const KernelContext& context) {
  attention::BackwardAll(args, context);
}

}  // namespace HWY_NAMESPACE
}  // namespace rill
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rill {

HWY_EXPORT(LinearAttentionF32);
HWY_EXPORT(LinearAttentionBackwardF32);

void fill_linear_attention(ScanKernels& f32, ScanKernels& f64) {
  f32.linear_attention = [](const LinearAttentionArgs& args, const KernelContext& context) {
    HWY_DYNAMIC_DISPATCH(LinearAttentionF32)(args, context);
  };
  f32.linear_attention_backward = [](const LinearAttentionBackwardArgs& args,
                                     const KernelContext& context) {
    HWY_DYNAMIC_DISPATCH(LinearAttentionBackwardF32)(args, context);
  };
  f64.linear_attention = &plain::linear_attention<double>;
  f64.linear_attention_backward = &plain::linear_attention_backward<double>;
}

}  // namespace rill
#endif
