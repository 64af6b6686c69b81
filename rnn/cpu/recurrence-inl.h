// Private: the walk through time that all recurrent cells share, forward and backward. A cell gives
// the arithmetic of one step for up to kRowTile rows; rows are independent, each starts and stops
// at its own token, threads take tiles of rows. A row's bits depend on no other row, so neither on
// batch, tiles nor threads, and a call of one step does what the long call does at that step.
#pragma once

#include <algorithm>
#include <cstdint>

#include <rill/core/kernels.h>
#include <rill/rnn/kernels.h>

namespace rill::recurrence {

inline constexpr std::int64_t kRowTile = 16;

/// One row at one step. x or gates is null; `out` is where the cell's H outputs go; `c` (LSTM) is
/// the running cell state.
template <class T>
struct ForwardRow {
  const T* x;
  const T* h;
  T* gates;
  T* c;
  T* out;
  T* kept;
};

/// One row at one step, backwards. `dout` [H] is the gradient of the cell's output, `dc` runs
/// (LSTM); the gradient of U h + b_hh goes to `dgates` [G H], the part of dh that passes by U is
/// added by the cell to `dh` (GRU).
template <class T>
struct BackwardRow {
  T* gates;
  T* kept;
  const T* h_previous;
  const T* c_previous;
  const T* dout;
  T* dc;
  T* dgates;
  T* dh;
  T* projected;
};

/// Calls gap(first token, count) for every run of tokens that belong to no row.
template <class Gap>
void for_each_gap(const SeqArgs& s, const Gap& gap) {
  if (!s.padded) return;
  std::int64_t end = 0;
  for (std::int64_t r = 0; r < s.rows; ++r) {
    if (s.start[r] > end) gap(end, s.start[r] - end);
    end = std::max(end, s.start[r] + s.length[r]);
  }
  if (s.tokens > end) gap(end, s.tokens - end);
}

/// Calls tile(first row, count) for all rows: as many tiles as threads, where there is work for
/// them, of at most kRowTile rows. Which rows share a tile changes no bit. `work`: multiply-adds of
/// one row's step.
template <class Tile>
void for_each_tile(const SeqArgs& s, const KernelContext& context, std::int64_t work,
                   const Tile& tile) {
  constexpr std::int64_t kWorthForking = 1 << 16;
  const std::int64_t threads =
      context.pool && s.max_length * work >= kWorthForking ? context.pool->threads() : 1;
  const std::int64_t size = std::clamp<std::int64_t>((s.rows + threads - 1) / threads, 1, kRowTile);
  context.parallel_for((s.rows + size - 1) / size,
                       [&](std::int64_t i) { tile(i * size, std::min(size, s.rows - i * size)); });
}

/// out [n, width] = x [n, k] W^T with core's product; on the calling thread.
template <class T>
void product(const T* x, const void* packed, T* out, std::int64_t n, std::int64_t width,
             std::int64_t k, bool accumulate) {
  const CoreKernels& core = sizeof(T) == sizeof(double) ? cpu_core_kernels_f64()
                            : PlainKernels::active()    ? cpu_core_kernels_plain_f32()
                                                        : cpu_core_kernels_f32();
  core.linear({.x = x,
               .packed = packed,
               .y = out,
               .m = n,
               .n = width,
               .k = k,
               .x_row = k,
               .y_row = width,
               .accumulate = accumulate,
               .weight_dtype = static_cast<std::int64_t>(dtype_of<T>())},
              KernelContext{});
}

// ---- forward

template <class T, class Cell>
class ForwardTile {
 public:
  ForwardTile(const RecurrentArgs& a, std::int64_t first, std::int64_t count)
      : a_(a), first_(first), end_(first + count), h_size_(a.hidden), p_(a.output) {
    outputs_ = static_cast<T*>(a.scratch) + (a.weight_hr ? first * (h_size_ + p_) : 0);
  }

  void run() {
    std::int64_t longest = 0;
    for (std::int64_t r = first_; r < end_; ++r) {
      longest = std::max(longest, a_.sequence.length[r]);
      if (a_.c && a_.c != a_.c0) std::copy_n(c0() + r * h_size_, h_size_, c() + r * h_size_);
      if (a_.sequence.length[r] == 0 && a_.h != a_.h0) std::copy_n(h0() + r * p_, p_, h() + r * p_);
    }
    for (std::int64_t t = 0; t < longest; ++t) {
      const std::int64_t n = gather(t);
      Cell::forward(a_, rows_, n);
      if (a_.weight_hr) project(n);
      for (std::int64_t r = first_; r < end_; ++r)
        if (t + 1 == a_.sequence.length[r])
          std::copy_n(y() + (a_.sequence.start[r] + t) * p_, p_, h() + r * p_);
    }
  }

