// What the blocks of a team do together (plans: team_plan.h): walk rows, pass on what a phase made,
// and multiply it with the columns of the recurrent matrix that a block owns.
//
// A product is totals[c][slot] = sum_k W[k, c] x_k[slot]. Lanes take columns, warps take parts of
// the keys in turns of 16, each a chain in the order of keys; the parts are added in their order.
// The cut of a sum depends on the number of its keys alone, so that no bit depends on how columns
// are divided. x lies [keys, slots], W [keys, columns]: what tensor-core tiles of 16 columns x 8
// slots x 16 keys read as well.
#pragma once

#include <rill/core/cuda/rows.h>
#include <rill/core/dtype.h>
#include <rill/rnn/cuda/team_plan.h>

namespace rill {

constexpr int kTeamWarps = kTeamThreads / kWarpSize;
constexpr int kKeysAtOnce = 16;  // neighbours in one part of a sum

// ---- rows

/// One place's way through its rows, forward or backward in time; rows without steps are passed by.
template <bool kBack>
struct RowCursor {
  const SeqArgs* s;
  std::int64_t row, stride, start = 0, length = 0, t = 0;

  RILL_DEVICE RowCursor(const SeqArgs& sequence, std::int64_t first, std::int64_t step)
      : s(&sequence), row(first), stride(step) {
    settle();
  }
  RILL_DEVICE bool active() const { return row < s->rows; }
  RILL_DEVICE bool first() const { return t == (kBack ? length - 1 : 0); }
  RILL_DEVICE bool last() const { return t == (kBack ? 0 : length - 1); }
  RILL_DEVICE std::int64_t token() const { return start + t; }
  RILL_DEVICE bool fresh() const { return fresh_at(*s, token()); }
  RILL_DEVICE void advance() {
    if (!active()) return;
    if (!last()) {
      t += kBack ? -1 : 1;
      return;
    }
    row += stride;
    settle();
  }
  /// To step number `steps` of the first row.
  RILL_DEVICE void skip(std::int64_t steps) {
    if (!active()) return;
    if (steps >= length) {
      row = s->rows;
    } else {
      t = kBack ? length - 1 - steps : steps;
    }
  }
  /// Steps that are left, of all rows.
  RILL_DEVICE std::int64_t steps() const {
    std::int64_t sum = 0;
    for (std::int64_t r = row; r < s->rows; r += stride) sum += s->length[r];
    return sum;
  }

 private:
  RILL_DEVICE void settle() {
    while (row < s->rows && s->length[row] == 0) row += stride;
    if (!active()) return;
    start = s->start[row];
    length = s->length[row];
    t = kBack ? length - 1 : 0;
  }
};

/// The most steps of a team's places; every thread of the block gets it.
template <int kSlots, bool kBack>
RILL_DEVICE std::int64_t longest_walk(const RowCursor<kBack>& cursor) {
  RILL_SHARED(std::int64_t, steps, kSlots);
  if (thread_index() < kSlots) steps[thread_index()] = cursor.steps();
  block_sync();
  std::int64_t most = 0;
  for (int b = 0; b < kSlots; ++b) {
    const std::int64_t n = steps[b];
    most = n > most ? n : most;
  }
  block_sync();
  return most;
}

// ---- what blocks pass on

/// Values that one phase makes and the next reads, [keys, slots]. Two copies in turn: a block that
/// makes what phase n + 1 reads has waited for all others to have made what phase n reads, so they
/// have read what phase n - 1 did.
template <class S, int kSlots>
struct Exchange {
  const TeamPlan& plan;
  std::int64_t team;
  int me;
  Shared<S> operand;

