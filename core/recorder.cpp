#include <rill/core/recorder.h>

#include <cstring>

namespace rill {
namespace {

std::uintptr_t address_of(const Tensor& tensor) {
  return reinterpret_cast<std::uintptr_t>(tensor.raw());
}

}  // namespace

std::map<std::uintptr_t, Recorder::Range>::iterator Recorder::find(std::uintptr_t address) {
  auto next = ranges_.upper_bound(address);
  if (next == ranges_.begin()) return ranges_.end();
  --next;
  return address < next->second.end ? next : ranges_.end();
}

void Recorder::mark_stream(const Tensor& tensor, int buffer) {
  kept_tensors_.push_back(tensor);
  ranges_[address_of(tensor)] = {address_of(tensor) + std::max<std::size_t>(tensor.bytes(), 1),
                                 true, buffer};
}

void Recorder::own(const Tensor& tensor) {
  kept_tensors_.push_back(tensor);
  ranges_.try_emplace(
      address_of(tensor),
      Range{address_of(tensor) + std::max<std::size_t>(tensor.bytes(), 1), false, -1});
}

bool Recorder::record(const KernelCall& call) {
  std::vector<std::uintptr_t> words(call.bytes / sizeof(std::uintptr_t));
  std::memcpy(words.data(), call.args, call.bytes);
  bool stream = false;
  for (const std::uintptr_t word : words) {
    const auto range = find(word);
    stream = stream || (range != ranges_.end() && range->second.stream);
  }
  if (!stream) return false;
  const std::size_t offset = arguments_.size();
  for (std::size_t i = 0; i < words.size(); ++i) {
    const auto range = find(words[i]);
    if (range == ranges_.end()) continue;
    range->second.stream = true;
    if (range->second.buffer >= 0)
      patches_.push_back({offset + i, range->second.buffer, words[i] - range->first});
  }
  arguments_.insert(arguments_.end(), words.begin(), words.end());
  calls_.push_back({call.invoke, call.kernel, offset});
  return true;
}

std::size_t Recorder::owned_bytes() const {
  std::size_t bytes = 0;
  for (const Tensor& tensor : kept_tensors_) bytes += tensor.bytes();
  return bytes;
}

}  // namespace rill
