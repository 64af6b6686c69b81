// Private: scratch that a back end's kernel asks for.
#pragma once

#include <cstdint>
#include <utility>

#include <rill/core/exec.h>
#include <rill/core/tensor.h>

namespace rill {

/// The call with the scratch that its kernel asks for (`bytes` of the back end's table; null:
/// none), and the tensor that holds it until the call is enqueued.
template <class Args>
std::pair<Args, Tensor> with_scratch(Exec& exec, std::int64_t (*bytes)(const Args&), Args args) {
  Tensor scratch;
  if (bytes) scratch = exec.empty({bytes(args)}, DType::kUInt8);
  args.scratch = scratch.raw();
  return {args, scratch};
}

}  // namespace rill