  RILL_DEVICE bool alone() const { return plan.mode == TeamMode::kAlone; }
  RILL_DEVICE S* copy_of(std::int64_t phase) const {
    return static_cast<S*>(plan.exchange) + (team * 2 + (phase & 1)) * plan.keys * kSlots;
  }
  RILL_DEVICE void put(std::int64_t phase, std::int64_t key, int slot, Compute<S> value) const {
    if (alone())
      operand[((phase & 1) * plan.keys + key) * kSlots + slot] = from_compute<S>(value);
    else
      copy_of(phase)[key * kSlots + slot] = from_compute<S>(value);
  }
  /// All threads: this block's part of what `phase` reads is there.
  RILL_DEVICE void arrive(std::int64_t phase) const {
    if (plan.mode != TeamMode::kTeam) return;
    block_sync();
    if (thread_index() != 0) return;
    memory_fence();
    store_release(plan.flags + team * plan.blocks + me, static_cast<unsigned>(phase) + 1);
  }
  /// All threads: until everything that `phase` reads is there.
  RILL_DEVICE void await(std::int64_t phase) const {
    if (plan.mode == TeamMode::kTeam) {
      const unsigned wanted = static_cast<unsigned>(phase) + 1;
      for (int other = thread_index(); other < plan.blocks; other += kTeamThreads)
        while (static_cast<int>(load_acquire(plan.flags + team * plan.blocks + other) - wanted) < 0)
          spin_wait();
    }
    block_sync();
  }
};

/// Reads what `phase` reads into shared memory, a chunk of keys at a time.
template <class S, int kSlots>
struct PassedOn {
  const Exchange<S, kSlots>& exchange;
  std::int64_t phase;

  RILL_DEVICE std::int64_t chunk(std::int64_t keys) const {
    return exchange.alone() || keys < exchange.plan.chunk ? keys : exchange.plan.chunk;
  }
  RILL_DEVICE Shared<S> read(std::int64_t first, std::int64_t count) const {
    if (exchange.alone()) return exchange.operand + (phase & 1) * exchange.plan.keys * kSlots;
    block_sync();  // readers of the chunk before are done
    copy_to_shared(exchange.operand, exchange.copy_of(phase) + first * kSlots, count * kSlots);
    block_sync();
    return exchange.operand;
  }
};

/// Reads x [tokens, width] of each place's token.
template <class S, int kSlots>
struct TokensRead {
  const void* x;
  std::int64_t width, chunk_keys, token;  // of the calling thread's place; < 0: none
  Shared<S> operand;

  RILL_DEVICE std::int64_t chunk(std::int64_t) const { return chunk_keys; }
  RILL_DEVICE Shared<S> read(std::int64_t first, std::int64_t count) const {
    block_sync();
    const int slot = thread_index() % kSlots;
    for (std::int64_t k = thread_index() / kSlots; k < count; k += kTeamThreads / kSlots)
      operand[k * kSlots + slot] = token < 0 ? from_compute<S>(Compute<S>(0))
                                             : static_cast<const S*>(x)[token * width + first + k];
    block_sync();
    return operand;
  }
};

// ---- products

/// The columns of a matrix that a block owns: `units` of each of `gates` runs of `all` columns.
/// Element (key, column) lies at key * key_stride + column * column_stride.
template <class S>
struct OwnColumns {
  using C = Compute<S>;
  const void* matrix;
  std::int64_t keys, key_stride, column_stride;
  std::int64_t first, units, all;
  int gates;
  bool is_float;  // float weights in a 16-bit call: rounded as they are read

  /// Block `me`'s of a matrix [keys, gates * all], where a block owns `share` of `all`.
  static RILL_DEVICE OwnColumns of(const void* matrix, std::int64_t keys, std::int64_t all,
                                   int gates, std::int64_t share, int me, std::int64_t dtype) {
    const std::int64_t first = me * share < all ? me * share : all;
    return {matrix, keys,  gates * all,
            1,      first, all - first < share ? all - first : share,
            all,    gates, dtype == static_cast<std::int64_t>(DType::kFloat32)};
  }
  /// The same of a matrix that lies [columns, keys].
  RILL_DEVICE OwnColumns by_column() const {
    OwnColumns turned = *this;
    turned.key_stride = 1;
    turned.column_stride = keys;
    return turned;
  }

