#include <rill/io/idx.h>

#include <zlib.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include <rill/core/check.h>

#include "byte_source.h"
#include "quote.h"

namespace rill {
namespace {

/// Hands out the file's bytes in order, uncompressed.
class Bytes {
 public:
  virtual ~Bytes() = default;
  /// Fills as much of `into` as there is; the number of bytes.
  virtual std::size_t read(std::span<std::byte> into) = 0;
  /// No more than this many bytes can still come.
  virtual std::uint64_t most_left() const = 0;
};

class PlainBytes final : public Bytes {
 public:
  explicit PlainBytes(std::span<const std::byte> bytes) : left_(bytes) {}
  std::size_t read(std::span<std::byte> into) override {
    const std::size_t count = std::min(into.size(), left_.size());
    if (count > 0) std::memcpy(into.data(), left_.data(), count);
    left_ = left_.subspan(count);
    return count;
  }
  std::uint64_t most_left() const override { return left_.size(); }

 private:
  std::span<const std::byte> left_;
};

class GzipBytes final : public Bytes {
 public:
  GzipBytes(std::span<const std::byte> bytes, const std::string& file) : left_(bytes), file_(file) {
    constexpr int kGzipOnly = 16 + MAX_WBITS;
    check(inflateInit2(&stream_, kGzipOnly) == Z_OK, ErrorCode::kSystem,
          "There is no memory to unpack {}.", file);
  }
  ~GzipBytes() override { inflateEnd(&stream_); }
  GzipBytes(const GzipBytes&) = delete;
  GzipBytes& operator=(const GzipBytes&) = delete;

  std::size_t read(std::span<std::byte> into) override {
    constexpr std::size_t kMost = std::numeric_limits<unsigned>::max();  // zlib counts in unsigned
    std::size_t done = 0;
    // An end of stream may be followed by another member. One call more than is needed sees the end
    // and its checksum.
    while (done < into.size() && !(ended_ && left_.empty())) {
      if (ended_)
        check(inflateReset(&stream_) == Z_OK, ErrorCode::kFile, "The file {} is damaged gzip.",
              file_);
      ended_ = false;
      stream_.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(left_.data()));
      stream_.avail_in = static_cast<unsigned>(std::min(left_.size(), kMost));
      stream_.next_out = reinterpret_cast<Bytef*>(into.data() + done);
      stream_.avail_out = static_cast<unsigned>(std::min(into.size() - done, kMost));
      const std::size_t in = stream_.avail_in, out = stream_.avail_out;
      const int status = inflate(&stream_, Z_NO_FLUSH);
      const std::size_t taken = in - stream_.avail_in, given = out - stream_.avail_out;
      left_ = left_.subspan(taken);
      done += given;
      check(status == Z_OK || status == Z_STREAM_END, ErrorCode::kFile,
            "The file {} is {} gzip: {}.", file_, left_.empty() ? "truncated" : "damaged",
            stream_.msg ? stream_.msg : "it ends inside the compressed data");
      ended_ = status == Z_STREAM_END;
    }
    return done;
  }

  std::uint64_t most_left() const override {
    constexpr std::uint64_t kBestRatio = 1032;  // deflate cannot pack tighter (258 bytes in 2 bits)
    constexpr std::uint64_t kWindow = 1 << 15;  // what inflate may have read and not yet given
    return left_.size() * kBestRatio + kWindow;
  }

