#include <zlib.h>

#include <rill/io/idx.h>
#include <rill/tests/support/files.h>

#include "io_values.h"

using namespace rill;
using namespace rill::test;
using Catch::Matchers::Contains;

namespace {

std::string idx(char type, const std::vector<std::uint32_t>& extents, std::size_t elements) {
  std::string file{'\0', '\0', type, static_cast<char>(extents.size())};
  for (const std::uint32_t extent : extents)
    for (int shift = 24; shift >= 0; shift -= 8) file += static_cast<char>(extent >> shift);
  return file + std::string(elements, '\5');
}

std::string gzip(const std::string& text) {
  std::string packed(compressBound(text.size()) + 64, '\0');
  z_stream stream{};
  REQUIRE(deflateInit2(&stream, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<unsigned>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<unsigned>(packed.size());
  REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

std::string refusal(const std::string& file) {
  const std::string sentence =
      sentence_of(ErrorCode::kFile, [&] { parse_idx(bytes_of(file), "test.idx"); });
  CHECK_THAT(sentence, Contains("test.idx"));
  return sentence;
}

Tensor shifted(DType dtype) {
  const Tensor value = golden_tensor({2, 3}, DType::kInt32);
  const Tensor result = Tensor::empty({2, 3}, dtype);
  for (std::int64_t i = 0; i < 6; ++i) {
    const std::int32_t element = value.data<std::int32_t>()[i] - 5;
    if (dtype == DType::kInt32) result.data<std::int32_t>()[i] = element;
    if (dtype == DType::kFloat32) result.data<float>()[i] = static_cast<float>(element);
    if (dtype == DType::kFloat64) result.data<double>()[i] = element;
  }
  return result;
}

}  // namespace

TEST_CASE("idx: every element type, plain and gzipped") {
  check_same(read_idx(io_golden("train-images-idx3-ubyte.gz")),
             golden_tensor({3, 4, 5}, DType::kUInt8));
  check_same(read_idx(io_golden("train-labels-idx1-ubyte")), golden_tensor({3}, DType::kUInt8));
  check_same(read_idx(io_golden("i2.idx")), shifted(DType::kInt32));
  check_same(read_idx(io_golden("i4.idx")), shifted(DType::kInt32));
  check_same(read_idx(io_golden("f4.idx")), shifted(DType::kFloat32));
  check_same(read_idx(io_golden("f8.idx")), shifted(DType::kFloat64));
  CHECK(parse_idx(bytes_of(idx(9, {2}, 2))).data<std::int32_t>()[1] == 5);
  CHECK(parse_idx(bytes_of(idx(8, {0, 4}, 0))).numel() == 0);
  const std::string plain = idx(8, {300, 7}, 2100);
  CHECK(parse_idx(bytes_of(gzip(plain))).numel() == 2100);
  const std::string members = gzip(plain.substr(0, 100)) + gzip(plain.substr(100));
  CHECK(parse_idx(bytes_of(members)).numel() == 2100);
}

TEST_CASE("idx: images and labels of a folder") {
  const IdxImages data = read_idx_images(io_golden(""), "train");
  CHECK(data.images.size(0) == 3);
  CHECK(data.labels.numel() == 3);
  CHECK_THAT(sentence_of(ErrorCode::kFile, [] { read_idx_images(io_golden(""), "t10k"); }),
             Contains("t10k-images-idx3-ubyte.gz"));
  TemporaryFolder folder;
  write_file(folder / "train-images-idx3-ubyte", idx(8, {2, 2, 2}, 8));
  write_file(folder / "train-labels-idx1-ubyte", idx(8, {3}, 3));
  CHECK_THAT(sentence_of(ErrorCode::kFile, [&] { read_idx_images(folder.path(), "train"); }),
             Contains("2 images, 3 labels"));
  write_file(folder / "train-labels-idx1-ubyte", idx(8, {2, 1}, 2));
  CHECK_THAT(sentence_of(ErrorCode::kFile, [&] { read_idx_images(folder.path(), "train"); }),
             Contains("bytes with 1 axes"));
}

TEST_CASE("idx: files that lie about their size, or are damaged") {
  const std::string good = idx(8, {3, 4}, 12);
  for (std::size_t size = 0; size < good.size(); ++size) refusal(good.substr(0, size));
  CHECK_THAT(refusal(good + "x"), Contains("bytes follow"));
  CHECK_THAT(refusal(idx(8, {4000000000u, 4000000000u}, 12)), Contains("lies about its size"));
  CHECK_THAT(refusal(idx(0xE, {4000000000u, 4000000000u, 4000000000u}, 12)), Contains("2^64"));
  CHECK_THAT(refusal(idx(0xA, {1}, 1)), Contains("0x0a"));
  CHECK_THAT(refusal(idx(8, {}, 1)), Contains("axes"));
  CHECK_THAT(refusal(idx(8, std::vector<std::uint32_t>(9, 1), 1)), Contains("9 axes"));
  CHECK_THAT(refusal("\1\0\0\0 text"), Contains("test.idx"));

  const std::string packed = gzip(good);
  for (std::size_t size = 2; size < packed.size(); ++size) refusal(packed.substr(0, size));
  refusal(packed + "x");
  std::string damaged = packed;
  damaged[damaged.size() - 6] ^= 1;  // the checksum
  refusal(damaged);
  CHECK_THAT(refusal(gzip(good + "x")), Contains("bytes follow"));
  CHECK_THAT(refusal(gzip(good.substr(0, 15))), Contains("cut short"));
  CHECK_THAT(refusal(gzip(idx(8, {4000000000u}, 12))), Contains("lies about its size"));
}

TEST_CASE("idx: the Fashion-MNIST package") {
  const std::filesystem::path folder = "/usr/share/datasets/fashion-mnist";
  if (!std::filesystem::exists(folder / "t10k-images-idx3-ubyte.gz")) {
    WARN("dataset-fashion-mnist is not installed: nothing was read");
    return;
  }
  const IdxImages data = read_idx_images(folder, "t10k");
  CHECK(to_string(data.images.shape()) == "[10000, 28, 28]");
  for (const std::uint8_t label : data.labels.span<std::uint8_t>()) REQUIRE(label < 10);
}
