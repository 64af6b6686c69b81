// The diagonal recurrence in float lanes (equations and layout: diagonal_ssm_plain-inl.h).
//
// A sweep keeps `V` vectors of each of `C` channels in registers through a block of time (small
// states: several channels, so that enough independent chains are in flight); a state of more
// vectors takes several sweeps over the block, which add to the same partial sums of y. Sums over
// lanes come last. An element's operations depend on N and the vector target alone.
#include <rill/scan/cpu/diagonal_ssm_plain-inl.h>
#include <rill/scan/cpu/families.h>
#include <rill/scan/diagonal_args.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "rill/scan/cpu/diagonal_ssm_simd.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <rill/scan/cpu/diagonal_simd-inl.h>

HWY_BEFORE_NAMESPACE();
namespace rill {
namespace HWY_NAMESPACE {
namespace {

#if HWY_TARGET == HWY_SCALAR  // demanded by Highway, offered to nobody

void Forward(const DiagonalSsmArgs& args, const KernelContext& context) {
  diagonal_plain::forward<float>(args, context);
}

#else

using namespace diagonal;

// Vectors of state that one sweep keeps: with 16 registers, coefficients are read from the
// first-level cache.
constexpr int kForwardVectors = 8;
constexpr std::int64_t kForwardTile = 16;  // channels a task: a cache line of y

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
    Finish<kC>(block, args.d ? static_cast<const float*>(args.d) + c0 : nullptr, block.x, partial,
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

#endif

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rill
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rill {
namespace {

HWY_EXPORT(Forward);

void forward_f32(const DiagonalSsmArgs& args, const KernelContext& context) {
  HWY_DYNAMIC_DISPATCH(Forward)(args, context);
}

}  // namespace

void fill_diagonal_ssm(ScanKernels& f32, ScanKernels& f64) {
  f32.diagonal_ssm = forward_f32;
  f64.diagonal_ssm = diagonal_plain::forward<double>;
}

}  // namespace rill
#endif
