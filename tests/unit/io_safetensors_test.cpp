#include <cstring>

#include <rill/io/safetensors.h>
#include <rill/tests/support/files.h>

#include "io_values.h"

using namespace rill;
using namespace rill::test;
using Catch::Matchers::Contains;

namespace {

std::string file_of(const std::string& header, std::size_t buffer) {
  std::string file(8, '\0');
  const std::uint64_t length = header.size();
  std::memcpy(file.data(), &length, 8);
  return file + header + std::string(buffer, '\1');
}

SafetensorsReader view(const std::string& file, SafetensorsOptions options = {}) {
  return SafetensorsReader::view(bytes_of(file), "test.safetensors", options);
}

std::string refusal(const std::string& header, std::size_t buffer) {
  const std::string file = file_of(header, buffer);
  const std::string sentence = sentence_of(ErrorCode::kFile, [&] { view(file); });
  CHECK_THAT(sentence, Contains("test.safetensors"));
  return sentence;
}

const std::string kTwo = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                         R"("b":{"dtype":"U8","shape":[3],"data_offsets":[8,11]}})";

}  // namespace

TEST_CASE("safetensors: files of the Python package are read") {
  const auto reader = SafetensorsReader::open(io_golden("mixed.safetensors"));
  CHECK(reader.infos().size() == 10);
  check_same(reader.tensor("f32"), golden_tensor({2, 3}, DType::kFloat32));
  check_same(reader.tensor("f64"), golden_tensor({3}, DType::kFloat64));
  check_same(reader.tensor("bf16"), golden_tensor({5, 1, 3}, DType::kBFloat16));
  check_same(reader.tensor("f16"), golden_tensor({7}, DType::kFloat16));
  check_same(reader.tensor("i32"), golden_tensor({4}, DType::kInt32));
  check_same(reader.tensor("i64"), golden_tensor({2, 2}, DType::kInt64));
  check_same(reader.tensor("u8"), golden_tensor({3, 3}, DType::kUInt8));
  check_same(reader.tensor("scalar"), golden_tensor({}, DType::kFloat32));
  check_same(reader.tensor("empty"), golden_tensor({0, 4}, DType::kFloat32));
  check_same(reader.tensor("name with \u00e9, \"quotes\" and \\"),
             golden_tensor({2}, DType::kFloat32));
  CHECK(reader.text("format") == "pt");
  CHECK(reader.has_text("note"));
  CHECK_FALSE(reader.has_text("other"));
  CHECK_THAT(sentence_of(ErrorCode::kFile, [&] { reader.text("other"); }), Contains("other"));
  CHECK_FALSE(reader.has_tensor("f3"));
  CHECK_THAT(sentence_of(ErrorCode::kFile, [&] { reader.tensor("f3"); }), Contains("'f3'"));
}

TEST_CASE("safetensors: types that Rill does not have are listed, not read") {
  const auto reader = SafetensorsReader::open(io_golden("other_types.safetensors"));
  CHECK(reader.info("i16").dtype == "I16");
  CHECK(reader.info("f8").dtype == "F8_E4M3");
  CHECK(reader.info("rank9").shape.size() == 9);
  CHECK_THAT(sentence_of(ErrorCode::kDType, [&] { reader.tensor("bool"); }), Contains("BOOL"));
  CHECK_THAT(sentence_of(ErrorCode::kShape, [&] { reader.tensor("rank9"); }), Contains("9 axes"));
  check_same(reader.tensor("fine"), golden_tensor({2}, DType::kFloat32));
}

TEST_CASE("safetensors: unaligned offsets, spaces, unknown keys and null metadata are legal") {
  const std::string header =
      R"( {"__metadata__":null,"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],)"
      R"("more":{"x":[1,-2.5,{"y":null}]}},)"
      R"("b":{"data_offsets":[1,9],"shape":[2],"dtype":"F32"}}   )";
  std::string file = file_of(header, 1);
  const float values[2] = {1.5f, -2};
  file.append(reinterpret_cast<const char*>(values), 8);
  check_same(view(file).tensor("b"), Tensor::from(std::vector<float>{1.5f, -2}, {2}));
}

