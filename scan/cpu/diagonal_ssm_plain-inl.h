// Private: the diagonal recurrence as plain loops, for double (and as the reference of the float
// lanes).
//
// A channel's state is seen as `width` reals: (re, im) pairs where complex. With the packed
// coefficients p = (a_re, a_re), q = (-a_im, a_im), r = (2 w_re, -2 w_im) a step is, for every real
// j and its partner j^1,
//     h_j <- p_j h_j + q_j h_{j^1} + x [j even] ;   y = sum_j r_j h_j + d x
// and its adjoint, g being the gradient of h after the step,
//     g_j <- r_j dy + p_j g_j - q_j g_{j^1} ;   dx = sum_{j even} g_j + d dy
//     dr_j += h_j dy ;  dp_j += g_j h'_j ;  dq_j += g_j h'_{j^1}      (h' the state before the
//     step)
// Real states have q = 0 and take x in every j.
#pragma once

#include <algorithm>
#include <cstdint>

#include <rill/core/cpu/lanes.h>
#include <rill/core/kernel.h>
#include <rill/scan/diagonal_args.h>

namespace rill::diagonal_plain {

template <class T>
struct Channel {
  const T *p, *q, *r;
  T d;
};

template <class T, class Args>
Channel<T> channel_of(const Args& args, std::int64_t c) {
  const T* base = static_cast<const T*>(args.coefficients) + c * 3 * args.padded_width;
  return {base, base + args.padded_width, base + 2 * args.padded_width,
          args.d ? static_cast<const T*>(args.d)[c] : T(0)};
}

// after = step(before); may be the same memory.
template <class T>
void advance(const Channel<T>& k, std::int64_t width, bool complex, T x, const T* before,
             T* after) {
  if (!complex) {
    for (std::int64_t j = 0; j < width; ++j) after[j] = k.p[j] * before[j] + x;
    return;
  }
  for (std::int64_t j = 0; j < width; j += 2) {
    const T re = before[j], im = before[j + 1];
    after[j] = k.p[j] * re + x + k.q[j] * im;
    after[j + 1] = k.p[j + 1] * im + k.q[j + 1] * re;
  }
}

template <class T>
void forward_channel(const DiagonalSsmArgs& args, std::int64_t row, std::int64_t c) {
  const Channel<T> k = channel_of<T>(args, c);
  const std::int64_t width = args.width, channels = args.channels;
  const std::int64_t start = args.sequence.start[row], length = args.sequence.length[row];
  T* h = static_cast<T*>(args.h_out) + (row * channels + c) * width;
  const T* h_in = static_cast<const T*>(args.h_in) + (row * channels + c) * width;
  if (h != h_in) std::copy(h_in, h_in + width, h);
  T* kept = static_cast<T*>(args.checkpoints);
  for (std::int64_t t = 0; t < length; ++t) {
    if (kept && t % kDiagonalBlock == 0)
      std::copy(
          h, h + width,
          kept + ((diagonal_slot(args.sequence, row) + t / kDiagonalBlock) * channels + c) * width);
    const std::int64_t token = start + t;
    if (args.sequence.reset && args.sequence.reset[token]) std::fill(h, h + width, T(0));
    const T x = static_cast<const T*>(args.x)[token * channels + c];
    advance(k, width, args.complex != 0, x, h, h);
    T y = 0;
    for (std::int64_t j = 0; j < width; ++j) y += k.r[j] * h[j];
    static_cast<T*>(args.y)[token * channels + c] = y + k.d * x;
  }
}

template <class T>
void forward(const DiagonalSsmArgs& args, const KernelContext& context) {
  context.parallel_for(args.sequence.rows * args.channels, [&](std::int64_t task) {
    forward_channel<T>(args, task / args.channels, task % args.channels);
  });
  zero_gaps<T>(args.sequence, static_cast<T*>(args.y), args.channels);
}

template <class T>
struct BackwardChannel {
  Channel<T> k;
  T *dp, *dq, *dr;
  T dd = 0;
  T* states;       // [block + 1][width]: before the first step, after each
  const T* fresh;  // zeros
  T* g;
};

// Goes back through one block of at most kDiagonalBlock steps; s.g carries the gradient of the
// state.
template <class T>
void backward_block(const DiagonalSsmBackwardArgs& args, BackwardChannel<T>& s, std::int64_t token,
                    std::int64_t steps, std::int64_t c) {
  const std::int64_t width = args.width, channels = args.channels;
  const bool complex = args.complex != 0;
  const T* x = static_cast<const T*>(args.x);
  const auto before = [&](std::int64_t t) {
    return args.sequence.reset && args.sequence.reset[token + t] ? s.fresh : s.states + t * width;
  };
  for (std::int64_t t = 0; t < steps; ++t)
    advance(s.k, width, complex, x[(token + t) * channels + c], before(t),
            s.states + (t + 1) * width);
  for (std::int64_t t = steps - 1; t >= 0; --t) {
    const T* from = before(t);
    const T* h = s.states + (t + 1) * width;
    const std::int64_t element = (token + t) * channels + c;
    const T dy = static_cast<const T*>(args.dy)[element];
    T dx = s.k.d * dy;
    s.dd += dy * x[element];
    for (std::int64_t j = 0; j < width; ++j) {
      s.g[j] += s.k.r[j] * dy;
      s.dr[j] += h[j] * dy;
      s.dp[j] += s.g[j] * from[j];
      if (complex) s.dq[j] += s.g[j] * from[j ^ 1];
      if (!complex || j % 2 == 0) dx += s.g[j];
    }
    static_cast<T*>(args.dx)[element] = dx;
    const bool cut = from == s.fresh;
    for (std::int64_t j = 0; j < width; j += 2) {
      if (!complex || cut) {
        for (std::int64_t i = j; i < std::min(j + 2, width); ++i)
          s.g[i] = cut ? T(0) : s.k.p[i] * s.g[i];
        continue;
      }
      const T re = s.g[j], im = s.g[j + 1];
      s.g[j] = s.k.p[j] * re - s.k.q[j] * im;
      s.g[j + 1] = s.k.p[j + 1] * im - s.k.q[j + 1] * re;
    }
  }
}

template <class T>
void backward_channel(const DiagonalSsmBackwardArgs& args, std::int64_t c, T* scratch) {
  const std::int64_t width = args.width, channels = args.channels;
  BackwardChannel<T> s{.k = channel_of<T>(args, c)};
  s.dp = static_cast<T*>(args.dcoefficients) + c * 3 * args.padded_width;
  s.dq = s.dp + args.padded_width;
  s.dr = s.dq + args.padded_width;
  std::fill(s.dp, s.dp + 3 * args.padded_width, T(0));
  T* const zeros = scratch + (kDiagonalBlock + 1) * width;
  std::fill(zeros, zeros + width, T(0));
  s.states = scratch;
  s.fresh = zeros;
  s.g = zeros + width;
  for (std::int64_t row = 0; row < args.sequence.rows; ++row) {
    const std::int64_t state = (row * channels + c) * width;
    const T* final = static_cast<const T*>(args.dh_final);
    for (std::int64_t j = 0; j < width; ++j) s.g[j] = final ? final[state + j] : T(0);
    const std::int64_t length = args.sequence.length[row];
    for (std::int64_t block = (length - 1 + kDiagonalBlock) / kDiagonalBlock - 1; block >= 0;
         --block) {
      const T* kept = static_cast<const T*>(args.checkpoints) +
                      ((diagonal_slot(args.sequence, row) + block) * channels + c) * width;
      std::copy(kept, kept + width, s.states);
      const std::int64_t first = block * kDiagonalBlock;
      backward_block(args, s, args.sequence.start[row] + first,
                     std::min(kDiagonalBlock, length - first), c);
    }
    std::copy(s.g, s.g + width, static_cast<T*>(args.dh_initial) + state);
  }
  if (args.dd) static_cast<T*>(args.dd)[c] = s.dd;
}

template <class T>
void backward(const DiagonalSsmBackwardArgs& args, const KernelContext& context) {
  parallel_lanes(context, args.channels, args.lanes, [&](std::int64_t c, std::int64_t lane) {
    backward_channel<T>(args, c,
                        static_cast<T*>(args.scratch) + lane * diagonal_scratch(args.width));
  });
  zero_gaps<T>(args.sequence, static_cast<T*>(args.dx), args.channels);
}

}  // namespace rill::diagonal_plain
