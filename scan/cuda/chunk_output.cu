// What chunks give (chunk.h: ChunkOutputArgs), each from the state it starts from: a block takes
// one chunk, a warp 16 of its rows. In the one order that is the output of linear attention, in the
// other the gradient of its values (query and key change places, the state is its gradient).
//
// Scores query_p . key_r are products on the tensor cores, decay and weights come on in float,
// before they are rounded to S and multiplied by the values. Where the decay is a key's, it sits
// inside the product: rows of 16 tokens b take as their reference R_b = H of the token before
// them, query_p e^{H_p - R_b} times key_r e^{R_b - H_r} for the rows before b; within b, where no
// reference keeps both exponents from being positive, pairs are summed up one by one in float.
#include <rill/scan/cuda/chunk_tile.h>
#include <rill/scan/cuda/chunk_types.h>

namespace rill {
namespace {

template <class S, bool kPerKey>
struct ChunkOutput {
  using Decay = DecayShape<kPerKey>;
  const ChunkOutputArgs& p;
  Shared<S> query, key, value;  // tiles; `key` holds the state's in turn
  Shared<float> h, total, in_weight, out_weight;
  ChunkRows rows;

  // The scores of the warp's rows without weights; one decay a token is not in them either.
  RILL_DEVICE void make_scores(RowTiles& scores) const {
    scores.clear();
    for (std::int64_t d = 0; d < p.query.width; d += kTile) {
      block_sync();
      if (kPerKey) stage_decays<kPerKey>(h, total, p.decay, p.sequence, rows, d);
      stage_tile<S>(query, p.query, rows, d);
      stage_tile<S>(key, p.key, rows, d);
      block_sync();
      if constexpr (kPerKey) {
        add_earlier(scores);
        add_own(scores);
      } else {
        multiply_tiles<true>(scores, query, key, 2 * warp_index() + 2);
      }
    }
  }

  // Rows before the warp's 16.
  RILL_DEVICE void add_earlier(RowTiles& scores) const {
    const int first = 16 * warp_index();
    if (first == 0) return;
    RILL_UNROLL
    for (int k = 0; k < kTile / 16; ++k) {
      const auto query_at = [&](int r, int d) {
        return to_compute(S(query[r * kTileStride + d])) *
               fast_exp2(h[r * Decay::kStride + d] - h[(first - 1) * Decay::kStride + d]);
      };
      const auto key_at = [&](int r, int d) {
        return to_compute(S(key[r * kTileStride + d])) *
               fast_exp2(h[(first - 1) * Decay::kStride + d] - h[r * Decay::kStride + d]);
      };
      FragmentA left;
      RILL_UNROLL
      for (int r = 0; r < 4; ++r) {
        const int row = first + fragment_a_row(r), d = 16 * k + fragment_a_column(r);
        left.x[r] = pack_pair<S>(query_at(row, d), query_at(row, d + 1));
      }
      RILL_UNROLL
      for (int n = 0; n < kColumnTiles; ++n) {
        if (8 * n >= first) continue;
        FragmentB right;
        RILL_UNROLL
        for (int r = 0; r < 2; ++r) {
          const int row = 8 * n + fragment_b_column(), d = 16 * k + fragment_b_row(r);
          right.x[r] = pack_pair<S>(key_at(row, d), key_at(row, d + 1));
        }
        multiply_add<S>(scores.c[n], left, right);
      }
    }
  }

  // Pairs within the warp's 16 rows.
  RILL_DEVICE void add_own(RowTiles& scores) const {
    RILL_UNROLL
    for (int n = 0; n < kColumnTiles; ++n) {
      if (n / 2 != warp_index()) continue;
      RILL_UNROLL
      for (int e = 0; e < 4; ++e) {
        const int i = 16 * warp_index() + fragment_c_row(e), j = 8 * n + fragment_c_column(e);
        if (j > i) continue;
        float sum = scores.c[n].x[e];
        for (int d = 0; d < kTile; ++d)
          sum = fused_multiply_add(
              to_compute(S(query[i * kTileStride + d])) *
                  fast_exp2(h[i * Decay::kStride + d] - h[j * Decay::kStride + d]),
              to_compute(S(key[j * kTileStride + d])), sum);
        scores.c[n].x[e] = sum;
      }
    }
  }

  RILL_DEVICE void weigh(RowTiles& scores) const {
    scores.for_each([&](int i, int j, float& x) {
      if (j > i)
        x = 0.0f;
      else
        x *= kPerKey ? static_cast<float>(in_weight[j]) : in_weight[j] * fast_exp2(h[i] - h[j]);
    });
  }

  // query S for the columns from `column` on.
  RILL_DEVICE void add_state(RowTiles& sum, const float* state, std::int64_t column) const {
    if (!state) {
      block_sync();
      stage_tile<S>(value, p.value, rows, column);
      block_sync();
      return;
    }
    for (std::int64_t d = 0; d < p.query.width; d += kTile) {
      block_sync();
      if (d == 0) stage_tile<S>(value, p.value, rows, column);
      if constexpr (kPerKey) {
        stage_decays<kPerKey>(h, total, p.decay, p.sequence, rows, d);
        stage_tile<S>(query, p.query, rows, d, [&](Eight<S>& eight, int r, int c) {
          scale_eight<S>(eight, r, c,
                         [&](int t, int k) { return fast_exp2(h[t * Decay::kStride + k]); });
        });
      } else {
        stage_tile<S>(query, p.query, rows, d);
      }
      stage_state<S>(key, state, p.query.width, p.value.width, d, column);
      block_sync();
      multiply_tiles<false>(sum, query, key);
    }
    if (!kPerKey) sum.for_each([&](int i, int, float& x) { x *= fast_exp2(h[i]); });
  }