 private:
  // The rows that have a step t.
  std::int64_t gather(std::int64_t t) {
    const SeqArgs& s = a_.sequence;
    std::int64_t n = 0;
    for (std::int64_t r = first_; r < end_; ++r) {
      if (t >= s.length[r]) continue;
      const std::int64_t token = s.start[r] + t;
      T* const cell = a_.c ? c() + r * h_size_ : nullptr;
      const T* before = t == 0 ? h0() + r * p_ : y() + (token - 1) * p_;
      if (s.reset && s.reset[token]) {
        before = static_cast<const T*>(a_.zeros);
        if (cell) std::fill_n(cell, h_size_, T(0));
      }
      rows_[n] = {
          .x = a_.x ? static_cast<const T*>(a_.x) + token * a_.input : nullptr,
          .h = before,
          .gates = a_.gates ? static_cast<T*>(a_.gates) + token * Cell::kGates * h_size_ : nullptr,
          .c = cell,
          .out = a_.weight_hr ? outputs_ + n * h_size_ : y() + token * p_,
          .kept = a_.kept ? static_cast<T*>(a_.kept) + token * h_size_ : nullptr};
      tokens_[n++] = token;
    }
    return n;
  }

  // h = W_hr (o tanh c).
  void project(std::int64_t n) {
    T* const projected = outputs_ + (end_ - first_) * h_size_;
    product(outputs_, a_.weight_hr, projected, n, p_, h_size_, false);
    for (std::int64_t i = 0; i < n; ++i) std::copy_n(projected + i * p_, p_, y() + tokens_[i] * p_);
  }

  T* y() const { return static_cast<T*>(a_.y); }
  T* h() const { return static_cast<T*>(a_.h); }
  T* c() const { return static_cast<T*>(a_.c); }
  const T* h0() const { return static_cast<const T*>(a_.h0); }
  const T* c0() const { return static_cast<const T*>(a_.c0); }

  const RecurrentArgs& a_;
  std::int64_t first_, end_, h_size_, p_;
  T* outputs_;  // [n, H], then [n, P]
  ForwardRow<T> rows_[kRowTile];
  std::int64_t tokens_[kRowTile];
};

template <class T, class Cell>
void forward(const RecurrentArgs& a, const KernelContext& context) {
  for_each_gap(a.sequence, [&](std::int64_t first, std::int64_t count) {
    std::fill_n(static_cast<T*>(a.y) + first * a.output, count * a.output, T(0));
  });
  for_each_tile(
      a.sequence, context, Cell::kGates * a.hidden * a.output,
      [&](std::int64_t first, std::int64_t count) { ForwardTile<T, Cell>(a, first, count).run(); });
}

// ---- backward

template <class T, class Cell>
class BackwardTile {
 public:
  BackwardTile(const RecurrentBackwardArgs& a, std::int64_t first, std::int64_t count)
      : a_(a), first_(first), end_(first + count), h_size_(a.hidden), p_(a.output) {
    dgates_ = static_cast<T*>(a.scratch) + first * ((Cell::kGates + 1) * h_size_ + 2 * p_);
    dout_ = dgates_ + count * Cell::kGates * h_size_;
    total_ = dout_ + count * h_size_;
    dh_ = total_ + count * p_;
  }

  void run() {
    std::int64_t longest = 0;
    for (std::int64_t r = first_; r < end_; ++r) {
      longest = std::max(longest, a_.sequence.length[r]);
      begin(a_.dh_final, a_.dh, r, p_);
      if (a_.dc) begin(a_.dc_final, a_.dc, r, h_size_);
    }
    for (std::int64_t t = longest - 1; t >= 0; --t) {
      const std::int64_t n = gather(t);
      if (a_.weight_hr) product(total_, a_.weight_hr, dout_, n, h_size_, p_, false);
      Cell::backward(a_, rows_, n);
      product(dgates_, a_.weight_hh, dh_, n, p_, Cell::kGates * h_size_, Cell::kPassesH);
      for (std::int64_t i = 0; i < n; ++i) scatter(i);
    }
  }

