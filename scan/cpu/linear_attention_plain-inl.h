// Private: gated linear attention in plain loops (linear_attention.h): the double form, and what
// the float form is measured against. Each step is written as its equation; S [K, V].
#pragma once

#include <cmath>

#include <rill/scan/cpu/matrix_walk.h>

namespace rill::plain {

template <class T>
inline const T* read(const void* p) {
  return static_cast<const T*>(p);
}
template <class T>
inline T* write(void* p) {
  return static_cast<T*>(p);
}

/// S = a S + c k v^T for one token; `state` may be `before`.
template <class T>
void attention_update(const LinearAttentionArgs& a, std::int64_t t, std::int64_t h, const T* before,
                      T* state) {
  const matrix::Decay<T> decay(a, h);
  const T* k = read<T>(a.k) + (t * a.heads + h) * a.keys;
  const T* v = read<T>(a.v) + (t * a.heads + h) * a.values;
  const T gain = a.gain ? read<T>(a.gain)[t * a.heads + h] : T(1);
  const bool fresh = matrix::fresh_before(a.sequence, t);
  for (std::int64_t i = 0; i < a.keys; ++i) {
    const T factor = decay.base ? decay.at(t)[i * decay.key] : T(1);
    for (std::int64_t j = 0; j < a.values; ++j) {
      const T old = fresh ? T(0) : before[i * a.values + j];
      state[i * a.values + j] = k[i] * (gain * v[j]) + factor * old;
    }
  }
}

template <class T>
void linear_attention_row(const LinearAttentionArgs& a, std::int64_t row, std::int64_t h) {
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
    attention_update(a, t, h, state, state);
    const T* q = read<T>(a.q) + (t * a.heads + h) * a.keys;
    T* out = write<T>(a.out) + (t * a.heads + h) * a.values;
    std::fill_n(out, a.values, T(0));
    for (std::int64_t i = 0; i < a.keys; ++i)
      for (std::int64_t j = 0; j < a.values; ++j) out[j] += q[i] * state[i * a.values + j];
    for (std::int64_t j = 0; j < a.values; ++j) {
      out[j] *= static_cast<T>(a.scale);
      if (a.divisor) out[j] /= read<T>(a.divisor)[t * a.heads + h];
    }
  }
  matrix::clear_padding<T>(s, row, a.out, a.heads * a.values, h * a.values, a.values);
}

template <class T>
void linear_attention(const LinearAttentionArgs& a, const KernelContext& context) {
  context.parallel_for(a.sequence.rows * a.heads, [&](std::int64_t task) {
    linear_attention_row<T>(a, task / a.heads, task % a.heads);
  });
}

/// Back through one token: the states before and behind it, their gradient `ds` (behind on entry,
/// before on return).
template <class T>
void attention_step_back(const LinearAttentionBackwardArgs& b, std::int64_t t, std::int64_t h,
                         const T* before, const T* after, T* ds) {
  const LinearAttentionArgs& a = b.forward;
  const matrix::Decay<T> decay(a, h);
  const std::int64_t head = t * a.heads + h;
  const T *q = read<T>(a.q) + head * a.keys, *k = read<T>(a.k) + head * a.keys;
  const T* v = read<T>(a.v) + head * a.values;
  const T gain = a.gain ? read<T>(a.gain)[head] : T(1);
  const T scale = static_cast<T>(a.scale) / (a.divisor ? read<T>(a.divisor)[head] : T(1));
  const T* dout = b.dout ? read<T>(b.dout) + head * a.values : nullptr;
  T *dq = write<T>(b.dq) + head * a.keys, *dk = write<T>(b.dk) + head * a.keys;
  T* dv = write<T>(b.dv) + head * a.values;
  const bool fresh = matrix::fresh_before(a.sequence, t);
  std::fill_n(dv, a.values, T(0));
  T decay_sum = 0, gain_sum = 0;
  for (std::int64_t i = 0; i < a.keys; ++i) {
    const T factor = fresh ? T(0) : decay.base ? decay.at(t)[i * decay.key] : T(1);
    T dqi = 0, dki = 0, df = 0;
    for (std::int64_t j = 0; j < a.values; ++j) {
      T& d = ds[i * a.values + j];
      const T dj = dout ? scale * dout[j] : T(0);
      dqi += dj * after[i * a.values + j];
      d += dj * q[i];
      dki += d * (gain * v[j]);
      dv[j] += d * k[i];
      if (!fresh) df += d * before[i * a.values + j];
      d *= factor;
    }
    dq[i] = dqi;
    dk[i] = dki;
    decay_sum += factor * df;
    if (b.dlog_decay && decay.key) write<T>(b.dlog_decay)[head * a.keys + i] = factor * df;
  }
  for (std::int64_t j = 0; j < a.values; ++j) {
    gain_sum += dv[j] * v[j];
    dv[j] *= gain;
  }
  if (b.dlog_decay && !decay.key) write<T>(b.dlog_decay)[head] = decay_sum;
  if (b.dgain) write<T>(b.dgain)[head] = gain_sum;
}

template <class T>
void linear_attention_clear(const LinearAttentionBackwardArgs& b, std::int64_t row,
                            std::int64_t h) {
  const LinearAttentionArgs& a = b.forward;
  const SeqArgs& s = a.sequence;
  const std::int64_t hk = a.heads * a.keys, hv = a.heads * a.values;
  matrix::clear_padding<T>(s, row, b.dq, hk, h * a.keys, a.keys);
  matrix::clear_padding<T>(s, row, b.dk, hk, h * a.keys, a.keys);
  matrix::clear_padding<T>(s, row, b.dv, hv, h * a.values, a.values);
  matrix::clear_padding<T>(s, row, b.dgain, a.heads, h, 1);
  const std::int64_t width = a.decay_key ? a.keys : 1;
  matrix::clear_padding<T>(s, row, b.dlog_decay, a.heads * width, h * width, width);
}

template <class T>
void linear_attention_backward(const LinearAttentionBackwardArgs& b, const KernelContext& context) {
  const LinearAttentionArgs& a = b.forward;
  const SeqArgs& s = a.sequence;
  const std::int64_t size = a.keys * a.values;
  matrix::for_lanes(context, s.rows * a.heads, b.lanes, [&](std::int64_t task, std::int64_t lane) {
    const std::int64_t row = task / a.heads, h = task % a.heads;
    T* states = write<T>(b.scratch) + lane * matrix_scratch(a.keys, a.values);
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
        attention_update(a, first + i, h, states + i * size, states + (i + 1) * size);
      for (std::int64_t i = count - 1; i >= 0; --i)
        attention_step_back(b, first + i, h, states + i * size, states + (i + 1) * size, ds);
    }
    linear_attention_clear<T>(b, row, h);
  });
}

}  // namespace rill::plain
