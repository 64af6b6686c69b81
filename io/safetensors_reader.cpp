#include <algorithm>
#include <bit>

#include <rill/core/check.h>
#include <rill/io/safetensors.h>
#include <rill/io/text_file.h>

#include "byte_source.h"
#include "quote.h"
#include "safetensors_header.h"

namespace rill {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors files are little-endian");

constexpr std::int64_t kLargestIndex = 64 << 20;

DType dtype_of_name(std::string_view name, const std::string& tensor, const std::string& file) {
  if (name == "F32") return DType::kFloat32;
  if (name == "F64") return DType::kFloat64;
  if (name == "BF16") return DType::kBFloat16;
  if (name == "F16") return DType::kFloat16;
  if (name == "I32") return DType::kInt32;
  if (name == "I64") return DType::kInt64;
  if (name == "U8") return DType::kUInt8;
  fail(ErrorCode::kDType,
       "The tensor {} of the safetensors file {} is {}; F32, F64, BF16, F16, I32, I64 and U8 can "
       "be read.",
       quote(tensor), file, name);
}

}  // namespace

struct SafetensorsReader::Impl {
  struct Part {
    std::unique_ptr<ByteSource> source;
    std::uint64_t buffer = 0;
  };
  struct Place {
    std::size_t part = 0;
    std::uint64_t begin = 0;
  };
  std::string name;
  std::vector<Part> parts;
  std::vector<SafetensorsInfo> infos;  // by name
  std::vector<Place> places;           // beside infos
  std::map<std::string, std::string, std::less<>> metadata;

  /// Index into infos, or infos.size().
  std::size_t find(std::string_view tensor) const {
    const auto at = std::ranges::lower_bound(
        infos, tensor, {}, [](const auto& info) -> std::string_view { return info.name; });
    return at != infos.end() && at->name == tensor ? static_cast<std::size_t>(at - infos.begin())
                                                   : infos.size();
  }

  std::size_t must_find(std::string_view tensor) const {
    const std::size_t at = find(tensor);
    check(at < infos.size(), ErrorCode::kFile, "The safetensors file {} has no tensor {}.", name,
          quote(tensor));
    return at;
  }

  static std::unique_ptr<Impl> from_source(std::unique_ptr<ByteSource> source, bool lenient);
  static std::unique_ptr<Impl> from_index(const std::filesystem::path& path, bool lenient);
};

std::unique_ptr<SafetensorsReader::Impl> SafetensorsReader::Impl::from_source(
    std::unique_ptr<ByteSource> source, bool lenient) {
  auto impl = std::make_unique<Impl>();
  SafetensorsHeader header = read_safetensors_header(*source, lenient);
  impl->name = source->name();
  impl->metadata = std::move(header.metadata);
  for (auto& entry : header.entries) {
    impl->infos.push_back(std::move(entry.info));
    impl->places.push_back({0, entry.begin});
  }
  impl->parts.push_back({std::move(source), header.buffer});
  return impl;
}

std::unique_ptr<SafetensorsReader::Impl> SafetensorsReader::Impl::from_index(
    const std::filesystem::path& path, bool lenient) {
  auto impl = std::make_unique<Impl>();
  impl->name = quote(path.string());
  const auto weight_map =
      parse_safetensors_index(read_text_file(path, kLargestIndex), path.string());
  std::map<std::string, std::size_t> shards;
  for (const auto& [tensor, file] : weight_map) shards.emplace(file, shards.size());

  struct Found {
    SafetensorsInfo info;
    Place place;
  };
  std::vector<Found> found;
  std::vector<const std::string*> files(shards.size());
  impl->parts.resize(shards.size());
  for (const auto& [file, part] : shards) {
    files[part] = &file;
    auto source = open_source(path.parent_path() / file);
    SafetensorsHeader header = read_safetensors_header(*source, lenient);
    impl->metadata.merge(header.metadata);
    for (auto& entry : header.entries)
      found.push_back({std::move(entry.info), {part, entry.begin}});
    impl->parts[part] = {std::move(source), header.buffer};
  }
  const auto by_name = [](const Found& item) -> const std::string& { return item.info.name; };
  std::ranges::sort(found, {}, by_name);

  const auto twice = std::ranges::adjacent_find(found, {}, by_name);
  check(twice == found.end(), ErrorCode::kFile, "The tensor {} lies in two shards of the index {}.",
        twice == found.end() ? "" : quote(twice->info.name), impl->name);

  // Both lists are sorted: a listed name below the one at hand is in no shard.
  auto expected = weight_map.begin();
  const auto check_none_left_out = [&](bool none) {
    if (!none)
      fail(ErrorCode::kFile, "The index {} puts the tensor {} into {}, which does not hold it.",
           impl->name, quote(expected->first), quote(expected->second));
  };
  for (auto& item : found) {
    const std::string& tensor = item.info.name;
    const std::string& file = *files[item.place.part];
    check_none_left_out(expected == weight_map.end() || expected->first >= tensor);
    const bool listed = expected != weight_map.end() && expected->first == tensor;
    check(listed || lenient, ErrorCode::kFile,
          "The shard {} holds the tensor {}, which the index {} does not list.", quote(file),
          quote(tensor), impl->name);
    check(!listed || expected->second == file, ErrorCode::kFile,
          "The index {} puts the tensor {} into another shard than {}, which holds it.", impl->name,
          quote(tensor), quote(file));
    if (listed) ++expected;
    impl->infos.push_back(std::move(item.info));
    impl->places.push_back(item.place);
  }
  check_none_left_out(expected == weight_map.end());
  return impl;
}

