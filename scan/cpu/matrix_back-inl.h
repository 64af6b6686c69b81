// Private: one row and head of a matrix-state recurrence going back, in float; compiled once per
// target. Lanes run over key channels: states are held transposed, [V, P] with P the keys padded
// with zeros to whole vectors, so that sums over value channels need no lanes to be added up. Sums
// over keys are kept as one vector per value channel and added up together.
#if defined(RILL_SCAN_CPU_MATRIX_BACK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RILL_SCAN_CPU_MATRIX_BACK_INL_H_
#undef RILL_SCAN_CPU_MATRIX_BACK_INL_H_
#else
#define RILL_SCAN_CPU_MATRIX_BACK_INL_H_
#endif

#include <hwy/highway.h>

#include <cstring>

#include <rill/scan/cpu/matrix_walk.h>

#include <rill/scan/cpu/lanes-inl.h>

HWY_BEFORE_NAMESPACE();
namespace rill {
namespace HWY_NAMESPACE {
namespace lanes {

HWY_INLINE const float* Floats(const void* p) { return static_cast<const float*>(p); }
HWY_INLINE float* Floats(void* p) { return static_cast<float*>(p); }

/// Cuts `padded` key channels into blocks of N vectors that stay in registers: f<N>(first channel).
template <class F>
HWY_INLINE void ForBlocks(std::int64_t padded, const F& f) {
  const std::int64_t lanes = Count();
  std::int64_t c = 0;
#if HWY_TARGET == HWY_AVX3  // 32 registers
  for (; c + 4 * lanes <= padded; c += 4 * lanes) f.template operator()<4>(c);
#endif
  for (; c + 2 * lanes <= padded; c += 2 * lanes) f.template operator()<2>(c);
  for (; c < padded; c += lanes) f.template operator()<1>(c);
}

#if HWY_TARGET != HWY_SCALAR
/// Four lanes whose sum is that of all lanes of v.
template <class D, class V>
HWY_INLINE auto FoldToFour([[maybe_unused]] D d, V v) {
  if constexpr (hn::MaxLanes(D()) <= 4) {
    return v;
  } else {
    const hn::Half<D> half;
    return FoldToFour(half, hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
  }
}
#endif

/// sums[i] = the sum of the lanes of vector i, for `count` vectors (rounded up to whole fours).
HWY_INLINE void SumVectors(const float* vectors, std::int64_t count, float* sums) {
#if HWY_TARGET == HWY_SCALAR
  for (std::int64_t i = 0; i < count; ++i) sums[i] = vectors[i];
#else
  const Tag d;
  const hn::CappedTag<float, 4> d4;
  const auto four = [&](std::int64_t i)
                        HWY_ATTR { return FoldToFour(d, hn::Load(d, vectors + i * Count())); };
  for (std::int64_t i = 0; i < count; i += 4) {
    const auto a = four(i), b = four(i + 1), c = four(i + 2), e = four(i + 3);
    const auto ac = hn::Add(hn::InterleaveLower(d4, a, c), hn::InterleaveUpper(d4, a, c));
    const auto be = hn::Add(hn::InterleaveLower(d4, b, e), hn::InterleaveUpper(d4, b, e));
    hn::StoreU(hn::Add(hn::InterleaveLower(d4, ac, be), hn::InterleaveUpper(d4, ac, be)), d4,
               sums + i);
  }
#endif
}

#if HWY_TARGET != HWY_SCALAR
/// A block of 4 by 4.
HWY_INLINE void TransposeFour(const float* from, std::int64_t from_row, float* to,
                              std::int64_t to_row) {
  const hn::CappedTag<float, 4> d;
  const auto a = hn::LoadU(d, from), b = hn::LoadU(d, from + from_row);
  const auto c = hn::LoadU(d, from + 2 * from_row), e = hn::LoadU(d, from + 3 * from_row);
  const auto ac = hn::InterleaveLower(d, a, c), be = hn::InterleaveLower(d, b, e);
  const auto ac_upper = hn::InterleaveUpper(d, a, c), be_upper = hn::InterleaveUpper(d, b, e);
  hn::StoreU(hn::InterleaveLower(d, ac, be), d, to);
  hn::StoreU(hn::InterleaveUpper(d, ac, be), d, to + to_row);
  hn::StoreU(hn::InterleaveLower(d, ac_upper, be_upper), d, to + 2 * to_row);
  hn::StoreU(hn::InterleaveUpper(d, ac_upper, be_upper), d, to + 3 * to_row);
}
#endif

/// What both recurrences need: `Args` is LinearAttentionArgs or DeltaRuleArgs.
template <class Args>
class MatrixBack {
 protected:
  MatrixBack(const Args& args, std::int64_t row, std::int64_t head, float* scratch)
      : a_(args),
        row_(row),
        head_(head),
        keys_(args.keys),
        values_(args.values),
        padded_(matrix_padded(args.keys)),
        scratch_(scratch) {
    const std::int64_t v = matrix_padded(values_);
    states_ = Take((kMatrixChunk + 1) * v * padded_);
    ds_ = Take(v * padded_);
    x_ = Take(16 * v);
    sums_ = Take(v), dout_ = Take(v), w_ = Take(v);
    q_ = Take(padded_), k_ = Take(padded_), zeros_ = Take(padded_);
    dq_ = Take(padded_), dk_ = Take(padded_);
    for (float* array : {q_, k_, zeros_}) std::memset(array, 0, Bytes(padded_));
    std::memset(x_, 0, Bytes(16 * v));
  }

  /// Goes back through all of time: again(t, i) computes state i + 1 of a chunk from state i,
  /// step(t, i) goes back through token t, which lies between them.
  template <class Again, class Step>
  void Walk(const void* dfinal, void* dinitial, const Again& again, const Step& step) {
    const SeqArgs& s = a_.sequence;
    const std::int64_t start = s.start[row_], length = s.length[row_];
    const std::int64_t matrix = (row_ * a_.heads + head_) * keys_ * values_;
    if (dfinal) {
      Transpose(Floats(dfinal) + matrix, ds_);
    } else {
      std::memset(ds_, 0, Bytes(values_ * padded_));
    }
    for (std::int64_t chunk = (length + kMatrixChunk - 1) / kMatrixChunk - 1; chunk >= 0; --chunk) {
      const std::int64_t first = chunk * kMatrixChunk;
      const std::int64_t count = std::min(kMatrixChunk, length - first);
      const std::int64_t slot = matrix_slot(start, row_) + chunk;
      Transpose(Floats(a_.kept) + (slot * a_.heads + head_) * keys_ * values_, State(0));
      for (std::int64_t i = 0; i < count; ++i) again(start + first + i, i);
      for (std::int64_t i = count - 1; i >= 0; --i) step(start + first + i, i);
    }
    float* to = Floats(dinitial) + matrix;
    for (std::int64_t i = 0; i < keys_; ++i)
      for (std::int64_t v = 0; v < values_; ++v) to[i * values_ + v] = ds_[v * padded_ + i];
  }

  float* Take(std::int64_t count) {
    float* block = scratch_;
    scratch_ += count;
    return block;
  }
  static std::size_t Bytes(std::int64_t count) {
    return static_cast<std::size_t>(count) * sizeof(float);
  }
  std::int64_t Head(std::int64_t t) const { return t * a_.heads + head_; }
  float* State(std::int64_t i) { return states_ + i * values_ * padded_; }
  /// The state that token t found: state i, or zeros (one row of them: stride 0) behind a reset.
  struct Before {
    const float* data;
    std::int64_t stride;
  };
  Before StateBefore(std::int64_t t, std::int64_t i) {
    if (matrix::fresh_before(a_.sequence, t)) return {zeros_, 0};
    return {State(i), padded_};
  }
  void LoadKeys(std::int64_t t) {
    LoadRow(Floats(a_.q) + Head(t) * keys_, q_);
    LoadRow(Floats(a_.k) + Head(t) * keys_, k_);
  }
  /// A row of keys into a padded one.
  void LoadRow(const float* from, float* to) const {
    const Tag d;
    for (std::int64_t c = 0; c < keys_; c += Count())
      hn::Store(LoadN(d, from + c, keys_ - c), d, to + c);
  }
  void StoreKeys(std::int64_t t, const float* from, void* to) const {
    const Tag d;
    float* row = Floats(to) + Head(t) * keys_;
    for (std::int64_t c = 0; c < keys_; c += Count())
      StoreN(d, hn::Load(d, from + c), row + c, keys_ - c);
  }
  /// to = factor * from over value channels.
  void ScaleValues(float factor, const float* from, float* to) const {
    const Tag d;
    for (std::int64_t j = 0; j < values_; j += Count())
      StoreN(d, hn::Mul(hn::Set(d, factor), LoadN(d, from + j, values_ - j)), to + j, values_ - j);
  }
  void LoadOut(std::int64_t t, const void* dout, float scale) {
    if (!dout) return static_cast<void>(std::memset(dout_, 0, Bytes(values_)));
    ScaleValues(scale, Floats(dout) + Head(t) * values_, dout_);
  }
  void Transpose(const float* from, float* to) const {
    if (padded_ != keys_) std::memset(to, 0, Bytes(values_ * padded_));
    std::int64_t whole_keys = 0, whole_values = 0;
#if HWY_TARGET != HWY_SCALAR
    whole_keys = keys_ / 4 * 4, whole_values = values_ / 4 * 4;
    for (std::int64_t i = 0; i < whole_keys; i += 4)
      for (std::int64_t v = 0; v < whole_values; v += 4)
        TransposeFour(from + i * values_ + v, values_, to + v * padded_ + i, padded_);
#endif
    for (std::int64_t i = 0; i < keys_; ++i)
      for (std::int64_t v = i < whole_keys ? whole_values : 0; v < values_; ++v)
        to[v * padded_ + i] = from[i * values_ + v];
  }

  const Args& a_;
  std::int64_t row_, head_, keys_, values_, padded_;
  float* scratch_;
  float *states_, *ds_;  // [kMatrixChunk + 1, V, P], [V, P]
  float *x_, *sums_;     // [V, lanes], [V]: sums over keys before and after adding lanes
  float *dout_, *w_;     // [V]: gradient of S^T q, and what is written at the key
  float *q_, *k_, *zeros_, *dq_, *dk_;  // [P]
};

}  // namespace lanes
}  // namespace HWY_NAMESPACE
}  // namespace rill
HWY_AFTER_NAMESPACE();

#endif