 private:
  std::span<const std::byte> left_;
  const std::string& file_;
  z_stream stream_{};
  bool ended_ = false;
};

/// A widened or byte-swapped array; U is the unsigned integer of an element's size.
template <class U, class T>
Tensor convert(std::span<const std::byte> big_endian, const Shape& shape) {
  Tensor value = Tensor::empty(shape, dtype_of<T>());
  T* out = value.data<T>();
  for (std::int64_t i = 0; i < value.numel(); ++i) {
    U bits = 0;
    for (std::size_t byte = 0; byte < sizeof(U); ++byte)
      bits = static_cast<U>(
          static_cast<std::uint64_t>(bits) << 8 |
          std::to_integer<U>(big_endian[static_cast<std::size_t>(i) * sizeof(U) + byte]));
    if constexpr (sizeof(U) == sizeof(T))
      out[i] = std::bit_cast<T>(bits);
    else
      out[i] = static_cast<T>(std::bit_cast<std::make_signed_t<U>>(bits));
  }
  return value;
}

std::size_t element_size(int type, const std::string& file) {
  switch (type) {
    case 0x08:
    case 0x09:
      return 1;
    case 0x0B:
      return 2;
    case 0x0C:
    case 0x0D:
      return 4;
    case 0x0E:
      return 8;
  }
  fail(ErrorCode::kFile, "The IDX file {} holds elements of the unknown type 0x{:02x}.", file,
       type);
}

Tensor typed(int type, std::span<const std::byte> elements, const Shape& shape) {
  switch (type) {
    case 0x09:
      return convert<std::uint8_t, std::int32_t>(elements, shape);
    case 0x0B:
      return convert<std::uint16_t, std::int32_t>(elements, shape);
    case 0x0C:
      return convert<std::uint32_t, std::int32_t>(elements, shape);
    case 0x0D:
      return convert<std::uint32_t, float>(elements, shape);
    default:
      return convert<std::uint64_t, double>(elements, shape);
  }
}

/// Reads exactly into.size() bytes.
void must_read(Bytes& bytes, std::span<std::byte> into, const std::string& file) {
  const std::size_t got = bytes.read(into);
  check(got == into.size(), ErrorCode::kFile,
        "The IDX file {} is cut short: {} more bytes were expected, {} came.", file, into.size(),
        got);
}

Tensor read_from(Bytes& bytes, const std::string& file) {
  std::array<std::byte, 4> magic{};
  must_read(bytes, magic, file);
  const int type = std::to_integer<int>(magic[2]);
  const int rank = std::to_integer<int>(magic[3]);
  check(magic[0] == std::byte{0} && magic[1] == std::byte{0}, ErrorCode::kFile,
        "{} is not an IDX file: it does not begin with two zero bytes.", file);
  const std::size_t size = element_size(type, file);
  check(rank >= 1 && rank <= Shape::kMaxRank, ErrorCode::kFile,
        "The IDX file {} has {} axes, 1 to {} were expected.", file, rank, Shape::kMaxRank);
  std::array<std::int64_t, Shape::kMaxRank> extents{};
  std::uint64_t total = size;
  bool overflow = false;
  for (int axis = 0; axis < rank; ++axis) {
    std::array<std::byte, 4> extent{};
    must_read(bytes, extent, file);
    for (const std::byte byte : extent)
      extents[axis] = extents[axis] << 8 | std::to_integer<std::int64_t>(byte);
    overflow |= __builtin_mul_overflow(total, static_cast<std::uint64_t>(extents[axis]), &total);
  }
  check(!overflow && total <= bytes.most_left(), ErrorCode::kFile,
        "The IDX file {} lies about its size: its {} axes claim {} bytes, at most {} can follow.",
        file, rank, overflow ? std::string("more than 2^64") : std::to_string(total),
        bytes.most_left());
  const Shape shape(std::span<const std::int64_t>(extents.data(), static_cast<std::size_t>(rank)));
  Tensor raw = Tensor::empty({static_cast<std::int64_t>(total)}, DType::kUInt8);
  const std::span<std::byte> elements(static_cast<std::byte*>(raw.raw()), total);
  must_read(bytes, elements, file);
  std::byte extra{};
  check(bytes.read({&extra, 1}) == 0, ErrorCode::kFile,
        "The IDX file {} lies about its size: bytes follow after the {} that its header claims.",
        file, total);
  return type == 0x08 ? raw.view(shape) : typed(type, elements, shape);
}

std::filesystem::path find_file(const std::filesystem::path& folder, const std::string& name) {
  std::error_code error;
  for (const char* ending : {"", ".gz"})
    if (std::filesystem::exists(folder / (name + ending), error)) return folder / (name + ending);
  fail(ErrorCode::kFile, "The folder {} has neither {} nor {}.", quote(folder.string()),
       quote(name), quote(name + ".gz"));
}

}  // namespace

Tensor parse_idx(std::span<const std::byte> bytes, const std::string& name) {
  const std::string file = quote(name);
  const bool gzip = bytes.size() >= 2 && bytes[0] == std::byte{0x1f} && bytes[1] == std::byte{0x8b};
  if (gzip) {
    GzipBytes unpacked(bytes, file);
    return read_from(unpacked, file);
  }
  PlainBytes plain(bytes);
  return read_from(plain, file);
}

Tensor read_idx(const std::filesystem::path& path) {
  return parse_idx(read_all(*open_source(path)), path.string());
}

IdxImages read_idx_images(const std::filesystem::path& folder, std::string_view split) {
  const std::string prefix(split);
  const auto image_file = find_file(folder, prefix + "-images-idx3-ubyte");
  const auto label_file = find_file(folder, prefix + "-labels-idx1-ubyte");
  IdxImages result{read_idx(image_file), read_idx(label_file)};
  const auto check_kind = [](const Tensor& value, int rank, const std::filesystem::path& file) {
    check(value.dtype() == DType::kUInt8 && value.rank() == rank, ErrorCode::kFile,
          "The IDX file {} holds {} {}, bytes with {} axes were expected.", quote(file.string()),
          name_of(value.dtype()), to_string(value.shape()), rank);
  };
  check_kind(result.images, 3, image_file);
  check_kind(result.labels, 1, label_file);
  check(result.images.size(0) == result.labels.size(0), ErrorCode::kFile,
        "The IDX files {} and {} do not fit: {} images, {} labels.", quote(image_file.string()),
        quote(label_file.string()), result.images.size(0), result.labels.size(0));
  return result;
}

}  // namespace rill
