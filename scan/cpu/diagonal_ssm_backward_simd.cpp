// The adjoint of the diagonal recurrence in float lanes (equations and layout:
// diagonal_ssm_plain-inl.h): blocks of time from last to first, each block's states recomputed from
// the one that was kept before it.
#include <rill/scan/cpu/diagonal_ssm_plain-inl.h>
#include <rill/scan/cpu/families.h>
#include <rill/scan/diagonal_args.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "rill/scan/cpu/diagonal_ssm_backward_simd.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <rill/scan/cpu/diagonal_simd-inl.h>

HWY_BEFORE_NAMESPACE();
namespace rill {
namespace HWY_NAMESPACE {
namespace {

#if HWY_TARGET == HWY_SCALAR  // demanded by Highway, offered to nobody

void Backward(const DiagonalSsmBackwardArgs& args, const KernelContext& context) {
  diagonal_plain::backward<float>(args, context);
}

#else

using namespace diagonal;

// Vectors of state that one piece of a block takes: its states and their gradients stay in the
// first-level cache.
constexpr int kBackwardVectors = HWY_TARGET <= HWY_AVX3 ? 4 : 8;
constexpr std::int64_t kBackwardTile = 8;  // channels a task

// One block of one piece of C channels' states (kV vectors of each, from lane0). Three
// passes, so that each has independent chains enough and few registers: states forwards, their
// gradients backwards, then the sums over time that are the coefficients' gradients.
template <bool kComplex, int kC, int kV>
struct Piece {
  static constexpr int kSlot = kC * kV * kLanes;

  // states[t] before step t (unless a reset is there), states[t + 1] after it; `kept` is the state
  // before the block.
  static void Recompute(const Block& block, std::int64_t lane0, const float* kept,
                        float* HWY_RESTRICT states) {
    const D d;
    const float* HWY_RESTRICT p = block.coefficients + lane0;
    const float* HWY_RESTRICT q = p + block.padded;
    V h[kC][kV];
    for (int c = 0; c < kC; ++c)
      for (int v = 0; v < kV; ++v) {
        const std::int64_t j = lane0 + v * kLanes;
        h[c][v] = LoadN(d, kept + c * block.width + j, block.width - j);
        hn::Store(h[c][v], d, states + (c * kV + v) * kLanes);
      }
    for (std::int64_t t = 0; t < block.steps; ++t) {
      const bool fresh = block.reset && block.reset[t];
      float* HWY_RESTRICT after = states + (t + 1) * kSlot;
      for (int c = 0; c < kC; ++c) {
        const V input = Input<kComplex>(d, block.x[t * block.channels + c]);
        for (int v = 0; v < kV; ++v) {
          const std::int64_t k = c * 3 * block.padded + v * kLanes;
          if (fresh) h[c][v] = hn::Zero(d);
          h[c][v] = Advance<kComplex>(hn::LoadU(d, p + k), hn::LoadU(d, q + k), h[c][v], input);
          hn::Store(h[c][v], d, after + (c * kV + v) * kLanes);
        }
      }
    }
  }

  // g is the gradient of the state after the block on entry, before it on return; gradients[t] that
  // of the state after step t; sums of dx by lanes go to partial[step][channel].
  static void GoBack(const Block& block, std::int64_t lane0, const float* HWY_RESTRICT dy,
                     float* g_at, float* HWY_RESTRICT gradients, float* HWY_RESTRICT partial,
                     bool add) {
    const D d;
    const float* HWY_RESTRICT p = block.coefficients + lane0;
    const float* HWY_RESTRICT q = p + block.padded;
    const float* HWY_RESTRICT r = q + block.padded;
    V g[kC][kV];
    for (int c = 0; c < kC; ++c)
      for (int v = 0; v < kV; ++v) {
        const std::int64_t j = lane0 + v * kLanes;
        g[c][v] = LoadN(d, g_at + c * block.width + j, block.width - j);
      }
    for (std::int64_t t = block.steps - 1; t >= 0; --t) {
      const bool fresh = block.reset && block.reset[t];
      for (int c = 0; c < kC; ++c) {
        const V dy_t = hn::Set(d, dy[t * block.channels + c]);
        float* sum_at = partial + (t * kC + c) * kLanes;
        V sum = add ? hn::Load(d, sum_at) : hn::Zero(d);
        for (int v = 0; v < kV; ++v) {
          const std::int64_t k = c * 3 * block.padded + v * kLanes;
          const V here = hn::MulAdd(hn::LoadU(d, r + k), dy_t, g[c][v]);
          hn::Store(here, d, gradients + t * kSlot + (c * kV + v) * kLanes);
          sum = hn::Add(sum, here);
          g[c][v] = Retreat<kComplex>(hn::LoadU(d, p + k), hn::LoadU(d, q + k), here);
          if (fresh) g[c][v] = hn::Zero(d);
        }
        hn::Store(sum, d, sum_at);
      }
    }
    for (int c = 0; c < kC; ++c)
      for (int v = 0; v < kV; ++v) {
        const std::int64_t j = lane0 + v * kLanes;
        StoreN(d, g[c][v], g_at + c * block.width + j, block.width - j);
      }
  }

