// Private: the scalars and the normaliser of the mLSTM in plain loops (mlstm_scan.h). Templates on
// the element type and on an arithmetic A, which is the plain one for double and vectors for float:
//   A::exp3(x, y, z) exponentials, A::dot(a, b, n), A::axpby(x, a, y, b, n): y = a x + b y.
#pragma once

#include <cmath>
#include <limits>

#include <rill/scan/cpu/linear_attention_plain-inl.h>

namespace rill::plain {

template <class T>
struct PlainArithmetic {
  static void exp3(T* x) {
    for (int i = 0; i < 3; ++i) x[i] = std::exp(x[i]);
  }
  static T dot(const T* a, const T* b, std::int64_t n) {
    T sum = 0;
    for (std::int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
    return sum;
  }
  static void axpby(const T* x, T a, T* y, T b, std::int64_t n) {
    for (std::int64_t i = 0; i < n; ++i) y[i] = a * x[i] + b * y[i];
  }
};

/// One row and head through time. A fresh state has m = -infinity: then exp(log f + m' - m) = 0 and
/// m = i, the first-step rule.
template <class T, class A>
void mlstm_gates_row(const MlstmGatesArgs& a, std::int64_t row, std::int64_t h) {
  const SeqArgs& s = a.sequence;
  const std::int64_t keys = a.keys;
  T* n = write<T>(a.final_n) + (row * a.heads + h) * keys;
  if (a.final_n != a.initial_n)
    std::copy_n(read<T>(a.initial_n) + (row * a.heads + h) * keys, keys, n);
  T m = read<T>(a.initial_m)[row * a.heads + h];
  std::int64_t slot = matrix_slot(s.start[row], row);
  for (std::int64_t step = 0; step < s.length[row]; ++step) {
    const std::int64_t t = s.start[row] + step, head = t * a.heads + h;
    if (a.kept && step % kMatrixChunk == 0)
      std::copy_n(n, keys, write<T>(a.kept) + (slot++ * a.heads + h) * keys);
    if (matrix::fresh_before(s, t)) {
      std::fill_n(n, keys, T(0));
      m = -std::numeric_limits<T>::infinity();
    }
    const T forget = read<T>(a.log_forget)[head] + m, input = read<T>(a.input)[head];
    const bool by_input = !(forget >= input);
    m = by_input ? input : forget;
    T e[3] = {forget - m, input - m, -m};
    A::exp3(e);
    const T gain = e[1] * static_cast<T>(a.key_scale);
    A::axpby(read<T>(a.k) + head * keys, gain, n, e[0], keys);
    const T dot = A::dot(n, read<T>(a.q) + head * keys, keys);
    write<T>(a.decay)[head] = e[0];
    write<T>(a.gain)[head] = gain;
    // Past m = 88 exp(-m) is 0: a token that reads nothing must still give 0, not 0 / 0.
    write<T>(a.divisor)[head] = std::max({std::abs(dot), e[2], std::numeric_limits<T>::min()});
    if (a.dot) write<T>(a.dot)[head] = dot;
    if (a.chose_input) write<T>(a.chose_input)[head] = by_input ? T(1) : T(0);
  }
  write<T>(a.final_m)[row * a.heads + h] = m;
}

template <class T, class A>
void mlstm_gates(const MlstmGatesArgs& a, const KernelContext& context) {
  context.parallel_for(a.sequence.rows * a.heads, [&](std::int64_t task) {
    mlstm_gates_row<T, A>(a, task / a.heads, task % a.heads);
  });
}

/// Going back. The output does not depend on m, which is a gauge: C e^m, n e^m alone matter. So the
/// gradient along the gauge (m up, C and n down) is that of the final state, G = dm - <dC, C> -
/// <dn, n>, and goes unchanged to whichever of its two arguments each maximum chose. Written so,
/// nothing large cancels; where no gradient of the final state arrives, G is 0.
template <class T, class A>
class MlstmGatesBack {
 public:
  MlstmGatesBack(const MlstmGatesBackwardArgs& args, std::int64_t row, std::int64_t head,
                 T* scratch)
      : b_(args),
        a_(args.forward),
        row_(row),
        h_(head),
        keys_(a_.keys),
        n_(scratch),
        dn_(scratch + (kMatrixChunk + 1) * a_.keys) {}

