// The kinds of element-wise ops (ops.h).
#pragma once

namespace rill {

enum class Unary {
  kSilu,
  kGelu,
  kGeluTanh,
  kSigmoid,
  kTanh,
  kRelu,
  kSoftplus,
  kLogSigmoid,
  kExp,
  kLog,
  kSquare,
  kSqrt,
  kNegate,
  kReciprocal,
  kEluPlusOne,
  kMinGru  // x + 1/2 for x >= 0, else sigmoid(x): keeps candidate states positive (minGRU, appendix
           // B)
};

enum class Binary { kAdd, kSubtract, kMultiply };
}  // namespace rill
