// The header of a safetensors file. It comes from outside: the JSON is read as a stream of events,
// so that nothing is built but what is asked for, and repeated names, which a JSON object would
// swallow, are seen.
#include "safetensors_header.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <string_view>

#include <rill/core/check.h>

#include "quote.h"

namespace rill {
namespace {

constexpr std::uint64_t kLargestHeader = 100'000'000;  // the reference's limit
constexpr std::size_t kMostEntries = 1'000'000;
constexpr std::size_t kMostAxes = 64;
constexpr int kDeepest = 64;

/// Bits of an element; 0 for a name that the format does not have.
std::uint64_t bits_of(std::string_view dtype) {
  static constexpr std::pair<std::string_view, int> kBits[] = {
      {"BOOL", 8}, {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8},
      {"I8", 8},   {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8},
      {"I16", 16}, {"U16", 16},    {"F16", 16},    {"BF16", 16},   {"F8_E5M2FNUZ", 8},
      {"I32", 32}, {"U32", 32},    {"F32", 32},    {"C64", 64},    {"F64", 64},
      {"I64", 64}, {"U64", 64}};
  for (const auto& [name, bits] : kBits)
    if (name == dtype) return static_cast<std::uint64_t>(bits);
  return 0;
}

/// Receives nlohmann's events and fills a header. Objects nest as root > tensor > shape or
/// data_offsets; anything under an unknown key of a tensor is passed over.
class HeaderEvents : public nlohmann::json_sax<nlohmann::json> {
 public:
  HeaderEvents(const std::string& file, SafetensorsHeader& header) : file_(file), header_(header) {}

  bool null() override {
    if (where_ == Where::kRoot && name_ == "__metadata__") return true;  // as the reference does
    return scalar("null");
  }
  bool boolean(bool) override { return scalar("a truth value"); }
  bool number_integer(number_integer_t value) override {
    return scalar(formatted("the negative number {}", value));
  }
  bool number_float(number_float_t, const string_t& text) override {
    return scalar(formatted("the number {}", quote(text)));
  }
  bool binary(binary_t&) override { return scalar("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (where_ == Where::kShape) {
      require(value <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()),
              "has an axis of {} elements", value);
      require(entry().info.shape.size() < kMostAxes, "has more than {} axes", kMostAxes);
      entry().info.shape.push_back(static_cast<std::int64_t>(value));
      return true;
    }
    if (where_ == Where::kOffsets) {
      require(offsets_ < 2, "has more than 2 data_offsets");
      (offsets_++ == 0 ? entry().begin : entry().end) = value;
      return true;
    }
    return scalar(formatted("the number {}", value));
  }

  bool string(string_t& value) override {
    if (where_ == Where::kMetadata) {
      header_.metadata[key_] = std::move(value);
      return true;
    }
    if (where_ == Where::kTensor && key_ == "dtype") {
      entry().info.dtype = std::move(value);
      return true;
    }
    return scalar("text");
  }

  bool key(string_t& value) override {
    switch (where_) {
      case Where::kRoot:
        name_ = std::move(value);
        break;
      case Where::kMetadata:
        check(!header_.metadata.contains(value), ErrorCode::kFile,
              "The file {} has the metadata key {} twice.", file_, quote(value));
        check(header_.metadata.size() < kMostEntries, ErrorCode::kFile,
              "The file {} has more than {} metadata keys.", file_, kMostEntries);
        key_ = std::move(value);
        break;
      case Where::kTensor:
        take_field(std::move(value));
        break;
      default:
        break;
    }
    return true;
  }

  bool start_object(std::size_t) override {
    switch (where_) {
      case Where::kOutside:
        where_ = Where::kRoot;
        return true;
      case Where::kRoot:
        return start_named();
      default:
        return start_nested("an object");
    }
  }

  bool end_object() override {
    switch (where_) {
      case Where::kRoot:
        where_ = Where::kOutside;
        break;
      case Where::kMetadata:
        where_ = Where::kRoot;
        break;
      case Where::kTensor:
        end_tensor();
        break;
      default:
        end_nested();
        break;
    }
    return true;
  }

  bool start_array(std::size_t) override {
    if (where_ == Where::kTensor && key_ == "shape")
      where_ = Where::kShape;
    else if (where_ == Where::kTensor && key_ == "data_offsets")
      where_ = Where::kOffsets;
    else
      return start_nested("an array");
    return true;
  }

