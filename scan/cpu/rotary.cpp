// Rotation by position (rotary.h). The angle is position * theta in double, and its cosine and sine
// are taken in double before they are rounded: in float t * theta alone is wrong by 3e-3 at t =
// 1e6. They are the same for all heads, so they are formed once a token.
#include <rill/scan/cpu/families.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include <rill/scan/cpu/matrix_walk.h>

namespace rill {
namespace {

constexpr std::int64_t kPlanes = 64;  // planes a pass: their cosines lie on the stack
constexpr std::int64_t kTokens = 64;  // tokens a task

template <class T>
void rotate_token(const RotaryArgs& a, std::int64_t t, std::int64_t position) {
  const T* x = static_cast<const T*>(a.x) + t * a.heads * a.keys;
  T* y = static_cast<T*>(a.y) + t * a.heads * a.keys;
  const std::int64_t planes = a.keys / 2;
  for (std::int64_t first = 0; first < planes; first += kPlanes) {
    const std::int64_t count = std::min(kPlanes, planes - first);
    T cosine[kPlanes], sine[kPlanes];
    for (std::int64_t i = 0; i < count; ++i) {
      const double angle = static_cast<double>(position) * a.theta[first + i];
      cosine[i] = static_cast<T>(std::cos(angle));
      sine[i] = static_cast<T>(a.inverse ? -std::sin(angle) : std::sin(angle));
    }
    const std::int64_t stride = a.pairs ? 2 : 1;
    const std::int64_t other = a.pairs ? 1 : planes;
    for (std::int64_t h = 0; h < a.heads; ++h) {
      const T* xh = x + h * a.keys + first * stride;
      T* yh = y + h * a.keys + first * stride;
      for (std::int64_t i = 0; i < count; ++i) {
        const T u = xh[i * stride], v = xh[i * stride + other];
        yh[i * stride] = u * cosine[i] - v * sine[i];
        yh[i * stride + other] = u * sine[i] + v * cosine[i];
      }
    }
  }
  if (a.keys % 2 != 0)  // the last channel of an odd head has no plane
    for (std::int64_t h = 0; h < a.heads; ++h)
      y[h * a.keys + a.keys - 1] = x[h * a.keys + a.keys - 1];
}

template <class T>
void rotary(const RotaryArgs& a, const KernelContext& context) {
  const SeqArgs& s = a.sequence;
  // With resets a position is known only by walking there, so that a row is one task.
  const std::int64_t tile = s.reset ? std::max<std::int64_t>(s.max_length, 1) : kTokens;
  const std::int64_t tiles = std::max<std::int64_t>((s.max_length + tile - 1) / tile, 1);
  context.parallel_for(s.rows * tiles, [&](std::int64_t task) {
    const std::int64_t row = task / tiles, begin = task % tiles * tile;
    const std::int64_t end = std::min(begin + tile, s.length[row]);
    std::int64_t position = a.position[row] + begin;
    for (std::int64_t step = begin; step < end; ++step, ++position) {
      const std::int64_t t = s.start[row] + step;
      if (matrix::fresh_before(s, t)) position = 0;
      rotate_token<T>(a, t, position);
    }
    if (begin == 0) matrix::clear_padding<T>(s, row, a.y, a.heads * a.keys, 0, a.heads * a.keys);
  });
}

void advance(const AdvanceArgs& a, const KernelContext&) {
  const SeqArgs& s = a.sequence;
  for (std::int64_t row = 0; row < s.rows; ++row) {
    std::int64_t position = a.position[row] + s.length[row];
    if (s.reset) {
      const std::uint8_t* reset = s.reset + s.start[row];
      for (std::int64_t step = s.length[row] - 1; step >= 0; --step) {
        if (!reset[step]) continue;
        position = s.length[row] - step;
        break;
      }
    }
    a.final_position[row] = position;
  }
}

}  // namespace

void fill_rotary(ScanKernels& f32, ScanKernels& f64) {
  f32.rotary = &rotary<float>;
  f64.rotary = &rotary<double>;
  f32.advance = f64.advance = &advance;
}

}  // namespace rill