SafetensorsReader::SafetensorsReader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SafetensorsReader::~SafetensorsReader() = default;
SafetensorsReader::SafetensorsReader(SafetensorsReader&&) noexcept = default;
SafetensorsReader& SafetensorsReader::operator=(SafetensorsReader&&) noexcept = default;

SafetensorsReader SafetensorsReader::open(const std::filesystem::path& path,
                                          SafetensorsOptions options) {
  std::filesystem::path file = path;
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    file = path / "model.safetensors";
    if (!std::filesystem::exists(file, error)) file = path / "model.safetensors.index.json";
    check(std::filesystem::exists(file, error), ErrorCode::kFile,
          "The folder {} has neither 'model.safetensors' nor 'model.safetensors.index.json'.",
          quote(path.string()));
  }
  if (file.extension() == ".json")
    return SafetensorsReader(Impl::from_index(file, options.lenient));
  return SafetensorsReader(Impl::from_source(open_source(file), options.lenient));
}

SafetensorsReader SafetensorsReader::view(std::span<const std::byte> bytes, const std::string& name,
                                          SafetensorsOptions options) {
  return SafetensorsReader(Impl::from_source(view_source(bytes, name), options.lenient));
}

bool SafetensorsReader::has_tensor(std::string_view name) const {
  return impl_->find(name) < impl_->infos.size();
}

std::vector<std::string> SafetensorsReader::tensor_names() const {
  std::vector<std::string> names;
  for (const SafetensorsInfo& info : impl_->infos) names.push_back(info.name);
  return names;
}

Tensor SafetensorsReader::tensor(std::string_view name) const {
  const std::size_t at = impl_->must_find(name);
  const SafetensorsInfo& info = impl_->infos[at];
  const auto& [part, begin] = impl_->places[at];
  const auto& [source, buffer] = impl_->parts[part];
  const DType dtype = dtype_of_name(info.dtype, info.name, source->name());
  check(info.shape.size() <= Shape::kMaxRank, ErrorCode::kShape,
        "The tensor {} of the safetensors file {} has {} axes, at most {} can be read.",
        quote(info.name), source->name(), info.shape.size(), Shape::kMaxRank);
  const Tensor value = Tensor::empty(Shape(std::span<const std::int64_t>(info.shape)), dtype);
  source->read(buffer + begin, {static_cast<std::byte*>(value.raw()), value.bytes()});
  return value;
}

bool SafetensorsReader::has_text(std::string_view key) const {
  return impl_->metadata.contains(key);
}

std::string SafetensorsReader::text(std::string_view key) const {
  const auto at = impl_->metadata.find(key);
  check(at != impl_->metadata.end(), ErrorCode::kFile,
        "The safetensors file {} has no metadata key {}.", impl_->name, quote(key));
  return at->second;
}

std::span<const SafetensorsInfo> SafetensorsReader::infos() const noexcept { return impl_->infos; }

const SafetensorsInfo& SafetensorsReader::info(std::string_view name) const {
  return impl_->infos[impl_->must_find(name)];
}

const std::map<std::string, std::string, std::less<>>& SafetensorsReader::metadata()
    const noexcept {
  return impl_->metadata;
}

}  // namespace rill
