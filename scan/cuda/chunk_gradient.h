// The gradients of query and key within a chunk (chunk.h: ChunkGradientArgs), and of the decay.
// With x_ij = out_weight_i in_weight_j (dout_i . v_j) for j <= i, H as in chunk_tile.h, S the state
// that the chunk starts from and D the gradient of the one it ends with:
//   dq_i = out_weight_i e^{H_i} S dout_i + sum_j x_ij e^{H_i - H_j} k_j
//   dk_j = in_weight_j e^{total - H_j} D v_j + sum_i x_ij e^{H_i - H_j} q_i
//   dlog_t = sum over s >= t > r of what (s, r) adds to the output, r the state before the chunk
//            and s that behind it among them.
// The last is formed from those sums alone, never as a running sum of q dq - k dk, which cancels
// where decays are strong. One decay a token: pairs come from the product of x and q . k. A decay a
// key: with b the 16 rows of t, pairs within b one by one; s in b, r before b from the part of dq
// that comes from before b; s behind b, r in b likewise from dk; s behind and r before b from sums
// over rows of the parts of dq that come from before b.
#pragma once

#include <rill/scan/cuda/chunk_tile.h>
#include <rill/scan/cuda/chunk_types.h>

namespace rill {

/// Numbers of the kernel in dynamic shared memory.
template <bool kPerKey>
struct GradientFloats {
  static constexpr int kStride = kTile + 1;
  static constexpr int kH = 0;
  static constexpr int kTotal = kH + DecayShape<kPerKey>::kSize;
  static constexpr int kInWeight = kTotal + DecayShape<kPerKey>::kWidth;
  static constexpr int kOutWeight = kInWeight + kTile;
  static constexpr int kWithoutDecay = kOutWeight + kTile;
  // A decay a key: q dq and k dk [64, 64] of other rows, sums over rows [11, 64]. A token: pairs
  // [64, 64], q dq and k dk [64] of the states, one sum a warp.
  static constexpr int kFirst = kWithoutDecay;
  static constexpr int kSecond = kFirst + kTile * kStride;
  static constexpr int kSums = kPerKey ? kSecond + kTile * kStride : kSecond + 2 * kTile;
  static constexpr int kAll = kSums + (kPerKey ? 11 * kTile : 4);
};

template <class S, bool kPerKey>
struct ChunkGradient {
  using Decay = DecayShape<kPerKey>;
  using Floats = GradientFloats<kPerKey>;
  static constexpr int kStride = Floats::kStride;
  const ChunkGradientArgs& p;
  Shared<S> pairs, left, right;  // tiles: x; two others
  Shared<float> floats;
  ChunkRows rows;
  const float *state, *dstate;

  RILL_DEVICE Shared<float> h() const { return floats + Floats::kH; }
  RILL_DEVICE Shared<float> total() const { return floats + Floats::kTotal; }
  RILL_DEVICE float h_at(int row, int column) const {
    return floats[Floats::kH + (kPerKey ? row * Decay::kStride + column : row)];
  }
  RILL_DEVICE float total_at(int column) const {
    return floats[Floats::kTotal + (kPerKey ? column : 0)];
  }
  RILL_DEVICE float at(Shared<S> tile, int row, int column) const {
    return to_compute(S(tile[row * kTileStride + column]));
  }

  // x, with the decay where there is one a token, to `pairs`; what pairs add to the output.
  RILL_DEVICE void make_pairs() const {
    stage_weights(floats + Floats::kInWeight, p.in_weight, rows);
    stage_weights(floats + Floats::kOutWeight, p.out_weight, rows);
    if (!kPerKey) stage_decays<kPerKey>(h(), total(), p.decay, p.sequence, rows, 0);
    RowTiles x;
    x.clear();
    add_row_products<S>(x, p.dout, p.value, left, right, rows);
    x.for_each([&](int i, int j, float& value) {
      if (j > i)
        value = 0.0f;
      else
        value *= floats[Floats::kOutWeight + i] * floats[Floats::kInWeight + j] *
                 (kPerKey ? 1.0f : fast_exp2(h_at(i, 0) - h_at(j, 0)));
      pairs[i * kTileStride + j] = from_compute<S>(value);
    });
    if (kPerKey || !p.dlog_decay) return;
    RowTiles scores;
    scores.clear();
    add_row_products<S>(scores, p.query, p.key, left, right, rows);
    RILL_UNROLL
    for (int n = 0; n < kColumnTiles; ++n) RILL_UNROLL
    for (int e = 0; e < 4; ++e) {
      const int i = 16 * warp_index() + fragment_c_row(e), j = 8 * n + fragment_c_column(e);
      floats[Floats::kFirst + i * kStride + j] = scores.c[n].x[e] * x.c[n].x[e];
    }
  }

