// Writes safetensors files: wider element types first, so that every tensor is aligned to its own
// elements; names in order within a type's size, so that equal content gives equal bytes.
#include <algorithm>
#include <bit>
#include <nlohmann/json.hpp>

#include <rill/core/check.h>
#include <rill/io/atomic_file.h>
#include <rill/io/safetensors.h>

#include "quote.h"

namespace rill {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors files are little-endian");

using Item = std::pair<std::string_view, Tensor>;

const char* file_name_of(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return "F32";
    case DType::kFloat64:
      return "F64";
    case DType::kInt32:
      return "I32";
    case DType::kInt64:
      return "I64";
    case DType::kUInt8:
      return "U8";
    case DType::kBFloat16:
      return "BF16";
    case DType::kFloat16:
      return "F16";
  }
  fail(ErrorCode::kDType, "SafetensorsWriter: the element type {} is unknown.",
       static_cast<int>(dtype));
}

/// The text as a JSON string; Error(kValue) where it is not UTF-8.
std::string json_string(std::string_view text) {
  try {
    return nlohmann::json(text).dump();
  } catch (const nlohmann::json::exception&) {
    fail(ErrorCode::kValue, "SafetensorsWriter: the text {} is not UTF-8.", quote(text));
  }
}

std::vector<Item> in_file_order(const std::map<std::string, Tensor, std::less<>>& tensors) {
  std::vector<Item> items(tensors.begin(), tensors.end());
  std::ranges::stable_sort(items, std::ranges::greater(),
                           [](const Item& item) { return size_of(item.second.dtype()); });
  return items;
}

std::string header_of(const std::vector<Item>& items,
                      const std::map<std::string, std::string, std::less<>>& texts) {
  std::string json = "{";
  if (!texts.empty()) {
    json += "\"__metadata__\":{";
    for (const auto& [key, value] : texts)
      json +=
          formatted("{}{}:{}", json.back() == '{' ? "" : ",", json_string(key), json_string(value));
    json += '}';
  }
  std::size_t begin = 0;
  for (const auto& [name, tensor] : items) {
    json += formatted("{}{}:{{\"dtype\":\"{}\",\"shape\":[", json.size() == 1 ? "" : ",",
                      json_string(name), file_name_of(tensor.dtype()));
    for (int axis = 0; axis < tensor.rank(); ++axis)
      json += formatted("{}{}", axis ? "," : "", tensor.size(axis));
    json += formatted("],\"data_offsets\":[{},{}]}}", begin, begin + tensor.bytes());
    begin += tensor.bytes();
  }
  json += '}';
  json.resize((json.size() + 7) / 8 * 8, ' ');
  std::string header(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) header[i] = static_cast<char>(json.size() >> (8 * i) & 0xff);
  return header + json;
}

template <class Sink>
void write_to(Sink&& sink, const std::map<std::string, Tensor, std::less<>>& tensors,
              const std::map<std::string, std::string, std::less<>>& texts) {
  const std::vector<Item> items = in_file_order(tensors);
  sink(header_of(items, texts));
  for (const auto& [name, tensor] : items) {
    const Tensor here = tensor.to(Device{});
    sink(std::string_view(static_cast<const char*>(here.raw()), here.bytes()));
  }
}

}  // namespace

void SafetensorsWriter::tensor(std::string_view name, const Tensor& value) {
  check(name != "__metadata__", ErrorCode::kValue,
        "SafetensorsWriter: the name '__metadata__' is reserved.");
  check(value.defined(), ErrorCode::kValue, "SafetensorsWriter: the tensor {} is undefined.",
        quote(name));
  json_string(name);
  check(tensors_.emplace(name, value.to(Device{})).second, ErrorCode::kValue,
        "SafetensorsWriter: the tensor {} came twice.", quote(name));
}

void SafetensorsWriter::text(std::string_view key, std::string_view value) {
  json_string(key);
  json_string(value);
  check(texts_.emplace(key, value).second, ErrorCode::kValue,
        "SafetensorsWriter: the text {} came twice.", quote(key));
}

void SafetensorsWriter::write(const std::filesystem::path& path) const {
  AtomicFile file(path);
  write_to([&](std::string_view bytes) { file.write(bytes); }, tensors_, texts_);
  file.commit();
}

std::string SafetensorsWriter::serialize() const {
  std::string bytes;
  write_to([&](std::string_view part) { bytes += part; }, tensors_, texts_);
  return bytes;
}

}  // namespace rill
