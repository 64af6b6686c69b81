#include <rill/io/npy.h>
#include <rill/tests/support/files.h>

#include "io_values.h"

using namespace rill;
using namespace rill::test;
using Catch::Matchers::Contains;

namespace {

std::string npy(std::string dict, std::size_t elements, char version = 1) {
  dict += '\n';
  std::string file = "\x93NUMPY";
  file += version;
  file += '\0';
  file += static_cast<char>(dict.size());
  file += static_cast<char>(dict.size() >> 8);
  if (version > 1) file.append(2, '\0');
  return file + dict + std::string(elements, '\0');
}

std::string refusal(const std::string& file, ErrorCode code = ErrorCode::kFile) {
  const std::string sentence = sentence_of(code, [&] { parse_npy(bytes_of(file), "test.npy"); });
  CHECK_THAT(sentence, Contains("test.npy"));
  return sentence;
}

}  // namespace

TEST_CASE("npy: files of NumPy are read") {
  check_same(read_npy(io_golden("f4.npy")), golden_tensor({3, 4}, DType::kFloat32));
  check_same(read_npy(io_golden("f8_fortran.npy")), golden_tensor({2, 3, 4}, DType::kFloat64));
  check_same(read_npy(io_golden("f2.npy")), golden_tensor({5}, DType::kFloat16));
  check_same(read_npy(io_golden("i4.npy")), golden_tensor({2, 3}, DType::kInt32));
  check_same(read_npy(io_golden("i8.npy")), golden_tensor({6}, DType::kInt64));
  check_same(read_npy(io_golden("u1.npy")), golden_tensor({2, 2, 2}, DType::kUInt8));
  check_same(read_npy(io_golden("scalar.npy")), golden_tensor({}, DType::kFloat32));
  check_same(read_npy(io_golden("empty.npy")), golden_tensor({0, 3}, DType::kFloat32));
  check_same(read_npy(io_golden("version2.npy")), golden_tensor({3, 2}, DType::kFloat32));
  check_same(read_npy(io_golden("version3.npy")), golden_tensor({3, 2}, DType::kFloat32));
}

TEST_CASE("npy: element types that Rill does not have") {
  for (const char* name : {"big_endian.npy", "records.npy", "bool.npy"})
    CHECK_THAT(sentence_of(ErrorCode::kDType, [&] { read_npy(io_golden(name)); }), Contains(name));
}

TEST_CASE("npy: damaged files") {
  const std::string whole = read_file(io_golden("f4.npy"));
  for (std::size_t size = 0; size < whole.size(); ++size) refusal(whole.substr(0, size));
  CHECK_THAT(refusal(whole + "x"), Contains("takes 48 bytes, 49 follow"));
  CHECK_THAT(refusal("not a NumPy file at all"), Contains("NUMPY"));

  const std::string start = "{'descr': '<f4', 'fortran_order': False, ";
  CHECK(parse_npy(bytes_of(npy(start + "'shape': (2L, 3L), }", 24))).numel() == 6);
  CHECK(parse_npy(bytes_of(npy("{\"shape\":(),\"descr\":\"<f4\",\"fortran_order\":True}", 4, 2)))
            .rank() == 0);
  CHECK_THAT(refusal(npy(start + "'shape': (2,)}", 8, 4)), Contains("version 4"));
  CHECK_THAT(refusal(npy(start + "'shape': (-2,)}", 8)), Contains("shape"));
  CHECK_THAT(refusal(npy(start + "'shape': (2.5,)}", 8)), Contains("dictionary"));
  CHECK_THAT(refusal(npy(start + "'shape': (99999999999999999999,)}", 8)), Contains("shape"));
  CHECK_THAT(refusal(npy(start + "'shape': (4294967296, 4294967296)}", 8)), Contains("2^63"));
  CHECK_THAT(refusal(npy(start + "'shape': (1099511627776,)}", 8)), Contains("8 follow"));
  CHECK_THAT(refusal(npy(start + "'shape': (2,)", 8)), Contains("dictionary"));
  CHECK_THAT(refusal(npy(start + "'shape': (2,)} x", 8)), Contains("after"));
  CHECK_THAT(refusal(npy(start + "}", 8)), Contains("lacks"));
  CHECK_THAT(refusal(npy(start + "'descr': '<f4'}", 8)), Contains("twice"));
  CHECK_THAT(refusal(npy(start + "'other': 1}", 8)), Contains("unknown key"));
  CHECK_THAT(refusal(npy("{'descr': '<f4", 8)), Contains("end"));
  CHECK_THAT(refusal(npy(start + "'shape': (1,1,1,1,1,1,1,1,1)}", 4), ErrorCode::kShape),
             Contains("9 axes"));
}

TEST_CASE("npy: what is written is read") {
  TemporaryFolder folder;
  for (const Tensor& value :
       {golden_tensor({3, 4}, DType::kFloat32), golden_tensor({5}, DType::kInt64),
        golden_tensor({}, DType::kUInt8), golden_tensor({0, 2}, DType::kFloat64)}) {
    write_npy(folder / "x.npy", value);
    check_same(read_npy(folder / "x.npy"), value);
    CHECK((std::filesystem::file_size(folder / "x.npy") - value.bytes()) % 64 == 0);
  }
  CHECK_THAT(
      sentence_of(ErrorCode::kDType,
                  [&] { write_npy(folder / "b.npy", golden_tensor({2}, DType::kBFloat16)); }),
      Contains("bfloat16"));
  CHECK(folder.count() == 1);
}