  // The parts of dq and dk that come from the states, for keys from `key` on.
  RILL_DEVICE void add_states(RowTiles& dq, RowTiles& dk, std::int64_t key) const {
    for (std::int64_t v = 0; v < p.value.width; v += kTile) {
      block_sync();
      stage_tile<S>(left, p.dout, rows, v);
      stage_state<S>(right, state, p.key.width, p.value.width, key, v);
      block_sync();
      multiply_tiles<true>(dq, left, right);
      block_sync();
      stage_tile<S>(left, p.value, rows, v);
      stage_state<S>(right, dstate, p.key.width, p.value.width, key, v);
      block_sync();
      multiply_tiles<true>(dk, left, right);
    }
    dq.for_each([&](int i, int d, float& x) {
      x *= floats[Floats::kOutWeight + i] * fast_exp2(h_at(i, d));
    });
    dk.for_each([&](int j, int d, float& x) {
      x *= floats[Floats::kInWeight + j] * fast_exp2(total_at(d) - h_at(j, d));
    });
  }

  // sum over the warp's rows of tile times part, a column each, to sums[row].
  RILL_DEVICE void put_column_sums(const RowTiles& part, Shared<S> tile, int row) const {
    RILL_UNROLL
    for (int n = 0; n < kColumnTiles; ++n) RILL_UNROLL
    for (int j = 0; j < 2; ++j) {
      const int i = 16 * warp_index() + fragment_c_row(0), d = 8 * n + fragment_c_column(j);
      const float sum = sum_column_lanes(part.c[n].x[j] * at(tile, i, d) +
                                         part.c[n].x[j + 2] * at(tile, i + 8, d));
      if (lane_index() < 4) floats[Floats::kSums + row * kTile + d] = sum;
    }
  }
  // tile times part, [64, 64], to the array that begins at `first`.
  RILL_DEVICE void put_elements(const RowTiles& part, Shared<S> tile, int first) const {
    RILL_UNROLL
    for (int n = 0; n < kColumnTiles; ++n) RILL_UNROLL
    for (int e = 0; e < 4; ++e) {
      const int i = 16 * warp_index() + fragment_c_row(e), d = 8 * n + fragment_c_column(e);
      floats[first + i * kStride + d] = part.c[n].x[e] * at(tile, i, d);
    }
  }
  // sum over columns of tile times part, added to `first`[row].
  RILL_DEVICE void add_row_sums(const RowTiles& part, Shared<S> tile, int first) const {
    RILL_UNROLL
    for (int half = 0; half < 2; ++half) {
      const int i = 16 * warp_index() + fragment_c_row(2 * half);
      float sum = 0.0f;
      RILL_UNROLL
      for (int n = 0; n < kColumnTiles; ++n) RILL_UNROLL
      for (int j = 0; j < 2; ++j)
        sum = fused_multiply_add(part.c[n].x[2 * half + j],
                                 at(tile, i, 8 * n + fragment_c_column(j)), sum);
      sum = sum_row_lanes(sum);
      if (lane_index() % 4 == 0) floats[first + i] += sum;
    }
  }

