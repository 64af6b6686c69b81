// Private: writes down the kernel calls of one step, to be replayed by a Stepper.
//
// A call is written down where one of its arguments points into memory that depends on the stream:
// the input, the state, or anything that a written-down call touches. All other calls depend on
// parameters alone: they run at once, during the recording, so that what can be computed ahead
// (discretised A and B, packed weights) is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include <rill/core/kernel.h>
#include <rill/core/tensor.h>

namespace rill {

class Recorder {
 public:
  struct Call {
    void (*invoke)(void (*)(), const void*, const KernelContext&);
    void (*kernel)();
    std::size_t offset;  // of its arguments, in words of `arguments`
  };
  /// Word `word` of `arguments` points `delta` bytes into buffer number `buffer` of those marked
  /// with a number.
  struct Patch {
    std::size_t word;
    int buffer;
    std::size_t delta;
  };

  /// Memory that is the stream's: its input (buffer < 0) or a state field that a Stepper patches
  /// (buffer >= 0).
  void mark_stream(const Tensor& tensor, int buffer);
  /// Memory allocated while recording; kept as long as the recording.
  void own(const Tensor& tensor);
  void keep(std::shared_ptr<const void> object) { kept_objects_.push_back(std::move(object)); }
  /// True where the call was written down, false where it is to run now.
  bool record(const KernelCall& call);

  std::vector<Call>& calls() { return calls_; }
  std::vector<std::uintptr_t>& arguments() { return arguments_; }
  std::vector<Patch>& patches() { return patches_; }
  std::size_t owned_bytes() const;

 private:
  struct Range {
    std::uintptr_t end;
    bool stream;
    int buffer;
  };
  std::map<std::uintptr_t, Range>::iterator find(std::uintptr_t address);

  std::map<std::uintptr_t, Range> ranges_;  // by first address
  std::vector<Call> calls_;
  std::vector<std::uintptr_t> arguments_;
  std::vector<Patch> patches_;
  std::vector<Tensor> kept_tensors_;
  std::vector<std::shared_ptr<const void>> kept_objects_;
};

}  // namespace rill
