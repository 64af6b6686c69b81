// The selective scan backward, on vectors of float. A task is one row and one tile of channels.
// Blocks of time are taken from the last to the first: the states and decays of a block are
// recomputed from its checkpoint into memory of the second cache, then the gradient of the state
// walks back through it in registers. With g_t = dL/dh_t and ds_t = dy_t silu(z_t):
//   g_t = ds_t C_t + decay_{t+1} g_{t+1},  dC_t = sum_e ds_t h_t,  dB_t = sum_e g_t delta_t x_t,
//   w_t = g_t decay_t h_{t-1},  dA = sum_t w_t delta_t,  ddelta_t = sum_n w_t A + x_t sum_n g_t
//   B_t.
// Sums over channels stay vectors within a tile; parts of tiles and rows are added at the end in a
// fixed order.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "rill/scan/cpu/selective_backward_simd.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <rill/core/cpu/lanes.h>
#include <rill/scan/cpu/selective_lanes-inl.h>

#include <algorithm>
#include <vector>

HWY_BEFORE_NAMESPACE();
namespace rill {
namespace HWY_NAMESPACE {
namespace selective {

// Scratch of a task, [steps][states][lanes] each.
struct Scratch {
  float *h, *decay, *db, *dc;
  float* carry;           // [states][kSelectiveTile]: dL/dh of the step after
  float *state, *moving;  // [states][kLanes]: before the block, and at its steps in turn

  static_assert(kLanes <= 16, "selective_scratch counts on it");