  RILL_DEVICE void run(const float* state) const {
    stage_weights(in_weight, p.in_weight, rows);
    stage_weights(out_weight, p.out_weight, rows);
    if (!kPerKey) stage_decays<kPerKey>(h, total, p.decay, p.sequence, rows, 0);
    FragmentA left[kTile / 16];
    {
      RowTiles scores;
      make_scores(scores);
      weigh(scores);
      RILL_UNROLL
      for (int k = 0; k < kTile / 16; ++k) left[k] = as_left<S>(scores, k);
    }
    float dots[2] = {0.0f, 0.0f};
    for (std::int64_t slice = block_index_y(); slice * kTile < p.value.width;
         slice += p.dot ? 1 : chunk_slices(p.value.width)) {
      RowTiles sum;
      sum.clear();
      add_state(sum, state, slice * kTile);
      RILL_UNROLL
      for (int k = 0; k < kTile / 16; ++k)
        if (k <= warp_index()) multiply_add<false>(sum, left[k], value, k);
      if (p.dot) add_dots(dots, sum, slice * kTile);
      sum.for_each([&](int i, int, float& x) { x *= out_weight[i]; });
      store_rows<S>(sum, {p.out, p.value.width}, rows, slice * kTile);
    }
    if (!p.dot) return;
    RILL_UNROLL
    for (int half = 0; half < 2; ++half) {
      const int i = 16 * warp_index() + fragment_c_row(2 * half);
      const float dot = sum_row_lanes(dots[half]);
      if (lane_index() % 4 == 0 && i < rows.count) p.dot[rows.at(i)] = dot;
    }
  }

  RILL_DEVICE void add_dots(float (&dots)[2], RowTiles& sum, std::int64_t column) const {
    block_sync();
    stage_tile<S>(key, p.dot_with, rows, column);
    block_sync();
    RILL_UNROLL
    for (int n = 0; n < kColumnTiles; ++n) RILL_UNROLL
    for (int e = 0; e < 4; ++e) {
      const int i = 16 * warp_index() + fragment_c_row(e), c = 8 * n + fragment_c_column(e);
      dots[e / 2] =
          fused_multiply_add(sum.c[n].x[e], to_compute(S(key[i * kTileStride + c])), dots[e / 2]);
    }
  }
};

template <class S, bool kPerKey>
RILL_KERNEL(kTileThreads, 2)
void chunk_output_kernel(ChunkOutputArgs p) {
  using Decay = DecayShape<kPerKey>;
  RILL_SHARED(S, query_memory, kTileSize);
  RILL_SHARED(S, key_memory, kTileSize);
  RILL_SHARED(S, value_memory, kTileSize);
  RILL_SHARED(float, h_memory, Decay::kSize);
  RILL_SHARED(float, total_memory, Decay::kWidth);
  RILL_SHARED(float, in_memory, kTile);
  RILL_SHARED(float, out_memory, kTile);
  const std::int64_t task = p.window.first_task + block_index() / p.window.chunks;
  const std::int64_t place = block_index() % p.window.chunks;
  const std::int64_t row = task / p.heads, head = task % p.heads;
  if (p.window.first_chunk + place == 0 && block_index_y() == 0) {
    const std::int64_t width = p.value.width;
    clear_behind<S>(p.sequence, row, p.out, p.heads * width, head * width, width);
    clear_behind<float>(p.sequence, row, p.dot, p.heads, head, 1);
  }
  const ChunkRows rows = ChunkRows::of(p.sequence, p.window, p.heads, task, place, p.reverse != 0);
  if (rows.count == 0) return;
  const ChunkOutput<S, kPerKey> output{p,
                                       Shared<S>(query_memory),
                                       Shared<S>(key_memory),
                                       Shared<S>(value_memory),
                                       Shared<float>(h_memory),
                                       Shared<float>(total_memory),
                                       Shared<float>(in_memory),
                                       Shared<float>(out_memory),
                                       rows};
  output.run(chunk_state(p.states, p.sequence, p.window, task, p.heads, place,
                         p.query.width * p.value.width));
}

}  // namespace

template <DType kType>
DeviceStatus launch_chunk_output(const ChunkOutputArgs& p, const DeviceLaunch& on) {
  using S = ChunkType<kType>;
  // A dot is a sum over all values, in one block's order.
  const Grid grid{p.window.tasks * p.window.chunks, p.dot ? 1 : chunk_slices(p.value.width), 1};
  if (p.decay.key)
    return RILL_LAUNCH((chunk_output_kernel<S, true>), grid, kTileThreads, 0, on.stream, p);
  return RILL_LAUNCH((chunk_output_kernel<S, false>), grid, kTileThreads, 0, on.stream, p);
}

RILL_INSTANTIATE_CHUNKED(launch_chunk_output, ChunkOutputArgs)

}  // namespace rill
