// The two sums over powers that the convolution form of a diagonal state space is made of
// (scan/cpu/diagonal_response.cpp has the equations), for sequences of reals and modes a_n:
//     expand:  f_l = Re(sum_n c_n a_n^l)
//     gather:  W_n = sum_l z_l a_n^l   and   S_n = sum_l (l + 1) z_l a_n^l
// With l = 64 b + j, a^l = a^{64 b} a^j: "anchors" a^{64 b} and a table of a^j, both raised in
// double from a as it was before it was rounded to float, and rounded once. So a term has the phase
// that it should have after any number of steps, and what is left for each step is a product in
// Compute<S>; gather adds up its blocks of 64 steps in double. All sums run in an order that
// depends on the sequence's own length alone.
#pragma once

#include <rill/scan/cuda/complex.h>

namespace rill {

constexpr int kPowerThreads = 256;
constexpr int kPowerSteps = 64;                          // between two anchors
constexpr int kPowerAnchors = 32;                        // of a tile
constexpr int kPowerTile = kPowerSteps * kPowerAnchors;  // steps
constexpr int kPowerModes = 32;                          // of a pass
constexpr std::int64_t kPowerStretch = 8 * kPowerTile;   // steps that one block gathers
constexpr int kPowerEdge = 16;                           // threads are 16 x 16
constexpr int kTableShare = kPowerSteps / 8, kAnchorShare = kPowerAnchors / 8;

RILL_DEVICE std::int64_t smaller(std::int64_t a, std::int64_t b) { return a < b ? a : b; }

/// How many sequences there are, and pieces of the longest.
struct PowerGrid {
  std::int64_t sequences = 0, tiles = 0, stretches = 1;

  static PowerGrid of(std::int64_t sequences, std::int64_t length) {
    const std::int64_t stretches = (length + kPowerStretch - 1) / kPowerStretch;
    return {sequences, (length + kPowerTile - 1) / kPowerTile, stretches > 1 ? stretches : 1};
  }
};

/// re, im [modes, steps]: a^j of the modes [first, modes). Threads are kPowerModes x 8.
template <class C, class Source>
RILL_DEVICE void fill_table(const Source& source, std::int64_t sequence, std::int64_t first,
                            std::int64_t steps, Shared<C> re, Shared<C> im) {
  const int n = thread_index() / 8, j0 = thread_index() % 8 * kTableShare;
  if (first + n >= source.modes() || j0 >= steps) return;
  const Cx a = source.base(sequence, first + n);
  Cx p = power(a, j0);
  for (int j = j0; j < j0 + kTableShare; ++j, p = p * a) {
    re[n * kPowerSteps + j] = static_cast<C>(p.re);
    im[n * kPowerSteps + j] = static_cast<C>(p.im);
  }
}

/// re, im [modes, anchors]: c a^(start + 64 b). Returns whether this thread's c is not 0.
template <class C, class Source>
RILL_DEVICE int fill_anchors(const Source& source, std::int64_t sequence, std::int64_t first,
                             std::int64_t start, std::int64_t steps, Shared<C> re, Shared<C> im) {
  const int n = thread_index() / 8, b0 = thread_index() % 8 * kAnchorShare;
  if (first + n >= source.modes() || b0 * kPowerSteps >= steps) return 0;
  const Cx c = source.coefficient(sequence, first + n);
  if (c.re == 0.0 && c.im == 0.0) {
    for (int b = b0; b < b0 + kAnchorShare; ++b)
      re[n * kPowerAnchors + b] = im[n * kPowerAnchors + b] = C(0);
    return 0;
  }
  const Cx a = source.base(sequence, first + n), stride = power(a, kPowerSteps);
  Cx p = c * power(a, start + b0 * kPowerSteps);
  for (int b = b0; b < b0 + kAnchorShare; ++b, p = p * stride) {
    re[n * kPowerAnchors + b] = static_cast<C>(p.re);
    im[n * kPowerAnchors + b] = static_cast<C>(p.im);
  }
  return 1;
}

/// Source, a PowerGrid: modes(), length(sequence), base and coefficient (sequence, mode),
/// put(sequence, l, f_l). A block has a tile; neighbours have neighbouring
/// sequences, whose elements share cache lines where channels lie beside each other.
template <class C, class Source>
RILL_KERNEL(kPowerThreads)
void expand_kernel(Source source) {
  RILL_SHARED(C, table_re, kPowerModes * kPowerSteps);
  RILL_SHARED(C, table_im, kPowerModes * kPowerSteps);
  RILL_SHARED(C, anchor_re, kPowerModes * kPowerAnchors);
  RILL_SHARED(C, anchor_im, kPowerModes * kPowerAnchors);
  RILL_SHARED(int, parts, kPowerThreads / kWarpSize);
  const int column = thread_index() % kPowerEdge, line = thread_index() / kPowerEdge;
  const std::int64_t sequences = source.sequences;
  for (std::int64_t i = block_index(); i < sequences * source.tiles; i += block_count()) {
    const std::int64_t q = i % sequences, start = i / sequences * kPowerTile;
    const std::int64_t steps = smaller(source.length(q) - start, kPowerTile);
    if (steps <= 0) continue;
    C sum[2][4] = {};
    for (std::int64_t first = 0; first < source.modes(); first += kPowerModes) {
      block_sync();
      const int mine = fill_anchors(source, q, first, start, steps, anchor_re, anchor_im);
      // A fresh state responds with nothing.
      if (block_sum<kPowerThreads>(mine, parts) == 0) continue;
      fill_table(source, q, first, steps, table_re, table_im);
      block_sync();
      if (line * kPowerSteps >= steps || column >= steps) continue;
      const auto modes = static_cast<int>(smaller(source.modes() - first, kPowerModes));
      for (int n = 0; n < modes; ++n) {
        C re[4], im[4];
        RILL_UNROLL
        for (int k = 0; k < 4; ++k) {
          const int j = n * kPowerSteps + column + k * kPowerEdge;
          const bool inside = column + k * kPowerEdge < steps;
          re[k] = inside ? static_cast<C>(table_re[j]) : C(0);
          im[k] = inside ? static_cast<C>(table_im[j]) : C(0);
        }
        RILL_UNROLL
        for (int l = 0; l < 2; ++l) {
          const int b = line + l * kPowerEdge;
          if (b * kPowerSteps >= steps) continue;
          const C p_re = anchor_re[n * kPowerAnchors + b], p_im = anchor_im[n * kPowerAnchors + b];
          RILL_UNROLL
          for (int k = 0; k < 4; ++k)
            sum[l][k] =
                fused_multiply_add(p_re, re[k], fused_multiply_add(-p_im, im[k], sum[l][k]));
        }
      }
    }
    RILL_UNROLL
    for (int l = 0; l < 2; ++l) RILL_UNROLL
    for (int k = 0; k < 4; ++k) {
      const int at = (line + l * kPowerEdge) * kPowerSteps + column + k * kPowerEdge;
      if (at < steps) source.put(q, start + at, sum[l][k]);
    }
  }
}

/// What gather leaves of each sequence's stretch and mode: W and S.
struct PowerSums {
  Cx value, slope;

