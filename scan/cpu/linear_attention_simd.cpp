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

#include <rill/scan/cpu/lanes-inl.h>

HWY_BEFORE_NAMESPACE();
namespace rill {
namespace HWY_NAMESPACE {
namespace attention {

namespace hn = hwy::HWY_NAMESPACE;
using namespace lanes;

const float* Floats(const void* p) { return static_cast<const float*>(p); }
float* Floats(void* p) { return static_cast<float*>(p); }

struct Place {
  std::int64_t row, head, column, count;
};

// Value channels [column, column + count) of one row and head, through all of time.
template <int N, bool Part>
HWY_INLINE void ForwardTile(const LinearAttentionArgs& a, const Place& p) {
  using V = Tile<N, Part>;
  const Tag d;
  const SeqArgs& s = a.sequence;
  const std::int64_t keys = a.keys, values = a.values, heads = a.heads;
  const std::int64_t offset = (p.row * heads + p.head) * keys * values + p.column;
  float* HWY_RESTRICT state = Floats(a.final_state) + offset;
  if (a.final_state != a.initial)
    for (std::int64_t i = 0; i < keys; ++i)
      V::Load(Floats(a.initial) + offset + i * values, p.count).Store(state + i * values, p.count);
  const matrix::Decay<float> decay(a, p.head);
  const Vec scale = hn::Set(d, static_cast<float>(a.scale));
  const std::int64_t start = s.start[p.row];
  std::int64_t slot = matrix_slot(start, p.row);
  for (std::int64_t step = 0; step < s.length[p.row]; ++step) {
    const std::int64_t t = start + step;
    if (a.kept && step % kMatrixChunk == 0) {
      float* kept = Floats(a.kept) + (slot++ * heads + p.head) * keys * values + p.column;
      for (std::int64_t i = 0; i < keys; ++i)
        V::Load(state + i * values, p.count).Store(kept + i * values, p.count);
    }
    if (matrix::fresh_before(s, t))
      for (std::int64_t i = 0; i < keys; ++i) V::Zero().Store(state + i * values, p.count);
    const float* HWY_RESTRICT q = Floats(a.q) + (t * heads + p.head) * keys;
    const float* HWY_RESTRICT k = Floats(a.k) + (t * heads + p.head) * keys;
    V v = V::Load(Floats(a.v) + (t * heads + p.head) * values + p.column, p.count);
    if (a.gain) {
      const Vec gain = hn::Set(d, Floats(a.gain)[t * heads + p.head]);
      for (int j = 0; j < N; ++j) v.v[j] = hn::Mul(v.v[j], gain);
    }
    V out = V::Zero();
    const auto row = [&](std::int64_t i, auto decayed) HWY_ATTR {
      V x = V::Load(state + i * values, p.count);
      const Vec ki = hn::Set(d, k[i]), qi = hn::Set(d, q[i]);
      for (int j = 0; j < N; ++j) {
        x.v[j] = hn::MulAdd(ki, v.v[j], decayed(x.v[j]));
        out.v[j] = hn::MulAdd(qi, x.v[j], out.v[j]);
      }
      x.Store(state + i * values, p.count);
    };
    if (!decay.base) {
      for (std::int64_t i = 0; i < keys; ++i) row(i, [](Vec x) HWY_ATTR { return x; });
    } else if (decay.key == 0) {
      const Vec factor = hn::Set(d, *decay.at(t));
      for (std::int64_t i = 0; i < keys; ++i)
        row(i, [&](Vec x) HWY_ATTR { return hn::Mul(factor, x); });
    } else {
      const float* HWY_RESTRICT factors = decay.at(t);
      for (std::int64_t i = 0; i < keys; ++i)
        row(i, [&](Vec x) HWY_ATTR { return hn::Mul(hn::Set(d, factors[i]), x); });
    }
    for (int j = 0; j < N; ++j) out.v[j] = hn::Mul(out.v[j], scale);
    if (a.divisor) {
      const Vec divisor = hn::Set(d, Floats(a.divisor)[t * heads + p.head]);
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
    ForTiles(begin, end, [&]<int N, bool Part>(std::int64_t first, std::int64_t count) HWY_ATTR {
      ForwardTile<N, Part>(a, {row, head, first, count});
    });
    matrix::clear_padding<float>(s, row, a.out, a.heads * a.values, head * a.values + begin,
                                 end - begin);
  });
}

// One row and head going back. Arrays over keys are padded with zeros to whole vectors.
class Backward {
 public:
  Backward(const LinearAttentionBackwardArgs& args, std::int64_t row, std::int64_t head,
           float* scratch)
      : b_(args),
        a_(args.forward),
        row_(row),
        head_(head),
        keys_(a_.keys),
        values_(a_.values),
        padded_(matrix_padded(a_.keys)),
        decay_(a_, head) {
    const std::int64_t v = matrix_padded(values_);
    const auto take = [&](std::int64_t count) {
      float* block = scratch;
      scratch += count;
      return block;
    };
    states_ = take((kMatrixChunk + 1) * v * padded_);
    ds_ = take(v * padded_);
    dout_ = take(v);
    gained_ = take(v);
    x_ = take(16 * v);
    q_ = take(padded_), k_ = take(padded_), f_ = take(padded_);
    dq_ = take(padded_), dk_ = take(padded_), df_ = take(padded_);
    zeros_ = take(padded_);
    for (float* array : {q_, k_, f_, zeros_}) std::memset(array, 0, Bytes(padded_));
  }

