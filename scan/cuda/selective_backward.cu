// The selective scan's way back. A block goes back through a segment of a row, kSelectiveChunk
// steps at a time, for several groups of channels one after the other. States are computed again
// from those that the forward kept: first the states before every kSub-th step of the chunk, then,
// from the last stretch of kSub steps to the first, the states of its steps, all in registers. What
// is one number a step and channel lies in shared memory, made and finished by a thread an element.
// Sums over channels (dB, dC) are made inside a warp, over the block's warps and over its groups,
// and left as one part a block; sums over time as one part a segment; the last kernels add the
// parts in order.
#include <rill/scan/cuda/instantiate.h>
#include <rill/scan/cuda/selective.h>

namespace rill {
namespace {

constexpr int kSub = 8;
constexpr int kSteps = static_cast<int>(kSelectiveChunk);
constexpr int kSubs = kSteps / kSub;  // stretches of a chunk
constexpr int kThreads = kSelectiveBackThreads, kWarps = kThreads / kWarpSize;
constexpr int kPer = kNarrow;

/// Steps whose sums over channels wait in shared memory together.
RILL_DEVICE int steps_of_sums(int lanes) { return lanes <= 8 ? kSub : kSub * 8 / lanes; }

/// Where the block's arrays lie in its shared memory.
template <class C>
struct Layout {
  int delta, input, out, y;  // [step, channel]: delta; delta x, then du; ds, then ddelta; y
  int b, c;                  // [step, state]
  int sums;                  // [step of a stretch, warp, dB | dC, state]
  int bc;                    // [step, dB | dC, state]: the block's part
  int before;                // [stretch, kPer, thread]: a thread's states before its steps
  int kept;                  // [group, carry | dA, kPer, thread]
  int channel_sums;          // [group, D | dt_bias, channel]
  int size;

  static constexpr Layout of(const SelectiveCut& cut) {
    const int plane = kSteps * static_cast<int>(cut.channels), padded = cut.lanes * kPer;
    const int most = cut.lanes <= 8 ? kSub : kSub * 8 / cut.lanes;
    Layout at{};
    at.input = at.delta + plane;
    at.out = at.input + plane;
    at.y = at.out + plane;
    at.b = at.y + plane;
    at.c = at.b + kSteps * padded;
    at.sums = at.c + kSteps * padded;
    at.bc = at.sums + most * kWarps * 2 * padded;
    at.before = at.bc + kSteps * 2 * padded;
    at.kept = at.before + kSubs * kPer * kThreads;
    at.channel_sums = at.kept + cut.groups * 2 * kPer * kThreads;
    at.size = at.channel_sums + cut.groups * 2 * static_cast<int>(cut.channels);
    return at;
  }
};

/// One chunk of one group of channels.
template <class S>
struct BackChunk {
  using C = Compute<S>;
  const SelectiveScanBackwardArgs& q;
  const SelectiveScanArgs& p;
  const SelectiveCut& cut;
  const SelectivePlace& at;
  const Layout<C>& in;
  Shared<C> memory;
  Shared<int> fresh;
  std::int64_t first;  // the chunk's first step
  int count;           // of its steps
  std::int64_t group;  // the group's number among all
  int group_of_block;

  RILL_DEVICE int width() const { return static_cast<int>(cut.channels); }
  RILL_DEVICE int padded() const { return cut.lanes * kPer; }
  /// The channel whose elements this thread makes and finishes; -1: none.
  RILL_DEVICE std::int64_t element_channel() const {
    const std::int64_t channel = group * cut.channels + thread_index() % width();
    return channel < p.channels ? channel : -1;
  }

