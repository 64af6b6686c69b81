// A small reverse-mode tape: ops record how to go back, backward() walks the record from its end.
#pragma once

#include <functional>
#include <memory>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include <rill/core/exec.h>
#include <rill/core/tensor.h>

namespace rill {

/// Gradients by tensor identity, summed in the order of their arrival (which is fixed).
class Gradients {
 public:
  /// The gradient of a tensor; an undefined Tensor where none has arrived.
  Tensor find(const Tensor& tensor) const;
  /// Adds `gradient` (same shape and dtype). The first is taken over, not copied; it may be shared:
  /// what is shared is copied before it is written to.
  void add(Exec& exec, const Tensor& tensor, const Tensor& gradient);
  /// A tensor of zeros, or what has arrived so far: kernels that accumulate write here.
  Tensor accumulator(Exec& exec, const Tensor& tensor);
  void erase(const Tensor& tensor) { values_.erase(tensor.id()); }
  void clear() { values_.clear(); }
  /// Forgets all gradients but those of parameters.
  void keep_parameters() {
    std::erase_if(values_, [](const auto& item) { return !item.second.of.requires_grad(); });
  }

 private:
  // The tensor is kept alive, so that no other takes its identity.
  struct Entry {
    Tensor of, value;
  };
  std::unordered_map<const void*, Entry> values_;
};

/// From one forward to one backward. Not thread safe; belongs with an Exec.
class Tape {
 public:
  /// Goes back through one op: reads gradients.find(output), adds to its inputs' gradients.
  using Backward = std::function<void(Exec&, Gradients&)>;

  /// Makes a tensor that is no parameter (an input, an initial state) a leaf whose gradient is
  /// wanted.
  void watch(const Tensor& tensor);
  /// True for parameters, watched tensors and what was computed from them on this tape.
  bool tracks(const Tensor& tensor) const;
  /// For ops: `outputs` were computed from tracked tensors.
  void record(std::vector<Tensor> outputs, Backward backward);

  /// Gradients of leaves after backward(); undefined where nothing arrived.
  Tensor gradient(const Tensor& leaf) const { return gradients_.find(leaf); }
  Gradients& gradients() { return gradients_; }
  /// Forgets the record, keeps the gradients of parameters (so that a second part adds to them).
  void next_part();
  /// Forgets the record and every gradient.
  void clear();
  std::size_t size() const { return nodes_.size(); }

 private:
  friend void backward(Exec&, Tape&, std::vector<std::pair<Tensor, Tensor>>);
  struct Node {
    std::vector<Tensor> outputs;
    Backward backward;
  };
  std::vector<Node> nodes_;
  std::unordered_map<const void*, Tensor>
      tracked_;  // keeps what it names alive, so that identities stay unique
  std::unordered_set<const void*> leaves_;
  Gradients gradients_;
};

/// Goes back through the tape from outputs and their gradients ({y, dy}, same shapes). Afterwards
/// tape.gradient(leaf) holds the gradients of parameters, watched inputs and watched initial
/// states, all in the Exec's dtype. The record is spent. Error(kShape) where a seed is not of its
/// output's shape and the Exec's dtype.
void backward(Exec& exec, Tape& tape, std::vector<std::pair<Tensor, Tensor>> seeds);

/// While alive, an Exec records on a tape.
class TapeScope {
 public:
  TapeScope(Exec& exec, Tape* tape) : exec_(exec), previous_(exec.tape()) { exec.set_tape(tape); }
  ~TapeScope() { exec_.set_tape(previous_); }
  TapeScope(const TapeScope&) = delete;
  TapeScope& operator=(const TapeScope&) = delete;

 private:
  Exec& exec_;
  Tape* previous_;
};

}  // namespace rill
