// What is left of the delta rule's gradients when w is taken for the values of linear attention
// (chunk_delta.h): dv, dbeta, and dk's terms in z, which are added to a dk that was rounded to S
// before. A chunk a block.
#include <rill/scan/cuda/chunk_delta.h>

namespace rill {
namespace {

template <class S>
struct DeltaGradient {
  const DeltaGradientArgs& p;
  Shared<S> pairs, left, right;  // tiles: E; two others
  Shared<float> h, total, beta, dbeta;
  ChunkRows rows;
  const float* state;

  // Adds the sums over columns of part times tile to `dbeta`; two lanes-sums a thread's rows.
  RILL_DEVICE void add_to_dbeta(const float (&sums)[2]) const {
    RILL_UNROLL
    for (int half = 0; half < 2; ++half) {
      const float sum = sum_row_lanes(sums[half]);
      if (lane_index() % 4 == 0) dbeta[16 * warp_index() + fragment_c_row(2 * half)] += sum;
    }
  }

  // E to `pairs`, and sum_l (k_j . k_l) e^{H_j - H_l} z_j . w_l off dbeta_j.
  RILL_DEVICE void make_pairs() const {
    RowTiles written, keys;
    written.clear();
    keys.clear();
    add_row_products<S>(written, p.z, p.written, left, right, rows);
    add_row_products<S>(keys, p.key, p.key, left, right, rows);
    float sums[2] = {0.0f, 0.0f};
    RILL_UNROLL
    for (int n = 0; n < kColumnTiles; ++n) RILL_UNROLL
    for (int e = 0; e < 4; ++e) {
      const int j = 16 * warp_index() + fragment_c_row(e), l = 8 * n + fragment_c_column(e);
      const float x = l < j ? written.c[n].x[e] * fast_exp2(h[j] - h[l]) : 0.0f;
      sums[e / 2] = fused_multiply_add(-x, l < j ? keys.c[n].x[e] : 0.0f, sums[e / 2]);
      pairs[j * kTileStride + l] = from_compute<S>(-beta[j] * x);
    }
    add_to_dbeta(sums);
  }

  // dk of keys [key, key + 64), and k . S z off dbeta.
  RILL_DEVICE void add_keys(std::int64_t key) const {
    RowTiles dk;
    dk.clear();
    for (std::int64_t v = 0; v < p.value.width; v += kTile) {
      block_sync();
      stage_tile<S>(left, p.z, rows, v);
      stage_state<S>(right, state, p.key.width, p.value.width, key, v);
      block_sync();
      multiply_tiles<true>(dk, left, right);
    }
    block_sync();
    stage_tile<S>(left, {p.dk, p.key.width, p.key.aligned}, rows, key);
    stage_tile<S>(right, p.key, rows, key);
    block_sync();
    float sums[2] = {0.0f, 0.0f};
    RILL_UNROLL
    for (int n = 0; n < kColumnTiles; ++n) RILL_UNROLL
    for (int e = 0; e < 4; ++e) {
      const int j = 16 * warp_index() + fragment_c_row(e);
      const int at = j * kTileStride + 8 * n + fragment_c_column(e);
      float& x = dk.c[n].x[e];
      x *= -fast_exp2(h[j]);
      sums[e / 2] = fused_multiply_add(x, to_compute(S(right[at])), sums[e / 2]);
      x = fused_multiply_add(beta[j], x, to_compute(S(left[at])));
    }
    add_to_dbeta(sums);
    multiply_tiles<false>(dk, pairs, right);
    multiply_transposed<S>(dk, pairs, right);
    store_rows<S>(dk, {p.dk, p.key.width}, rows, key);
  }

  // dv, and z . v to dbeta; z is read here for the last time.
  RILL_DEVICE void put_values(std::int64_t column) const {
    block_sync();
    stage_tile<S>(left, p.z, rows, column);
    stage_tile<S>(right, p.value, rows, column);
    block_sync();
    RowTiles dv;
    float sums[2] = {0.0f, 0.0f};
    RILL_UNROLL
    for (int n = 0; n < kColumnTiles; ++n) RILL_UNROLL
    for (int e = 0; e < 4; ++e) {
      const int j = 16 * warp_index() + fragment_c_row(e);
      const int at = j * kTileStride + 8 * n + fragment_c_column(e);
      const float z = to_compute(S(left[at]));
      sums[e / 2] = fused_multiply_add(z, to_compute(S(right[at])), sums[e / 2]);
      dv.c[n].x[e] = beta[j] * z;
    }
    add_to_dbeta(sums);
    store_rows<S>(dv, {p.dv, p.value.width}, rows, column);
  }

  RILL_DEVICE void run() const {
    stage_beta<S>(beta, p.beta, rows);
    for (int j = thread_index(); j < kTile; j += kTileThreads) dbeta[j] = 0.0f;
    stage_decays<false>(h, total, {}, p.sequence, rows, 0);
    make_pairs();
    for (std::int64_t key = 0; key < p.key.width; key += kTile) add_keys(key);
    for (std::int64_t column = 0; column < p.value.width; column += kTile) put_values(column);
    block_sync();
    for (int j = thread_index(); j < rows.count; j += kTileThreads)
      store<S>(p.dbeta, rows.at(j), static_cast<float>(dbeta[j]));
  }
};

template <class S>
RILL_KERNEL(kTileThreads, 2)
void delta_gradient_kernel(DeltaGradientArgs p) {
  RILL_SHARED(S, pairs, kTileSize);
  RILL_SHARED(S, left, kTileSize);
  RILL_SHARED(S, right, kTileSize);
  RILL_SHARED(float, h, kTile);
  RILL_SHARED(float, total, 1);
  RILL_SHARED(float, beta, kTile);
  RILL_SHARED(float, dbeta, kTile);
  const std::int64_t task = p.window.first_task + block_index() / p.window.chunks;
  const std::int64_t place = block_index() % p.window.chunks;
  if (p.window.first_chunk + place == 0)
    clear_behind<S>(p.sequence, task / p.heads, p.dbeta, p.heads, task % p.heads, 1);
  const ChunkRows rows = ChunkRows::of(p.sequence, p.window, p.heads, task, place, false);
  if (rows.count == 0) return;
  const DeltaGradient<S> gradient{p,
                                  Shared<S>(pairs),
                                  Shared<S>(left),
                                  Shared<S>(right),
                                  Shared<float>(h),
                                  Shared<float>(total),
                                  Shared<float>(beta),
                                  Shared<float>(dbeta),
                                  rows,
                                  chunk_state(p.states, p.sequence, p.window, task, p.heads, place,
                                              p.key.width * p.value.width)};
  gradient.run();
}

}  // namespace

template <DType kType>
DeviceStatus launch_delta_gradient(const DeltaGradientArgs& p, const DeviceLaunch& on) {
  const Grid grid{p.window.tasks * p.window.chunks, 1, 1};
  return RILL_LAUNCH(delta_gradient_kernel<ChunkType<kType>>, grid, kTileThreads, 0, on.stream, p);
}

RILL_INSTANTIATE_CHUNKED(launch_delta_gradient, DeltaGradientArgs)

}  // namespace rill
