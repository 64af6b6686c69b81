// What the tests of chunked kernels in bfloat16 and half share: arrays in the types of the mixed
// tables, and the comparison with the double loops by the RMS norm.
#pragma once

#include "device_support.h"

#include <rill/core/half.h>
#include <rill/scan/cuda/launch_chunk.h>

namespace rill::device_test {

template <class S>
constexpr DType kTypeOf = std::is_same_v<S, Half> ? DType::kFloat16 : DType::kBFloat16;
template <class S>
constexpr double kEpsilonOf = std::is_same_v<S, Half> ? 0x1p-10 : 0x1p-7;
/// The smallest normal number: below it S has fewer digits, and errors are of this size.
template <class S>
constexpr double kSmallestOf = std::is_same_v<S, Half> ? 0x1p-14 : 0x1p-126;

template <class S>
double round_to(double x) {
  return static_cast<float>(S::from_float(static_cast<float>(x)));
}

/// Who runs a case: the kernel with activations in S, the plain loops in float whose activations
/// are rounded to S where they go out, or the double loops.
enum class By { kKernel, kPlain, kDouble };

/// An array of a case: the same numbers for everyone, in the type that `by` reads.
template <class S>
class Array {
 public:
  /// `activation`: S for the kernel, float otherwise.
  Array(By by, bool activation, const Values& values)
      : by_(by), activation_(activation), values_(values) {
    if (activation) {
      for (double& v : values_) v = round_to<S>(v);
      for (const double v : values_) half_.push_back(S::from_float(static_cast<float>(v)));
    }
    single_ = as<float>(values_);
    for (std::size_t i = 0; i < values_.size(); ++i) values_[i] = single_[i];
  }
  void* data() {
    if (by_ == By::kDouble) return values_.data();
    return by_ == By::kKernel && activation_ ? static_cast<void*>(half_.data()) : single_.data();
  }
  Values result() const {
    if (by_ == By::kDouble) return values_;
    Values x(values_.size());
    for (std::size_t i = 0; i < x.size(); ++i)
      x[i] = !activation_         ? single_[i]
             : by_ == By::kKernel ? static_cast<double>(static_cast<float>(half_[i]))
                                  : round_to<S>(single_[i]);
    return x;
  }

 private:
  By by_;
  bool activation_;
  Values values_;
  std::vector<float> single_;
  std::vector<S> half_;
};

/// Error of an array by its RMS norm, which counts as `least` at least; elements that nobody writes
/// are NaN on both sides.
inline double norm_error(const Values& x, const Values& oracle, double least) {
  double error = 0, norm = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (std::isnan(x[i]) != std::isnan(oracle[i])) return std::numeric_limits<double>::infinity();
    if (std::isnan(x[i])) continue;
    error += (x[i] - oracle[i]) * (x[i] - oracle[i]);
    norm += std::max(oracle[i] * oracle[i], least * least);
  }
  if (norm == 0) return 0;  // nobody writes any
  return std::sqrt(error / norm);
}

/// How close a kernel must come: the design's bound is 2 err(plain) + 8 eps. Half an eps is enough
/// for linear attention: operands are rounded once more than the plain loops round them (1/4 eps as
/// an RMS of evenly spread mantissas), sums are float. `least`: what the RMS norm counts as at
/// least, in place of the smallest normal number.
struct Bound {
  double epsilons = 0.5, least = 0;
};

/// run(By) gives the Results.
template <class S, class Run>
void compare_rounded(const Run& run, const Bound& bound = {}) {
  const Results oracle = run(By::kDouble), plain = run(By::kPlain), kernel = run(By::kKernel);
  const double least = std::max(bound.least, kSmallestOf<S>);
  for (std::size_t i = 0; i < oracle.arrays.size(); ++i) {
    const auto& [name, expected] = oracle.arrays[i];
    INFO(name);
    CHECK(norm_error(kernel.arrays[i].second, expected, least) <=
          2 * norm_error(plain.arrays[i].second, expected, least) + bound.epsilons * kEpsilonOf<S>);
  }
}

}  // namespace rill::device_test