  // dq's part from rows before the warp's 16: x_ij, times e^{H_i - R} k_j e^{R - H_j}.
  RILL_DEVICE void add_earlier(RowTiles& dq) const {
    const int first = 16 * warp_index();
    for (int a = 0; a < warp_index(); ++a) {
      if (p.dlog_decay) put_column_sums(dq, left, warp_index() * (warp_index() - 1) / 2 + a);
      RowTiles part;
      part.clear();
      FragmentA x;
      load_a(x, pairs + (first * kTileStride + 16 * a), kTileStride);
      add_decayed(part, x, right, 16 * a, first - 1, -1.0f);
      RILL_UNROLL
      for (int n = 0; n < kColumnTiles; ++n) RILL_UNROLL
      for (int e = 0; e < 4; ++e) {
        const int d = 8 * n + fragment_c_column(e);
        dq.c[n].x[e] = fused_multiply_add(
            part.c[n].x[e], fast_exp2(h_at(first + fragment_c_row(e), d) - h_at(first - 1, d)),
            dq.c[n].x[e]);
      }
    }
  }
  // dk's part from rows behind the warp's 16, with H of the last of them as reference.
  RILL_DEVICE void add_later(RowTiles& dk) const {
    const int last = 16 * warp_index() + 15;
    RowTiles part;
    part.clear();
    for (int b = warp_index() + 1; b < kTile / 16; ++b) {
      FragmentA x;
      load_a_transposed(x, pairs + (16 * b * kTileStride + 16 * warp_index()), kTileStride);
      add_decayed(part, x, left, 16 * b, last, 1.0f);
    }
    RILL_UNROLL
    for (int n = 0; n < kColumnTiles; ++n) RILL_UNROLL
    for (int e = 0; e < 4; ++e) {
      const int d = 8 * n + fragment_c_column(e);
      dk.c[n].x[e] = fused_multiply_add(
          part.c[n].x[e], fast_exp2(h_at(last, d) - h_at(last - 15 + fragment_c_row(e), d)),
          dk.c[n].x[e]);
    }
  }
  // sum += x tile[first + r] e^{sign (H_r - H_reference)}, 16 rows r.
  RILL_DEVICE void add_decayed(RowTiles& sum, const FragmentA& x, Shared<S> tile, int first,
                               int reference, float sign) const {
    RILL_UNROLL
    for (int n = 0; n < kColumnTiles; ++n) {
      const int d = 8 * n + fragment_b_column();
      const auto element = [&](int r) {
        return at(tile, r, d) * fast_exp2(sign * (h_at(r, d) - h_at(reference, d)));
      };
      FragmentB decayed;
      RILL_UNROLL
      for (int r = 0; r < 2; ++r) {
        const int row = first + fragment_b_row(r);
        decayed.x[r] = pack_pair<S>(element(row), element(row + 1));
      }
      multiply_add<S>(sum.c[n], x, decayed);
    }
  }
  // Pairs within the warp's 16 rows, one by one.
  RILL_DEVICE void add_own(RowTiles& dq, RowTiles& dk) const {
    const int first = 16 * warp_index();
    dq.for_each([&](int i, int d, float& x) {
      for (int j = first; j <= i; ++j)
        x = fused_multiply_add(at(pairs, i, j) * fast_exp2(h_at(i, d) - h_at(j, d)),
                               at(right, j, d), x);
    });
    dk.for_each([&](int j, int d, float& x) {
      for (int i = j; i < first + 16; ++i)
        x = fused_multiply_add(at(pairs, i, j) * fast_exp2(h_at(i, d) - h_at(j, d)), at(left, i, d),
                               x);
    });
  }

  // Keys [key, key + 64) of state and gradient, a sum over values each, times the chunk's decay.
  RILL_DEVICE void put_state_products(std::int64_t key) const {
    for (int d = warp_index(); d < kTile; d += kTileThreads / kWarpSize) {
      float sum = 0.0f;
      if (key + d < p.key.width)
        for (std::int64_t v = lane_index(); v < p.value.width; v += kWarpSize) {
          const std::int64_t i = (key + d) * p.value.width + v;
          sum = fused_multiply_add(state[i], dstate[i], sum);
        }
      sum = warp_sum(sum);
      if (lane_index() == 0) floats[Floats::kSums + 10 * kTile + d] = sum * fast_exp2(total_at(d));
    }
  }

