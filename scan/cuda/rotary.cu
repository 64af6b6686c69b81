// Rotation by position (rotary.h). The angle is position * theta in double, and its cosine and sine
// are taken in double before they are rounded: in float t * theta alone is wrong by 3e-3 at t =
// 1e6. They are the same for all heads: a thread takes a plane of a token through all its heads, so
// that neighbouring threads touch neighbouring channels. (The kernel's few bytes of stack are those
// of the double cosine's reduction of large angles.)
#include <rill/core/cuda/launch.h>
#include <rill/scan/cuda/instantiate.h>
#include <rill/scan/cuda/launch.h>
#include <rill/scan/cuda/matrix_tile.h>

namespace rill {
namespace {

constexpr int kThreads = 256;
constexpr int kTokens = 64;  // tokens a block

// Steps since the last reset at or before step `last` of a row, -1 where there is none; a warp
// looks back 32 steps at a time.
RILL_DEVICE std::int64_t steps_since_reset(const SeqArgs& s, std::int64_t start,
                                           std::int64_t last) {
  if (!s.reset) return -1;
  for (std::int64_t back = 0; back <= last; back += kWarpSize) {
    const std::int64_t step = last - back - lane_index();
    const unsigned bits = ballot(step >= 0 && s.reset[start + step] != 0);
    for (int l = 0; l < kWarpSize; ++l)
      if (bits >> l & 1u) return back + l;
  }
  return -1;
}

// Block (x, y): tokens of tile x of row y.
// Spills 16 bytes for sm_80: around the call that reduces an angle, once a plane, not once a head.
template <class S>
RILL_KERNEL(kThreads)
void rotary_kernel(RotaryArgs p) {
  using C = Compute<S>;
  RILL_SHARED(std::int64_t, positions, kTokens);
  const SeqArgs& s = p.sequence;
  const std::int64_t planes = p.keys / 2, items = (p.keys + 1) / 2;  // an odd channel has no plane
  const std::int64_t stride = p.pairs ? 2 : 1, other = p.pairs ? 1 : planes;
  const std::int64_t channels = p.heads * p.keys;
  for (std::int64_t row = block_index_y(); row < s.rows; row += 65535) {
    const std::int64_t start = s.start[row], begin = block_index() * kTokens;
    const std::int64_t left = s.length[row] - begin;
    const int count = static_cast<int>(left < 0 ? 0 : left < kTokens ? left : kTokens);
    block_sync();
    if (warp_index() == 0 && count > 0) {
      const std::int64_t since = begin > 0 ? steps_since_reset(s, start, begin - 1) : -1;
      std::int64_t position = since >= 0 ? since + 1 : p.position[row] + begin;
      for (int i = 0; i < count; ++i, ++position) {
        if (fresh_at(s, start + begin + i)) position = 0;
        if (lane_index() == 0) positions[i] = position;
      }
    }
    block_sync();
    for (std::int64_t item = thread_index(); item < count * items; item += kThreads) {
      const std::int64_t i = item / items, plane = item % items;
      const std::int64_t first = (start + begin + i) * channels;
      if (plane == planes) {
        for (std::int64_t h = 0; h < p.heads; ++h) {
          const std::int64_t at = first + h * p.keys + p.keys - 1;
          store<S>(p.y, at, load<S>(p.x, at));
        }
        continue;
      }
      const double angle = static_cast<double>(positions[i]) * p.theta[plane];
      const C cosine = static_cast<C>(cos(angle));
      const C sine = static_cast<C>(p.inverse ? -sin(angle) : sin(angle));
      for (std::int64_t h = 0; h < p.heads; ++h) {
        const std::int64_t at = first + h * p.keys + plane * stride;
        const C u = load<S>(p.x, at), v = load<S>(p.x, at + other);
        store<S>(p.y, at, u * cosine - v * sine);
        store<S>(p.y, at + other, u * sine + v * cosine);
      }
    }
    const TokenRange padding = padding_behind(s, row);
    const std::int64_t numbers = (padding.last - padding.first) * channels;
    for (std::int64_t i = grid_thread(); i < numbers; i += grid_threads())
      store<S>(p.y, padding.first * channels + i, C(0));
  }
}

// A warp a row.
RILL_KERNEL(kThreads) void advance_kernel(AdvanceArgs p) {
  const SeqArgs& s = p.sequence;
  constexpr int kWarps = kThreads / kWarpSize;
  for (std::int64_t row = block_index() * kWarps + warp_index(); row < s.rows;
       row += block_count() * kWarps) {
    const std::int64_t length = s.length[row];
    const std::int64_t since = steps_since_reset(s, s.start[row], length - 1);
    if (lane_index() == 0)
      p.final_position[row] = since >= 0 ? since + 1 : p.position[row] + length;
  }
}

}  // namespace

template <class S>
DeviceStatus launch_rotary(const RotaryArgs& p, const DeviceLaunch& on) {
  if (p.sequence.rows * p.sequence.tokens * p.heads * p.keys == 0) return 0;
  const std::int64_t tiles = (p.sequence.max_length + kTokens - 1) / kTokens;
  const Grid grid{tiles > 1 ? tiles : 1, p.sequence.rows > 65535 ? 65535 : p.sequence.rows, 1};
  return RILL_LAUNCH(rotary_kernel<S>, grid, kThreads, 0, on.stream, p);
}

DeviceStatus launch_advance(const AdvanceArgs& p, const DeviceLaunch& on) {
  if (p.sequence.rows == 0) return 0;
  return RILL_LAUNCH(advance_kernel, grid_for(p.sequence.rows, kThreads / kWarpSize), kThreads, 0,
                     on.stream, p);
}

RILL_INSTANTIATE_ACTIVATIONS(launch_rotary, RotaryArgs)

}  // namespace rill