  void Run() {
    const SeqArgs& s = a_.sequence;
    const std::int64_t start = s.start[row_], length = s.length[row_];
    LoadGradient();
    for (std::int64_t chunk = (length + kMatrixChunk - 1) / kMatrixChunk - 1; chunk >= 0; --chunk) {
      const std::int64_t first = chunk * kMatrixChunk;
      const std::int64_t count = std::min(kMatrixChunk, length - first);
      LoadState(chunk);
      for (std::int64_t i = 0; i < count; ++i) Again(start + first + i, i);
      for (std::int64_t i = count - 1; i >= 0; --i) Step(start + first + i, i);
    }
    StoreGradient();
    plain::linear_attention_clear<float>(b_, row_, head_);
  }

 private:
  static std::size_t Bytes(std::int64_t count) {
    return static_cast<std::size_t>(count) * sizeof(float);
  }
  std::int64_t Matrix() const { return (row_ * a_.heads + head_) * keys_ * values_; }
  std::int64_t Head(std::int64_t t) const { return t * a_.heads + head_; }
  float* State(std::int64_t i) { return states_ + i * values_ * padded_; }

  void Transpose(const float* from, float* to) const {
    std::memset(to, 0, Bytes(values_ * padded_));
    for (std::int64_t i = 0; i < keys_; ++i)
      for (std::int64_t v = 0; v < values_; ++v) to[v * padded_ + i] = from[i * values_ + v];
  }
  void LoadState(std::int64_t chunk) {
    const std::int64_t slot = matrix_slot(a_.sequence.start[row_], row_) + chunk;
    Transpose(Floats(a_.kept) + (slot * a_.heads + head_) * keys_ * values_, State(0));
  }
  void LoadGradient() {
    if (b_.dfinal) {
      Transpose(Floats(b_.dfinal) + Matrix(), ds_);
    } else {
      std::memset(ds_, 0, Bytes(values_ * padded_));
    }
  }
  void StoreGradient() const {
    float* to = Floats(b_.dinitial) + Matrix();
    for (std::int64_t i = 0; i < keys_; ++i)
      for (std::int64_t v = 0; v < values_; ++v) to[i * values_ + v] = ds_[v * padded_ + i];
  }

  // The rows of token t: q, k and decay padded, v times gain, the gradient of S^T q.
  void LoadToken(std::int64_t t) {
    std::memcpy(q_, Floats(a_.q) + Head(t) * keys_, Bytes(keys_));
    std::memcpy(k_, Floats(a_.k) + Head(t) * keys_, Bytes(keys_));
    for (std::int64_t i = 0; i < keys_; ++i) f_[i] = decay_.base ? decay_.at(t)[i * decay_.key] : 1;
    const float gain = a_.gain ? Floats(a_.gain)[Head(t)] : 1.0f;
    const float* v = Floats(a_.v) + Head(t) * values_;
    float scale = static_cast<float>(a_.scale);
    if (a_.divisor) scale /= Floats(a_.divisor)[Head(t)];
    const float* dout = b_.dout ? Floats(b_.dout) + Head(t) * values_ : nullptr;
    for (std::int64_t j = 0; j < values_; ++j) {
      gained_[j] = gain * v[j];
      dout_[j] = dout ? scale * dout[j] : 0.0f;
    }
  }

