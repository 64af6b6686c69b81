// What the chunked kernels share whose state is a matrix S [K, V] a row and head: tiles of 64 by 64
// in shared memory, the products of a warp's 16 rows of them, and decays within a chunk.
//
// A chunk is 64 tokens of a row. Kernels see them in one of two orders, p = 0, 1, ...: forward (p
// is the token's place), or backward (p counts from the chunk's last token). In either order
// H_p (log2) is what remains of the state the chunk starts from: after the decay of token p in the
// forward order, before it in the other; e^{H_p - H_r}, r <= p, is what token r's part has become
// at p, and `total` is the decay of the whole chunk. So the gradient's way back through time is the
// same code. Only differences that are not positive are exponentiated. A decay of one step is at
// least 2^-160, whose power is 0; a reset is that.
#pragma once

#include <rill/core/cuda/mma.h>
#include <rill/core/cuda/rows.h>
#include <rill/scan/cuda/chunk.h>

namespace rill {

constexpr int kTile = 64;               // rows and columns
constexpr int kTileStride = kTile + 8;  // 16-byte rows that meet other banks
constexpr int kTileSize = kTile * kTileStride;
constexpr int kTileThreads = 128;  // four warps of 16 rows
constexpr int kColumnTiles = kTile / 8;
constexpr float kSmallestLog = -160.0f;
static_assert(kTile == kChunkTokens);

/// The tokens of a chunk in the order of a kernel.
struct ChunkRows {
  std::int64_t first = 0;
  int count = 0;  // 0: the row has no such chunk
  bool reverse = false;
  std::int64_t unit = 0;  // the chunk's number in the window
  std::int64_t heads = 0, head = 0;

  /// Chunk number `place` of the window.
  RILL_DEVICE static ChunkRows of(const SeqArgs& s, const ChunkWindow& window, std::int64_t heads,
                                  std::int64_t task, std::int64_t place, bool reverse) {
    const std::int64_t row = task / heads, first = (window.first_chunk + place) * kChunkTokens;
    const std::int64_t left = s.length[row] - first;
    const std::int64_t count = left < kChunkTokens ? left : kChunkTokens;
    return {s.start[row] + first,
            static_cast<int>(count > 0 ? count : 0),
            reverse,
            (task - window.first_task) * window.chunks + place,
            heads,
            task % heads};
  }
  RILL_DEVICE std::int64_t token(int p) const {
    return reverse ? first + count - 1 - p : first + p;
  }
  /// Number of row p among those of [tokens, H].
  RILL_DEVICE std::int64_t at(int p) const { return token(p) * heads + head; }
  /// Where row p of an array begins.
  RILL_DEVICE std::int64_t offset(const ChunkOperand& array, int p) const {
    return (array.windowed ? unit * kChunkTokens + token(p) - first : at(p)) * array.width;
  }
};

/// 16 rows of a tile, a warp's: columns 8 n ... 8 n + 7 in c[n].
struct RowTiles {
  FragmentC c[kColumnTiles];