  // A decay a key: a thread takes 16 rows of a key.
  RILL_DEVICE void put_key_decays(std::int64_t key) const {
    const auto sums = [&](int row, int d) {
      return static_cast<float>(floats[Floats::kSums + row * kTile + d]);
    };
    for (int task = thread_index(); task < 4 * kTile; task += kTileThreads) {
      const int b = task / kTile, d = task % kTile, first = 16 * b;
      if (key + d >= p.key.width) continue;
      float crossing = sums(10, d);
      for (int w = b + 1; w < 4; ++w) crossing += sums(w * (w - 1) / 2 + b, d);
      for (int a = 0; a < b; ++a) crossing += sums(6 + a, d);
      const Shared<float> own = floats + (Floats::kFirst + first * kStride + d);
      const Shared<float> later = floats + (Floats::kSecond + first * kStride + d);
      float sum = crossing;  // and what lies in b, from its last row back
      for (int t = 15; t >= 0; --t) {
        sum += own[t * kStride];
        own[t * kStride] = sum;
      }
      sum = 0.0f;
      for (int t = 0; t < 16; ++t) {
        own[t * kStride] += sum;
        sum += later[t * kStride];
      }
      for (int r = 0; r < 15; ++r) {
        sum = 0.0f;
        for (int s = 15; s > r; --s) {
          sum = fused_multiply_add(
              at(pairs, first + s, first + r) * at(left, first + s, d) * at(right, first + r, d),
              fast_exp2(h_at(first + s, d) - h_at(first + r, d)), sum);
          own[s * kStride] += sum;
        }
      }
      for (int t = 0; t < 16 && first + t < rows.count; ++t)
        p.dlog_decay[rows.at(first + t) * p.key.width + key + d] = own[t * kStride];
    }
  }

  // A decay a token; `crossing` is this thread's part of the states' product.
  RILL_DEVICE void put_token_decays(float crossing) const {
    const int t = thread_index();
    crossing = warp_sum(crossing);
    if (lane_index() == 0) floats[Floats::kSums + warp_index()] = crossing;
    if (t < kTile) {
      float sum = 0.0f;
      for (int r = 0; r < kTile; ++r) {
        sum += floats[Floats::kFirst + t * kStride + r];
        floats[Floats::kFirst + t * kStride + r] = sum;
      }
    }
    block_sync();
    if (t >= rows.count) return;
    float sum = 0.0f;
    for (int w = 0; w < kTileThreads / kWarpSize; ++w) sum += floats[Floats::kSums + w];
    sum *= fast_exp2(total_at(0));
    for (int s = t; s < kTile; ++s) {
      sum += floats[Floats::kSecond + s];
      if (t > 0) sum += floats[Floats::kFirst + s * kStride + t - 1];
    }
    for (int r = 0; r < t; ++r) sum += floats[Floats::kSecond + kTile + r];
    p.dlog_decay[rows.at(t)] = sum;
  }

  RILL_DEVICE float state_products(std::int64_t first, std::int64_t last) const {
    float sum = 0.0f;
    for (std::int64_t i = first + thread_index(); i < last; i += kTileThreads)
      sum = fused_multiply_add(state[i], dstate[i], sum);
    return sum;
  }

  // Keys [key, key + 64).
  RILL_DEVICE void run_keys(std::int64_t key) const {
    if (kPerKey) {
      block_sync();
      stage_decays<kPerKey>(h(), total(), p.decay, p.sequence, rows, key);
    }
    RowTiles dq, dk;
    dq.clear();
    dk.clear();
    add_states(dq, dk, key);
    block_sync();
    stage_tile<S>(left, p.query, rows, key);
    stage_tile<S>(right, p.key, rows, key);
    block_sync();
    if constexpr (kPerKey) {
      if (p.dlog_decay) put_column_sums(dk, right, 6 + warp_index());
      add_earlier(dq);
      add_later(dk);
      if (p.dlog_decay) {
        put_elements(dq, left, Floats::kFirst);
        put_elements(dk, right, Floats::kSecond);
        put_state_products(key);
      }
      add_own(dq, dk);
      block_sync();
      if (p.dlog_decay) put_key_decays(key);
    } else {
      if (p.dlog_decay) {
        add_row_sums(dq, left, Floats::kSecond);
        add_row_sums(dk, right, Floats::kSecond + kTile);
      }
      multiply_tiles<false>(dq, pairs, right);
      multiply_transposed<S>(dk, pairs, left);
    }
    store_rows<S>(dq, {p.dq, p.key.width}, rows, key);
    store_rows<S>(dk, {p.dk, p.key.width}, rows, key);
  }

  RILL_DEVICE void run() const {
    if (!kPerKey && p.dlog_decay)
      for (int i = thread_index(); i < 2 * kTile; i += kTileThreads)
        floats[Floats::kSecond + i] = 0.0f;
    make_pairs();
    for (std::int64_t slice = block_index_y(); slice * kTile < p.key.width;
         slice += kPerKey ? chunk_slices(p.key.width) : 1)
      run_keys(slice * kTile);
    if (kPerKey || !p.dlog_decay) return;
    block_sync();
    put_token_decays(state_products(0, p.key.width * p.value.width));
  }
};

}  // namespace rill