 private:
  static void begin(const void* final, void* running, std::int64_t r, std::int64_t size) {
    T* const target = static_cast<T*>(running) + r * size;
    if (final) {
      std::copy_n(static_cast<const T*>(final) + r * size, size, target);
    } else {
      std::fill_n(target, size, T(0));
    }
  }

  // The rows that have a step t, with the gradient of their h.
  std::int64_t gather(std::int64_t t) {
    const SeqArgs& s = a_.sequence;
    std::int64_t n = 0;
    for (std::int64_t r = first_; r < end_; ++r) {
      if (t >= s.length[r]) continue;
      const std::int64_t token = s.start[r] + t;
      const bool fresh = s.reset && s.reset[token];
      T* const before = static_cast<T*>(a_.h_previous) + token * p_;
      const T* h = t == 0 ? static_cast<const T*>(a_.h0) + r * p_
                          : static_cast<const T*>(a_.y) + (token - 1) * p_;
      const T* c = nullptr;
      if (a_.dc && !fresh)
        c = t == 0 ? static_cast<const T*>(a_.c0) + r * h_size_
                   : static_cast<const T*>(a_.kept) + (token - 1) * h_size_;
      if (fresh) {
        std::fill_n(before, p_, T(0));
      } else {
        std::copy_n(h, p_, before);
      }
      T* const total = (a_.weight_hr ? total_ + n * p_ : dout_ + n * h_size_);
      add_dy(r, token, total);
      if (a_.weight_hr) std::copy_n(total, p_, static_cast<T*>(a_.dh_tokens) + token * p_);
      rows_[n] = {
          .gates = static_cast<T*>(a_.gates) + token * Cell::kGates * h_size_,
          .kept = static_cast<T*>(a_.kept) + token * h_size_,
          .h_previous = before,
          .c_previous = c,
          .dout = dout_ + n * h_size_,
          .dc = a_.dc ? static_cast<T*>(a_.dc) + r * h_size_ : nullptr,
          .dgates = dgates_ + n * Cell::kGates * h_size_,
          .dh = dh_ + n * p_,
          .projected = a_.weight_hr ? static_cast<T*>(a_.projected) + token * h_size_ : nullptr};
      index_[n] = r;
      fresh_[n++] = fresh;
    }
    return n;
  }

  void add_dy(std::int64_t r, std::int64_t token, T* total) const {
    const T* const dh = static_cast<const T*>(a_.dh) + r * p_;
    if (!a_.dy) {
      std::copy_n(dh, p_, total);
      return;
    }
    const T* const dy = static_cast<const T*>(a_.dy) + token * p_;
    for (std::int64_t j = 0; j < p_; ++j) total[j] = dh[j] + dy[j];
  }

  void scatter(std::int64_t i) const {
    T* const dh = static_cast<T*>(a_.dh) + index_[i] * p_;
    if (!fresh_[i]) {
      std::copy_n(dh_ + i * p_, p_, dh);
      return;
    }
    std::fill_n(dh, p_, T(0));
    if (a_.dc) std::fill_n(static_cast<T*>(a_.dc) + index_[i] * h_size_, h_size_, T(0));
  }

  const RecurrentBackwardArgs& a_;
  std::int64_t first_, end_, h_size_, p_;
  T *dgates_, *dout_, *total_, *dh_;  // [n, G H], [n, H], [n, P], [n, P]
  BackwardRow<T> rows_[kRowTile];
  std::int64_t index_[kRowTile];
  bool fresh_[kRowTile];
};

template <class T, class Cell>
void backward(const RecurrentBackwardArgs& a, const KernelContext& context) {
  for_each_gap(a.sequence, [&](std::int64_t first, std::int64_t count) {
    const auto clear = [&](void* array, std::int64_t width) {
      if (array) std::fill_n(static_cast<T*>(array) + first * width, count * width, T(0));
    };
    clear(a.gates, Cell::kGates * a.hidden);
    clear(a.kept, a.hidden);
    clear(a.h_previous, a.output);
    clear(a.dh_tokens, a.output);
    clear(a.projected, a.hidden);
  });
  for_each_tile(a.sequence, context, Cell::kGates * a.hidden * a.output,
                [&](std::int64_t first, std::int64_t count) {
                  BackwardTile<T, Cell>(a, first, count).run();
                });
}

}  // namespace rill::recurrence