  /// delta, delta x and ds; 0 behind the last step: it leaves states and gradients as they are.
  RILL_DEVICE void put_elements() const {
    const std::int64_t channel = element_channel();
    const C bias = channel >= 0 && p.dt_bias ? load<C>(p.dt_bias, channel) : C(0);
    for (int n = thread_index(); n < kSteps * width(); n += kThreads) {
      const int i = n / width();
      C delta = C(0), input = C(0), ds = C(0);
      if (channel >= 0 && i < count) {
        const std::int64_t element = (at.start + first + i) * p.channels + channel;
        delta = softplus_of(load<S>(p.dt, element) + bias);
        input = delta * load<S>(p.x, element);
        if (q.dy) ds = load<S>(q.dy, element);
        if (q.dy && p.z) {
          const C z = load<S>(p.z, element);
          ds *= z * sigmoid_of(z);
        }
      }
      memory[in.delta + n] = delta;
      memory[in.input + n] = input;
      memory[in.out + n] = ds;
    }
  }

  /// B, C and resets, the same for all groups.
  RILL_DEVICE void put_vectors() const {
    for (int n = thread_index(); n < kSteps * padded(); n += kThreads) {
      const int i = n / padded(), state = n % padded();
      const bool real = i < count && state < p.states;
      const std::int64_t from = (at.start + first + i) * p.states + state;
      memory[in.b + n] = real ? load<S>(p.b, from) : C(0);
      memory[in.c + n] = real ? load<S>(p.c, from) : C(0);
    }
    if (thread_index() < kSteps)
      fresh[thread_index()] =
          thread_index() < count && reset_before(p.sequence, at.start + first + thread_index());
  }

  /// dx, ddt, dz from du, ddelta and y; then the sums over the chunk's steps that D and dt_bias
  /// get.
  RILL_DEVICE void finish_elements() const {
    const std::int64_t channel = element_channel();
    const C d = channel >= 0 && p.d ? load<C>(p.d, channel) : C(0);
    for (int n = thread_index(); n < kSteps * width(); n += kThreads) {
      const int i = n / width();
      if (channel < 0 || i >= count) continue;
      const std::int64_t element = (at.start + first + i) * p.channels + channel;
      const C x = load<S>(p.x, element), delta = memory[in.delta + n], du = memory[in.input + n];
      C ds = q.dy ? load<S>(q.dy, element) : C(0);
      if (p.z) {
        const C z = load<S>(p.z, element), gate = sigmoid_of(z), y = memory[in.y + n];
        store<S>(q.dz, element, ds * (y + d * x) * (gate * (C(1) + z * (C(1) - gate))));
        ds *= z * gate;
      }
      // 1 - exp(-softplus(v)) = sigmoid(v); expm1, or the digits of a small delta are lost.
      const C draw = (memory[in.out + n] + du * x) * -expm1(-delta);
      store<S>(q.dx, element, du * delta + ds * d);
      store<S>(q.ddt, element, draw);
      memory[in.input + n] = ds * x;
      memory[in.out + n] = draw;
    }
    block_sync();
    for (int n = thread_index(); n < 2 * width(); n += kThreads) {
      const int plane = n < width() ? in.input : in.out;
      C sum = C(0);
      for (int i = 0; i < count; ++i) sum += memory[plane + i * width() + n % width()];
      memory[in.channel_sums + group_of_block * 2 * width() + n] += sum;
    }
  }

  /// The warps' sums of steps [i, i + steps) added in order, and to those of the groups before.
  RILL_DEVICE void add_sums(int i, int steps) const {
    block_sync();
    for (int n = thread_index(); n < steps * 2 * padded(); n += kThreads) {
      const int step = n / (2 * padded()), rest = n % (2 * padded());
      C sum = C(0);
      for (int w = 0; w < kWarps; ++w)
        sum += memory[in.sums + (step * kWarps + w) * 2 * padded() + rest];
      const int place = in.bc + i * 2 * padded() + n;
      memory[place] = group_of_block == 0 ? sum : memory[place] + sum;
    }
    block_sync();
  }

  /// The block's part: [tile, dB | dC, token, state].
  RILL_DEVICE void write_part() const {
    for (int n = thread_index(); n < count * 2 * padded(); n += kThreads) {
      const int i = n / (2 * padded()), side = n / padded() % 2, state = n % padded();
      if (state >= p.states) continue;
      const std::int64_t token = at.start + first + i;
      static_cast<C*>(
          q.parts_bc)[((at.tile * 2 + side) * p.sequence.tokens + token) * p.states + state] =
          memory[in.bc + n];
    }
  }
};

/// A thread's states on the way back, of one group.
template <class S>
struct BackStates {
  using C = Compute<S>;
  const BackChunk<S>& chunk;
  SelectiveLane lane;
  C a[kPer], carry[kPer], da[kPer];

