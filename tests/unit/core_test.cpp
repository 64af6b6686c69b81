// Shapes, tensors, random numbers, and what they refuse.
#include <rill/core/core.h>
#include <rill/tests/support/catch.h>

using namespace rill;

TEST_CASE("shapes refuse what does not fit") {
  CHECK(Shape({2, 3}).numel() == 6);
  CHECK(Shape({}).numel() == 1);
  CHECK_THROWS_AS(Shape({-1}), Error);
  CHECK_THROWS_AS(Shape({std::int64_t{1} << 40, std::int64_t{1} << 40}), Error);
  CHECK(to_string(Shape({2, 3}).append(4)) == "[2, 3, 4]");
}

TEST_CASE("a tensor is a handle, clone is a copy") {
  const Tensor a = Tensor::from(std::vector<float>{1, 2, 3, 4}, {2, 2});
  const Tensor b = a;
  const Tensor c = a.clone();
  a.data<float>()[0] = 9;
  CHECK(b.data<float>()[0] == 9);
  CHECK(c.data<float>()[0] == 1);
  CHECK(a.rows(1, 1).data<float>()[0] == 3);
  CHECK_THROWS_AS(a.data<double>(), Error);
  CHECK(a.to(DType::kBFloat16).to(DType::kFloat32).data<float>()[3] == 4);
}

TEST_CASE("philox gives the published numbers") {
  // Known answers of the Random123 distribution (kat_vectors, philox4x32 10).
  CHECK(philox({0, 0, 0, 0}, {0, 0}) ==
        std::array<std::uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}) ==
        std::array<std::uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
}