  RILL_DEVICE PowerSums& operator+=(const PowerSums& other) {
    value = value + other.value;
    slope = slope + other.slope;
    return *this;
  }
};
inline std::int64_t power_sums_count(const PowerGrid& grid, std::int64_t modes) {
  return grid.sequences * grid.stretches * modes;
}
/// The sums of a whole sequence, its stretches in order. sums [sequences, stretches, modes].
RILL_DEVICE PowerSums whole_sums(const PowerSums* sums, std::int64_t sequence, std::int64_t mode,
                                 std::int64_t modes, std::int64_t stretches) {
  PowerSums sum{};
  for (std::int64_t s = 0; s < stretches; ++s)
    sum += sums[(sequence * stretches + s) * modes + mode];
  return sum;
}

/// Source, a PowerGrid: modes(), length(sequence), base(sequence, mode), at(sequence, l): z_l. A
/// block has a stretch of a sequence and kPowerModes modes; a thread has two modes and every 16th
/// block of 64 steps. Without `slopes` S is left at 0.
template <class C, bool slopes, class Source>
RILL_KERNEL(kPowerThreads)
void gather_powers_kernel(Source source, PowerSums* sums) {
  constexpr int kPitch = kPowerSteps + 1;  // padded against bank conflicts
  RILL_SHARED(C, table_re, kPowerModes * kPowerSteps);
  RILL_SHARED(C, table_im, kPowerModes * kPowerSteps);
  RILL_SHARED(C, values, kPowerAnchors * kPitch);
  const int column = thread_index() % kPowerEdge, line = thread_index() / kPowerEdge;
  const std::int64_t sequences = source.sequences, stretches = source.stretches;
  const std::int64_t passes = (source.modes() + kPowerModes - 1) / kPowerModes;
  for (std::int64_t i = block_index(); i < sequences * passes * stretches; i += block_count()) {
    const std::int64_t q = i % sequences, first = i / sequences % passes * kPowerModes;
    const std::int64_t stretch = i / sequences / passes, begin = stretch * kPowerStretch;
    const std::int64_t end = smaller(begin + kPowerStretch, source.length(q));
    block_sync();
    fill_table(source, q, first, end - begin, table_re, table_im);
    Cx anchor[2][2] = {}, stride[2] = {};
    PowerSums sum[2] = {};
    for (int m = 0; m < 2; ++m) {
      const std::int64_t n = first + line + m * kPowerEdge;
      if (n >= source.modes() || begin + column * kPowerSteps >= end) continue;
      const Cx a = source.base(q, n);
      stride[m] = power(a, kPowerTile);
      for (int k = 0; k < 2; ++k)
        anchor[m][k] = power(a, begin + (column + k * kPowerEdge) * kPowerSteps);
    }
    for (std::int64_t start = begin; start < end; start += kPowerTile) {
      const std::int64_t steps = smaller(end - start, kPowerTile);
      if (start > begin) block_sync();
      for (int l = thread_index(); l < kPowerTile; l += kPowerThreads) {
        if (l / kPowerSteps * kPowerSteps >= steps) break;
        values[l / kPowerSteps * kPitch + l % kPowerSteps] =
            l < steps ? static_cast<C>(source.at(q, start + l)) : C(0);
      }
      block_sync();
      const auto count = static_cast<int>(smaller(steps, kPowerSteps));
      C re[2][2] = {}, im[2][2] = {}, slope_re[2][2] = {}, slope_im[2][2] = {};
      if (column * kPowerSteps < steps && first + line < source.modes())
        for (int j = 0; j < count; ++j) {
          C z[2];
          RILL_UNROLL
          for (int k = 0; k < 2; ++k) {
            const int b = column + k * kPowerEdge;
            z[k] = b * kPowerSteps < steps ? static_cast<C>(values[b * kPitch + j]) : C(0);
          }
          RILL_UNROLL
          for (int m = 0; m < 2; ++m) {
            const int n = line + m * kPowerEdge;
            if (first + n >= source.modes()) continue;
            const C t_re = table_re[n * kPowerSteps + j], t_im = table_im[n * kPowerSteps + j];
            RILL_UNROLL
            for (int k = 0; k < 2; ++k) {
              re[m][k] = fused_multiply_add(z[k], t_re, re[m][k]);
              im[m][k] = fused_multiply_add(z[k], t_im, im[m][k]);
              if (!slopes) continue;
              const C nth = static_cast<C>(j + 1) * z[k];
              slope_re[m][k] = fused_multiply_add(nth, t_re, slope_re[m][k]);
              slope_im[m][k] = fused_multiply_add(nth, t_im, slope_im[m][k]);
            }
          }
        }
      RILL_UNROLL
      for (int m = 0; m < 2; ++m) RILL_UNROLL
      for (int k = 0; k < 2; ++k) {
        const auto before = static_cast<double>(start + (column + k * kPowerEdge) * kPowerSteps);
        const Cx value = anchor[m][k] * Cx{re[m][k], im[m][k]};
        sum[m].value = sum[m].value + value;
        if (slopes)
          sum[m].slope =
              sum[m].slope + anchor[m][k] * Cx{slope_re[m][k], slope_im[m][k]} + before * value;
        anchor[m][k] = anchor[m][k] * stride[m];
      }
    }
    for (int m = 0; m < 2; ++m) {
      PowerSums& s = sum[m];
      for (int mask = kPowerEdge / 2; mask > 0; mask /= 2) {
        s.value = s.value + Cx{shuffle_xor(s.value.re, mask), shuffle_xor(s.value.im, mask)};
        if (slopes)
          s.slope = s.slope + Cx{shuffle_xor(s.slope.re, mask), shuffle_xor(s.slope.im, mask)};
      }
      const std::int64_t n = first + line + m * kPowerEdge;
      if (column == 0 && n < source.modes())
        sums[(q * stretches + stretch) * source.modes() + n] = s;
    }
  }
}

template <class C, class Source>
DeviceStatus launch_expand(const Source& source, const DeviceLaunch& on) {
  const std::int64_t blocks = source.sequences * source.tiles;
  if (blocks == 0) return 0;
  return RILL_LAUNCH((expand_kernel<C, Source>), grid_for(blocks, 1), kPowerThreads, 0, on.stream,
                     source);
}
template <class C, bool slopes, class Source>
DeviceStatus launch_gather(const Source& source, PowerSums* sums, const DeviceLaunch& on) {
  const std::int64_t passes = (source.modes() + kPowerModes - 1) / kPowerModes;
  const std::int64_t blocks = source.sequences * passes * source.stretches;
  if (blocks == 0) return 0;
  return RILL_LAUNCH((gather_powers_kernel<C, slopes, Source>), grid_for(blocks, 1), kPowerThreads,
                     0, on.stream, source, sums);
}

}  // namespace rill
