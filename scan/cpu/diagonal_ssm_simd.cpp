// The diagonal recurrence in float lanes (equations and layout: diagonal_ssm_plain-inl.h).
//
// Lanes run over the reals of a channel's state, (re, im) side by side as they lie in memory: the
// partner of a lane is one in-lane shuffle away, the state needs no transposition, and a single
// step reads it as it is. A sweep keeps `V` vectors of each of `C` channels in registers through a
// block of time (small states: several channels, so that enough independent chains are in flight);
// a state of more vectors takes several sweeps over the block, which add to the same partial sums
// of y. Sums over lanes come last. An element's operations depend on N and the vector target alone.
#include <rill/scan/cpu/diagonal_ssm_plain-inl.h>
#include <rill/scan/cpu/families.h>
#include <rill/scan/diagonal_args.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "rill/scan/cpu/diagonal_ssm_simd.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <rill/core/simd-inl.h>

HWY_BEFORE_NAMESPACE();
namespace rill {
namespace HWY_NAMESPACE {
namespace {

#if HWY_TARGET == HWY_SCALAR  // no lanes to shuffle: demanded by Highway, offered to nobody

void Forward(const DiagonalSsmArgs& args, const KernelContext& context) {
  diagonal_plain::forward<float>(args, context);
}
void Backward(const DiagonalSsmBackwardArgs& args, const KernelContext& context) {
  diagonal_plain::backward<float>(args, context);
}

#else

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

constexpr int kLanes = static_cast<int>(hn::MaxLanes(D()));
constexpr std::int64_t kBlock = kDiagonalBlock;
// Vectors of state that one sweep keeps: with 16 registers, coefficients are read from the
// first-level cache.
constexpr int kForwardVectors = 8;
constexpr int kBackwardVectors = HWY_TARGET <= HWY_AVX3 ? 4 : 2;
constexpr std::int64_t kForwardTile = 16;  // channels a task: a cache line of y
constexpr std::int64_t kBackwardTile = 8;

// x in the lanes that take it: the real parts, or every lane of a real state.
template <bool kComplex>
HWY_INLINE V Input(D d, float x) {
  if constexpr (!kComplex) return hn::Set(d, x);
  return hn::OddEven(hn::Zero(d), hn::Set(d, x));
}

template <bool kComplex>
HWY_INLINE V Advance(V p, V q, V h, V x) {
  const V next = hn::MulAdd(p, h, x);
  if constexpr (!kComplex) return next;
  return hn::MulAdd(q, hn::Shuffle2301(h), next);
}

// Adjoint of Advance in h.
template <bool kComplex>
HWY_INLINE V Retreat(V p, V q, V g) {
  const V before = hn::Mul(p, g);
  if constexpr (!kComplex) return before;
  return hn::NegMulAdd(q, hn::Shuffle2301(g), before);
}

// One block of one tile of channels; pointers are to the tile's first channel.
struct Block {
  std::int64_t channels = 0, width = 0,
               padded = 0;  // strides: of tokens, of states, of coefficients
  const float* coefficients = nullptr;
  const float* x = nullptr;  // at the block's first token
  std::int64_t steps = 0;
  const std::uint8_t* reset = nullptr;  // at the block's first token, or null
};

// End of the run that starts at `first`: the next reset after it, or the block's end.
HWY_INLINE std::int64_t RunEnd(const Block& block, std::int64_t first) {
  std::int64_t end = first + 1;
  if (!block.reset) return block.steps;
  while (end < block.steps && !block.reset[end]) ++end;
  return end;
}

// Steps [first, end) of V vectors from real `lane0` of C channels, from state `from` (null: zeros)
// to `to`; sums of y by lanes in partial[step][channel].
template <bool kComplex, int kC, int kV>
void Sweep(const Block& block, std::int64_t lane0, std::int64_t first, std::int64_t end,
           const float* from, float* to, float* HWY_RESTRICT partial, bool add) {
  const D d;
  V h[kC][kV];
  for (int c = 0; c < kC; ++c)
    for (int v = 0; v < kV; ++v) {
      const std::int64_t j = lane0 + v * kLanes;
      h[c][v] = from ? LoadN(d, from + c * block.width + j, block.width - j) : hn::Zero(d);
    }
  const float* HWY_RESTRICT p = block.coefficients + lane0;
  const float* HWY_RESTRICT q = p + block.padded;
  const float* HWY_RESTRICT r = q + block.padded;
  const std::int64_t stride = 3 * block.padded;
  for (std::int64_t t = first; t < end; ++t) {
    const float* HWY_RESTRICT x = block.x + t * block.channels;
    for (int c = 0; c < kC; ++c) {
      const V input = Input<kComplex>(d, x[c]);
      float* sum_at = partial + (t * kC + c) * kLanes;
      V sum = add ? hn::Load(d, sum_at) : hn::Zero(d);
      for (int v = 0; v < kV; ++v) {
        const std::int64_t k = c * stride + v * kLanes;
        h[c][v] = Advance<kComplex>(hn::LoadU(d, p + k), hn::LoadU(d, q + k), h[c][v], input);
        sum = hn::MulAdd(hn::LoadU(d, r + k), h[c][v], sum);
      }
      hn::Store(sum, d, sum_at);
    }
  }
  for (int c = 0; c < kC; ++c)
    for (int v = 0; v < kV; ++v) {
      const std::int64_t j = lane0 + v * kLanes;
      StoreN(d, h[c][v], to + c * block.width + j, block.width - j);
    }
}

// All vectors of C channels' states through one run.
template <bool kComplex, int kC>
void SweepState(const Block& block, std::int64_t first, std::int64_t end, const float* from,
                float* to, float* partial) {
  bool add = false;
  for (std::int64_t j = 0; j < block.width;) {
    const std::int64_t vectors = (block.width - j + kLanes - 1) / kLanes;
    const auto run = [&](auto sweep, int count) {
      sweep(block, j, first, end, from, to, partial, add);
      j += count * kLanes;
    };
    if constexpr (kC == 1) {
      if (vectors >= 8) {
        run(Sweep<kComplex, 1, 8>, 8);
      } else if (vectors >= 4) {
        run(Sweep<kComplex, 1, 4>, 4);
      } else if (vectors >= 2) {
        run(Sweep<kComplex, 1, 2>, 2);
      } else {
        run(Sweep<kComplex, 1, 1>, 1);
      }
    } else {
      run(Sweep<kComplex, kC, kForwardVectors / kC>, kForwardVectors / kC);
    }
    add = true;
  }
}

// y = sum over lanes + d x for `steps` steps of C channels.
template <int kC>
void Finish(const Block& block, const float* skip, const float* partial, float* y) {
  const D d;
  for (std::int64_t t = 0; t < block.steps; ++t)
    for (int c = 0; c < kC; ++c) {
      const float sum =
          hn::GetLane(hn::SumOfLanes(d, hn::Load(d, partial + (t * kC + c) * kLanes)));
      const float direct = skip ? skip[c] * block.x[t * block.channels + c] : 0.0f;
      y[t * block.channels + c] = sum + direct;
    }
}

// C channels from c0 of one row through all of its time.
template <bool kComplex, int kC>
void ForwardChannels(const DiagonalSsmArgs& args, std::int64_t row, std::int64_t c0) {
  HWY_ALIGN float partial[kBlock * kC * kLanes];
  const std::int64_t start = args.sequence.start[row], length = args.sequence.length[row];
  const std::int64_t state = (row * args.channels + c0) * args.width;
  const float* from = static_cast<const float*>(args.h_in) + state;
  float* h = static_cast<float*>(args.h_out) + state;
  if (length == 0 && from != h)
    std::memcpy(h, from, static_cast<std::size_t>(kC * args.width) * sizeof(float));
  for (std::int64_t t0 = 0; t0 < length; t0 += kBlock) {
    const std::int64_t token = start + t0;
    const Block block{
        .channels = args.channels,
        .width = args.width,
        .padded = args.padded_width,
        .coefficients = static_cast<const float*>(args.coefficients) + c0 * 3 * args.padded_width,
        .x = static_cast<const float*>(args.x) + token * args.channels + c0,
        .steps = std::min(kBlock, length - t0),
        .reset = args.sequence.reset ? args.sequence.reset + token : nullptr};
    if (args.checkpoints) {
      const std::int64_t slot = diagonal_slot(args.sequence, row) + t0 / kBlock;
      std::memcpy(static_cast<float*>(args.checkpoints) + (slot * args.channels + c0) * args.width,
                  from, static_cast<std::size_t>(kC * args.width) * sizeof(float));
    }
    for (std::int64_t first = 0; first < block.steps;) {
      const std::int64_t end = RunEnd(block, first);
      const bool fresh = block.reset && block.reset[first];
      SweepState<kComplex, kC>(block, first, end, fresh ? nullptr : from, h, partial);
      from = h;
      first = end;
    }
    Finish<kC>(block, args.d ? static_cast<const float*>(args.d) + c0 : nullptr, partial,
               static_cast<float*>(args.y) + token * args.channels + c0);
  }
}

template <bool kComplex>
void ForwardTile(const DiagonalSsmArgs& args, std::int64_t row, std::int64_t c0, std::int64_t c1) {
  const std::int64_t vectors = (args.width + kLanes - 1) / kLanes;
  std::int64_t c = c0;
  if (vectors == 1) {
    for (; c + 8 <= c1; c += 8) ForwardChannels<kComplex, 8>(args, row, c);
  } else if (vectors == 2) {
    for (; c + 4 <= c1; c += 4) ForwardChannels<kComplex, 4>(args, row, c);
  } else if (vectors == 4) {
    for (; c + 2 <= c1; c += 2) ForwardChannels<kComplex, 2>(args, row, c);
  }
  for (; c < c1; ++c) ForwardChannels<kComplex, 1>(args, row, c);
}

void Forward(const DiagonalSsmArgs& args, const KernelContext& context) {
  const std::int64_t tiles = (args.channels + kForwardTile - 1) / kForwardTile;
  context.parallel_for(args.sequence.rows * tiles, [&](std::int64_t task) {
    const std::int64_t c0 = task % tiles * kForwardTile,
                       c1 = std::min(c0 + kForwardTile, args.channels);
    if (args.complex) {
      ForwardTile<true>(args, task / tiles, c0, c1);
    } else {
      ForwardTile<false>(args, task / tiles, c0, c1);
    }
  });
  zero_gaps(args.sequence, static_cast<float*>(args.y), args.channels);
}

// Backward: one block of one piece of a channel's state (kV vectors from lane0). `kept` is the
// state before the block; g the gradient of the state after it on entry, before it on return.
template <bool kComplex, int kV>
struct Piece {
  static constexpr int kSlot = kV * kLanes;

