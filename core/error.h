// Errors of Rill. A caller's mistake throws Error; bugs assert in debug builds; hot paths (Stepper)
// return codes.
#pragma once

#include <stdexcept>
#include <string>

namespace rill {

enum class ErrorCode {
  kShape,        // a shape, rank or size does not fit
  kDType,        // an element type does not fit
  kDevice,       // a device is absent or does not fit
  kConfig,       // an option or configuration field is unknown, missing or out of range
  kFile,         // a file is missing, damaged or of another kind
  kState,        // a state of another layer, batch or version
  kUnsupported,  // a flag of the registry denies what was asked
  kValue,        // a value is out of its range (a token id, a NaN in parameters)
  kSystem        // the operating system refused (disk full, no memory)
};

/// Thrown for every mistake of the caller. `what()` is one full sentence that names the operation,
/// the argument, what was expected and what came.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& sentence) : std::runtime_error(sentence), code_(code) {}
  ErrorCode code() const noexcept { return code_; }

 private:
  ErrorCode code_;
};

}  // namespace rill
