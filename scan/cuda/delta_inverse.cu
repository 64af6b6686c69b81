// T = (I + B)^-1 of every chunk (chunk_delta.h), a chunk a block: k . k on the tensor cores, summed
// in float, and forward substitution in float. A warp takes 16 columns of T, from the row where
// they begin; two lanes share a column's sum, of even and of odd rows.
#include <rill/scan/cuda/chunk_delta.h>

namespace rill {
namespace {

constexpr int kStride = kTile + 1;

// Columns [16 w, 16 w + 16) of warp w; b and t [64, kStride], b below the diagonal.
RILL_DEVICE void substitute(Shared<float> b, Shared<float> t) {
  const int first = 16 * warp_index(), column = first + lane_index() % 16;
  const int odd = lane_index() / 16;
  for (int row = first; row < kTile; ++row) {
    float sum = 0.0f;
    for (int l = first + odd; l < row; l += 2)
      sum = fused_multiply_add(b[row * kStride + l], t[l * kStride + column], sum);
    sum += shuffle_xor(sum, 16);
    if (odd == 0) t[row * kStride + column] = (row == column ? 1.0f : 0.0f) - sum;
    warp_sync();
  }
}

template <class S>
RILL_KERNEL(kTileThreads, 2)
void delta_inverse_kernel(DeltaInverseArgs p) {
  RILL_SHARED(S, left, kTileSize);
  RILL_SHARED(float, b_memory, kTile* kStride);
  RILL_SHARED(float, t_memory, kTile* kStride);
  RILL_SHARED(float, h_memory, kTile);
  RILL_SHARED(float, total, 1);
  RILL_SHARED(float, beta_memory, kTile);
  const Shared<float> b(b_memory), t(t_memory), h(h_memory), beta(beta_memory);
  const std::int64_t task = p.window.first_task + block_index() / p.window.chunks;
  const ChunkRows rows =
      ChunkRows::of(p.sequence, p.window, p.heads, task, block_index() % p.window.chunks, false);
  if (rows.count == 0) return;
  stage_beta<S>(beta, p.beta, rows);
  stage_decays<false>(h, Shared<float>(total), {}, p.sequence, rows, 0);
  RowTiles products;
  products.clear();
  for (std::int64_t d = 0; d < p.key.width; d += kTile) {
    block_sync();
    stage_tile<S>(Shared<S>(left), p.key, rows, d);
    block_sync();
    multiply_tiles<true>(products, Shared<S>(left), Shared<S>(left), 2 * warp_index() + 2);
  }
  products.for_each([&](int j, int l, float& x) {
    b[j * kStride + l] = l < j ? x * beta[j] * fast_exp2(h[j] - h[l]) : 0.0f;
    t[j * kStride + l] = 0.0f;
  });
  block_sync();
  substitute(b, t);
  block_sync();
  S* const to = static_cast<S*>(p.inverse) + rows.unit * kTile * kTile;
  for (int i = thread_index(); i < kTile * kTile / 8; i += kTileThreads) {
    Eight<S> eight;
    RILL_UNROLL
    for (int j = 0; j < 8; ++j)
      eight.x[j] = from_compute<S>(static_cast<float>(t[i / 8 * kStride + i % 8 * 8 + j]));
    store_vector(to + i * 8, eight);
  }
}

}  // namespace

template <DType kType>
DeviceStatus launch_delta_inverse(const DeltaInverseArgs& p, const DeviceLaunch& on) {
  const Grid grid{p.window.tasks * p.window.chunks, 1, 1};
  return RILL_LAUNCH(delta_inverse_kernel<ChunkType<kType>>, grid, kTileThreads, 0, on.stream, p);
}

RILL_INSTANTIATE_CHUNKED(launch_delta_inverse, DeltaInverseArgs)

}  // namespace rill