  RILL_DEVICE void clear() {
    RILL_UNROLL
    for (int n = 0; n < kColumnTiles; ++n) RILL_UNROLL
    for (int e = 0; e < 4; ++e) c[n].x[e] = 0.0f;
  }
  /// f(row, column, x) for this lane's elements; rows of the whole tile.
  template <class F>
  RILL_DEVICE void for_each(const F& f) {
    RILL_UNROLL
    for (int n = 0; n < kColumnTiles; ++n) RILL_UNROLL
    for (int e = 0; e < 4; ++e)
      f(16 * warp_index() + fragment_c_row(e), 8 * n + fragment_c_column(e), c[n].x[e]);
  }
};

/// The warp's rows of a tile times a tile; see load_a() and load_b() for how they lie. Column tiles
/// from `limit`, which is even, on are left out.
template <bool kTransposed, class S>
RILL_DEVICE void multiply_add(RowTiles& sum, const FragmentA& a, Shared<S> b, int k,
                              int limit = kColumnTiles) {
  RILL_UNROLL
  for (int n = 0; n < kColumnTiles; n += 2) {
    if (n >= limit) continue;
    FragmentB low, high;
    if constexpr (kTransposed)
      load_b_pair_transposed(low, high, b + (8 * n * kTileStride + 16 * k), kTileStride);
    else
      load_b_pair(low, high, b + (16 * k * kTileStride + 8 * n), kTileStride);
    multiply_add<S>(sum.c[n], a, low);
    multiply_add<S>(sum.c[n + 1], a, high);
  }
}
/// sum += A B, A[i][k] at a[i][k], B[k][j] at b[k][j], or at b[j][k] where kTransposed.
template <bool kTransposed, class S>
RILL_DEVICE void multiply_tiles(RowTiles& sum, Shared<S> a, Shared<S> b, int limit = kColumnTiles) {
  RILL_ROLL
  for (int k = 0; k < kTile / 16; ++k) {
    FragmentA left;
    load_a(left, a + (16 * warp_index() * kTileStride + 16 * k), kTileStride);
    multiply_add<kTransposed>(sum, left, b, k, limit);
  }
}
/// sum += A^T B, A[k][i] at a[k][i], B[k][j] at b[k][j].
template <class S>
RILL_DEVICE void multiply_transposed(RowTiles& sum, Shared<S> a, Shared<S> b) {
  RILL_ROLL
  for (int k = 0; k < kTile / 16; ++k) {
    FragmentA left;
    load_a_transposed(left, a + (16 * k * kTileStride + 16 * warp_index()), kTileStride);
    multiply_add<false>(sum, left, b, k);
  }
}
/// Columns 16 k ... 16 k + 15 of a warp's rows as the left side of a product, rounded to S.
template <class S>
RILL_DEVICE FragmentA as_left(const RowTiles& rows, int k) {
  const FragmentC &low = rows.c[2 * k], &high = rows.c[2 * k + 1];
  return {{pack_pair<S>(low.x[0], low.x[1]), pack_pair<S>(low.x[2], low.x[3]),
           pack_pair<S>(high.x[0], high.x[1]), pack_pair<S>(high.x[2], high.x[3])}};
}

/// Sum over the lanes that hold a row of a fragment's C.
RILL_DEVICE float sum_row_lanes(float x) {
  x += shuffle_xor(x, 1);
  return x + shuffle_xor(x, 2);
}
/// Sum over the rows of a fragment's C: over the lanes of equal lane % 4.
RILL_DEVICE float sum_column_lanes(float x) {
  x += shuffle_xor(x, 4);
  x += shuffle_xor(x, 8);
  return x + shuffle_xor(x, 16);
}

/// Columns [column, column + 64) of the chunk's rows times `factor(p, c)`, rounded to S; rows and
/// columns that are not there become 0. All threads of the block take part.
template <class S, class Factor>
RILL_DEVICE void stage_tile(Shared<S> tile, const ChunkOperand& from, const ChunkRows& rows,
                            std::int64_t column, const Factor& factor) {
  for (int i = thread_index(); i < kTile * (kTile / 8); i += kTileThreads) {
    const int p = i / (kTile / 8), c = i % (kTile / 8) * 8;
    const std::int64_t left = from.width - column - c;
    Eight<S> eight;
    RILL_UNROLL
    for (int j = 0; j < 8; ++j) eight.x[j] = from_compute<S>(0.0f);
    if (from.data && p < rows.count && left > 0) {
      const S* source = static_cast<const S*>(from.data) + rows.offset(from, p) + column + c;
      if (from.aligned)
        eight = load_vector<Eight<S>>(source);
      else
        for (int j = 0; j < 8; ++j)
          if (j < left) eight.x[j] = source[j];
      factor(eight, p, c);
    }
    store_eight<S>(tile + (p * kTileStride + c), eight);
  }
}
template <class S>
RILL_DEVICE void stage_tile(Shared<S> tile, const ChunkOperand& from, const ChunkRows& rows,
                            std::int64_t column) {
  stage_tile<S>(tile, from, rows, column, [](Eight<S>&, int, int) {});
}
/// Multiplies eight elements of row p, from column c on, by f(p, column).
template <class S, class F>
RILL_DEVICE void scale_eight(Eight<S>& eight, int p, int c, const F& f) {
  RILL_UNROLL
  for (int j = 0; j < 8; ++j) eight.x[j] = from_compute<S>(to_compute(eight.x[j]) * f(p, c + j));
}

/// State rows [key, key + 64), columns [value, value + 64), rounded to S; what is not there is 0.
template <class S>
RILL_DEVICE void stage_state(Shared<S> tile, const float* state, std::int64_t keys,
                             std::int64_t values, std::int64_t key, std::int64_t value) {
  for (int i = thread_index(); i < kTile * kTile; i += kTileThreads) {
    const int r = i / kTile, c = i % kTile;
    const bool inside = state && key + r < keys && value + c < values;
    tile[r * kTileStride + c] =
        from_compute<S>(inside ? state[(key + r) * values + value + c] : 0.0f);
  }
}

/// f(x, address) for the numbers that this lane's fragments hold of state rows from `key` on and
/// columns from `column` on; those past the end are left out. One address a row: a state's worth of
/// them does not fit beside it.
template <class F>
RILL_DEVICE void for_state(RowTiles& tiles, float* state, std::int64_t keys, std::int64_t values,
                           std::int64_t key, std::int64_t column, const F& f) {
  RILL_UNROLL
  for (int half = 0; half < 2; ++half) {
    const std::int64_t row = key + 16 * warp_index() + fragment_c_row(2 * half);
    if (row >= keys) continue;
    const std::int64_t first = column + fragment_c_column(0), left = values - first;
    float* const at = state + row * values + first;
    RILL_UNROLL
    for (int n = 0; n < kColumnTiles; ++n) RILL_UNROLL
    for (int j = 0; j < 2; ++j)
      if (8 * n + j < left) f(tiles.c[n].x[2 * half + j], at + 8 * n + j);
  }
}
/// From [keys, values] at `from`; null, and what is not there: zeros.
RILL_DEVICE void read_state(RowTiles& tiles, const float* from, std::int64_t keys,
                            std::int64_t values, std::int64_t key, std::int64_t column) {
  tiles.clear();
  if (from)
    for_state(tiles, const_cast<float*>(from), keys, values, key, column,
              [](float& x, const float* at) { x = *at; });
}
RILL_DEVICE void write_state(RowTiles& tiles, float* to, std::int64_t keys, std::int64_t values,
                             std::int64_t key, std::int64_t column) {
  for_state(tiles, to, keys, values, key, column, [](float& x, float* at) { *at = x; });
}

/// The warp's rows to the chunk's tokens; columns of the array from `column` on.
template <class S>
RILL_DEVICE void store_rows(const RowTiles& tiles, const ChunkOperand& to, const ChunkRows& rows,
                            std::int64_t column) {
  RILL_UNROLL
  for (int n = 0; n < kColumnTiles; ++n) RILL_UNROLL
  for (int half = 0; half < 2; ++half) {
    const int p = 16 * warp_index() + fragment_c_row(2 * half);
    const std::int64_t c = column + 8 * n + fragment_c_column(0);
    if (p >= rows.count || c >= to.width) continue;
    S* const at = static_cast<S*>(const_cast<void*>(to.data)) + rows.offset(to, p) + c;
    const float low = tiles.c[n].x[2 * half], high = tiles.c[n].x[2 * half + 1];
    if (to.width % 2 == 0) {
      store_vector<unsigned>(at, pack_pair<S>(low, high));
    } else {
      at[0] = from_compute<S>(low);
      if (c + 1 < to.width) at[1] = from_compute<S>(high);
    }
  }
}

/// H of a chunk, [64, kStride] in shared memory, and the whole chunk's decay.
template <bool kPerKey>
struct DecayShape {
  static constexpr int kWidth = kPerKey ? kTile : 1;
  static constexpr int kStride = kPerKey ? kTile + 1 : 1;
  static constexpr int kSize = kTile * kStride;
};

RILL_DEVICE float step_log(const ChunkDecay& decay, const SeqArgs& s, std::int64_t token,
                           std::int64_t head, std::int64_t key) {
  if (fresh_at(s, token)) return kSmallestLog;
  if (!decay.factor) return 0.0f;
  const float a = decay.factor[token * decay.token + head * decay.head + key * decay.key];
  const float log = log2f(a);
  return log >= kSmallestLog ? log : a != a ? a : kSmallestLog;
}

/// Fills `h` and `total` [kWidth] for keys [key, key + 64); all threads of the block take part. A
/// barrier at its end.
template <bool kPerKey>
RILL_DEVICE void stage_decays(Shared<float> h, Shared<float> total, const ChunkDecay& decay,
                              const SeqArgs& s, const ChunkRows& rows, std::int64_t key) {
  using Shape = DecayShape<kPerKey>;
  for (int i = thread_index(); i < kTile * Shape::kWidth; i += kTileThreads) {
    const int p = i / Shape::kWidth, c = i % Shape::kWidth;
    const int of = rows.reverse ? p - 1 : p;  // whose decay comes at p
    const bool inside = of >= 0 && p < rows.count && (!kPerKey || key + c < decay.keys);
    h[p * Shape::kStride + c] =
        inside ? step_log(decay, s, rows.token(of), rows.head, key + c) : 0.0f;
  }
  block_sync();
  if (thread_index() < Shape::kWidth) {
    const int c = thread_index();
    float sum = 0.0f;
    for (int p = 0; p < kTile; ++p) {
      sum += h[p * Shape::kStride + c];
      h[p * Shape::kStride + c] = sum;
    }
    if (rows.reverse && rows.count > 0 && (!kPerKey || key + c < decay.keys))
      sum += step_log(decay, s, rows.first, rows.head, key + c);
    total[c] = sum;
  }
  block_sync();
}

/// Weights of the chunk's tokens, 0 where there is none.
RILL_DEVICE void stage_weights(Shared<float> weights, const ChunkWeight& w, const ChunkRows& rows) {
  for (int p = thread_index(); p < kTile; p += kTileThreads) {
    float x = 0.0f;
    if (p < rows.count) {
      const std::int64_t at = rows.at(p);
      x = w.scale;
      if (w.gain) x *= w.gain[at];
      if (w.divisor) x /= w.divisor[at];
    }
    weights[p] = x;
  }
}

/// sum += a b^T over all columns, for the warp's rows and those before; `left` and `right` are used
/// up.
template <class S>
RILL_DEVICE void add_row_products(RowTiles& sum, const ChunkOperand& a, const ChunkOperand& b,
                                  Shared<S> left, Shared<S> right, const ChunkRows& rows) {
  for (std::int64_t d = 0; d < a.width; d += kTile) {
    block_sync();
    stage_tile<S>(left, a, rows, d);
    stage_tile<S>(right, b, rows, d);
    block_sync();
    multiply_tiles<true>(sum, left, right, 2 * warp_index() + 2);
  }
}

}  // namespace rill
