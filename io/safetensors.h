// safetensors: the ecosystem's file of named tensors, and its shards.
//
//   u64 little-endian N | N bytes of JSON | buffer
//   JSON: {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, ...,
//   "__metadata__": {text: text}}
//
// Source: github.com/huggingface/safetensors, format of version 0.3 and later; the sharded index
// (model.safetensors.index.json) is transformers' convention.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <rill/core/archive.h>

namespace rill {

/// What a file says of one tensor.
struct SafetensorsInfo {
  std::string name;
  std::string dtype;                // as in the file: "F32", "BF16", "F8_E4M3", ...
  std::vector<std::int64_t> shape;  // may have more axes than a Tensor can
  std::int64_t bytes = 0;
};

struct SafetensorsOptions {
  bool lenient =
      false;  // accept bytes after the last tensor, and tensors that a sharded index does not list
};

/// Reads one file or a set of shards. Headers are read and checked at once (their size, UTF-8,
/// dtypes, products of shapes, ranges without hole or overlap, repeated names, the size of the
/// file), elements when a tensor is asked for; offsets need not be aligned. Threads may share a
/// reader. Every finding is an Error(kFile) that names file and tensor.
class SafetensorsReader final : public TensorReader {
 public:
  /// `path` is a .safetensors file, an index (*.index.json), or a folder with model.safetensors or
  /// model.safetensors.index.json.
  static SafetensorsReader open(const std::filesystem::path& path, SafetensorsOptions options = {});
  /// The bytes of one file, which the caller keeps alive; `name` stands in messages.
  static SafetensorsReader view(std::span<const std::byte> bytes,
                                const std::string& name = "memory",
                                SafetensorsOptions options = {});
  ~SafetensorsReader() override;
  SafetensorsReader(SafetensorsReader&&) noexcept;
  SafetensorsReader& operator=(SafetensorsReader&&) noexcept;

  bool has_tensor(std::string_view name) const override;
  std::vector<std::string> tensor_names() const override;
  /// A new tensor on the CPU. Error(kFile) for a name that is not there, Error(kDType) for an
  /// element type that Rill does not have (it reads F32 F64 BF16 F16 I32 I64 U8), Error(kShape) for
  /// too many axes.
  Tensor tensor(std::string_view name) const override;
  bool has_text(std::string_view key) const override;
  /// A field of __metadata__ (of the first shard that has it); Error(kFile) where it is not there.
  std::string text(std::string_view key) const override;

  /// All tensors, in the order of their names; valid while the reader lives.
  std::span<const SafetensorsInfo> infos() const noexcept;
  /// Error(kFile) for a name that is not there.
  const SafetensorsInfo& info(std::string_view name) const;
  const std::map<std::string, std::string, std::less<>>& metadata() const noexcept;

 private:
  struct Impl;
  explicit SafetensorsReader(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// The weight map of an index: (tensor, file name) pairs in the order of the tensors' names.
/// Error(kFile) for anything but {"weight_map": {text: text}, ...}, for repeated keys, and for file
/// names that leave the folder.
std::vector<std::pair<std::string, std::string>> parse_safetensors_index(
    std::string_view json, const std::string& name = "memory");

/// Collects tensors (handles: the arrays must not change before they are written) and text, then
/// writes one file. The same content gives the same bytes, in whatever order it came. Transformers
/// wants text("format", "pt").
class SafetensorsWriter final : public TensorWriter {
 public:
  /// Error(kValue) for a repeated or reserved name, one that is not UTF-8, or an undefined tensor.
  void tensor(std::string_view name, const Tensor& value) override;
  void text(std::string_view key, std::string_view value) override;

  /// Replaces `path` in one step (AtomicFile); Error(kSystem) where that fails.
  void write(const std::filesystem::path& path) const;
  /// The file's bytes.
  std::string serialize() const;

 private:
  std::map<std::string, Tensor, std::less<>> tensors_;
  std::map<std::string, std::string, std::less<>> texts_;
};

}  // namespace rill
