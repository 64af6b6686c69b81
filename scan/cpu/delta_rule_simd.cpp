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

#include <rill/scan/cpu/lanes-inl.h>

HWY_BEFORE_NAMESPACE();
namespace rill {
namespace HWY_NAMESPACE {
namespace delta {

namespace hn = hwy::HWY_NAMESPACE;
using namespace lanes;

const float* Floats(const void* p) { return static_cast<const float*>(p); }
float* Floats(void* p) { return static_cast<float*>(p); }

struct Place {
  std::int64_t row, head, column, count;
};

// S^T k of a tile: the sum over keys in order.
template <int N, bool Part>
HWY_INLINE Tile<N, Part> Read(const float* state, const float* k, std::int64_t keys,
                              std::int64_t values, std::int64_t count) {
  using V = Tile<N, Part>;
  V sum = V::Zero();
  for (std::int64_t i = 0; i < keys; ++i) {
    const V x = V::Load(state + i * values, count);
    const Vec ki = hn::Set(Tag(), k[i]);
    for (int j = 0; j < N; ++j) sum.v[j] = hn::MulAdd(ki, x.v[j], sum.v[j]);
  }
  return sum;
}

template <int N, bool Part>
HWY_INLINE void ForwardTile(const DeltaRuleArgs& a, const Place& p) {
  using V = Tile<N, Part>;
  const Tag d;
  const SeqArgs& s = a.sequence;
  const std::int64_t keys = a.keys, values = a.values, heads = a.heads;
  const std::int64_t offset = (p.row * heads + p.head) * keys * values + p.column;
  float* HWY_RESTRICT state = Floats(a.final_state) + offset;
  if (a.final_state != a.initial)
    for (std::int64_t i = 0; i < keys; ++i)
      V::Load(Floats(a.initial) + offset + i * values, p.count).Store(state + i * values, p.count);
  const Vec scale = hn::Set(d, static_cast<float>(a.scale));
  const std::int64_t start = s.start[p.row], length = s.length[p.row];
  std::int64_t slot = matrix_slot(start, p.row);
  const auto key = [&](std::int64_t t) { return Floats(a.k) + (t * heads + p.head) * keys; };
  V seen = V::Zero();  // S^T k of the next token
  if (length > 0 && !matrix::fresh_before(s, start))
    seen = Read<N, Part>(state, key(start), keys, values, p.count);
  for (std::int64_t step = 0; step < length; ++step) {
    const std::int64_t t = start + step;
    if (a.kept && step % kMatrixChunk == 0) {
      float* kept = Floats(a.kept) + (slot++ * heads + p.head) * keys * values + p.column;
      for (std::int64_t i = 0; i < keys; ++i)
        V::Load(state + i * values, p.count).Store(kept + i * values, p.count);
    }
    if (matrix::fresh_before(s, t))
      for (std::int64_t i = 0; i < keys; ++i) V::Zero().Store(state + i * values, p.count);
    const float* HWY_RESTRICT q = Floats(a.q) + (t * heads + p.head) * keys;
    const float* HWY_RESTRICT k = key(t);
    const Vec beta = hn::Set(d, Floats(a.beta)[t * heads + p.head]);
    V w = V::Load(Floats(a.v) + (t * heads + p.head) * values + p.column, p.count);
    for (int j = 0; j < N; ++j) w.v[j] = hn::Mul(beta, hn::Sub(w.v[j], seen.v[j]));
    V out = V::Zero();
    seen = V::Zero();
    const auto row = [&](std::int64_t i) HWY_ATTR {
      V x = V::Load(state + i * values, p.count);
      const Vec ki = hn::Set(d, k[i]), qi = hn::Set(d, q[i]);
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
        const Vec ni = hn::Set(d, next[i]);
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
  Backward(const DeltaRuleBackwardArgs& args, std::int64_t row, std::int64_t head, float* scratch)
      : b_(args),
        a_(args.forward),
        row_(row),
        head_(head),
        keys_(a_.keys),
        values_(a_.values),
        padded_(matrix_padded(a_.keys)) {
    const std::int64_t v = matrix_padded(values_);
    const auto take = [&](std::int64_t count) {
      float* block = scratch;
      scratch += count;
      return block;
    };
    states_ = take((kMatrixChunk + 1) * v * padded_);
    ds_ = take(v * padded_);
    errors_ = take(kMatrixChunk * v);
    dout_ = take(v);
    q_ = take(padded_), k_ = take(padded_);
    dq_ = take(padded_), dk_ = take(padded_);
    zeros_ = take(padded_);
    for (float* array : {q_, k_, zeros_}) std::memset(array, 0, Bytes(padded_));
  }

  void Run() {
    const SeqArgs& s = a_.sequence;
    const std::int64_t start = s.start[row_], length = s.length[row_];
    if (b_.dfinal) {
      Transpose(Floats(b_.dfinal) + Matrix(), ds_);
    } else {
      std::memset(ds_, 0, Bytes(values_ * padded_));
    }
    for (std::int64_t chunk = (length + kMatrixChunk - 1) / kMatrixChunk - 1; chunk >= 0; --chunk) {
      const std::int64_t first = chunk * kMatrixChunk;
      const std::int64_t count = std::min(kMatrixChunk, length - first);
      const std::int64_t slot = matrix_slot(start, row_) + chunk;
      Transpose(Floats(a_.kept) + (slot * a_.heads + head_) * keys_ * values_, State(0));
      for (std::int64_t i = 0; i < count; ++i) Again(start + first + i, i);
      for (std::int64_t i = count - 1; i >= 0; --i) Step(start + first + i, i);
    }
    float* to = Floats(b_.dinitial) + Matrix();
    for (std::int64_t i = 0; i < keys_; ++i)
      for (std::int64_t v = 0; v < values_; ++v) to[i * values_ + v] = ds_[v * padded_ + i];
    plain::delta_rule_clear<float>(b_, row_, head_);
  }

 private:
  static std::size_t Bytes(std::int64_t count) {
    return static_cast<std::size_t>(count) * sizeof(float);
  }
  std::int64_t Matrix() const { return (row_ * a_.heads + head_) * keys_ * values_; }
  std::int64_t Head(std::int64_t t) const { return t * a_.heads + head_; }
  float* State(std::int64_t i) { return states_ + i * values_ * padded_; }
  float* Error(std::int64_t i) { return errors_ + i * values_; }

  void Transpose(const float* from, float* to) const {
    std::memset(to, 0, Bytes(values_ * padded_));
    for (std::int64_t i = 0; i < keys_; ++i)
      for (std::int64_t v = 0; v < values_; ++v) to[v * padded_ + i] = from[i * values_ + v];
  }
  void LoadToken(std::int64_t t) {
    std::memcpy(q_, Floats(a_.q) + Head(t) * keys_, Bytes(keys_));
    std::memcpy(k_, Floats(a_.k) + Head(t) * keys_, Bytes(keys_));
    const float scale = static_cast<float>(a_.scale);
    const float* dout = b_.dout ? Floats(b_.dout) + Head(t) * values_ : nullptr;
    for (std::int64_t j = 0; j < values_; ++j) dout_[j] = dout ? scale * dout[j] : 0.0f;
  }

  // State i + 1 of the chunk from state i, the error v - S^T k, and dq = S (scale dout).
  void Again(std::int64_t t, std::int64_t i) {
    LoadToken(t);
    const bool fresh = matrix::fresh_before(a_.sequence, t);
    const float* HWY_RESTRICT before = fresh ? zeros_ : State(i);
    const std::int64_t stride = fresh ? 0 : padded_;
    float* HWY_RESTRICT after = State(i + 1);
    float* HWY_RESTRICT error = Error(i);
    const float* v = Floats(a_.v) + Head(t) * values_;
    const float beta = Floats(a_.beta)[Head(t)];
    const Tag d;
    const std::int64_t lanes = Count();
    std::memset(dq_, 0, Bytes(padded_));
    for (std::int64_t j = 0; j < values_; ++j) {
      error[j] = v[j] - Dot(before + j * stride, k_, padded_);
      const Vec w = hn::Set(d, beta * error[j]), dout = hn::Set(d, dout_[j]);
      for (std::int64_t c = 0; c < padded_; c += lanes) {
        const Vec s = hn::MulAdd(w, hn::Load(d, k_ + c), hn::LoadU(d, before + j * stride + c));
        hn::StoreU(s, d, after + j * padded_ + c);
        hn::Store(hn::MulAdd(dout, s, hn::Load(d, dq_ + c)), d, dq_ + c);
      }
    }
    std::memcpy(Floats(b_.dq) + Head(t) * keys_, dq_, Bytes(keys_));
  }

  // Back through token t: state i before it.
  void Step(std::int64_t t, std::int64_t i) {
    LoadToken(t);
    const bool fresh = matrix::fresh_before(a_.sequence, t);
    const float* HWY_RESTRICT before = fresh ? zeros_ : State(i);
    const std::int64_t stride = fresh ? 0 : padded_;
    const float* HWY_RESTRICT error = Error(i);
    const float beta = Floats(a_.beta)[Head(t)];
    float* dv = Floats(b_.dv) + Head(t) * values_;
    const Tag d;
    const std::int64_t lanes = Count();
    const Vec keep = hn::Set(d, fresh ? 0.0f : 1.0f);
    std::memset(dk_, 0, Bytes(padded_));
    float dbeta = 0.0f;
    for (std::int64_t j = 0; j < values_; ++j) {
      float* HWY_RESTRICT ds = ds_ + j * padded_;
      const Vec dout = hn::Set(d, dout_[j]);
      Vec sum = hn::Zero(d);
      for (std::int64_t c = 0; c < padded_; c += lanes) {
        const Vec x = hn::MulAdd(dout, hn::Load(d, q_ + c), hn::Load(d, ds + c));
        hn::Store(x, d, ds + c);
        sum = hn::MulAdd(x, hn::Load(d, k_ + c), sum);
      }
      const float dw = hn::GetLane(hn::SumOfLanes(d, sum));
      dbeta += dw * error[j];
      dv[j] = beta * dw;
      const Vec w = hn::Set(d, beta * error[j]), dseen = hn::Set(d, -dv[j]);
      for (std::int64_t c = 0; c < padded_; c += lanes) {
        const Vec x = hn::Load(d, ds + c);
        Vec dk = hn::MulAdd(w, x, hn::Load(d, dk_ + c));
        dk = hn::MulAdd(dseen, hn::LoadU(d, before + j * stride + c), dk);
        hn::Store(dk, d, dk_ + c);
        hn::Store(hn::Mul(keep, hn::MulAdd(dseen, hn::Load(d, k_ + c), x)), d, ds + c);
      }
    }
    Floats(b_.dbeta)[Head(t)] = dbeta;
    std::memcpy(Floats(b_.dk) + Head(t) * keys_, dk_, Bytes(keys_));
  }

  const DeltaRuleBackwardArgs& b_;
  const DeltaRuleArgs& a_;
  std::int64_t row_, head_, keys_, values_, padded_;
  float *states_, *ds_, *errors_, *dout_, *q_, *k_, *dq_, *dk_, *zeros_;
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
                                      delta::Floats(b.scratch) + lane * size)
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
