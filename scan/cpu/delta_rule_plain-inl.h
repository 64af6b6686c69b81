// Private: the delta rule in plain loops (delta_rule.h): the double form, and what the float form
// is measured against. S [K, V].
#pragma once

#include <rill/scan/cpu/linear_attention_plain-inl.h>

namespace rill::plain {

/// error = v - S'^T k, S = S' + k (beta error)^T for one token; `state` may be `before`.
template <class T>
void delta_update(const DeltaRuleArgs& a, std::int64_t t, std::int64_t h, const T* before, T* state,
                  T* error) {
  const std::int64_t head = t * a.heads + h;
  const T* k = read<T>(a.k) + head * a.keys;
  const T beta = read<T>(a.beta)[head];
  const bool fresh = matrix::fresh_before(a.sequence, t);
  std::fill_n(error, a.values, T(0));
  if (!fresh)
    for (std::int64_t i = 0; i < a.keys; ++i)
      for (std::int64_t j = 0; j < a.values; ++j) error[j] += k[i] * before[i * a.values + j];
  for (std::int64_t j = 0; j < a.values; ++j)
    error[j] = read<T>(a.v)[head * a.values + j] - error[j];
  for (std::int64_t i = 0; i < a.keys; ++i)
    for (std::int64_t j = 0; j < a.values; ++j)
      state[i * a.values + j] =
          (fresh ? T(0) : before[i * a.values + j]) + k[i] * (beta * error[j]);
}

template <class T>
void delta_rule_row(const DeltaRuleArgs& a, std::int64_t row, std::int64_t h) {
  const SeqArgs& s = a.sequence;
  const std::int64_t size = a.keys * a.values;
  T* state = write<T>(a.final_state) + (row * a.heads + h) * size;
  if (a.final_state != a.initial)
    std::copy_n(read<T>(a.initial) + (row * a.heads + h) * size, size, state);
  std::int64_t slot = matrix_slot(s.start[row], row);
  for (std::int64_t step = 0; step < s.length[row]; ++step) {
    const std::int64_t t = s.start[row] + step;
    if (a.kept && step % kMatrixChunk == 0)
      std::copy_n(state, size, write<T>(a.kept) + (slot++ * a.heads + h) * size);
    T* out = write<T>(a.out) + (t * a.heads + h) * a.values;
    delta_update(a, t, h, state, state, out);  // `out` holds the error until it is overwritten
    const T* q = read<T>(a.q) + (t * a.heads + h) * a.keys;
    std::fill_n(out, a.values, T(0));
    for (std::int64_t i = 0; i < a.keys; ++i)
      for (std::int64_t j = 0; j < a.values; ++j) out[j] += q[i] * state[i * a.values + j];
    for (std::int64_t j = 0; j < a.values; ++j) out[j] *= static_cast<T>(a.scale);
  }
  matrix::clear_padding<T>(s, row, a.out, a.heads * a.values, h * a.values, a.values);
}

template <class T>
void delta_rule(const DeltaRuleArgs& a, const KernelContext& context) {
  context.parallel_for(a.sequence.rows * a.heads, [&](std::int64_t task) {
    delta_rule_row<T>(a, task / a.heads, task % a.heads);
  });
}

/// Back through one token. `error` [V] is that of delta_update; `ds` is the gradient of the state
/// behind the token on entry, before it on return; `work` [V].
template <class T>
void delta_step_back(const DeltaRuleBackwardArgs& b, std::int64_t t, std::int64_t h,
                     const T* before, const T* after, const T* error, T* ds, T* work) {
  const DeltaRuleArgs& a = b.forward;
  const std::int64_t head = t * a.heads + h;
  const T *q = read<T>(a.q) + head * a.keys, *k = read<T>(a.k) + head * a.keys;
  const T beta = read<T>(a.beta)[head];
  const T scale = static_cast<T>(a.scale);
  const T* dout = b.dout ? read<T>(b.dout) + head * a.values : nullptr;
  T *dq = write<T>(b.dq) + head * a.keys, *dk = write<T>(b.dk) + head * a.keys;
  T* dv = write<T>(b.dv) + head * a.values;
  const bool fresh = matrix::fresh_before(a.sequence, t);
  std::fill_n(work, a.values, T(0));
  for (std::int64_t i = 0; i < a.keys; ++i) {
    T dqi = 0, dki = 0;
    for (std::int64_t j = 0; j < a.values; ++j) {
      T& d = ds[i * a.values + j];
      const T dj = dout ? scale * dout[j] : T(0);
      dqi += dj * after[i * a.values + j];
      d += dj * q[i];
      dki += d * (beta * error[j]);
      work[j] += d * k[i];  // the gradient of w = beta error
    }
    dq[i] = dqi;
    dk[i] = dki;
  }
  T dbeta = 0;
  for (std::int64_t j = 0; j < a.values; ++j) {
    dbeta += work[j] * error[j];
    dv[j] = beta * work[j];
  }
  write<T>(b.dbeta)[head] = dbeta;
  for (std::int64_t i = 0; i < a.keys; ++i) {
    T dki = 0;
    for (std::int64_t j = 0; j < a.values; ++j) {
      T& d = ds[i * a.values + j];
      if (!fresh) dki += before[i * a.values + j] * dv[j];
      d = fresh ? T(0) : d - k[i] * dv[j];
    }
    dk[i] -= dki;
  }
}

template <class T>
void delta_rule_clear(const DeltaRuleBackwardArgs& b, std::int64_t row, std::int64_t h) {
  const DeltaRuleArgs& a = b.forward;
  const SeqArgs& s = a.sequence;
  matrix::clear_padding<T>(s, row, b.dq, a.heads * a.keys, h * a.keys, a.keys);
  matrix::clear_padding<T>(s, row, b.dk, a.heads * a.keys, h * a.keys, a.keys);
  matrix::clear_padding<T>(s, row, b.dv, a.heads * a.values, h * a.values, a.values);
  matrix::clear_padding<T>(s, row, b.dbeta, a.heads, h, 1);
}

template <class T>
void delta_rule_backward(const DeltaRuleBackwardArgs& b, const KernelContext& context) {
  const DeltaRuleArgs& a = b.forward;
  const SeqArgs& s = a.sequence;
  const std::int64_t size = a.keys * a.values;
  matrix::for_lanes(context, s.rows * a.heads, b.lanes, [&](std::int64_t task, std::int64_t lane) {
    const std::int64_t row = task / a.heads, h = task % a.heads;
    T* states = write<T>(b.scratch) + lane * matrix_scratch(a.keys, a.values);
    T* errors = states + (kMatrixChunk + 1) * size;
    T* work = errors + kMatrixChunk * a.values;
    T* ds = write<T>(b.dinitial) + task * size;
    if (b.dfinal)
      std::copy_n(read<T>(b.dfinal) + task * size, size, ds);
    else
      std::fill_n(ds, size, T(0));
    const std::int64_t chunks = (s.length[row] + kMatrixChunk - 1) / kMatrixChunk;
    for (std::int64_t chunk = chunks - 1; chunk >= 0; --chunk) {
      const std::int64_t slot = matrix_slot(s.start[row], row) + chunk;
      const std::int64_t first = s.start[row] + chunk * kMatrixChunk;
      const std::int64_t count = std::min(kMatrixChunk, s.start[row] + s.length[row] - first);
      std::copy_n(read<T>(a.kept) + (slot * a.heads + h) * size, size, states);
      for (std::int64_t i = 0; i < count; ++i)
        delta_update(a, first + i, h, states + i * size, states + (i + 1) * size,
                     errors + i * a.values);
      for (std::int64_t i = count - 1; i >= 0; --i)
        delta_step_back(b, first + i, h, states + i * size, states + (i + 1) * size,
                        errors + i * a.values, ds, work);
    }
    delta_rule_clear<T>(b, row, h);
  });
}

}  // namespace rill::plain
