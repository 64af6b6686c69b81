#include <rill/core/check.h>
#include <rill/core/ops.h>
#include <rill/core/tape.h>

namespace rill {
namespace {

// One gradient may have been handed to two tensors (both sides of a sum): before it is written to,
// it must be alone.
void unshare(Exec& exec, Tensor& tensor) {
  if (tensor.shared()) tensor = exec.clone(tensor);
}

}  // namespace

Tensor Gradients::find(const Tensor& tensor) const {
  const auto it = values_.find(tensor.id());
  return it == values_.end() ? Tensor() : it->second.value;
}

void Gradients::add(Exec& exec, const Tensor& tensor, const Tensor& gradient) {
  const auto [it, first] = values_.try_emplace(tensor.id(), Entry{tensor, gradient});
  if (first) return;
  unshare(exec, it->second.value);
  add_in_place(exec, it->second.value, gradient);
}

Tensor Gradients::accumulator(Exec& exec, const Tensor& tensor) {
  Entry& entry = values_.try_emplace(tensor.id(), Entry{tensor, {}}).first->second;
  if (!entry.value.defined()) entry.value = exec.zeros(tensor.shape());
  unshare(exec, entry.value);
  return entry.value;
}

void Tape::watch(const Tensor& tensor) {
  tracked_.try_emplace(tensor.id(), tensor);
  leaves_.insert(tensor.id());
}

bool Tape::tracks(const Tensor& tensor) const {
  return tensor.requires_grad() || (tensor.defined() && tracked_.contains(tensor.id()));
}

void Tape::record(std::vector<Tensor> outputs, Backward backward) {
  for (const Tensor& output : outputs)
    if (output.defined()) tracked_.try_emplace(output.id(), output);
  nodes_.push_back({std::move(outputs), std::move(backward)});
}

void Tape::next_part() {
  nodes_.clear();
  gradients_.keep_parameters();
  tracked_.clear();
  leaves_.clear();
}

void Tape::clear() {
  next_part();
  gradients_.clear();
}

void backward(Exec& exec, Tape& tape, std::vector<std::pair<Tensor, Tensor>> seeds) {
  const TapeScope off(exec, nullptr);
  for (auto& [output, gradient] : seeds) {
    check(gradient.defined() && gradient.shape() == output.shape() &&
              gradient.dtype() == exec.dtype(),
          ErrorCode::kShape,
          "backward: the gradient of an output, {} {}, was expected, {} {} came.",
          name_of(exec.dtype()), to_string(output.shape()),
          gradient.defined() ? name_of(gradient.dtype()) : "nothing",
          gradient.defined() ? to_string(gradient.shape()) : "");
    // A copy: gradients are added to in place, and the caller keeps its own.
    if (tape.tracks(output)) tape.gradients_.add(exec, output, exec.clone(exec.upload(gradient)));
  }
  seeds.clear();
  while (!tape.nodes_.empty()) {
    Tape::Node node = std::move(tape.nodes_.back());
    tape.nodes_.pop_back();
    bool arrived = false;
    for (const Tensor& output : node.outputs)
      arrived = arrived || tape.gradients_.find(output).defined();
    if (arrived) node.backward(exec, tape.gradients_);
    node.backward = nullptr;
    for (const Tensor& output : node.outputs) {
      if (!output.defined() || tape.leaves_.contains(output.id())) continue;
      tape.gradients_.erase(output);
      tape.tracked_.erase(output.id());
    }
  }
}

}  // namespace rill
