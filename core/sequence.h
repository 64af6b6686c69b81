// Which rows of an activation are one sequence: batches, packed sequences, lengths and resets, in
// one form for ops.
#pragma once

#include <cstdint>
#include <vector>

#include <rill/core/exec.h>
#include <rill/core/seq_args.h>
#include <rill/core/tensor.h>

namespace rill {

/// How a caller tells the sequences inside an input x [B, T, D] apart. At most one of offsets and
/// lengths is given.
struct Segments {
  /// Packed: x is [1, total, D], sequence s lies at [offsets[s], offsets[s+1]); S = offsets.size()
  /// - 1 state rows. offsets[0] = 0, ascending, the last one is total; empty sequences are legal.
  std::vector<std::int64_t> offsets;
  /// uint8 [B, T] (packed: [1, total]), on the host or the Exec's device: 1 where a fresh state
  /// comes before the step; no gradient passes it.
  Tensor reset;
  /// [B]: the state is that after lengths[b] steps; outputs beyond are 0.
  std::vector<std::int64_t> lengths;
};

/// SeqArgs with the memory they point to. Copying copies handles.
class Sequence {
 public:
  /// A plain batch [batch, length].
  static Sequence batch(Exec& exec, std::int64_t batch, std::int64_t length);
  /// From a caller's Segments for x [B, T, ...]; Error(kShape) where they do not fit. `state_rows`
  /// is what a state must have.
  static Sequence from(Exec& exec, const Segments* segments, std::int64_t batch,
                       std::int64_t length);

  const SeqArgs& args() const noexcept { return args_; }
  std::int64_t rows() const noexcept { return args_.rows; }
  std::int64_t tokens() const noexcept { return args_.tokens; }
  bool padded() const noexcept { return args_.padded != 0; }

 private:
  struct Rows;
  void bind(Exec& exec, const Rows& rows);

  SeqArgs args_;
  Tensor rows_, reset_;  // rows_: starts, then lengths
};

}  // namespace rill