TEST_CASE("safetensors: a file that is cut anywhere is refused") {
  const std::string whole = read_file(io_golden("mixed.safetensors"));
  for (std::size_t size = 0; size < whole.size(); ++size)
    CHECK_THROWS_AS(view(whole.substr(0, size)), Error);
}

TEST_CASE("safetensors: bytes after the last tensor are refused unless lenient") {
  const std::string file = file_of(kTwo, 12);
  CHECK_THAT(sentence_of(ErrorCode::kFile, [&] { view(file); }), Contains("1 bytes after"));
  CHECK(view(file, {.lenient = true}).tensor("b").numel() == 3);
  CHECK(view(file_of(kTwo, 11)).tensor("b").numel() == 3);
}

TEST_CASE("safetensors: headers that lie") {
  const auto one = [](const std::string& dtype, const std::string& shape,
                      const std::string& offsets) {
    return R"({"a":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" +
           offsets + "}}";
  };
  CHECK_THAT(refusal(one("F32", "[2]", "[0,4]"), 4), Contains("takes 8 bytes"));
  CHECK_THAT(refusal(one("F32", "[2]", "[0,8]"), 4), Contains("cut short"));
  CHECK_THAT(refusal(one("F32", "[2]", "[8,0]"), 8), Contains("backwards"));
  CHECK_THAT(refusal(one("F33", "[2]", "[0,8]"), 8), Contains("unknown dtype"));
  CHECK_THAT(refusal(one("F4", "[3]", "[0,1]"), 1), Contains("whole bytes"));
  CHECK_THAT(refusal(one("F32", "[-2]", "[0,8]"), 8), Contains("negative"));
  CHECK_THAT(refusal(one("F32", "[2.0]", "[0,8]"), 8), Contains("2.0"));
  CHECK_THAT(refusal(one("F32", "[2]", "[0,8.0]"), 8), Contains("data_offsets"));
  CHECK_THAT(refusal(one("F32", "[2]", "[0]"), 8), Contains("2 data_offsets"));
  CHECK_THAT(refusal(one("F32", "[2]", "[0,8,8]"), 8), Contains("more than 2"));
  CHECK_THAT(refusal(one("F32", "2", "[0,8]"), 8), Contains("'shape'"));
  CHECK_THAT(refusal(one("F32", "[[2]]", "[0,8]"), 8), Contains("array"));
  CHECK_THAT(refusal(one("U8", "[4294967296,4294967296]", "[0,0]"), 0), Contains("2^64"));
  CHECK_THAT(refusal(one("F32", "[4611686018427387904]", "[0,0]"), 0), Contains("2^64"));
  CHECK_THAT(refusal(one("F32", "[18446744073709551615]", "[0,8]"), 8), Contains("axis"));
  CHECK_THAT(refusal(one("F32", "[99999999999999999999]", "[0,8]"), 8),
             Contains("99999999999999999999"));
  CHECK_THAT(refusal(R"({"a":{"shape":[2],"data_offsets":[0,8]}})", 8), Contains("'dtype'"));
  CHECK_THAT(refusal(R"({"a":{"dtype":"F32","data_offsets":[0,8]}})", 8), Contains("'shape'"));
  CHECK_THAT(refusal(R"({"a":{"dtype":"F32","shape":[2]}})", 8), Contains("data_offsets"));
  CHECK_THAT(refusal(R"({"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8),
             Contains("twice"));
  CHECK_THAT(refusal(R"({"a":7})", 0), Contains("object was expected"));
  CHECK_THAT(refusal(R"({"a":null})", 0), Contains("object was expected"));
  CHECK_THAT(refusal(R"({"__metadata__":{"a":1}})", 0), Contains("text was expected"));
  CHECK_THAT(refusal(R"({"__metadata__":{"a":"1","a":"2"}})", 0), Contains("twice"));
  CHECK_THAT(refusal(R"({"__metadata__":{},"__metadata__":{}})", 0), Contains("twice"));
}