  // State i + 1 of the chunk from state i, and dq = S (scale dout).
  void Again(std::int64_t t, std::int64_t i) {
    LoadToken(t);
    const bool fresh = matrix::fresh_before(a_.sequence, t);
    const float* HWY_RESTRICT before = fresh ? zeros_ : State(i);
    const std::int64_t stride = fresh ? 0 : padded_;
    float* HWY_RESTRICT after = State(i + 1);
    const Tag d;
    const std::int64_t lanes = Count();
    for (std::int64_t c = 0; c < padded_; c += lanes) {
      const Vec k = hn::Load(d, k_ + c), f = hn::Load(d, f_ + c);
      Vec dq = hn::Zero(d);
      for (std::int64_t v = 0; v < values_; ++v) {
        const Vec s = hn::MulAdd(hn::Set(d, gained_[v]), k,
                                 hn::Mul(f, hn::LoadU(d, before + v * stride + c)));
        hn::StoreU(s, d, after + v * padded_ + c);
        dq = hn::MulAdd(hn::Set(d, dout_[v]), s, dq);
      }
      hn::StoreU(dq, d, dq_ + c);
    }
    std::memcpy(Floats(b_.dq) + Head(t) * keys_, dq_, Bytes(keys_));
  }

  // Back through token t: state i before it, i + 1 behind it.
  void Step(std::int64_t t, std::int64_t i) {
    LoadToken(t);
    const bool fresh = matrix::fresh_before(a_.sequence, t);
    const float* HWY_RESTRICT before = fresh ? zeros_ : State(i);
    const std::int64_t stride = fresh ? 0 : padded_;
    const Tag d;
    const std::int64_t lanes = Count();
    for (std::int64_t c = 0; c < padded_; c += lanes) {
      const Vec q = hn::Load(d, q_ + c), k = hn::Load(d, k_ + c);
      const Vec f = fresh ? hn::Zero(d) : hn::Load(d, f_ + c);
      Vec dk = hn::Zero(d), df = hn::Zero(d);
      for (std::int64_t v = 0; v < values_; ++v) {
        float* at = ds_ + v * padded_ + c;
        const Vec ds = hn::MulAdd(hn::Set(d, dout_[v]), q, hn::LoadU(d, at));
        dk = hn::MulAdd(hn::Set(d, gained_[v]), ds, dk);
        df = hn::MulAdd(hn::LoadU(d, before + v * stride + c), ds, df);
        float* x = x_ + v * lanes;
        hn::StoreU(c == 0 ? hn::Mul(ds, k) : hn::MulAdd(ds, k, hn::LoadU(d, x)), d, x);
        hn::StoreU(hn::Mul(f, ds), d, at);
      }
      hn::StoreU(dk, d, dk_ + c);
      hn::StoreU(hn::Mul(f, df), d, df_ + c);
    }
    std::memcpy(Floats(b_.dk) + Head(t) * keys_, dk_, Bytes(keys_));
    StoreValues(t);
    StoreDecay(t);
  }
  void StoreValues(std::int64_t t) {
    const Tag d;
    const std::int64_t lanes = Count();
    const float gain = a_.gain ? Floats(a_.gain)[Head(t)] : 1.0f;
    const float* v = Floats(a_.v) + Head(t) * values_;
    float* dv = Floats(b_.dv) + Head(t) * values_;
    float dgain = 0.0f;
    for (std::int64_t j = 0; j < values_; ++j) {
      const float x = hn::GetLane(hn::SumOfLanes(d, hn::LoadU(d, x_ + j * lanes)));
      dv[j] = gain * x;
      dgain += v[j] * x;
    }
    if (b_.dgain) Floats(b_.dgain)[Head(t)] = dgain;
  }
  void StoreDecay(std::int64_t t) {
    if (!b_.dlog_decay) return;
    float* to = Floats(b_.dlog_decay);
    if (decay_.key) {
      std::memcpy(to + Head(t) * keys_, df_, Bytes(keys_));
      return;
    }
    const Tag d;
    Vec sum = hn::Zero(d);
    for (std::int64_t c = 0; c < padded_; c += Count()) sum = hn::Add(sum, hn::LoadU(d, df_ + c));
    to[Head(t)] = hn::GetLane(hn::SumOfLanes(d, sum));
  }

  const LinearAttentionBackwardArgs& b_;
  const LinearAttentionArgs& a_;
  std::int64_t row_, head_, keys_, values_, padded_;
  matrix::Decay<float> decay_;
  float *states_, *ds_, *dout_, *gained_, *x_, *q_, *k_, *f_, *dq_, *dk_, *df_, *zeros_;
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
