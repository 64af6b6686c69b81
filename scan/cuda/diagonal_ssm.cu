// The diagonal state space in its recurrent form and its way back (letters and the packed
// coefficients p, q, r: scan/cpu/diagonal_ssm_plain-inl.h). A channel's state, seen as `width`
// reals, lies in kPer registers of `lanes` neighbouring threads; time runs inside the thread,
// states are never written but every kDiagonalBlock steps for the way back. States wider than a
// warp's registers go in passes of kPass reals: each adds its part to y.
//
// The way back computes states again from those that were kept: within a block of kDiagonalBlock
// steps first those before every kSub-th step, which a thread keeps in its own places of shared
// memory, then, from the last stretch to the first, those of its steps, in registers. Gradients of
// the coefficients are summed over the steps of a row in the thread and over rows in order.
#include <rill/core/cuda/launch.h>
#include <rill/scan/cuda/instantiate.h>
#include <rill/scan/cuda/launch_diagonal.h>
#include <rill/scan/cuda/row_walk.h>

namespace rill {
namespace {

constexpr int kThreads = 128;
constexpr int kPer = 4;
constexpr std::int64_t kPass = kWarpSize * kPer;
constexpr int kSub = 8, kSubs = static_cast<int>(kDiagonalBlock) / kSub;

/// Which channel and reals a thread owns.
struct Place {
  std::int64_t channel, first;  // reals [first, first + kPer), behind the pass's first
  bool here;

  RILL_DEVICE static Place of(int lanes, std::int64_t channels, std::int64_t pass) {
    const std::int64_t channel = block_index() * (kThreads / lanes) + thread_index() / lanes;
    return {channel < channels ? channel : channels - 1, pass + thread_index() % lanes * kPer,
            channel < channels};
  }
};

template <class C>
struct Coefficients {
  C p[kPer], q[kPer], r[kPer];