  Scratch(float* memory, std::int64_t states) {
    const std::int64_t block = kSteps * states * kLanes;
    // A cache line's start: an aligned vector never crosses two.
    const std::uintptr_t line = static_cast<std::uintptr_t>(kLanes) * sizeof(float);
    const auto address = reinterpret_cast<std::uintptr_t>(memory);
    float* p = reinterpret_cast<float*>((address + line - 1) / line * line);
    for (float** part : {&h, &decay, &db, &dc}) {
      *part = p;
      p += block;
    }
    carry = p;
    state = p + states * kSelectiveTile;
    moving = state + states * kLanes;
  }
};

// Keeps what the way back reads.
struct KeepAll {
  float *h, *decay;
  std::int64_t states;
  HWY_INLINE void State(D d, std::int64_t i, std::int64_t n, V v) const {
    hn::StoreU(v, d, h + (i * states + n) * kLanes);
  }
  HWY_INLINE void Decay(D d, std::int64_t i, std::int64_t n, V v) const {
    hn::StoreU(v, d, decay + (i * states + n) * kLanes);
  }
};

// The gradients of a tile's block that do not belong to one state; [vectors][steps][lanes], as in
// TileBlocks.
struct TileGradients {
  static constexpr std::int64_t kSize = kSelectiveTile * kSteps;
  HWY_ALIGN float ds[kSize];
  HWY_ALIGN float dz[kSize];  // dL/dz, before the factor of the sums
  HWY_ALIGN float du[kSize];
  HWY_ALIGN float ddelta[kSize];  // times log2(e)
};
struct BlockGradients {
  const float* ds;
  float *du, *ddelta;
};

using Blocks = TileBlocks<kSelectiveTile>;

struct Stretch {
  std::int64_t t, steps, first, count;  // tokens [t, t + steps), channels [first, first + count)
};

// ds and the factors of dz; zeros for the sums.
HWY_INLINE void Ungate(D d, const SelectiveScanBackwardArgs& args, const View& in, const Stretch& s,
                       TileGradients& g) {
  const V one = hn::Set(d, 1.0f);
  for (std::int64_t i = 0; i < s.steps; ++i) {
    for (std::int64_t c = 0; c < s.count; c += kLanes) {
      const std::int64_t from = (s.t + i) * in.channels + s.first + c, at = c * kSteps + i * kLanes;
      V ds =
          args.dy ? LoadN(d, static_cast<const float*>(args.dy) + from, s.count - c) : hn::Zero(d);
      if (in.z) {
        const V z = LoadN(d, in.z + from, s.count - c), sigma = Sigmoid(d, z);
        const V slope = hn::Mul(sigma, hn::MulAdd(z, hn::Sub(one, sigma), one));
        hn::Store(hn::Mul(ds, slope), d, g.dz + at);
        ds = hn::Mul(ds, hn::Mul(z, sigma));
      }
      hn::Store(ds, d, g.ds + at);
      hn::Store(hn::Zero(d), d, g.du + at);
      hn::Store(hn::Zero(d), d, g.ddelta + at);
    }
  }
}

// States [n, n + kCount) back through a block.
template <int kCount>
HWY_INLINE void BackStates(D d, const View& in, const Block& block, const BlockGradients& gradients,
                           const Scratch& scratch, std::int64_t n, float* HWY_RESTRICT carry_memory,
                           float* HWY_RESTRICT da_memory) {
  V carry[kCount], a[kCount], da[kCount];
  HWY_UNROLL(8)
  for (int k = 0; k < kCount; ++k) {
    carry[k] = hn::LoadU(d, carry_memory + (n + k) * kSelectiveTile);
    a[k] = LoadN(d, in.a + (n + k) * in.channels + block.e, block.lanes);
    da[k] = LoadN(d, da_memory + (n + k) * in.channels, block.lanes);
  }
  for (std::int64_t i = block.steps; i-- > 0;) {
    const float* HWY_RESTRICT b = in.b + (block.t + i) * in.states + n;
    const float* HWY_RESTRICT c = in.c + (block.t + i) * in.states + n;
    const std::int64_t at = (i * in.states + n) * kLanes;
    const bool fresh = in.reset && in.reset[block.t + i];
    // The state before the block's first step is the checkpoint.
    const float* HWY_RESTRICT before =
        i > 0 ? scratch.h + at - in.states * kLanes : scratch.state + n * kLanes;
    const V delta = hn::Load(d, block.delta + i * kLanes), u = hn::Load(d, block.u + i * kLanes);
    const V ds = hn::Load(d, gradients.ds + i * kLanes);
    V du = hn::Load(d, gradients.du + i * kLanes),
      ddelta = hn::Load(d, gradients.ddelta + i * kLanes);
    HWY_UNROLL(8)
    for (int k = 0; k < kCount; ++k) {
      const V g = hn::MulAdd(ds, hn::Set(d, c[k]), carry[k]);
      float *db = scratch.db + at + k * kLanes, *dc = scratch.dc + at + k * kLanes;
      hn::StoreU(hn::MulAdd(g, u, hn::LoadU(d, db)), d, db);
      hn::StoreU(hn::MulAdd(ds, hn::LoadU(d, scratch.h + at + k * kLanes), hn::LoadU(d, dc)), d,
                 dc);
      du = hn::MulAdd(g, hn::Set(d, b[k]), du);
      carry[k] = hn::Mul(g, hn::LoadU(d, scratch.decay + at + k * kLanes));
      V w = hn::Mul(carry[k], hn::LoadU(d, before + k * kLanes));
      if (fresh) carry[k] = w = hn::Zero(d);
      ddelta = hn::MulAdd(w, a[k], ddelta);
      da[k] = hn::MulAdd(w, delta, da[k]);
    }
    hn::Store(du, d, gradients.du + i * kLanes);
    hn::Store(ddelta, d, gradients.ddelta + i * kLanes);
  }
  HWY_UNROLL(8)
  for (int k = 0; k < kCount; ++k) {
    hn::StoreU(carry[k], d, carry_memory + (n + k) * kSelectiveTile);
    StoreN(d, da[k], da_memory + (n + k) * in.channels, block.lanes);
  }
}

// dx, ddt, dz, and the parts of dD and dbias.
HWY_INLINE void Finish(D d, const SelectiveScanBackwardArgs& args, const View& in, const Stretch& s,
                       const Blocks& blocks, const TileGradients& g, float* HWY_RESTRICT part) {
  for (std::int64_t i = s.steps; i-- > 0;) {
    for (std::int64_t c = 0; c < s.count; c += kLanes) {
      const std::int64_t e = s.first + c, to = (s.t + i) * in.channels + e,
                         at = c * kSteps + i * kLanes;
      const std::int64_t lanes = s.count - c;
      const V x = LoadN(d, in.x + to, lanes), ds = hn::Load(d, g.ds + at),
              du = hn::Load(d, g.du + at);
      V raw = LoadN(d, in.dt + to, lanes), dx = hn::Mul(du, hn::Load(d, blocks.delta + at));
      if (in.dt_bias) raw = hn::Add(raw, LoadN(d, in.dt_bias + e, lanes));
      if (in.d) dx = hn::MulAdd(ds, LoadN(d, in.d + e, lanes), dx);
      const V ddelta =
          hn::MulAdd(hn::Load(d, g.ddelta + at), hn::Set(d, 0.693147181f), hn::Mul(du, x));
      const V draw = hn::Mul(ddelta, Sigmoid(d, raw));
      StoreN(d, dx, static_cast<float*>(args.dx) + to, lanes);
      StoreN(d, draw, static_cast<float*>(args.ddt) + to, lanes);
      if (in.z)
        StoreN(d, hn::Mul(hn::Load(d, g.dz + at), hn::Load(d, blocks.y + at)),
               static_cast<float*>(args.dz) + to, lanes);
      float *dskip = part + c, *dbias = part + in.channels + c;
      StoreN(d, hn::MulAdd(ds, x, LoadN(d, dskip, lanes)), dskip, lanes);
      StoreN(d, hn::Add(draw, LoadN(d, dbias, lanes)), dbias, lanes);
    }
  }
}

// A vector of channels back through a block.
HWY_INLINE void BackBlock(D d, const View& in, const Block& block, const BlockGradients& gradients,
                          const Scratch& scratch, const float* HWY_RESTRICT checkpoint,
                          float* HWY_RESTRICT carry, float* HWY_RESTRICT da) {
  for (std::int64_t n = 0; n < in.states; ++n) {
    const V state = LoadN(d, checkpoint + n * in.channels, block.lanes);
    hn::StoreU(state, d, scratch.state + n * kLanes);
    hn::StoreU(state, d, scratch.moving + n * kLanes);
  }
  Run(d, in, block, scratch.moving, kLanes, KeepAll{scratch.h, scratch.decay, in.states});
  std::int64_t n = 0;
  for (; n + 4 <= in.states; n += 4) BackStates<4>(d, in, block, gradients, scratch, n, carry, da);
  for (; n < in.states; ++n) BackStates<1>(d, in, block, gradients, scratch, n, carry, da);
}

// The tile's part of dB and dC of a block: sums over lanes.
HWY_INLINE void SumLanes(D d, const float* HWY_RESTRICT vectors, float* HWY_RESTRICT part,
                         std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i)
    part[i] = hn::GetLane(hn::SumOfLanes(d, hn::LoadU(d, vectors + i * kLanes)));
}

void BackTile(const SelectiveScanBackwardArgs& args, std::int64_t row, std::int64_t tile,
              std::int64_t lane) {
  const D d;
  const View in(args.forward);
  const SeqArgs& sequence = args.forward.sequence;
  const std::int64_t first = tile * kSelectiveTile,
                     count = std::min(kSelectiveTile, in.channels - first);
  const std::int64_t start = sequence.start[row], length = sequence.length[row],
                     size = in.channels * in.states;
  const Scratch scratch(static_cast<float*>(args.scratch) + lane * selective_scratch(in.states),
                        in.states);
  std::fill_n(scratch.carry, in.states * kSelectiveTile, 0.0f);
  if (args.dfinal)
    StatesFirst(static_cast<const float*>(args.dfinal) + row * size + first * in.states,
                scratch.carry, count, in.states, kSelectiveTile);
  for (std::int64_t n = 0; n < in.states; ++n)
    std::fill_n(static_cast<float*>(args.parts_a) + row * size + n * in.channels + first, count,
                0.0f);
  for (std::int64_t p = 0; p < 2; ++p)
    std::fill_n(static_cast<float*>(args.parts_d) + (row * 2 + p) * in.channels + first, count,
                0.0f);
  float* parts = static_cast<float*>(args.parts_bc) + tile * 2 * sequence.tokens * in.states;
  Blocks blocks;
  TileGradients g;
  for (std::int64_t chunk = (length + kSteps - 1) / kSteps; chunk-- > 0;) {
    const Stretch s{start + chunk * kSteps, std::min(kSteps, length - chunk * kSteps), first,
                    count};
    const std::int64_t cells = s.steps * in.states;
    std::fill_n(scratch.db, cells * kLanes, 0.0f);
    std::fill_n(scratch.dc, cells * kLanes, 0.0f);
    const float* checkpoint = static_cast<const float*>(args.forward.checkpoints) +
                              (selective_checkpoint(sequence, row) + chunk) * size + first;
    blocks.Prepare(d, in, s.t, s.steps, first, count);
    Ungate(d, args, in, s, g);
    for (std::int64_t c = 0; c < count; c += kLanes) {
      const Block block = blocks.At(d, in, s.t, s.steps, first, count, c);
      const BlockGradients gradients{g.ds + c * kSteps, g.du + c * kSteps, g.ddelta + c * kSteps};
      BackBlock(d, in, block, gradients, scratch, checkpoint + c, scratch.carry + c,
                static_cast<float*>(args.parts_a) + row * size + first + c);
    }
    Finish(d, args, in, s, blocks, g,
           static_cast<float*>(args.parts_d) + row * 2 * in.channels + first);
    SumLanes(d, scratch.db, parts + s.t * in.states, cells);
    SumLanes(d, scratch.dc, parts + (sequence.tokens + s.t) * in.states, cells);
  }
  ChannelsFirst(scratch.carry, static_cast<float*>(args.dinitial) + row * size + first * in.states,
                count, in.states, kSelectiveTile);
}

// Adds the tiles' parts of dB and dC.
void JoinTiles(const SelectiveScanBackwardArgs& args, std::int64_t tiles,
               const KernelContext& context) {
  const std::int64_t cells = args.forward.sequence.tokens * args.forward.states;
  const float* parts = static_cast<const float*>(args.parts_bc);
  float* const out[] = {static_cast<float*>(args.db), static_cast<float*>(args.dc)};
  constexpr std::int64_t kStretch = 4096;
  const std::int64_t stretches = (cells + kStretch - 1) / kStretch;
  context.parallel_for(2 * stretches, [&](std::int64_t task) {
    const std::int64_t which = task / stretches, first = task % stretches * kStretch;
    const std::int64_t count = std::min(kStretch, cells - first);
    float* HWY_RESTRICT sum = out[which] + first;
    std::copy_n(parts + which * cells + first, count, sum);
    for (std::int64_t tile = 1; tile < tiles; ++tile) {
      const float* HWY_RESTRICT part = parts + (tile * 2 + which) * cells + first;
      for (std::int64_t i = 0; i < count; ++i) sum[i] += part[i];
    }
  });
}

// Adds the rows' parts of dA, dD and dbias to what is there.
void JoinRows(const SelectiveScanBackwardArgs& args) {
  const View in(args.forward);
  const std::int64_t rows = args.forward.sequence.rows, channels = in.channels, states = in.states;
  std::vector<float> sum(static_cast<std::size_t>(channels));
  const auto add_rows = [&](const void* parts, std::int64_t stride, std::int64_t offset) {
    std::fill(sum.begin(), sum.end(), 0.0f);
    for (std::int64_t row = 0; row < rows; ++row) {
      const float* part = static_cast<const float*>(parts) + row * stride + offset;
      for (std::int64_t e = 0; e < channels; ++e) sum[e] += part[e];
    }
  };
  for (std::int64_t n = 0; n < states; ++n) {
    add_rows(args.parts_a, states * channels, n * channels);
    // dA / dA_log = A; a holds A log2(e).
    for (std::int64_t e = 0; e < channels; ++e)
      static_cast<float*>(args.da_log)[e * states + n] +=
          sum[e] * (in.a[n * channels + e] * 0.693147181f);
  }
  void* const vectors[] = {args.dd, args.dbias};
  for (std::int64_t p = 0; p < 2; ++p) {
    if (!vectors[p]) continue;
    add_rows(args.parts_d, 2 * channels, p * channels);
    for (std::int64_t e = 0; e < channels; ++e) static_cast<float*>(vectors[p])[e] += sum[e];
  }
}

}  // namespace selective

void SelectiveScanBackward(const SelectiveScanBackwardArgs& args, const KernelContext& context) {
  const SeqArgs& sequence = args.forward.sequence;
  const std::int64_t tiles = (args.forward.channels + kSelectiveTile - 1) / kSelectiveTile;
  for (void* p : {args.dx, args.ddt, args.dz})
    zero_outside(sequence, static_cast<float*>(p), args.forward.channels);
  for (std::int64_t part = 0; part < 2 * tiles; ++part)
    zero_outside(sequence,
                 static_cast<float*>(args.parts_bc) + part * sequence.tokens * args.forward.states,
                 args.forward.states);
  parallel_lanes(context, sequence.rows * tiles, args.lanes,
                 [&](std::int64_t task, std::int64_t lane) {
                   selective::BackTile(args, task / tiles, task % tiles, lane);
                 });
  selective::JoinTiles(args, tiles, context);
  selective::JoinRows(args);
}

}  // namespace HWY_NAMESPACE
}  // namespace rill
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <rill/scan/cpu/families.h>

namespace rill {
HWY_EXPORT(SelectiveScanBackward);

void fill_selective_scan_backward(ScanKernels& f32) {
  f32.selective_scan_backward = [](const SelectiveScanBackwardArgs& args,
                                   const KernelContext& context) {
    HWY_DYNAMIC_DISPATCH(SelectiveScanBackward)(args, context);
  };
}

}  // namespace rill
#endif  // HWY_ONCE