TEST_CASE("safetensors: holes, overlaps and repeated names") {
  const auto two = [](const std::string& first, const std::string& a, const std::string& second,
                      const std::string& b) {
    return R"({")" + first + R"(":{"dtype":"U8","shape":[4],"data_offsets":)" + a + R"(},")" +
           second + R"(":{"dtype":"U8","shape":[4],"data_offsets":)" + b + "}}";
  };
  CHECK(view(file_of(two("a", "[4,8]", "b", "[0,4]"), 8)).infos().size() == 2);
  CHECK_THAT(refusal(two("a", "[0,4]", "b", "[5,9]"), 9), Contains("hole"));
  CHECK_THAT(refusal(two("a", "[1,5]", "b", "[5,9]"), 9), Contains("hole"));
  CHECK_THAT(refusal(two("a", "[0,4]", "b", "[2,6]"), 6), Contains("inside"));
  CHECK_THAT(refusal(two("a", "[0,4]", "b", "[0,4]"), 4), Contains("inside"));
  CHECK_THAT(refusal(two("a", "[0,4]", "a", "[4,8]"), 8), Contains("twice"));
}

TEST_CASE("safetensors: headers that are no JSON, too long, or too deep") {
  CHECK_THAT(refusal("{", 0), Contains("JSON"));
  CHECK_THAT(refusal("", 0), Contains("JSON"));
  CHECK_THAT(refusal("[]", 0), Contains("object"));
  CHECK_THAT(refusal("3", 0), Contains("object"));
  CHECK_THAT(refusal("{} x", 0), Contains("JSON"));
  CHECK_THAT(refusal(std::string("{}\0 ", 4), 0), Contains("zero byte"));
  CHECK_THAT(refusal("\xEF\xBB\xBF{}", 0), Contains("byte order mark"));
  CHECK_THAT(refusal("{\"\xff\":{}}", 0), Contains("JSON"));
  CHECK_THAT(refusal("{\"a\":{\"x\":" + std::string(100000, '[') + "}}", 0), Contains("deeper"));
  std::string long_header = file_of("{}", 0);
  const std::uint64_t length = 100'000'001;
  std::memcpy(long_header.data(), &length, 8);
  CHECK_THAT(sentence_of(ErrorCode::kFile, [&] { view(long_header); }), Contains("100000000"));
  const std::uint64_t huge = ~std::uint64_t{0};
  std::memcpy(long_header.data(), &huge, 8);
  CHECK_THROWS_AS(view(long_header), Error);
  CHECK(view(file_of("{}", 0)).infos().empty());
}

TEST_CASE("safetensors: a missing file, a folder without weights") {
  TemporaryFolder folder;
  CHECK_THAT(
      sentence_of(ErrorCode::kFile, [&] { SafetensorsReader::open(folder / "none.safetensors"); }),
      Contains("none.safetensors"));
  CHECK_THAT(sentence_of(ErrorCode::kFile, [&] { SafetensorsReader::open(folder.path()); }),
             Contains("model.safetensors.index.json"));
}

TEST_CASE("safetensors: shards") {
  const auto reader = SafetensorsReader::open(io_golden("sharded"));
  CHECK(reader.infos().size() == 3);
  check_same(reader.tensor("a"), golden_tensor({2, 2}, DType::kFloat32));
  check_same(reader.tensor("b"), golden_tensor({4}, DType::kFloat32));
  check_same(reader.tensor("c"), golden_tensor({3}, DType::kFloat32));
  CHECK(reader.text("format") == "pt");
}

