// Shapes, tensors, empty steppers, random numbers, and what they refuse.
#include <rill/core/core.h>
#include <rill/tests/support/catch.h>
#include <rill/tests/support/files.h>

#include <limits>

using namespace rill;
using namespace rill::test;

namespace {

constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kLeast = std::numeric_limits<std::int64_t>::min();

}  // namespace

TEST_CASE("shapes refuse what does not fit") {
  CHECK(Shape({2, 3}).numel() == 6);
  CHECK(Shape({}).numel() == 1);
  CHECK_THROWS_AS(Shape({-1}), Error);
  CHECK_THROWS_AS(Shape({std::int64_t{1} << 40, std::int64_t{1} << 40}), Error);
  CHECK(to_string(Shape({2, 3}).append(4)) == "[2, 3, 4]");
  CHECK_THROWS_AS(Shape({1, 2, 3, 4, 5, 6, 7, 8}).append(1), Error);
  CHECK_THROWS_AS(Shape({}).with_last(3), Error);
  CHECK_THROWS_AS(Shape({3}).with_last(-1), Error);
}

TEST_CASE("sizes that do not fit are refused before anything is allocated") {
  const std::int64_t most = Shape::kMaxElements;
  CHECK(Shape({most}).numel() == most);
  // The bytes of 2^61 doubles are 0 modulo 2^64.
  for (const std::int64_t extent : {most + 1, std::int64_t{1} << 61, kMost})
    for (const DType dtype : {DType::kUInt8, DType::kFloat64})
      sentence_of(ErrorCode::kShape, [&] { Tensor::empty({extent}, dtype); });
  sentence_of(ErrorCode::kShape, [&] { Shape({2}).append(most); });
  sentence_of(ErrorCode::kShape, [&] { Shape({2}).prepend(most); });
  sentence_of(ErrorCode::kShape, [&] { Shape({2, 1}).with_last(most); });
  sentence_of(ErrorCode::kShape, [&] { Shape({0, most, 2}); });
  sentence_of(ErrorCode::kSystem, [&] { Tensor::empty({most}, DType::kFloat64); });
  CHECK(MemoryPool::process_pool()->bytes_in_use() < std::size_t(most));
  // Two arrays without an element, whose product would have 2^80.
  Exec exec({.threads = 1});
  const Tensor tall = Tensor::empty({std::int64_t{1} << 40, 0}, DType::kFloat32);
  sentence_of(ErrorCode::kShape, [&] { linear(exec, tall, tall); });
}

TEST_CASE("rows out of range are refused, however large the numbers") {
  const Tensor x = Tensor::zeros({4, 2}, DType::kFloat32);
  CHECK(x.rows(4, 0).numel() == 0);
  for (const auto& [first, count] : {std::pair{std::int64_t{3}, std::int64_t{2}},
                                     {-1, 1},
                                     {1, -1},
                                     {1, kMost},
                                     {kMost, 1},
                                     {kMost, kMost},
                                     {kLeast, 1},
                                     {1, kLeast}}) {
    INFO(first << " " << count);
    sentence_of(ErrorCode::kShape, [&, f = first, c = count] { x.rows(f, c); });
  }
  Exec exec({.threads = 1});
  for (const auto& rows : {RowRange{3, 2}, RowRange{kMost, 1}, RowRange{1, kMost},
                           RowRange{kMost, kMost}, RowRange{kLeast}, RowRange{5}, RowRange{kMost}})
    sentence_of(ErrorCode::kShape, [&] { linear(exec, x, x, {}, rows); });
}

TEST_CASE("what holds nothing says so") {
  const Tensor nothing, x = Tensor::zeros({4}, DType::kFloat32);
  CHECK(nothing.shape() == Shape());
  CHECK(nothing.rank() == 0);
  CHECK(nothing.numel() == 0);
  CHECK(nothing.bytes() == 0);
  CHECK(nothing.dtype() == DType::kFloat32);
  CHECK(nothing.device() == Device{});
  CHECK(nothing.storage() == nullptr);
  CHECK(nothing.raw() == nullptr);
  CHECK_FALSE(nothing.requires_grad());
  CHECK_FALSE(nothing.shared());
  CHECK_FALSE(nothing.clone().defined());
  sentence_of(ErrorCode::kShape, [&] { nothing.view({}); });
  sentence_of(ErrorCode::kShape, [&] { nothing.rows(0, 0); });
  sentence_of(ErrorCode::kShape, [&] { nothing.to(DType::kFloat32); });
  sentence_of(ErrorCode::kShape, [&] { nothing.to(DType::kFloat64); });
  sentence_of(ErrorCode::kShape, [&] { nothing.to(Device{}); });
  sentence_of(ErrorCode::kShape, [&] { nothing.copy_from(x); });
  sentence_of(ErrorCode::kShape, [&] { x.copy_from(nothing); });
  sentence_of(ErrorCode::kShape, [&] { nothing.copy_from(nothing); });
  sentence_of(ErrorCode::kShape, [&] { nothing.data<float>(); });
  sentence_of(ErrorCode::kShape, [&] { nothing.set_requires_grad(true); });
}

TEST_CASE("an empty stepper has no shapes and no step") {
  Exec exec({.threads = 1});
  Stepper full = Stepper::record(
      exec, {2, 1, 3}, DType::kFloat32, StateSpec{"test", {}}, {},
      [](Exec& e, const Tensor& x, std::span<Tensor>) { return affine(e, x, 2.0); });
  Stepper moved = std::move(full);
  CHECK(moved.input_shape() == Shape({2, 3}));
  State state = State::fresh(StateSpec{"test", {}}, 2);
  const Tensor x = Tensor::full({2, 3}, DType::kFloat32, 1.0), y = x.clone();
  CHECK(moved.step(x, state, y) == StepStatus::kOk);
  CHECK(y.data<float>()[5] == 2.0f);
  Stepper none;
  for (Stepper* empty : {&full, &none}) {
    CHECK(empty->batch() == 0);
    CHECK(empty->input_shape() == Shape());
    CHECK(empty->output_shape() == Shape());
    CHECK(empty->state_spec().fields.empty());
    CHECK(empty->bytes() == 0);
    CHECK(empty->step(x, state, y) == StepStatus::kEmpty);
  }
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
