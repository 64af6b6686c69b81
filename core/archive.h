// What State::save writes to and State::load reads from; io implements both on safetensors files.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <rill/core/tensor.h>

namespace rill {

/// Receives named tensors and text fields; nothing is on disk before the implementation says so.
class TensorWriter {
 public:
  virtual ~TensorWriter() = default;
  virtual void tensor(std::string_view name, const Tensor& value) = 0;
  virtual void text(std::string_view key, std::string_view value) = 0;
};

/// Hands out named tensors and text fields; Error(kFile) for a name that is not there.
class TensorReader {
 public:
  virtual ~TensorReader() = default;
  virtual bool has_tensor(std::string_view name) const = 0;
  /// Of all tensors, each once, in any order.
  virtual std::vector<std::string> tensor_names() const = 0;
  virtual Tensor tensor(std::string_view name) const = 0;
  virtual bool has_text(std::string_view key) const = 0;
  virtual std::string text(std::string_view key) const = 0;
};

}  // namespace rill