  bool end_array() override {
    if (where_ == Where::kShape || where_ == Where::kOffsets)
      where_ = Where::kTensor;
    else
      end_nested();
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::json::exception&) override {
    fail(ErrorCode::kFile, "The header of the safetensors file {} is not valid JSON at byte {}.",
         file_, position);
  }

 private:
  enum class Where { kOutside, kRoot, kMetadata, kTensor, kShape, kOffsets, kSkipped };

  SafetensorsEntry& entry() { return header_.entries.back(); }

  template <class... Args>
  void require(bool ok, fmt::format_string<Args...> format, Args&&... args) {
    if (!ok)
      fail(ErrorCode::kFile, "The tensor {} of the safetensors file {} {}.", quote(name_), file_,
           formatted(format, std::forward<Args>(args)...));
  }

  bool known_field() const { return key_ == "dtype" || key_ == "shape" || key_ == "data_offsets"; }

  /// A value where only some may stand.
  bool scalar(const std::string& what) {
    switch (where_) {
      case Where::kSkipped:
        return true;
      case Where::kOutside:
        fail(ErrorCode::kFile,
             "The header of the safetensors file {} is {}, an object was expected.", file_, what);
      case Where::kRoot:
        fail(ErrorCode::kFile,
             "The entry {} of the safetensors file {} is {}, an object was expected.", quote(name_),
             file_, what);
      case Where::kMetadata:
        fail(ErrorCode::kFile,
             "The metadata key {} of the safetensors file {} holds {}, text was expected.",
             quote(key_), file_, what);
      case Where::kTensor:
        require(!known_field(), "holds {} in its field {}", what, quote(key_));
        break;
      case Where::kShape:
        require(false, "holds {} in its shape", what);
        break;
      case Where::kOffsets:
        require(false, "holds {} in its data_offsets", what);
        break;
    }
    return true;
  }

  bool start_named() {
    if (name_ == "__metadata__") {
      check(!metadata_seen_, ErrorCode::kFile, "The file {} has '__metadata__' twice.", file_);
      metadata_seen_ = true;
      where_ = Where::kMetadata;
      return true;
    }
    check(header_.entries.size() < kMostEntries, ErrorCode::kFile,
          "The safetensors file {} has more than {} tensors.", file_, kMostEntries);
    header_.entries.emplace_back();
    entry().info.name = name_;
    dtype_seen_ = shape_seen_ = offsets_seen_ = false;
    offsets_ = 0;
    where_ = Where::kTensor;
    return true;
  }

  void take_field(std::string&& field) {
    key_ = std::move(field);
    if (!known_field()) return;
    bool& seen = key_ == "dtype" ? dtype_seen_ : key_ == "shape" ? shape_seen_ : offsets_seen_;
    require(!seen, "has the field {} twice", quote(key_));
    seen = true;
  }

  void end_tensor() {
    require(dtype_seen_, "has no field 'dtype'");
    require(shape_seen_, "has no field 'shape'");
    require(offsets_seen_ && offsets_ == 2, "does not have 2 data_offsets");
    where_ = Where::kRoot;
  }

  bool start_nested(const char* what) {
    if (where_ != Where::kSkipped) {
      scalar(what);
      skipped_ = 0;
      where_ = Where::kSkipped;
    }
    check(++skipped_ <= kDeepest, ErrorCode::kFile,
          "The header of the safetensors file {} nests deeper than {}.", file_, kDeepest);
    return true;
  }

  void end_nested() {
    if (--skipped_ == 0) where_ = Where::kTensor;
  }