  void run() {
    const SeqArgs& s = a_.sequence;
    const std::int64_t start = s.start[row_], length = s.length[row_], size = keys_ * b_.values;
    const std::int64_t task = row_ * a_.heads + h_;
    const T* dfinal_n = b_.dfinal_n ? read<T>(b_.dfinal_n) + task * keys_ : nullptr;
    for (std::int64_t i = 0; i < keys_; ++i) dn_[i] = dfinal_n ? dfinal_n[i] : T(0);
    const T dm = b_.dfinal_m ? read<T>(b_.dfinal_m)[task] : T(0);
    gauge_ = dm;
    if (b_.dfinal_c)
      gauge_ -= A::dot(read<T>(b_.dfinal_c) + task * size, read<T>(b_.final_c) + task * size, size);
    if (dfinal_n) gauge_ -= A::dot(dfinal_n, read<T>(a_.final_n) + task * keys_, keys_);
    for (std::int64_t chunk = (length + kMatrixChunk - 1) / kMatrixChunk - 1; chunk >= 0; --chunk) {
      const std::int64_t first = chunk * kMatrixChunk;
      const std::int64_t count = std::min(kMatrixChunk, length - first);
      const std::int64_t slot = matrix_slot(start, row_) + chunk;
      std::copy_n(read<T>(a_.kept) + (slot * a_.heads + h_) * keys_, keys_, n_);
      for (std::int64_t i = 0; i < count; ++i) again(start + first + i, i);
      for (std::int64_t i = count - 1; i >= 0; --i) step(start + first + i, i);
    }
    std::copy_n(dn_, keys_, write<T>(b_.dinitial_n) + task * keys_);
    T& dinitial_m = write<T>(b_.dinitial_m)[task];
    dinitial_m = dm;
    if (length > 0)
      dinitial_m =
          gauge_ + A::dot(dn_, read<T>(a_.initial_n) + task * keys_, keys_) +
          A::dot(read<T>(b_.dinitial_c) + task * size, read<T>(b_.initial_c) + task * size, size);
    matrix::clear_padding<T>(s, row_, b_.dinput, a_.heads, h_, 1);
    matrix::clear_padding<T>(s, row_, b_.dlog_forget, a_.heads, h_, 1);
  }

 private:
  void again(std::int64_t t, std::int64_t i) {
    const std::int64_t head = t * a_.heads + h_;
    T* after = n_ + (i + 1) * keys_;
    std::copy_n(n_ + i * keys_, keys_, after);
    if (matrix::fresh_before(a_.sequence, t)) std::fill_n(after, keys_, T(0));
    A::axpby(read<T>(a_.k) + head * keys_, read<T>(a_.gain)[head], after, read<T>(a_.decay)[head],
             keys_);
  }
  void step(std::int64_t t, std::int64_t i) {
    const std::int64_t head = t * a_.heads + h_;
    const T *q = read<T>(a_.q) + head * keys_, *k = read<T>(a_.k) + head * keys_;
    const T decay = read<T>(a_.decay)[head], gain = read<T>(a_.gain)[head];
    const T dot = read<T>(a_.dot)[head], divisor = read<T>(a_.divisor)[head];
    T ddot = 0;
    if (b_.dout && std::abs(dot) >= divisor) {
      const std::int64_t at = head * b_.values;
      ddot = -A::dot(read<T>(b_.dout) + at, read<T>(b_.out) + at, b_.values) / dot;
    }
    A::axpby(q, ddot, dn_, T(1), keys_);
    A::axpby(n_ + (i + 1) * keys_, ddot, write<T>(b_.dq) + head * keys_, T(1), keys_);
    A::axpby(dn_, gain, write<T>(b_.dk) + head * keys_, T(1), keys_);
    T dinput = gain * (read<T>(b_.dgain)[head] + A::dot(dn_, k, keys_));
    T dforget = read<T>(b_.dlog_decay)[head];
    if (matrix::fresh_before(a_.sequence, t)) {
      std::fill_n(dn_, keys_, T(0));
    } else {
      dforget += decay * A::dot(dn_, n_ + i * keys_, keys_);
      A::axpby(dn_, T(0), dn_, decay, keys_);
    }
    if (read<T>(a_.chose_input)[head] != T(0)) {
      dinput += gauge_;
      gauge_ = 0;
    } else {
      dforget += gauge_;
    }
    write<T>(b_.dinput)[head] = dinput;
    write<T>(b_.dlog_forget)[head] = dforget;
  }

  const MlstmGatesBackwardArgs& b_;
  const MlstmGatesArgs& a_;
  std::int64_t row_, h_, keys_;
  T *n_, *dn_;
  T gauge_ = 0;
};

template <class T, class A>
void mlstm_gates_backward(const MlstmGatesBackwardArgs& b, const KernelContext& context) {
  const MlstmGatesArgs& a = b.forward;
  matrix::for_lanes(context, a.sequence.rows * a.heads, b.lanes,
                    [&](std::int64_t task, std::int64_t lane) {
                      T* scratch = write<T>(b.scratch) + lane * (kMatrixChunk + 2) * a.keys;
                      MlstmGatesBack<T, A>(b, task / a.heads, task % a.heads, scratch).run();
                    });
}

}  // namespace rill::plain
