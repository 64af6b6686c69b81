// Private: packed copies of weights, made once per version of the weight.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <tuple>

#include <rill/core/tensor.h>

namespace rill {

class Exec;

/// A weight's rows [row0, row0 + rows), packed for the matrix product of one vector target.
struct PackedWeight {
  Tensor data;
  std::weak_ptr<Storage> storage;
  std::uint64_t version = 0;
};

/// Belongs to one Exec. Entries whose weight is gone are dropped when a new one is made.
class WeightCache {
 public:
  /// `weight` [N, K] (rows [row0, row0 + rows) of it) packed as the right side of x W^T, or, where
  /// `transposed`, of dy W. The returned tensor lives as long as the weight is unchanged or a
  /// handle is held.
  Tensor packed(Exec& exec, const Tensor& weight, std::int64_t row0, std::int64_t rows,
                bool transposed);

 private:
  using Key = std::tuple<const void*, std::int64_t, std::int64_t, bool, bool, std::int64_t>;
  std::map<Key, PackedWeight> entries_;
};

}  // namespace rill