  template <class Args>
  RILL_DEVICE void read(const Args& args, const Place& at) {
    const C* base = static_cast<const C*>(args.coefficients) + at.channel * 3 * args.padded_width;
    RILL_UNROLL
    for (int j = 0; j < kPer; ++j) {
      const bool inside = at.first + j < args.width;
      p[j] = inside ? base[at.first + j] : C(0);
      q[j] = inside ? base[args.padded_width + at.first + j] : C(0);
      r[j] = inside ? base[2 * args.padded_width + at.first + j] : C(0);
    }
  }
  /// h <- one step with input x; real states take x in every place, complex ones in even places.
  RILL_DEVICE void advance(C* h, C x, bool complex, bool fresh) const {
    RILL_UNROLL
    for (int j = 0; j < kPer; j += 2) {
      const C re = fresh ? C(0) : h[j], im = fresh ? C(0) : h[j + 1];
      h[j] = fused_multiply_add(p[j], re, fused_multiply_add(q[j], im, x));
      h[j + 1] = fused_multiply_add(p[j + 1], im, complex ? q[j + 1] * re : x);
    }
  }
};

template <class T>
RILL_DEVICE T sum_over_lanes(T value, int lanes) {
  for (int mask = 1; mask < lanes; mask *= 2) value += shuffle_xor(value, mask);
  return value;
}

// Grid: x channel tiles, y rows.
template <class S>
RILL_KERNEL(kThreads)
void diagonal_kernel(DiagonalSsmArgs p, int lanes, std::int64_t pass) {
  using C = Compute<S>;
  const Place at = Place::of(lanes, p.channels, pass);
  const std::int64_t c = at.channel;
  Coefficients<C> k;
  k.read(p, at);
  const C d = p.d && pass == 0 ? load<C>(p.d, c) : C(0);
  const bool complex = p.complex != 0;
  for (std::int64_t row = block_index_y(); row < p.sequence.rows; row += 65535) {
    const std::int64_t start = p.sequence.start[row], length = p.sequence.length[row];
    const std::int64_t state = (row * p.channels + c) * p.width + at.first;
    C h[kPer];
    RILL_UNROLL
    for (int j = 0; j < kPer; ++j)
      h[j] = at.first + j < p.width ? load<C>(p.h_in, state + j) : C(0);
    for (std::int64_t t = 0; t < length; ++t) {
      if (p.checkpoints && t % kDiagonalBlock == 0 && at.here) {
        const std::int64_t slot = start / kDiagonalBlock + row + t / kDiagonalBlock;
        for (int j = 0; j < kPer; ++j)
          if (at.first + j < p.width)
            store<C>(p.checkpoints, (slot * p.channels + c) * p.width + at.first + j, h[j]);
      }
      const std::int64_t element = (start + t) * p.channels + c;
      const C x = load<S>(p.x, element);
      k.advance(h, x, complex, reset_before(p.sequence, start + t));
      C y = C(0);
      RILL_UNROLL
      for (int j = 0; j < kPer; ++j) y = fused_multiply_add(k.r[j], h[j], y);
      y = sum_over_lanes(y, lanes) + d * x;
      if (pass > 0) y += load<S>(p.y, element);
      if (at.here && at.first == pass) store<S>(p.y, element, y);
    }
    if (!at.here) continue;
    RILL_UNROLL
    for (int j = 0; j < kPer; ++j)
      if (at.first + j < p.width) store<C>(p.h_out, state + j, h[j]);
  }
}

// Grid: x channel tiles; y groups of rows, each of which leaves a part [group, channels, 3, padded]
// of the coefficients' gradients, and [group, channels] of d's.
// Spills 20 bytes (36 for sm_80): states of both levels, gradients and coefficients take a little
// more than the 128 registers at which four blocks share a processor. The code, in which a block's
// steps are unrolled, reads them back in seven places (eleven).
template <class S>
RILL_KERNEL(kThreads)
void diagonal_backward_kernel(DiagonalSsmBackwardArgs q, int lanes, std::int64_t pass,
                              std::int64_t groups, void* parts, void* parts_d) {
  using C = Compute<S>;
  RILL_SHARED(C, kept, kSubs * kPer * kThreads);
  const Place at = Place::of(lanes, q.channels, pass);
  const std::int64_t c = at.channel;
  Coefficients<C> k;
  k.read(q, at);
  const bool complex = q.complex != 0;
  const C d = q.d && pass == 0 ? load<C>(q.d, c) : C(0);
  C dp[kPer] = {}, dq[kPer] = {}, dr[kPer] = {}, dd = C(0);
  for (std::int64_t row = block_index_y(); row < q.sequence.rows; row += groups) {
    const std::int64_t start = q.sequence.start[row], length = q.sequence.length[row];
    const std::int64_t state = (row * q.channels + c) * q.width + at.first;
    C g[kPer];
    RILL_UNROLL
    for (int j = 0; j < kPer; ++j)
      g[j] = q.dh_final && at.first + j < q.width ? load<C>(q.dh_final, state + j) : C(0);
    for (std::int64_t block = (length + kDiagonalBlock - 1) / kDiagonalBlock - 1; block >= 0;
         --block) {
      const std::int64_t slot = start / kDiagonalBlock + row + block,
                         first = block * kDiagonalBlock;
      const std::int64_t left = length - first;
      const int stretches =
          left < kDiagonalBlock ? static_cast<int>(left + kSub - 1) / kSub : kSubs;
      C h[kPer];
      RILL_UNROLL
      for (int j = 0; j < kPer; ++j)
        h[j] = at.first + j < q.width
                   ? load<C>(q.checkpoints, (slot * q.channels + c) * q.width + at.first + j)
                   : C(0);
      for (int s = 0; s < stretches; ++s) {
        RILL_UNROLL
        for (int j = 0; j < kPer; ++j) kept[(s * kPer + j) * kThreads + thread_index()] = h[j];
        for (int i = 0; i < kSub && s + 1 < stretches; ++i) {
          const std::int64_t token = start + first + s * kSub + i;
          k.advance(h, load<S>(q.x, token * q.channels + c), complex,
                    reset_before(q.sequence, token));
        }
      }
      for (int s = stretches - 1; s >= 0; --s) {
        const std::int64_t from = first + s * kSub;
        C states[kSub + 1][kPer];  // before step i, behind step i - 1
        RILL_UNROLL
        for (int j = 0; j < kPer; ++j)
          states[0][j] = kept[(s * kPer + j) * kThreads + thread_index()];
        RILL_UNROLL
        for (int i = 0; i < kSub; ++i) {
          RILL_UNROLL
          for (int j = 0; j < kPer; ++j) states[i + 1][j] = states[i][j];
          if (from + i < length)
            k.advance(states[i + 1], load<S>(q.x, (start + from + i) * q.channels + c), complex,
                      reset_before(q.sequence, start + from + i));
        }
        RILL_UNROLL
        for (int i = kSub - 1; i >= 0; --i) {
          if (from + i >= length) continue;
          const std::int64_t token = start + from + i, element = token * q.channels + c;
          const bool fresh = reset_before(q.sequence, token);
          const C dy = load<S>(q.dy, element);
          C dx = C(0);
          RILL_UNROLL
          for (int j = 0; j < kPer; ++j) {
            const C old = fresh ? C(0) : states[i][j], pair = fresh ? C(0) : states[i][j ^ 1];
            g[j] = fused_multiply_add(k.r[j], dy, g[j]);
            dr[j] = fused_multiply_add(states[i + 1][j], dy, dr[j]);
            dp[j] = fused_multiply_add(g[j], old, dp[j]);
            dq[j] = fused_multiply_add(g[j], pair, dq[j]);
            if ((!complex || j % 2 == 0) && at.first + j < q.width) dx += g[j];
          }
          dx = sum_over_lanes(dx, lanes);
          if (pass == 0) {
            dd = fused_multiply_add(dy, load<S>(q.x, element), dd);
            dx += d * dy;
          } else {
            dx += load<S>(q.dx, element);
          }
          if (at.here && at.first == pass) store<S>(q.dx, element, dx);
          RILL_UNROLL
          for (int j = 0; j < kPer; j += 2) {
            const C re = g[j], im = g[j + 1];
            g[j] = fresh ? C(0) : (complex ? k.p[j] * re - k.q[j] * im : k.p[j] * re);
            g[j + 1] =
                fresh ? C(0) : (complex ? k.p[j + 1] * im - k.q[j + 1] * re : k.p[j + 1] * im);
          }
        }
      }
    }
    if (!at.here) continue;
    RILL_UNROLL
    for (int j = 0; j < kPer; ++j)
      if (at.first + j < q.width) store<C>(q.dh_initial, state + j, g[j]);
  }
  if (!at.here) return;
  C* part = static_cast<C*>(parts) + (block_index_y() * q.channels + c) * 3 * q.padded_width;
  RILL_UNROLL
  for (int j = 0; j < kPer; ++j) {
    if (at.first + j >= q.width) break;
    part[at.first + j] = dp[j];
    part[q.padded_width + at.first + j] = complex ? dq[j] : C(0);
    part[2 * q.padded_width + at.first + j] = dr[j];
  }
  if (pass == 0 && at.first == 0) static_cast<C*>(parts_d)[block_index_y() * q.channels + c] = dd;
}

// dcoefficients [channels, 3, padded] and dd [channels] from the parts; padding becomes 0.
template <class C>
RILL_KERNEL(kThreads)
void add_parts_kernel(DiagonalSsmBackwardArgs q, std::int64_t groups, const void* parts,
                      const void* parts_d) {
  const std::int64_t size = q.channels * 3 * q.padded_width;
  for (std::int64_t i = grid_thread(); i < size + q.channels; i += grid_threads()) {
    C sum = C(0);
    if (i < size) {
      if (i % q.padded_width < q.width)
        for (std::int64_t g = 0; g < groups; ++g) sum += static_cast<const C*>(parts)[g * size + i];
      static_cast<C*>(q.dcoefficients)[i] = sum;
      continue;
    }
    if (!q.dd) continue;
    for (std::int64_t g = 0; g < groups; ++g)
      sum += static_cast<const C*>(parts_d)[g * q.channels + i - size];
    store<C>(q.dd, i - size, sum);
  }
}

int lanes_of(std::int64_t width) {
  int lanes = 1;
  while (lanes < kWarpSize && lanes * kPer < width) lanes *= 2;
  return lanes;
}

}  // namespace

template <class S>
DeviceStatus launch_diagonal_ssm(const DiagonalSsmArgs& p, const DeviceLaunch& on) {
  if (const DeviceStatus status = zero_gaps<S>(p.sequence, p.y, p.channels, on)) return status;
  if (p.sequence.rows * p.channels == 0) return 0;
  const int lanes = lanes_of(p.width);
  const std::int64_t tile = kThreads / lanes;
  const Grid grid{(p.channels + tile - 1) / tile, p.sequence.rows > 65535 ? 65535 : p.sequence.rows,
                  1};
  for (std::int64_t pass = 0; pass < p.width || pass == 0; pass += kPass)
    RILL_LAUNCH_OR_RETURN(diagonal_kernel<S>, grid, kThreads, 0, on.stream, p, lanes, pass);
  return 0;
}

template <class S>
DeviceStatus launch_diagonal_ssm_backward(const DiagonalSsmBackwardArgs& q,
                                          const DeviceLaunch& on) {
  using C = Compute<S>;
  if (const DeviceStatus status = zero_gaps<S>(q.sequence, q.dx, q.channels, on)) return status;
  if (q.channels == 0) return 0;
  const int lanes = lanes_of(q.width);
  const std::int64_t tile = kThreads / lanes, tiles = (q.channels + tile - 1) / tile;
  const std::int64_t size = q.channels * (3 * q.padded_width + 1);
  const auto room = static_cast<std::int64_t>(on.workspace_bytes / sizeof(C)) / size;
  if (room < 1) return kWorkspaceTooSmall;
  std::int64_t groups = q.sequence.rows;
  groups = groups > room ? room : groups;
  groups = groups > 65535 ? 65535 : groups;
  if (groups > 0) {
    C* const parts = static_cast<C*>(on.workspace);
    C* const parts_d = parts + groups * q.channels * 3 * q.padded_width;
    for (std::int64_t pass = 0; pass < q.width || pass == 0; pass += kPass)
      RILL_LAUNCH_OR_RETURN(diagonal_backward_kernel<S>, (Grid{tiles, groups, 1}), kThreads, 0,
                            on.stream, q, lanes, pass, groups, static_cast<void*>(parts),
                            static_cast<void*>(parts_d));
    return RILL_LAUNCH(add_parts_kernel<C>, grid_for(size, kThreads), kThreads, 0, on.stream, q,
                       groups, static_cast<const void*>(parts), static_cast<const void*>(parts_d));
  }
  return RILL_LAUNCH(add_parts_kernel<C>, grid_for(size, kThreads), kThreads, 0, on.stream, q,
                     groups, static_cast<const void*>(nullptr), static_cast<const void*>(nullptr));
}

RILL_INSTANTIATE_ACTIVATIONS(launch_diagonal_ssm, DiagonalSsmArgs)
RILL_INSTANTIATE_ACTIVATIONS(launch_diagonal_ssm_backward, DiagonalSsmBackwardArgs)

}  // namespace rill