  const std::string& file_;
  SafetensorsHeader& header_;
  Where where_ = Where::kOutside;
  std::string name_, key_;
  bool metadata_seen_ = false, dtype_seen_ = false, shape_seen_ = false, offsets_seen_ = false;
  int offsets_ = 0;
  int skipped_ = 0;
};

/// Dtype, shape and range of one tensor agree; the products are checked before they are used.
void check_entry(const SafetensorsEntry& entry, const std::string& file) {
  const auto require = [&](bool ok, const std::string& what) {
    check(ok, ErrorCode::kFile, "The tensor {} of the safetensors file {} {}.",
          quote(entry.info.name), file, what);
  };
  std::uint64_t bits = bits_of(entry.info.dtype);
  require(bits != 0, formatted("has the unknown dtype {}", quote(entry.info.dtype)));
  // Elements first, then bits, as the reference multiplies: what overflows there must be refused
  // here.
  std::uint64_t elements = 1;
  for (const std::int64_t extent : entry.info.shape)
    require(!__builtin_mul_overflow(elements, static_cast<std::uint64_t>(extent), &elements),
            "has a shape whose product is past 2^64");
  require(!__builtin_mul_overflow(elements, bits, &bits),
          "has a shape whose size in bits is past 2^64");
  require(bits % 8 == 0, "does not fill whole bytes");
  require(entry.begin <= entry.end,
          formatted("has data_offsets [{}, {}] that go backwards", entry.begin, entry.end));
  require(bits / 8 == entry.end - entry.begin,
          formatted("takes {} bytes by its dtype and shape, its data_offsets [{}, {}] hold {}",
                    bits / 8, entry.begin, entry.end, entry.end - entry.begin));
}

/// The ranges follow each other from the buffer's first byte to its last.
void check_layout(const SafetensorsHeader& header, std::uint64_t file_size, const std::string& file,
                  bool lenient) {
  std::vector<const SafetensorsEntry*> order;
  order.reserve(header.entries.size());
  for (const auto& entry : header.entries) order.push_back(&entry);
  std::ranges::sort(order, {},
                    [](const auto* entry) { return std::pair(entry->begin, entry->end); });
  std::uint64_t end = 0;
  for (const auto* entry : order) {
    check(entry->begin == end, ErrorCode::kFile,
          "The tensor {} of the safetensors file {} begins at byte {} of the buffer, {} the tensor "
          "before it, which "
          "ends at byte {}.",
          quote(entry->info.name), file, entry->begin,
          entry->begin < end ? "inside" : "with a hole after", end);
    end = entry->end;
  }
  const std::uint64_t buffer = file_size - header.buffer;
  check(end <= buffer, ErrorCode::kFile,
        "The safetensors file {} is cut short: its tensors take {} bytes after the header, {} are "
        "there.",
        file, end, buffer);
  check(end == buffer || lenient, ErrorCode::kFile,
        "The safetensors file {} has {} bytes after its last tensor (the lenient option would read "
        "it).",
        file, buffer - end);
}

std::string read_header_text(const ByteSource& source) {
  const std::string& file = source.name();
  check(source.size() >= 8, ErrorCode::kFile,
        "The safetensors file {} has {} bytes, at least 8 were expected.", file, source.size());
  unsigned char prefix[8];
  source.read(0, std::as_writable_bytes(std::span(prefix)));
  std::uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | prefix[i];
  check(length <= kLargestHeader, ErrorCode::kFile,
        "The safetensors file {} announces a header of {} bytes, at most {} are allowed.", file,
        length, kLargestHeader);
  check(length <= source.size() - 8, ErrorCode::kFile,
        "The safetensors file {} announces a header of {} bytes, only {} bytes follow.", file,
        length, source.size() - 8);
  std::string text(length, '\0');
  source.read(8, std::as_writable_bytes(std::span(text)));
  // nlohmann takes a zero byte for the end of the text, and passes over a byte order mark.
  check(text.find('\0') == std::string::npos && !text.starts_with("\xEF\xBB\xBF"), ErrorCode::kFile,
        "The header of the safetensors file {} is not valid JSON: it holds a zero byte or a byte "
        "order mark.",
        file);
  return text;
}

}  // namespace

SafetensorsHeader read_safetensors_header(const ByteSource& source, bool lenient) {
  SafetensorsHeader header;
  const std::string& file = source.name();
  {
    const std::string text = read_header_text(source);
    header.buffer = 8 + text.size();
    HeaderEvents events(file, header);
    nlohmann::json::sax_parse(text, &events);
  }
  for (auto& entry : header.entries) {
    check_entry(entry, file);
    entry.info.bytes = static_cast<std::int64_t>(entry.end - entry.begin);
  }
  check_layout(header, source.size(), file, lenient);
  std::ranges::sort(header.entries, {},
                    [](const auto& entry) -> const std::string& { return entry.info.name; });
  const auto twice = std::ranges::adjacent_find(
      header.entries, {}, [](const auto& entry) -> const std::string& { return entry.info.name; });
  check(twice == header.entries.end(), ErrorCode::kFile,
        "The safetensors file {} has the tensor {} twice.", file,
        twice == header.entries.end() ? "" : quote(twice->info.name));
  return header;
}

}  // namespace rill
