// LSTM and GRU (equations: rnn/cpu/cells_plain.cpp) as persistent kernels: a block takes one row
// through all its time, h and c in shared memory, and as much of the recurrent matrix as fits stays
// on the chip (held_matrix.h): all of it up to a hidden size of about 128 in float, the rest is
// read through L2 every step. A row's bits depend on no other row. Two barriers a step.
//
// One row a block leaves the card empty at few rows and reads a large matrix once a row: a
// cooperative kernel that spreads one matrix over many blocks, and rows that share a block, are
// other forms of the same loop.
#include <rill/core/cuda/launch.h>
#include <rill/core/cuda/rows.h>
#include <rill/rnn/cuda/held_matrix.h>
#include <rill/rnn/cuda/launch.h>

namespace rill {
namespace {

// Shared memory of a block on sm_80 is 163 KB, on sm_90 227 KB; one figure for both, so that sums
// have the same order.
constexpr std::size_t kSharedBytes = std::size_t{160} << 10;
// Fewer steps than this do not pay for reading the matrix into registers first.
constexpr std::int64_t kWorthHolding = 4;
constexpr int kSums = 4;  // of a unit: LSTM i f g o; GRU r, z, W_n x, U_n h

template <class C>
RILL_DEVICE C sigmoid(C x) {
  const C e = exp(-fabs(x));  // no overflow
  return (x >= C(0) ? C(1) : e) / (C(1) + e);
}

// One unit's arithmetic. Forward: `w`, `u` what comes by the input and by h, both with their
// biases; returns the unit's output. Backward: fills d[kGates], the gradients of U h + b_hh.
template <class S>
struct LstmCell {
  using C = Compute<S>;
  static constexpr int kGates = 4;

  static RILL_DEVICE C forward(const RecurrentArgs& a, std::int64_t token, std::int64_t j,
                               const C (&w)[kGates], const C (&u)[kGates], C, C& c) {
    const C i = sigmoid(w[0] + u[0]), f = sigmoid(w[1] + u[1]);
    const C g = tanh(w[2] + u[2]), o = sigmoid(w[3] + u[3]);
    c = f * c + i * g;
    if (a.kept) {
      const std::int64_t first = token * kGates * a.hidden + j;
      store<S>(a.gates, first, i);
      store<S>(a.gates, first + a.hidden, f);
      store<S>(a.gates, first + 2 * a.hidden, g);
      store<S>(a.gates, first + 3 * a.hidden, o);
      store<S>(a.kept, token * a.hidden + j, c);
    }
    return o * tanh(c);
  }

  // `dc` runs; returns what of the gradient passes by U h: nothing.
  static RILL_DEVICE C backward(const RecurrentBackwardArgs& a, std::int64_t token, std::int64_t j,
                                C dout, C, C c_previous, C& dc, C (&d)[kGates]) {
    const std::int64_t first = token * kGates * a.hidden + j;
    const C i = load<S>(a.gates, first), f = load<S>(a.gates, first + a.hidden);
    const C g = load<S>(a.gates, first + 2 * a.hidden), o = load<S>(a.gates, first + 3 * a.hidden);
    const C tanh_c = tanh(load<S>(a.kept, token * a.hidden + j));
    const C through = dc + dout * o * (C(1) - tanh_c * tanh_c);
    d[0] = through * g * i * (C(1) - i);
    d[1] = through * c_previous * f * (C(1) - f);
    d[2] = through * i * (C(1) - g * g);
    d[3] = dout * tanh_c * o * (C(1) - o);
    dc = through * f;
    if (a.projected) store<S>(a.projected, token * a.hidden + j, o * tanh_c);
    RILL_UNROLL
    for (int q = 0; q < kGates; ++q) store<S>(a.gates, first + q * a.hidden, d[q]);
    return C(0);
  }
};

template <class S>
struct GruCell {
  using C = Compute<S>;
  static constexpr int kGates = 3;

  static RILL_DEVICE C forward(const RecurrentArgs& a, std::int64_t token, std::int64_t j,
                               const C (&w)[kGates], const C (&u)[kGates], C h, C&) {
    const C r = sigmoid(w[0] + u[0]), z = sigmoid(w[1] + u[1]);
    const C candidate = tanh(w[2] + r * u[2]);
    if (a.kept) {
      const std::int64_t first = token * kGates * a.hidden + j;
      store<S>(a.gates, first, r);
      store<S>(a.gates, first + a.hidden, z);
      store<S>(a.gates, first + 2 * a.hidden, candidate);
      store<S>(a.kept, token * a.hidden + j, u[2]);
    }
    return candidate + z * (h - candidate);
  }

