// SeqArgs: which tokens are a row of a sequence, as kernels see it.
#pragma once

#include <cstdint>

namespace rill {

/// What sequence ops read: row r of `rows` is the tokens [start[r], start[r] + length[r]) of the
/// activations seen as [tokens, channels], and row r of the state. Trivially copyable; a member of
/// kernels' arguments.
struct SeqArgs {
  std::int64_t rows = 0;
  std::int64_t tokens = 0;
  const std::int64_t* start = nullptr;   // [rows]
  const std::int64_t* length = nullptr;  // [rows]
  const std::uint8_t* reset = nullptr;   // [tokens], or null: no resets
  std::int64_t max_length = 0;
  std::int64_t padded = 0;  // 1 where some tokens belong to no row: their outputs are to be 0
};

}  // namespace rill