TEST_CASE("safetensors: indices that lie") {
  TemporaryFolder folder;
  std::filesystem::copy(io_golden("sharded"), folder.path(),
                        std::filesystem::copy_options::recursive);
  const std::string first = "model-00001-of-00002.safetensors",
                    second = "model-00002-of-00002.safetensors";
  const auto index = [&](const std::string& map) {
    write_file(folder / "model.safetensors.index.json",
               R"({"metadata":{"total_size":1e99},"weight_map":{)" + map + "}}");
    return sentence_of(ErrorCode::kFile, [&] { SafetensorsReader::open(folder.path()); });
  };
  const auto entry = [](const std::string& tensor, const std::string& file) {
    return "\"" + tensor + "\":\"" + file + "\"";
  };
  const std::string a = entry("a", first), b = entry("b", second), c = entry("c", first);
  CHECK_THAT(index(a + "," + b), Contains("does not list"));
  CHECK_THAT(index(a + "," + b + "," + c + "," + entry("d", second)), Contains("'d'"));
  CHECK_THAT(index(entry("A", first) + "," + a + "," + b + "," + c), Contains("'A'"));
  CHECK_THAT(index(a + "," + entry("b", first) + "," + c + "," + entry("bb", second)),
             Contains("'b'"));
  CHECK_THAT(index(a + "," + b + "," + entry("c", "other.safetensors")),
             Contains("other.safetensors"));
  CHECK_THAT(index(a + "," + a), Contains("twice"));
  CHECK_THAT(index(""), Contains("no tensors"));
  std::filesystem::copy_file(folder / first, folder / "copy.safetensors");
  CHECK_THAT(index(a + "," + b + "," + c + "," + entry("d", "copy.safetensors")),
             Contains("two shards"));

  const auto refuse = [&](const std::string& json) {
    return sentence_of(ErrorCode::kFile, [&] { parse_safetensors_index(json, "index"); });
  };
  for (const char* name : {"../a", "/a", "a/b", "..", "", ".", "a\\\\b", "a\\u0000"})
    CHECK_THAT(refuse("{\"weight_map\":{\"a\":\"" + std::string(name) + "\"}}"),
               Contains("same folder"));
  CHECK_THAT(refuse(R"({"weight_map":{"a":1}})"), Contains("number"));
  CHECK_THAT(refuse(R"({"weight_map":[]})"), Contains("weight_map"));
  CHECK_THAT(refuse("[]"), Contains("weight_map"));
  CHECK_THAT(refuse("{"), Contains("JSON"));
  CHECK_THAT(refuse(R"({"metadata":1e999})"), Contains("JSON"));
  CHECK_THAT(refuse(R"({"x":)" + std::string(100000, '[')), Contains("deeper"));
}

TEST_CASE("safetensors: what is written is read, and is the same in any order") {
  const Tensor a = golden_tensor({3}, DType::kUInt8), b = golden_tensor({2, 2}, DType::kFloat32);
  SafetensorsWriter one, two;
  one.tensor("a", a);
  one.tensor("b", b);
  one.text("key", "value \"quoted\"\n");
  two.text("key", "value \"quoted\"\n");
  two.tensor("b", b);
  two.tensor("a", a);
  const std::string file = one.serialize();
  CHECK(file == two.serialize());
  std::uint64_t length = 0;
  std::memcpy(&length, file.data(), 8);
  CHECK(length % 8 == 0);
  const auto reader = view(file);
  check_same(reader.tensor("a"), a);
  check_same(reader.tensor("b"), b);
  CHECK(reader.text("key") == "value \"quoted\"\n");
  TemporaryFolder folder;
  one.write(folder / "x.safetensors");
  CHECK(read_file(folder / "x.safetensors") == file);
  CHECK(folder.count() == 1);
}

TEST_CASE("safetensors: what cannot be written is refused when it comes") {
  SafetensorsWriter writer;
  const Tensor a = golden_tensor({3}, DType::kUInt8);
  writer.tensor("a", a);
  CHECK_THAT(sentence_of(ErrorCode::kValue, [&] { writer.tensor("a", a); }), Contains("twice"));
  CHECK_THAT(sentence_of(ErrorCode::kValue, [&] { writer.tensor("__metadata__", a); }),
             Contains("reserved"));
  CHECK_THAT(sentence_of(ErrorCode::kValue, [&] { writer.tensor("\xff", a); }), Contains("UTF-8"));
  CHECK_THAT(sentence_of(ErrorCode::kValue, [&] { writer.tensor("b", {}); }),
             Contains("undefined"));
  CHECK_THAT(sentence_of(ErrorCode::kValue, [&] { writer.text("k", "\xff"); }), Contains("UTF-8"));
  CHECK(view(writer.serialize()).infos().size() == 1);
}