  // Adds to dcoefficients.
  static void Accumulate(const Block& block, std::int64_t lane0, const float* HWY_RESTRICT dy,
                         const float* HWY_RESTRICT states, const float* HWY_RESTRICT gradients,
                         float* dcoefficients) {
    const D d;
    constexpr int kGroup = kV < 2 ? kV : 2;
    for (int c = 0; c < kC; ++c)
      for (int v0 = 0; v0 < kV; v0 += kGroup) {
        V dp[kGroup], dq[kGroup], dr[kGroup];
        for (int v = 0; v < kGroup; ++v) dp[v] = dq[v] = dr[v] = hn::Zero(d);
        for (std::int64_t t = 0; t < block.steps; ++t) {
          const V dy_t = hn::Set(d, dy[t * block.channels + c]);
          const bool fresh = block.reset && block.reset[t];
          for (int v = 0; v < kGroup; ++v) {
            const std::int64_t k = t * kSlot + (c * kV + v0 + v) * kLanes;
            const V g = hn::Load(d, gradients + k);
            const V before = fresh ? hn::Zero(d) : hn::Load(d, states + k);
            dr[v] = hn::MulAdd(hn::Load(d, states + k + kSlot), dy_t, dr[v]);
            dp[v] = hn::MulAdd(g, before, dp[v]);
            if constexpr (kComplex) dq[v] = hn::MulAdd(g, hn::Shuffle2301(before), dq[v]);
          }
        }
        for (int v = 0; v < kGroup; ++v) {
          const std::int64_t j = lane0 + (v0 + v) * kLanes, count = block.width - j;
          float* at = dcoefficients + c * 3 * block.padded + j;
          for (const V& sum : {dp[v], dq[v], dr[v]}) {
            StoreN(d, hn::Add(LoadN(d, at, count), sum), at, count);
            at += block.padded;
          }
        }
      }
  }
};

// Memory that one task goes back with: a block's states, their gradients, sums by lanes of dx.
struct Scratch {
  HWY_ALIGN float states[(kBlock + 1) * kBackwardVectors * kLanes];
  HWY_ALIGN float gradients[kBlock * kBackwardVectors * kLanes];
  HWY_ALIGN float partial[kBlock * kBackwardVectors * kLanes];
};

// All pieces of C channels' states back through one block.
template <bool kComplex, int kC>
void BackwardState(const Block& block, const float* kept, const float* dy, float* g,
                   float* dcoefficients, Scratch& scratch) {
  bool add = false;
  for (std::int64_t j = 0; j < block.width;) {
    const std::int64_t vectors = (block.width - j + kLanes - 1) / kLanes;
    const auto run = [&](auto piece, int count) {
      piece.Recompute(block, j, kept, scratch.states);
      piece.GoBack(block, j, dy, g, scratch.gradients, scratch.partial, add);
      piece.Accumulate(block, j, dy, scratch.states, scratch.gradients, dcoefficients);
      j += count * kLanes;
    };
    if constexpr (kC > 1) {
      run(Piece<kComplex, kC, kBackwardVectors / kC>(), kBackwardVectors / kC);
    } else if (vectors >= kBackwardVectors) {
      run(Piece<kComplex, 1, kBackwardVectors>(), kBackwardVectors);
    } else if (vectors >= 4) {
      run(Piece<kComplex, 1, 4>(), 4);
    } else if (vectors >= 2) {
      run(Piece<kComplex, 1, 2>(), 2);
    } else {
      run(Piece<kComplex, 1, 1>(), 1);
    }
    add = true;
  }
}

// dx = sum over the lanes that take x + d dy; dd += sum of dy x.
template <bool kComplex, int kC>
void FinishBackward(const Block& block, const float* skip, const float* dy, float* partial,
                    float* dx, float* dd) {
  const D d;
  if constexpr (kComplex)
    for (std::int64_t i = 0; i < block.steps * kC; ++i)
      hn::Store(hn::OddEven(hn::Zero(d), hn::Load(d, partial + i * kLanes)), d,
                partial + i * kLanes);
  Finish<kC>(block, skip, dy, partial, dx);
  if (!dd) return;
  for (int c = 0; c < kC; ++c) {
    float sum = 0.0f;
    for (std::int64_t i = c; i < block.steps * block.channels; i += block.channels)
      sum += dy[i] * block.x[i];
    dd[c] += sum;
  }
}

// C channels through all rows, so that their coefficients' gradients are summed in a fixed order.
template <bool kComplex, int kC>
void BackwardChannels(const DiagonalSsmBackwardArgs& args, std::int64_t c) {
  Scratch scratch;
  const std::int64_t channels = args.channels, width = args.width;
  float* dcoefficients = static_cast<float*>(args.dcoefficients) + c * 3 * args.padded_width;
  std::fill(dcoefficients, dcoefficients + kC * 3 * args.padded_width, 0.0f);
  float* dd = args.dd ? static_cast<float*>(args.dd) + c : nullptr;
  if (dd) std::fill(dd, dd + kC, 0.0f);
  const float* skip = args.d ? static_cast<const float*>(args.d) + c : nullptr;
  for (std::int64_t row = 0; row < args.sequence.rows; ++row) {
    const std::int64_t state = (row * channels + c) * width, length = args.sequence.length[row];
    float* g = static_cast<float*>(args.dh_initial) + state;
    if (args.dh_final) {
      std::memcpy(g, static_cast<const float*>(args.dh_final) + state,
                  static_cast<std::size_t>(kC * width) * sizeof(float));
    } else {
      std::fill(g, g + kC * width, 0.0f);
    }
    for (std::int64_t t0 = (length - 1) / kBlock * kBlock; length > 0 && t0 >= 0; t0 -= kBlock) {
      const std::int64_t token = args.sequence.start[row] + t0;
      const Block block{
          .channels = channels,
          .width = width,
          .padded = args.padded_width,
          .coefficients = static_cast<const float*>(args.coefficients) + c * 3 * args.padded_width,
          .x = static_cast<const float*>(args.x) + token * channels + c,
          .steps = std::min(kBlock, length - t0),
          .reset = args.sequence.reset ? args.sequence.reset + token : nullptr};
      const float* dy = static_cast<const float*>(args.dy) + token * channels + c;
      const std::int64_t slot = diagonal_slot(args.sequence, row) + t0 / kBlock;
      const float* kept =
          static_cast<const float*>(args.checkpoints) + (slot * channels + c) * width;
      BackwardState<kComplex, kC>(block, kept, dy, g, dcoefficients, scratch);
      FinishBackward<kComplex, kC>(block, skip, dy, scratch.partial,
                                   static_cast<float*>(args.dx) + token * channels + c, dd);
    }
  }
}

template <bool kComplex>
void BackwardTile(const DiagonalSsmBackwardArgs& args, std::int64_t c0, std::int64_t c1) {
  const std::int64_t vectors = (args.width + kLanes - 1) / kLanes;
  constexpr int kMost = kBackwardVectors;
  std::int64_t c = c0;
  if (vectors == 1) {
    for (; c + kMost <= c1; c += kMost) BackwardChannels<kComplex, kMost>(args, c);
  } else if (vectors == 2) {
    for (; c + kMost / 2 <= c1; c += kMost / 2) BackwardChannels<kComplex, kMost / 2>(args, c);
  }
  for (; c < c1; ++c) BackwardChannels<kComplex, 1>(args, c);
}

void Backward(const DiagonalSsmBackwardArgs& args, const KernelContext& context) {
  const std::int64_t tiles = (args.channels + kBackwardTile - 1) / kBackwardTile;
  context.parallel_for(tiles, [&](std::int64_t tile) {
    const std::int64_t end = std::min((tile + 1) * kBackwardTile, args.channels);
    if (args.complex) {
      BackwardTile<true>(args, tile * kBackwardTile, end);
    } else {
      BackwardTile<false>(args, tile * kBackwardTile, end);
    }
  });
  zero_gaps(args.sequence, static_cast<float*>(args.dx), args.channels);
}

#endif

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rill
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rill {
namespace {

HWY_EXPORT(Backward);

void backward_f32(const DiagonalSsmBackwardArgs& args, const KernelContext& context) {
  HWY_DYNAMIC_DISPATCH(Backward)(args, context);
}

}  // namespace

void fill_diagonal_ssm_backward(ScanKernels& f32, ScanKernels& f64) {
  f32.diagonal_ssm_backward = backward_f32;
  f64.diagonal_ssm_backward = diagonal_plain::backward<double>;
}

}  // namespace rill
#endif