  // states[t] before step t (unless a reset is there), states[t + 1] after it.
  static void Recompute(const Block& block, std::int64_t lane0, const float* kept,
                        float* HWY_RESTRICT states) {
    const D d;
    const float* p = block.coefficients + lane0;
    const float* q = p + block.padded;
    V h[kV];
    for (int v = 0; v < kV; ++v) {
      const std::int64_t j = lane0 + v * kLanes;
      h[v] = LoadN(d, kept + j, block.width - j);
      hn::Store(h[v], d, states + v * kLanes);
    }
    for (std::int64_t t = 0; t < block.steps; ++t) {
      const V input = Input<kComplex>(d, block.x[t * block.channels]);
      const bool fresh = block.reset && block.reset[t];
      for (int v = 0; v < kV; ++v) {
        if (fresh) h[v] = hn::Zero(d);
        h[v] = Advance<kComplex>(hn::LoadU(d, p + v * kLanes), hn::LoadU(d, q + v * kLanes), h[v],
                                 input);
        hn::Store(h[v], d, states + (t + 1) * kSlot + v * kLanes);
      }
    }
  }

  // Adds to dcoefficients; sums of dx by lanes go to partial[step].
  static void GoBack(const Block& block, std::int64_t lane0, const float* HWY_RESTRICT dy,
                     const float* HWY_RESTRICT states, float* g_at, float* dcoefficients,
                     float* HWY_RESTRICT partial, bool add) {
    const D d;
    const float* p = block.coefficients + lane0;
    const float* q = p + block.padded;
    const float* r = q + block.padded;
    V g[kV], dp[kV], dq[kV], dr[kV];
    for (int v = 0; v < kV; ++v) {
      const std::int64_t j = lane0 + v * kLanes;
      g[v] = LoadN(d, g_at + j, block.width - j);
      dp[v] = dq[v] = dr[v] = hn::Zero(d);
    }
    for (std::int64_t t = block.steps - 1; t >= 0; --t) {
      const V dy_t = hn::Set(d, dy[t * block.channels]);
      const bool fresh = block.reset && block.reset[t];
      V sum = add ? hn::Load(d, partial + t * kLanes) : hn::Zero(d);
      for (int v = 0; v < kV; ++v) {
        const int k = v * kLanes;
        const V before = fresh ? hn::Zero(d) : hn::Load(d, states + t * kSlot + k);
        g[v] = hn::MulAdd(hn::LoadU(d, r + k), dy_t, g[v]);
        dr[v] = hn::MulAdd(hn::Load(d, states + (t + 1) * kSlot + k), dy_t, dr[v]);
        dp[v] = hn::MulAdd(g[v], before, dp[v]);
        if constexpr (kComplex) dq[v] = hn::MulAdd(g[v], hn::Shuffle2301(before), dq[v]);
        sum = hn::Add(sum, g[v]);
        g[v] = Retreat<kComplex>(hn::LoadU(d, p + k), hn::LoadU(d, q + k), g[v]);
        if (fresh) g[v] = hn::Zero(d);
      }
      hn::Store(sum, d, partial + t * kLanes);
    }
    for (int v = 0; v < kV; ++v) {
      const std::int64_t j = lane0 + v * kLanes, count = block.width - j;
      StoreN(d, g[v], g_at + j, count);
      float* at = dcoefficients + j;
      for (const V& gradient : {dp[v], dq[v], dr[v]}) {
        StoreN(d, hn::Add(LoadN(d, at, count), gradient), at, count);
        at += block.padded;
      }
    }
  }
};

// All pieces of a channel's state back through one block.
template <bool kComplex>
void BackwardState(const Block& block, const float* kept, const float* dy, float* g,
                   float* dcoefficients, float* states, float* partial) {
  bool add = false;
  for (std::int64_t j = 0; j < block.width;) {
    const std::int64_t vectors = (block.width - j + kLanes - 1) / kLanes;
    const auto run = [&](auto piece, int count) {
      piece.Recompute(block, j, kept, states);
      piece.GoBack(block, j, dy, states, g, dcoefficients, partial, add);
      j += count * kLanes;
    };
    if (vectors >= kBackwardVectors) {
      run(Piece<kComplex, kBackwardVectors>(), kBackwardVectors);
    } else if (vectors >= 2) {
      run(Piece<kComplex, 2>(), 2);
    } else {
      run(Piece<kComplex, 1>(), 1);
    }
    add = true;
  }
}

// dx = sum over the lanes that take x + d dy; dd += sum of dy x.
template <bool kComplex>
void FinishBackward(const Block& block, const float* skip, const float* dy, const float* partial,
                    float* dx, float* dd) {
  const D d;
  float sum_dd = 0.0f;
  for (std::int64_t t = 0; t < block.steps; ++t) {
    V lanes = hn::Load(d, partial + t * kLanes);
    if constexpr (kComplex) lanes = hn::OddEven(hn::Zero(d), lanes);
    const float dy_t = dy[t * block.channels];
    dx[t * block.channels] = hn::GetLane(hn::SumOfLanes(d, lanes)) + (skip ? *skip * dy_t : 0.0f);
    sum_dd += dy_t * block.x[t * block.channels];
  }
  if (dd) *dd += sum_dd;
}

// One channel through all rows, so that its coefficients' gradients are summed in a fixed order.
template <bool kComplex>
void BackwardChannel(const DiagonalSsmBackwardArgs& args, std::int64_t c) {
  HWY_ALIGN float states[(kBlock + 1) * kBackwardVectors * kLanes];
  HWY_ALIGN float partial[kBlock * kLanes];
  const std::int64_t channels = args.channels, width = args.width;
  float* dcoefficients = static_cast<float*>(args.dcoefficients) + c * 3 * args.padded_width;
  std::fill(dcoefficients, dcoefficients + 3 * args.padded_width, 0.0f);
  float* dd = args.dd ? static_cast<float*>(args.dd) + c : nullptr;
  if (dd) *dd = 0.0f;
  for (std::int64_t row = 0; row < args.sequence.rows; ++row) {
    const std::int64_t state = (row * channels + c) * width, length = args.sequence.length[row];
    float* g = static_cast<float*>(args.dh_initial) + state;
    if (args.dh_final) {
      std::memcpy(g, static_cast<const float*>(args.dh_final) + state,
                  static_cast<std::size_t>(width) * sizeof(float));
    } else {
      std::fill(g, g + width, 0.0f);
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
      BackwardState<kComplex>(block, kept, dy, g, dcoefficients, states, partial);
      FinishBackward<kComplex>(block, args.d ? static_cast<const float*>(args.d) + c : nullptr, dy,
                               partial, static_cast<float*>(args.dx) + token * channels + c, dd);
    }
  }
}

void Backward(const DiagonalSsmBackwardArgs& args, const KernelContext& context) {
  const std::int64_t tiles = (args.channels + kBackwardTile - 1) / kBackwardTile;
  context.parallel_for(tiles, [&](std::int64_t tile) {
    const std::int64_t end = std::min((tile + 1) * kBackwardTile, args.channels);
    for (std::int64_t c = tile * kBackwardTile; c < end; ++c)
      args.complex ? BackwardChannel<true>(args, c) : BackwardChannel<false>(args, c);
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

HWY_EXPORT(Forward);
HWY_EXPORT(Backward);

void forward_f32(const DiagonalSsmArgs& args, const KernelContext& context) {
  HWY_DYNAMIC_DISPATCH(Forward)(args, context);
}
void backward_f32(const DiagonalSsmBackwardArgs& args, const KernelContext& context) {
  HWY_DYNAMIC_DISPATCH(Backward)(args, context);
}

}  // namespace

void fill_diagonal_ssm(ScanKernels& f32, ScanKernels& f64) {
  f32.diagonal_ssm = forward_f32;
  f32.diagonal_ssm_backward = backward_f32;
  f64.diagonal_ssm = diagonal_plain::forward<double>;
  f64.diagonal_ssm_backward = diagonal_plain::backward<double>;
}

}  // namespace rill
#endif