  static RILL_DEVICE C backward(const RecurrentBackwardArgs& a, std::int64_t token, std::int64_t j,
                                C dout, C h_previous, C, C&, C (&d)[kGates]) {
    const std::int64_t first = token * kGates * a.hidden + j, at = token * a.hidden + j;
    const C r = load<S>(a.gates, first), z = load<S>(a.gates, first + a.hidden);
    const C candidate = load<S>(a.gates, first + 2 * a.hidden);
    const C dn = dout * (C(1) - z) * (C(1) - candidate * candidate);
    d[0] = dn * load<S>(a.kept, at) * r * (C(1) - r);
    d[1] = dout * (h_previous - candidate) * z * (C(1) - z);
    d[2] = dn * r;
    store<S>(a.gates, first, d[0]);
    store<S>(a.gates, first + a.hidden, d[1]);
    store<S>(a.gates, first + 2 * a.hidden, dn);
    store<S>(a.kept, at, d[2]);
    return dout * z;
  }
};

// Tokens before the first row belong to none either.
template <class S>
RILL_DEVICE void clear_gaps(const SeqArgs& s, std::int64_t row, void* array, std::int64_t width) {
  clear_behind<S>(s, row, array, width, 0, width);
  if (!s.padded || row != 0 || !array) return;
  for (std::int64_t i = thread_index(); i < s.start[0] * width; i += block_threads())
    store<S>(array, i, Compute<S>(0));
}

template <class C>
RILL_DEVICE void fill_shared(Shared<C> x, std::int64_t count, std::int64_t padded, const void* from,
                             std::int64_t first) {
  for (std::int64_t i = thread_index(); i < padded; i += kCellThreads)
    x[i] = i < count && from ? static_cast<const C*>(from)[first + i] : C(0);
}

// Sums of the parts of a product, in their order; `mine` of the calling thread, of part 0, come
// first. `shared` [parts, kCount, tile].
template <int kCount, class C>
RILL_DEVICE void add_parts(const MatrixSplit& split, Shared<C> shared, C (&mine)[kCount]) {
  if (split.parts == 1) return;
  const int part = thread_index() / split.tile, column = thread_index() % split.tile;
  if (part > 0 && part < split.parts)
    for (int g = 0; g < kCount; ++g) shared[(part * kCount + g) * split.tile + column] = mine[g];
  block_sync();
  if (part > 0) return;
  for (int q = 1; q < split.parts; ++q)
    for (int g = 0; g < kCount; ++g) mine[g] += shared[(q * kCount + g) * split.tile + column];
}

// ---- forward

struct CellPlan {
  MatrixSplit hh, ih;
  std::int64_t h_padded = 0, x_padded = 0;
};

template <class S, class Cell, int kHeld>
RILL_KERNEL(kCellThreads, 1)
void cell_kernel(RecurrentArgs a, CellPlan plan) {
  using C = Compute<S>;
  constexpr int kGates = Cell::kGates;
  RILL_DYNAMIC_SHARED(C, memory);
  const std::int64_t hidden = a.hidden, output = a.output, row = block_index();
  Shared<C> h = memory, next = h + plan.h_padded;
  const Shared<C> x = next + plan.h_padded, c = x + plan.x_padded, out = c + hidden;
  const Shared<C> parts = out + hidden, kept = parts + kCellThreads * kSums;
  HeldMatrix<S, kGates, kHeld> hh{a.weight_hh, plan.hh, kept, {}};
  const HeldMatrix<S, kGates, 0> ih{a.weight_ih, plan.ih, kept, {}};
  hh.hold();
  fill_shared<C>(h, output, plan.h_padded, a.h0, row * output);
  fill_shared<C>(next, 0, plan.h_padded, nullptr, 0);
  fill_shared<C>(c, hidden, hidden, a.c0, row * hidden);
  const std::int64_t start = a.sequence.start[row], length = a.sequence.length[row];
  for (std::int64_t step = 0; step < length; ++step) {
    const std::int64_t token = start + step;
    if (fresh_at(a.sequence, token)) {
      fill_shared<C>(h, 0, output, nullptr, 0);
      fill_shared<C>(c, 0, hidden, nullptr, 0);
    }
    if (a.x)
      for (std::int64_t i = thread_index(); i < plan.x_padded; i += kCellThreads)
        x[i] = i < a.input ? load<S>(a.x, token * a.input + i) : C(0);
    block_sync();
    for (std::int64_t n0 = 0; n0 < hidden; n0 += plan.hh.tile) {
      const std::int64_t n = n0 + hh.column();
      const bool finishes = hh.part() == 0 && n < hidden;
      C w[kGates] = {}, u[kGates] = {};
      if (finishes) {
        RILL_UNROLL
        for (int g = 0; g < kGates; ++g) {
          const std::int64_t i = g * hidden + n;
          if (a.gates) w[g] = load<S>(a.gates, token * kGates * hidden + i);
          if (!a.gates && a.bias_ih) w[g] = load<S>(a.bias_ih, i);
          if (a.bias_hh) u[g] = load<S>(a.bias_hh, i);
        }
      }
      if (a.x) ih.add(n, x, w);
      hh.add(n, h, u);
      // The GRU's candidate keeps its two sums apart; all others are one.
      C sums[kSums];
      RILL_UNROLL
      for (int g = 0; g < kSums; ++g)
        sums[g] = kGates == 4 || g < 2 ? w[g < kGates ? g : 0] + u[g < kGates ? g : 0]
                  : g == 2             ? w[2]
                                       : u[2];
      add_parts<kSums>(plan.hh, parts, sums);
      if (!finishes) continue;
      RILL_UNROLL
      for (int g = 0; g < kGates; ++g) {
        w[g] = sums[g];
        u[g] = C(0);
      }
      if (kGates == 3) u[2] = sums[3];
      C c_n = c[n];
      const C value =
          Cell::forward(a, token, n, w, u, kGates == 3 ? static_cast<C>(h[n]) : C(0), c_n);
      c[n] = c_n;
      if (a.weight_hr) {
        out[n] = value;
        continue;
      }
      next[n] = value;
      store<S>(a.y, token * output + n, value);
    }
    block_sync();
    if (a.weight_hr) {  // a warp an output, lanes over what W_hr reads
      for (std::int64_t q = warp_index(); q < output; q += kCellThreads / kWarpSize) {
        C sum = C(0);
        for (std::int64_t j = lane_index(); j < hidden; j += kWarpSize)
          sum =
              fused_multiply_add(load<S>(a.weight_hr, q * hidden + j), static_cast<C>(out[j]), sum);
        sum = warp_sum(sum);
        if (lane_index() != 0) continue;
        next[q] = sum;
        store<S>(a.y, token * output + q, sum);
      }
      block_sync();
    }
    const Shared<C> before = h;
    h = next;
    next = before;
  }
  block_sync();
  for (std::int64_t j = thread_index(); j < output; j += kCellThreads)
    static_cast<C*>(a.h)[row * output + j] = h[j];
  for (std::int64_t j = thread_index(); a.c && j < hidden; j += kCellThreads)
    static_cast<C*>(a.c)[row * hidden + j] = c[j];
  clear_gaps<S>(a.sequence, row, a.y, output);
}

// ---- backward

template <class S, class Cell, int kHeld>
RILL_KERNEL(kCellThreads, 1)
void cell_backward_kernel(RecurrentBackwardArgs a, MatrixSplit split, std::int64_t padded) {
  using C = Compute<S>;
  constexpr int kGates = Cell::kGates;
  RILL_DYNAMIC_SHARED(C, memory);
  const std::int64_t hidden = a.hidden, output = a.output, row = block_index();
  // dh: of the h before the step that comes next; total: of the step's own h.
  const Shared<C> dgates = memory, dh = dgates + padded, total = dh + output;
  const Shared<C> passed = total + output, dc = passed + hidden, parts = dc + hidden;
  HeldMatrix<S, 1, kHeld> hh{a.weight_hh, split, parts + kCellThreads, {}};
  hh.hold();
  fill_shared<C>(dgates, 0, padded, nullptr, 0);
  fill_shared<C>(dh, output, output, a.dh_final, row * output);
  fill_shared<C>(dc, hidden, hidden, a.dc ? a.dc_final : nullptr, row * hidden);
  const std::int64_t start = a.sequence.start[row], length = a.sequence.length[row];
  for (std::int64_t step = length - 1; step >= 0; --step) {
    const std::int64_t token = start + step;
    const bool fresh = fresh_at(a.sequence, token);
    block_sync();
    for (std::int64_t j = thread_index(); j < output; j += kCellThreads) {
      C before = C(0), sum = dh[j];
      if (!fresh)
        before = step == 0 ? static_cast<const C*>(a.h0)[row * output + j]
                           : load<S>(a.y, (token - 1) * output + j);
      store<S>(a.h_previous, token * output + j, before);
      if (a.dy) sum += load<S>(a.dy, token * output + j);
      total[j] = sum;
      if (a.weight_hr) store<S>(a.dh_tokens, token * output + j, sum);
    }
    block_sync();
    for (std::int64_t j = thread_index(); j < hidden; j += kCellThreads) {
      C dout = C(0), before = C(0), c_previous = C(0);
      if (a.weight_hr)
        for (std::int64_t q = 0; q < output; ++q)
          dout = fused_multiply_add(load<S>(a.weight_hr, q * hidden + j), static_cast<C>(total[q]),
                                    dout);
      else
        dout = total[j];
      if (kGates == 3) before = load<S>(a.h_previous, token * output + j);
      if (kGates == 4 && !fresh)
        c_previous = step == 0 ? static_cast<const C*>(a.c0)[row * hidden + j]
                               : load<S>(a.kept, (token - 1) * hidden + j);
      C d[kGates], dc_j = dc[j];
      passed[j] = Cell::backward(a, token, j, dout, before, c_previous, dc_j, d);
      dc[j] = fresh ? C(0) : dc_j;
      RILL_UNROLL
      for (int g = 0; g < kGates; ++g) dgates[g * hidden + j] = d[g];
    }
    block_sync();
    for (std::int64_t n0 = 0; n0 < output; n0 += split.tile) {
      const std::int64_t n = n0 + hh.column();
      C sums[1] = {C(0)};
      hh.add(n, dgates, sums);
      add_parts<1>(split, parts, sums);
      if (hh.part() != 0 || n >= output) continue;
      if (kGates == 3) sums[0] += passed[n];
      dh[n] = fresh ? C(0) : sums[0];
    }
  }
  block_sync();
  for (std::int64_t j = thread_index(); j < output; j += kCellThreads)
    static_cast<C*>(a.dh)[row * output + j] = dh[j];
  for (std::int64_t j = thread_index(); a.dc && j < hidden; j += kCellThreads)
    static_cast<C*>(a.dc)[row * hidden + j] = dc[j];
  clear_gaps<S>(a.sequence, row, a.gates, kGates * hidden);
  clear_gaps<S>(a.sequence, row, a.kept, hidden);
  clear_gaps<S>(a.sequence, row, a.h_previous, output);
  clear_gaps<S>(a.sequence, row, a.dh_tokens, output);
  clear_gaps<S>(a.sequence, row, a.projected, hidden);
}

// ---- launches

template <class S, class Cell, int kHeld>
DeviceStatus launch_forward(const RecurrentArgs& a, bool hold, const DeviceLaunch& on) {
  constexpr std::size_t kBytes = sizeof(Compute<S>);
  CellPlan plan{.hh = split_matrix(a.output, a.hidden), .ih = split_matrix(a.input, a.hidden)};
  plan.h_padded = padded_keys(plan.hh, kHeld) > a.output ? padded_keys(plan.hh, kHeld) : a.output;
  plan.x_padded = a.x ? padded_keys(plan.ih, 0) : 0;
  const std::size_t vectors = static_cast<std::size_t>(2 * plan.h_padded + plan.x_padded +
                                                       2 * a.hidden + kCellThreads * kSums) *
                              kBytes;
  const std::size_t room = hold && vectors < kSharedBytes ? kSharedBytes - vectors : 0;
  const std::size_t held = place_in_shared(plan.hh, kHeld, Cell::kGates, kBytes, room);
  return RILL_LAUNCH((cell_kernel<S, Cell, kHeld>), (Grid{a.sequence.rows}), kCellThreads,
                     vectors + held, on.stream, a, plan);
}

template <class S, class Cell>
DeviceStatus forward(const RecurrentArgs& a, const DeviceLaunch& on) {
  if (a.sequence.rows * a.hidden * a.output == 0) return 0;
  const MatrixSplit split = split_matrix(a.output, a.hidden);
  const bool hold = a.sequence.max_length >= kWorthHolding && a.hidden <= split.tile;
  if (!hold) return launch_forward<S, Cell, 0>(a, false, on);
  if (split.keys_a_part <= 4) return launch_forward<S, Cell, 4>(a, true, on);
  return launch_forward<S, Cell, 16>(a, true, on);
}

template <class S, class Cell, int kHeld>
DeviceStatus launch_backward(const RecurrentBackwardArgs& a, bool hold, const DeviceLaunch& on) {
  constexpr std::size_t kBytes = sizeof(Compute<S>);
  MatrixSplit split = split_matrix(Cell::kGates * a.hidden, a.output);
  std::int64_t padded = padded_keys(split, kHeld);
  if (padded < Cell::kGates * a.hidden) padded = Cell::kGates * a.hidden;
  const std::size_t vectors =
      static_cast<std::size_t>(padded + 2 * a.output + 2 * a.hidden + kCellThreads) * kBytes;
  const std::size_t room = hold && vectors < kSharedBytes ? kSharedBytes - vectors : 0;
  const std::size_t held = place_in_shared(split, kHeld, 1, kBytes, room);
  return RILL_LAUNCH((cell_backward_kernel<S, Cell, kHeld>), (Grid{a.sequence.rows}), kCellThreads,
                     vectors + held, on.stream, a, split, padded);
}

template <class S, class Cell>
DeviceStatus backward(const RecurrentBackwardArgs& a, const DeviceLaunch& on) {
  if (a.sequence.rows * a.hidden * a.output == 0) return 0;
  const MatrixSplit split = split_matrix(Cell::kGates * a.hidden, a.output);
  const bool hold = a.sequence.max_length >= kWorthHolding && a.output <= split.tile;
  if (!hold) return launch_backward<S, Cell, 0>(a, false, on);
  if (split.keys_a_part <= 16) return launch_backward<S, Cell, 16>(a, true, on);
  return launch_backward<S, Cell, 52>(a, true, on);
}

// [G H, K] -> [K, G H].
template <class S>
RILL_KERNEL(256)
void pack_recurrent_kernel(PackRecurrentArgs p) {
  const std::int64_t all = p.gates * p.hidden;
  for (std::int64_t i = grid_thread(); i < all * p.width; i += grid_threads())
    store<S>(p.packed, i, load<S>(p.weight, i % all * p.width + i / all));
}

}  // namespace

template <class S>
DeviceStatus launch_pack_recurrent(const PackRecurrentArgs& p, const DeviceLaunch& on) {
  const std::int64_t count = p.gates * p.hidden * p.width;
  if (count == 0) return 0;
  return RILL_LAUNCH(pack_recurrent_kernel<S>, grid_for(count, 256), 256, 0, on.stream, p);
}

std::int64_t device_packed_count(std::int64_t hidden, std::int64_t gates, std::int64_t width) {
  return hidden * gates * width;
}

template <class S>
DeviceStatus launch_lstm(const RecurrentArgs& a, const DeviceLaunch& on) {
  return forward<S, LstmCell<S>>(a, on);
}
template <class S>
DeviceStatus launch_lstm_backward(const RecurrentBackwardArgs& a, const DeviceLaunch& on) {
  return backward<S, LstmCell<S>>(a, on);
}
template <class S>
DeviceStatus launch_gru(const RecurrentArgs& a, const DeviceLaunch& on) {
  return forward<S, GruCell<S>>(a, on);
}
template <class S>
DeviceStatus launch_gru_backward(const RecurrentBackwardArgs& a, const DeviceLaunch& on) {
  return backward<S, GruCell<S>>(a, on);
}

RILL_INSTANTIATE(launch_pack_recurrent, PackRecurrentArgs)
RILL_INSTANTIATE(launch_lstm, RecurrentArgs)
RILL_INSTANTIATE(launch_lstm_backward, RecurrentBackwardArgs)
RILL_INSTANTIATE(launch_gru, RecurrentArgs)
RILL_INSTANTIATE(launch_gru_backward, RecurrentBackwardArgs)

}  // namespace rill