  RILL_DEVICE std::int64_t count() const { return gates * units; }
  RILL_DEVICE std::int64_t padded() const { return (count() + 7) / 8 * 8; }
  RILL_DEVICE std::int64_t column(std::int64_t c) const {
    return c / units * all + first + c % units;
  }
  RILL_DEVICE S weight(std::int64_t key, std::int64_t column) const {
    const std::int64_t i = key * key_stride + column * column_stride;
    if (sizeof(S) == 2 && is_float) return from_compute<S>(load<float>(matrix, i));
    return static_cast<const S*>(matrix)[i];
  }
  /// Reads them into shared memory, [keys, padded()].
  RILL_DEVICE void hold(Shared<S> held) const {
    const std::int64_t n = count(), pad = padded();
    for (std::int64_t i = thread_index(); i < keys * pad; i += kTeamThreads) {
      const std::int64_t key = i / pad, c = i % pad;
      held[i] = c < n ? weight(key, column(c)) : from_compute<S>(C(0));
    }
  }
};

/// Into how many parts a sum over `keys` is cut: a power of two, so that they divide the warps.
RILL_DEVICE int part_count(std::int64_t keys) {
  int parts = 1;
  while (parts < kTeamWarps && parts * kKeysAtOnce < keys) parts *= 2;
  return parts;
}

/// sums[slot] += this part's keys of [first, first + count) for column c; x begins at `first`, a
/// multiple of all parts' keys together.
template <class S, int kSlots, bool kHeld>
RILL_DEVICE void add_keys(const OwnColumns<S>& own, Shared<S> held, Shared<S> x, std::int64_t c,
                          std::int64_t first, std::int64_t count, int part, int parts,
                          Compute<S> (&sums)[kSlots]) {
  const std::int64_t pad = own.padded(), column = own.column(c), end = first + count;
  const auto add = [&](std::int64_t k) {
    S values[kSlots];
    load_shared<kSlots>(x, (k - first) * kSlots, values);
    const Compute<S> w =
        to_compute(kHeld ? static_cast<S>(held[k * pad + c]) : own.weight(k, column));
    RILL_UNROLL
    for (int b = 0; b < kSlots; ++b)
      sums[b] = fused_multiply_add(w, to_compute(values[b]), sums[b]);
  };
  for (std::int64_t k0 = first + part * kKeysAtOnce; k0 < end; k0 += parts * kKeysAtOnce) {
    if (k0 + kKeysAtOnce <= end) {
      // A run of loads to hide their latency, and no longer: it is compiled for every product.
      constexpr int kRun = 4;
      for (std::int64_t k = k0; k < k0 + kKeysAtOnce; k += kRun) {
        RILL_UNROLL
        for (int i = 0; i < kRun; ++i) add(k + i);
      }
    } else {
      for (std::int64_t k = k0; k < end; ++k) add(k);
    }
  }
}

/// totals[c * kSlots + slot] of all of a block's columns; to be read after a barrier.
/// `parts_memory` [2, kTeamThreads * kSlots]; `source` is a PassedOn or a TokensRead.
template <class S, int kSlots, bool kHeld, class Source>
RILL_DEVICE void multiply(const OwnColumns<S>& own, Shared<S> held, const Source& source,
                          Shared<Compute<S>> parts_memory, Shared<Compute<S>> totals) {
  using C = Compute<S>;
  const int parts = part_count(own.keys), warps_of_tile = kTeamWarps / parts;
  const int part = warp_index() % parts, tile = warp_index() / parts;
  const std::int64_t columns = own.count(), chunk = source.chunk(own.keys);
  const std::int64_t at_once = std::int64_t{warps_of_tile} * kWarpSize;
  bool there = false;
  Shared<S> x = held;
  for (std::int64_t first = 0; first < columns; first += at_once) {
    const std::int64_t c = first + tile * kWarpSize + lane_index();
    C sums[kSlots] = {};
    for (std::int64_t k = 0; k < own.keys; k += chunk) {
      const std::int64_t count = own.keys - k < chunk ? own.keys - k : chunk;
      if (!there) x = source.read(k, count);
      there = chunk >= own.keys;
      if (c < columns) add_keys<S, kSlots, kHeld>(own, held, x, c, k, count, part, parts, sums);
    }
    const Shared<C> memory = parts_memory + (first / at_once & 1) * kTeamThreads * kSlots;
    RILL_UNROLL
    for (int b = 0; b < kSlots; ++b)
      memory[(warp_index() * kSlots + b) * kWarpSize + lane_index()] = sums[b];
    block_sync();
    for (int i = thread_index(); i < warps_of_tile * kSlots * kWarpSize; i += kTeamThreads) {
      const int lane = i % kWarpSize, b = i / kWarpSize % kSlots, from = i / kWarpSize / kSlots;
      const std::int64_t own_column = first + from * kWarpSize + lane;
      if (own_column >= columns) continue;
      C sum = memory[(from * parts * kSlots + b) * kWarpSize + lane];
      for (int q = 1; q < parts; ++q)
        sum += static_cast<C>(memory[((from * parts + q) * kSlots + b) * kWarpSize + lane]);
      totals[own_column * kSlots + b] = sum;
    }
  }
}

}  // namespace rill