  /// Where a step's numbers are: of this thread's channel, and of its states.
  struct Place {
    int step, element, vector;

    RILL_DEVICE void move(const BackChunk<S>& in, int steps) {
      step += steps;
      element += steps * in.width();
      vector += steps * in.padded();
    }
  };
  RILL_DEVICE Place place_of(int step) const {
    return {step, step * chunk.width() + lane.own, step * chunk.padded() + lane.first_state};
  }

  RILL_DEVICE void advance(const Place& at, C* h) const {
    const C delta = chunk.memory[chunk.in.delta + at.element];
    const C input = chunk.memory[chunk.in.input + at.element];
    const bool clear = chunk.p.sequence.reset && chunk.fresh[at.step] != 0;
    C b[kPer];
    load_shared<kPer>(chunk.memory, chunk.in.b + at.vector, b);
    RILL_UNROLL
    for (int j = 0; j < kPer; ++j)
      h[j] = fused_multiply_add(decay_of(delta * a[j], j), clear ? C(0) : h[j], input * b[j]);
  }

  /// Sums `values` [dB | dC, kPer] over the warp's channels. Each halving leaves a thread half of
  /// the values, those of its side of the mask; what is left is written to `to` [dB | dC, state].
  RILL_DEVICE void sum_over_channels(C* values, int to) const {
    int held = 2 * kPer, mine = 0;
    RILL_UNROLL
    for (int half = kPer; half > 0; half /= 2) {
      const int mask = half * (kWarpSize / (2 * kPer));  // 16, 8, 4
      if (chunk.cut.lanes > mask) continue;
      const bool upper = (lane_index() & mask) != 0;
      RILL_UNROLL
      for (int v = 0; v < half; ++v) {
        const C sent = upper ? values[v] : values[v + half];
        const C kept = upper ? values[v + half] : values[v];
        values[v] = kept + shuffle_xor(sent, mask);
      }
      held = half;
      if (upper) mine += half;
    }
    if (chunk.cut.lanes < 4) {  // two lanes: one channel more to add
      values[0] += shuffle_xor(values[0], 2);
      if ((lane_index() & 2) != 0) return;
    }
    RILL_UNROLL
    for (int v = 0; v < 2 * kPer; ++v) {
      if (v >= held) break;
      const int number = mine + v, side = number / kPer;
      chunk.memory[to + side * chunk.padded() + lane.first_state + number % kPer] = values[v];
    }
  }

  /// The step at a place, whose states are `before` and `after`.
  RILL_DEVICE void back(const Place& at, const C* before, const C* after, int sums) {
    const C delta = chunk.memory[chunk.in.delta + at.element];
    const C input = chunk.memory[chunk.in.input + at.element];
    const C ds = chunk.memory[chunk.in.out + at.element];
    const bool clear = chunk.p.sequence.reset && chunk.fresh[at.step] != 0;
    C du = C(0), ddelta = C(0), y = C(0), to_bc[2 * kPer], b[kPer], c[kPer];
    load_shared<kPer>(chunk.memory, chunk.in.b + at.vector, b);
    load_shared<kPer>(chunk.memory, chunk.in.c + at.vector, c);
    RILL_UNROLL
    for (int j = 0; j < kPer; ++j) {
      const C g = fused_multiply_add(ds, c[j], carry[j]);
      to_bc[j] = lane.here ? g * input : C(0);
      to_bc[kPer + j] = lane.here ? ds * after[j] : C(0);
      y = fused_multiply_add(after[j], c[j], y);
      du = fused_multiply_add(g, b[j], du);
      carry[j] = clear ? C(0) : g * decay_of(delta * a[j], j);
      const C dlog = clear ? C(0) : carry[j] * before[j];
      ddelta = fused_multiply_add(dlog, a[j], ddelta);
      da[j] = fused_multiply_add(dlog * delta, a[j], da[j]);
    }
    sum_over_channels(to_bc, sums);
    du = sum_over_states(du, chunk.cut.lanes);
    ddelta = sum_over_states(ddelta, chunk.cut.lanes) / log_scale<C>();
    if (chunk.p.z) y = sum_over_states(y, chunk.cut.lanes);
    if (lane.first_state != 0) return;
    chunk.memory[chunk.in.input + at.element] = du;
    chunk.memory[chunk.in.out + at.element] = ddelta;
    if (chunk.p.z) chunk.memory[chunk.in.y + at.element] = y;
  }

