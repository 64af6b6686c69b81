#include <rill/io/npy.h>

#include <array>
#include <bit>
#include <charconv>
#include <cstring>
#include <limits>
#include <optional>
#include <string_view>
#include <vector>

#include <rill/core/check.h>
#include <rill/io/atomic_file.h>

#include "byte_source.h"
#include "quote.h"

namespace rill {
namespace {

static_assert(std::endian::native == std::endian::little,
              "npy files are read and written as little-endian");

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr std::uint64_t kLargestHeader =
    1 << 16;  // one array's header; NumPy itself refuses more than 10,000 bytes

struct Header {
  std::string descr;
  bool fortran_order = false;
  std::vector<std::int64_t> shape;
};

/// Reads {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }: keys in any order, each once.
class HeaderParser {
 public:
  HeaderParser(std::string_view text, const std::string& file) : text_(text), file_(file) {}

  Header parse() {
    Header header;
    bool descr = false, order = false, shape = false;
    expect('{');
    while (!accept('}')) {
      const std::string key = string();
      expect(':');
      bool& seen = key == "descr" ? descr : key == "fortran_order" ? order : shape;
      require(key == "descr" || key == "fortran_order" || key == "shape", "has an unknown key");
      require(!seen, "has a key twice");
      seen = true;
      if (key == "descr")
        header.descr = description();
      else if (key == "fortran_order")
        header.fortran_order = truth();
      else
        header.shape = tuple();
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    skip_space();
    require(text_.empty(), "goes on after the dictionary");
    require(descr && order && shape, "lacks 'descr', 'fortran_order' or 'shape'");
    return header;
  }

 private:
  void require(bool ok, const char* what) const {
    check(ok, ErrorCode::kFile, "The header of the npy file {} {}.", file_, what);
  }

  void skip_space() {
    while (!text_.empty() &&
           (text_[0] == ' ' || text_[0] == '\n' || text_[0] == '\t' || text_[0] == '\r'))
      text_.remove_prefix(1);
  }

  bool accept(char wanted) {
    skip_space();
    if (text_.empty() || text_[0] != wanted) return false;
    text_.remove_prefix(1);
    return true;
  }

  void expect(char wanted) { require(accept(wanted), "is not the dictionary that NumPy writes"); }

  bool accept_word(std::string_view word) {
    skip_space();
    if (!text_.starts_with(word)) return false;
    text_.remove_prefix(word.size());
    return true;
  }

  std::string string() {
    skip_space();
    require(!text_.empty() && (text_[0] == '\'' || text_[0] == '"'), "lacks a text");
    const std::size_t end = text_.find(text_[0], 1);
    require(end != std::string_view::npos, "has a text without an end");
    std::string value(text_.substr(1, end - 1));
    text_.remove_prefix(end + 1);
    return value;
  }

  std::string description() {
    skip_space();
    if (text_.starts_with("["))
      fail(ErrorCode::kDType,
           "The npy file {} holds records; f4, f8, f2, i4, i8 and u1 can be read.", file_);
    return string();
  }

  bool truth() {
    if (accept_word("True")) return true;
    require(accept_word("False"), "gives 'fortran_order' neither True nor False");
    return false;
  }

  std::vector<std::int64_t> tuple() {
    std::vector<std::int64_t> extents;
    expect('(');
    while (!accept(')')) {
      skip_space();
      std::int64_t extent = 0;
      const auto [end, error] = std::from_chars(text_.data(), text_.data() + text_.size(), extent);
      require(error == std::errc{} && extent >= 0,
              "has an extent in 'shape' that is no whole number from 0 to 2^63");
      text_.remove_prefix(static_cast<std::size_t>(end - text_.data()));
      accept('L');  // Python 2 wrote long integers so
      extents.push_back(extent);
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
    return extents;
  }

  std::string_view text_;
  const std::string& file_;
};

DType dtype_of_descr(const std::string& descr, const std::string& file) {
  if (descr == "<f4") return DType::kFloat32;
  if (descr == "<f8") return DType::kFloat64;
  if (descr == "<f2") return DType::kFloat16;
  if (descr == "<i4") return DType::kInt32;
  if (descr == "<i8") return DType::kInt64;
  if (descr == "|u1" || descr == "<u1") return DType::kUInt8;
  fail(ErrorCode::kDType,
       "The npy file {} holds elements of type {}; little-endian f4, f8, f2, i4, i8 and u1 can be "
       "read.",
       file, quote(descr));
}

const char* descr_of(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return "<f4";
    case DType::kFloat64:
      return "<f8";
    case DType::kFloat16:
      return "<f2";
    case DType::kInt32:
      return "<i4";
    case DType::kInt64:
      return "<i8";
    case DType::kUInt8:
      return "|u1";
    case DType::kBFloat16:
      break;
  }
  fail(ErrorCode::kDType, "write_npy: NumPy has no type for {}.", name_of(dtype));
}

/// Bytes that shape and type ask for; nothing where the product passes 2^63.
std::optional<std::uint64_t> bytes_of(const std::vector<std::int64_t>& shape, DType dtype) {
  std::int64_t bytes = static_cast<std::int64_t>(size_of(dtype));
  for (const std::int64_t extent : shape)
    if (__builtin_mul_overflow(bytes, extent, &bytes)) return std::nullopt;
  return static_cast<std::uint64_t>(bytes);
}

/// From first axis fastest to last axis fastest.
Tensor from_fortran_order(const Tensor& columns) {
  const int rank = columns.rank();
  const std::size_t size = size_of(columns.dtype());
  Tensor rows = Tensor::empty(columns.shape(), columns.dtype());
  std::array<std::int64_t, Shape::kMaxRank> index{}, stride{};
  for (int axis = 0; axis < rank; ++axis)
    stride[axis] = axis == 0 ? 1 : stride[axis - 1] * columns.size(axis - 1);
  const auto* in = static_cast<const std::byte*>(columns.raw());
  auto* out = static_cast<std::byte*>(rows.raw());
  std::int64_t from = 0;
  for (std::int64_t i = 0; i < columns.numel(); ++i) {
    std::memcpy(out + static_cast<std::size_t>(i) * size,
                in + static_cast<std::size_t>(from) * size, size);
    for (int axis = rank - 1; axis >= 0; --axis) {
      from += stride[axis];
      if (++index[axis] < columns.size(axis)) break;
      from -= stride[axis] * columns.size(axis);
      index[axis] = 0;
    }
  }
  return rows;
}

Tensor read_from(const ByteSource& source) {
  const std::string& file = source.name();
  unsigned char start[12] = {};
  check(source.size() >= 10, ErrorCode::kFile,
        "The npy file {} has {} bytes, at least 10 were expected.", file, source.size());
  source.read(0, std::as_writable_bytes(std::span(start)).first(source.size() < 12 ? 10 : 12));
  check(std::memcmp(start, kMagic.data(), kMagic.size()) == 0, ErrorCode::kFile,
        "{} is not an npy file: it does not begin with \\x93NUMPY.", file);
  const int version = start[6];
  check(version >= 1 && version <= 3, ErrorCode::kFile,
        "The npy file {} is of version {}.{}; 1, 2 and 3 can be read.", file, version, start[7]);
  const std::uint64_t fixed = version == 1 ? 10 : 12;
  std::uint64_t length = start[8] | static_cast<std::uint64_t>(start[9]) << 8;
  if (version > 1)
    length |= static_cast<std::uint64_t>(start[10]) << 16 | static_cast<std::uint64_t>(start[11])
                                                                << 24;
  check(source.size() >= fixed && length <= source.size() - fixed && length <= kLargestHeader,
        ErrorCode::kFile,
        "The npy file {} announces a header of {} bytes; it has {} bytes, and at most {} are "
        "allowed.",
        file, length, source.size(), kLargestHeader);
  std::string text(length, '\0');
  source.read(fixed, std::as_writable_bytes(std::span(text)));
  const Header header = HeaderParser(text, file).parse();

  const DType dtype = dtype_of_descr(header.descr, file);
  check(header.shape.size() <= Shape::kMaxRank, ErrorCode::kShape,
        "The array of the npy file {} has {} axes, at most {} can be read.", file,
        header.shape.size(), Shape::kMaxRank);
  const auto bytes = bytes_of(header.shape, dtype);
  check(bytes.has_value(), ErrorCode::kFile,
        "The array of the npy file {} has a shape whose size is past 2^63.", file);
  const std::uint64_t there = source.size() - fixed - length;
  check(*bytes == there, ErrorCode::kFile,
        "The array of the npy file {} takes {} bytes, {} follow its header.", file, *bytes, there);
  const Tensor value = Tensor::empty(Shape(std::span<const std::int64_t>(header.shape)), dtype);
  source.read(fixed + length, {static_cast<std::byte*>(value.raw()), value.bytes()});
  return header.fortran_order && value.rank() > 1 ? from_fortran_order(value) : value;
}

}  // namespace

Tensor read_npy(const std::filesystem::path& path) { return read_from(*open_source(path)); }

Tensor parse_npy(std::span<const std::byte> bytes, const std::string& name) {
  return read_from(*view_source(bytes, name));
}

void write_npy(const std::filesystem::path& path, const Tensor& value) {
  check(value.defined(), ErrorCode::kValue, "write_npy: the tensor for {} is undefined.",
        quote(path.string()));
  const char* descr = descr_of(value.dtype());
  std::string shape;
  for (int axis = 0; axis < value.rank(); ++axis)
    shape += formatted("{}{}", axis ? ", " : "", value.size(axis));
  if (value.rank() == 1) shape += ',';
  std::string dict =
      formatted("{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}", descr, shape);
  dict.resize((10 + dict.size() + 1 + 63) / 64 * 64 - 10 - 1,
              ' ');  // elements begin at a multiple of 64
  dict += '\n';
  std::string header(kMagic);
  header +=
      {'\1', '\0', static_cast<char>(dict.size() & 0xff), static_cast<char>(dict.size() >> 8)};
  const Tensor here = value.to(Device{});
  AtomicFile file(path);
  file.write(header + dict);
  file.write(std::span(static_cast<const std::byte*>(here.raw()), here.bytes()));
  file.commit();
}

}  // namespace rill
