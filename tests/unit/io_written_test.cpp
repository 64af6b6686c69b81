// Files for tests/golden/io/check_written.py, which reads them with the packages that own the
// formats.
#include <rill/io/npy.h>
#include <rill/io/safetensors.h>
#include <rill/tests/support/files.h>

#include <cstdlib>

#include "io_values.h"

using namespace rill;
using namespace rill::test;

TEST_CASE("files that Python reads", "[written]") {
  const TemporaryFolder folder;
  const char* const wanted = std::getenv("RILL_WRITTEN_DIR");
  const std::filesystem::path out = wanted ? wanted : folder.path();

  SafetensorsWriter writer;
  writer.text("format", "pt");
  writer.text("note", "a \"note\"\n");
  writer.tensor("f32", golden_tensor({2, 3}, DType::kFloat32));
  writer.tensor("f64", golden_tensor({3}, DType::kFloat64));
  writer.tensor("bf16", golden_tensor({5, 1, 3}, DType::kBFloat16));
  writer.tensor("f16", golden_tensor({7}, DType::kFloat16));
  writer.tensor("i32", golden_tensor({4}, DType::kInt32));
  writer.tensor("i64", golden_tensor({2, 2}, DType::kInt64));
  writer.tensor("u8", golden_tensor({3, 3}, DType::kUInt8));
  writer.tensor("scalar", golden_tensor({}, DType::kFloat32));
  writer.tensor("empty", golden_tensor({0, 4}, DType::kFloat32));
  writer.tensor("name with \u00e9, \"quotes\" and \\", golden_tensor({2}, DType::kFloat32));
  writer.write(out / "mixed.safetensors");
  CHECK(SafetensorsReader::open(out / "mixed.safetensors").infos().size() == 10);
  SafetensorsWriter().write(out / "none.safetensors");
  CHECK(SafetensorsReader::open(out / "none.safetensors").infos().empty());

  write_npy(out / "f4.npy", golden_tensor({3, 4}, DType::kFloat32));
  write_npy(out / "f8.npy", golden_tensor({2, 3, 4}, DType::kFloat64));
  write_npy(out / "f2.npy", golden_tensor({5}, DType::kFloat16));
  write_npy(out / "i4.npy", golden_tensor({2, 3}, DType::kInt32));
  write_npy(out / "i8.npy", golden_tensor({6}, DType::kInt64));
  write_npy(out / "u1.npy", golden_tensor({2, 2, 2}, DType::kUInt8));
  write_npy(out / "scalar.npy", golden_tensor({}, DType::kFloat32));
  write_npy(out / "empty.npy", golden_tensor({0, 3}, DType::kFloat32));
}