  RILL_DEVICE void run() {
    const SelectiveScanArgs& p = chunk.p;
    const std::int64_t keep =
        (chunk.at.start / kSelectiveChunk + chunk.at.row + chunk.first / kSelectiveChunk) *
        p.states;
    const int own = chunk.in.before + thread_index();
    C h[kPer];
    RILL_UNROLL
    for (int j = 0; j < kPer; ++j)
      h[j] = lane.first_state + j < p.states
                 ? load<C>(p.checkpoints, (keep + lane.first_state + j) * p.channels + lane.channel)
                 : C(0);
    const int stretches = (chunk.count + kSub - 1) / kSub;
    for (int s = 0; s < stretches; ++s) {
      RILL_UNROLL
      for (int j = 0; j < kPer; ++j) chunk.memory[own + (s * kPer + j) * kThreads] = h[j];
      if (s + 1 == stretches) break;
      Place at = place_of(s * kSub);
      RILL_UNROLL
      for (int i = 0; i < kSub; ++i, at.move(chunk, 1)) advance(at, h);
    }
    for (int s = stretches - 1; s >= 0; --s) go_back(s * kSub, own + s * kPer * kThreads);
  }

  /// The steps [first, first + kSub); `kept`: where the states before them are.
  RILL_DEVICE void go_back(int first, int kept) {
    const int together = steps_of_sums(chunk.cut.lanes), row = kWarps * 2 * chunk.padded();
    C states[kSub + 1][kPer];  // before step i, behind step i - 1
    RILL_UNROLL
    for (int j = 0; j < kPer; ++j) states[0][j] = chunk.memory[kept + j * kThreads];
    Place at = place_of(first);
    RILL_UNROLL
    for (int i = 0; i < kSub; ++i) {
      RILL_UNROLL
      for (int j = 0; j < kPer; ++j) states[i + 1][j] = states[i][j];
      advance(at, states[i + 1]);
      if (i + 1 < kSub) at.move(chunk, 1);
    }
    int sums = chunk.in.sums + warp_index() * 2 * chunk.padded() + (together - 1) * row;
    RILL_UNROLL
    for (int i = kSub - 1; i >= 0; --i) {
      back(at, states[i], states[i + 1], sums);
      at.move(chunk, -1);
      sums -= row;
      if (i % 2 != 0 || i % together != 0) continue;  // `together` is even
      chunk.add_sums(first + i, together);
      sums += together * row;
    }
  }
};

// One block a tile of channels, segment and row.
template <class S>
RILL_KERNEL(kThreads, 2)
void selective_backward_kernel(SelectiveScanBackwardArgs q, SelectiveCut cut,
                               Layout<Compute<S>> in) {
  using C = Compute<S>;
  const SelectiveScanArgs& p = q.forward;
  RILL_DYNAMIC_SHARED(C, memory);
  RILL_SHARED(int, fresh, kSteps);
  const auto at = SelectivePlace::of(p.sequence, cut);
  const std::int64_t stretch = at.row * cut.segments + at.segment;
  const std::int64_t chunks =
      at.first < at.last ? (at.last - at.first + kSelectiveChunk - 1) / kSelectiveChunk : 0;
  for (int g = 0; g < cut.groups; ++g) {  // each thread's own places
    const auto lane = SelectiveLane::of(cut, at.tile * cut.groups + g, p.channels);
    RILL_UNROLL
    for (int j = 0; j < kPer; ++j) {
      const std::int64_t n = lane.first_state + j;
      C carry = C(0);
      if (n < p.states && cut.segments > 1 && (chunks > 0 || at.segment == 0))
        carry = load<C>(q.carries, (stretch * (p.states + 1) + n) * p.channels + lane.channel);
      else if (n < p.states && cut.segments == 1 && q.dfinal)
        carry = load<C>(q.dfinal, (at.row * p.channels + lane.channel) * p.states + n);
      memory[in.kept + ((g * 2) * kPer + j) * kThreads + thread_index()] = carry;
      memory[in.kept + ((g * 2 + 1) * kPer + j) * kThreads + thread_index()] = C(0);
    }
  }
  for (int n = thread_index(); n < cut.groups * 2 * static_cast<int>(cut.channels); n += kThreads)
    memory[in.channel_sums + n] = C(0);
  for (std::int64_t number = chunks - 1; number >= 0; --number) {
    const std::int64_t first = at.first + number * kSelectiveChunk;
    const int count = static_cast<int>(at.last - first < kSteps ? at.last - first : kSteps);
    for (int g = 0; g < cut.groups; ++g) {
      const BackChunk<S> chunk{q,
                               p,
                               cut,
                               at,
                               in,
                               Shared<C>(memory),
                               Shared<int>(fresh),
                               first,
                               count,
                               at.tile * cut.groups + g,
                               g};
      block_sync();
      if (g == 0) chunk.put_vectors();
      chunk.put_elements();
      block_sync();
      BackStates<S> own{chunk, SelectiveLane::of(cut, chunk.group, p.channels), {}, {}, {}};
      const int kept = in.kept + g * 2 * kPer * kThreads + thread_index();
      RILL_UNROLL
      for (int j = 0; j < kPer; ++j) {
        const std::int64_t n = own.lane.first_state + j;
        own.a[j] =
            n < p.states ? static_cast<const C*>(p.a)[n * p.channels + own.lane.channel] : C(0);
        own.carry[j] = memory[kept + j * kThreads];
        own.da[j] = memory[kept + (kPer + j) * kThreads];
      }
      own.run();
      RILL_UNROLL
      for (int j = 0; j < kPer; ++j) {
        memory[kept + j * kThreads] = own.carry[j];
        memory[kept + (kPer + j) * kThreads] = own.da[j];
      }
      chunk.finish_elements();
      if (g + 1 == cut.groups) chunk.write_part();
    }
  }
  block_sync();
  for (int g = 0; g < cut.groups; ++g) {
    const auto lane = SelectiveLane::of(cut, at.tile * cut.groups + g, p.channels);
    const int kept = in.kept + g * 2 * kPer * kThreads + thread_index();
    if (!lane.here) continue;
    RILL_UNROLL
    for (int j = 0; j < kPer; ++j) {
      const std::int64_t n = lane.first_state + j;
      if (n >= p.states) break;
      if (at.segment == 0)
        store<C>(q.dinitial, (at.row * p.channels + lane.channel) * p.states + n,
                 static_cast<C>(memory[kept + j * kThreads]));
      static_cast<C*>(q.parts_a)[(stretch * p.states + n) * p.channels + lane.channel] =
          memory[kept + (kPer + j) * kThreads] / log_scale<C>();
    }
    if (lane.first_state != 0) continue;
    const int sums = in.channel_sums + g * 2 * static_cast<int>(cut.channels) + lane.own;
    static_cast<C*>(q.parts_d)[stretch * 2 * p.channels + lane.channel] = memory[sums];
    static_cast<C*>(q.parts_d)[(stretch * 2 + 1) * p.channels + lane.channel] =
        memory[sums + static_cast<int>(cut.channels)];
  }
}

// dB, dC [tokens, states] from the blocks' parts.
template <class S>
RILL_KERNEL(256)
void add_bc_kernel(SelectiveScanBackwardArgs q, std::int64_t tiles) {
  using C = Compute<S>;
  const SeqArgs& sequence = q.forward.sequence;
  const std::int64_t size = sequence.tokens * q.forward.states;
  for (std::int64_t row = block_index_y(); row < sequence.rows; row += 65535) {
    const std::int64_t first = sequence.start[row] * q.forward.states;
    const std::int64_t count = sequence.length[row] * q.forward.states;
    for (std::int64_t n = grid_thread(); n < 2 * count; n += grid_threads()) {
      const std::int64_t side = n / count, at = first + n % count;
      C sum = C(0);
      for (std::int64_t tile = 0; tile < tiles; ++tile)
        sum += static_cast<const C*>(q.parts_bc)[(tile * 2 + side) * size + at];
      store<S>(side ? q.dc : q.db, at, sum);
    }
  }
}

// dA, dD and the bias's gradient from the parts of rows and segments.
template <class C>
RILL_KERNEL(256)
void add_rows_kernel(SelectiveScanBackwardArgs q, std::int64_t stretches) {
  const SelectiveScanArgs& p = q.forward;
  const std::int64_t size = p.channels * p.states;
  for (std::int64_t n = grid_thread(); n < size + 2 * p.channels; n += grid_threads()) {
    C sum = C(0);
    if (n < size) {
      const std::int64_t state = n / p.channels, e = n % p.channels, at = e * p.states + state;
      for (std::int64_t part = 0; part < stretches; ++part)
        sum += static_cast<const C*>(q.parts_a)[part * size + n];
      store<C>(q.da_log, at, load<C>(q.da_log, at) + sum);
      continue;
    }
    const std::int64_t side = (n - size) / p.channels, e = (n - size) % p.channels;
    void* const out = side ? q.dbias : q.dd;
    if (!out) continue;
    for (std::int64_t part = 0; part < stretches; ++part)
      sum += static_cast<const C*>(q.parts_d)[(part * 2 + side) * p.channels + e];
    store<C>(out, e, load<C>(out, e) + sum);
  }
}

}  // namespace

template <class S>
DeviceStatus launch_selective_scan_backward(const SelectiveScanBackwardArgs& q,
                                            const DeviceLaunch& on) {
  using C = Compute<S>;
  const SelectiveScanArgs& p = q.forward;
  if (p.states > kMostStates) return kSizeNotSupported;
  for (void* out : {q.dx, q.ddt, q.dz})
    if (const DeviceStatus status = zero_gaps<S>(p.sequence, out, p.channels, on)) return status;
  for (void* out : {q.db, q.dc})
    if (const DeviceStatus status = zero_gaps<S>(p.sequence, out, p.states, on)) return status;
  if (p.sequence.rows == 0 || p.channels == 0) return 0;
  const SelectiveCut cut =
      selective_back_cut(p.sequence.rows, p.channels, p.states, p.sequence.max_length);
  if (cut.segments > 1)
    if (const DeviceStatus status = launch_selective_back_carries<S>(q, cut, on)) return status;
  const auto layout = Layout<C>::of(cut);
  RILL_LAUNCH_OR_RETURN(
      selective_backward_kernel<S>, (Grid{p.sequence.rows * cut.segments * cut.tiles, 1, 1}),
      kThreads, static_cast<std::size_t>(layout.size) * sizeof(C), on.stream, q, cut, layout);
  if (p.sequence.max_length > 0) {
    Grid grid = grid_for(2 * p.sequence.max_length * p.states, 256);
    grid.y = p.sequence.rows > 65535 ? 65535 : p.sequence.rows;
    RILL_LAUNCH_OR_RETURN(add_bc_kernel<S>, grid, 256, 0, on.stream, q, cut.tiles);
  }
  return RILL_LAUNCH(add_rows_kernel<C>, grid_for(p.channels * (p.states + 2), 256), 256, 0,
                     on.stream, q, p.sequence.rows * cut.segments);
}

RILL_INSTANTIATE_ACTIVATIONS(launch_selective_scan_backward, SelectiveScanBackwardArgs)

}  // namespace rill
