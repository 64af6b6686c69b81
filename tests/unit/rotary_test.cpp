#include <cmath>
#include <cstring>

#include <rill/core/core.h>
#include <rill/scan/block_linear.h>
#include <rill/scan/rotary.h>
#include <rill/tests/support/catch.h>
#include <rill/tests/support/gradcheck.h>

using namespace rill;

namespace {

Tensor positions(std::vector<std::int64_t> values) {
  const std::int64_t rows = static_cast<std::int64_t>(values.size());
  return Tensor::from(values, {rows, 1});
}

}  // namespace

TEST_CASE("rotary turns by position times theta, far away as well") {
  const std::int64_t heads = 2, keys = 7, length = 5;
  const Tensor theta = rotary_frequencies(keys, 10000.0, false);
  for (const std::int64_t start : {std::int64_t{0}, std::int64_t{1} << 20, std::int64_t{1} << 33})
    for (const RotaryPlanes planes : {RotaryPlanes::kHalves, RotaryPlanes::kPairs}) {
      Exec exec({.threads = 2});
      const Tensor x = test::random_tensor({1, length, heads * keys}, 3).to(DType::kFloat32);
      Tensor position = positions({start});
      const auto [q, k] =
          rotary(exec, x, x, theta, position, Sequence::batch(exec, 1, length), heads, planes);
      CHECK(position.data<std::int64_t>()[0] == start + length);
      for (std::int64_t t = 0; t < length; ++t)
        for (std::int64_t h = 0; h < heads; ++h) {
          const float* in = x.data<float>() + (t * heads + h) * keys;
          const float* out = q.data<float>() + (t * heads + h) * keys;
          CHECK(out[keys - 1] == in[keys - 1]);
          for (std::int64_t i = 0; i < keys / 2; ++i) {
            const std::int64_t a = planes == RotaryPlanes::kPairs ? 2 * i : i;
            const std::int64_t b = planes == RotaryPlanes::kPairs ? 2 * i + 1 : i + keys / 2;
            const long double angle =
                static_cast<long double>(start + t) *
                std::pow(10000.0L, -2.0L * static_cast<long double>(i) / 7.0L);
            const double c = static_cast<double>(std::cos(angle));
            const double s = static_cast<double>(std::sin(angle));
            // 2^33 * 1e-16: the rounding of theta to double, times the position.
            const double bound = 1e-6 + static_cast<double>(start) * 2e-16;
            CHECK(std::abs(out[a] - (in[a] * c - in[b] * s)) < bound);
            CHECK(std::abs(out[b] - (in[a] * s + in[b] * c)) < bound);
          }
        }
      CHECK(std::memcmp(q.raw(), k.raw(), q.bytes()) == 0);
    }
}

TEST_CASE("rotary follows cuts, resets and padding with the same bits") {
  const std::int64_t heads = 2, keys = 6, length = 150;
  const Tensor theta = rotary_frequencies(keys, 10000.0, true);
  Exec exec({.threads = 3});
  const Tensor x = test::random_tensor({1, length, heads * keys}, 5).to(DType::kFloat32);
  const auto turn = [&](const Tensor& part, Tensor& position, const Segments* segments) {
    return rotary(exec, part, part, theta, position,
                  Sequence::from(exec, segments, 1, part.size(1)), heads, RotaryPlanes::kPairs)
        .first;
  };
  Tensor position = positions({11});
  const Tensor whole = turn(x, position, nullptr);
  Tensor cut = positions({11});
  for (std::int64_t t = 0; t < length; ++t) {
    const Tensor step = x.view({length, 12}).rows(t, 1).view({1, 1, 12}).clone();
    const Tensor y = turn(step, cut, nullptr);
    REQUIRE(std::memcmp(y.raw(), whole.data<float>() + t * 12, y.bytes()) == 0);
  }
  CHECK(cut.data<std::int64_t>()[0] == position.data<std::int64_t>()[0]);
  Segments reset{.lengths = {100}};
  reset.reset = Tensor::zeros({1, length}, DType::kUInt8);
  reset.reset.data<std::uint8_t>()[70] = 1;
  Tensor behind = positions({11});
  const Tensor parts = turn(x, behind, &reset);
  CHECK(behind.data<std::int64_t>()[0] == 30);
  CHECK(std::memcmp(parts.raw(), whole.raw(), 70 * 12 * sizeof(float)) == 0);
  Tensor zero = positions({0});
  const Tensor fresh =
      turn(x.view({length, 12}).rows(70, 30).view({1, 30, 12}).clone(), zero, nullptr);
  CHECK(std::memcmp(parts.data<float>() + 70 * 12, fresh.raw(), fresh.bytes()) == 0);
  for (std::int64_t i = 100 * 12; i < length * 12; ++i) CHECK(parts.data<float>()[i] == 0.0f);
}

TEST_CASE("gradients of rotary and block_linear equal central differences") {
  const Tensor theta = rotary_frequencies(4, 100.0, false);
  const auto turn = [&](Exec& exec, std::span<const Tensor> at) {
    Tensor position = positions({3, 0});
    const auto [q, k] = rotary(exec, at[0], at[1], theta, position, Sequence::batch(exec, 2, 3), 2,
                               RotaryPlanes::kHalves);
    return std::vector<Tensor>{q, k};
  };
  CHECK(test::gradcheck(turn,
                        {test::random_tensor({2, 3, 8}, 1), test::random_tensor({2, 3, 8}, 2)}) <
        1e-8);  // linear: only the differences' rounding
  for (const std::int64_t size : {4, 3}) {
    const auto blocks = [&](Exec& exec, std::span<const Tensor> at) {
      return std::vector<Tensor>{block_linear(exec, at[0], at[1])};
    };
    CHECK(test::gradcheck(blocks, {test::random_tensor({2, 3, 5 * size}, 3),
                                   test::random_tensor({5, size, size}, 4)}) <
          1e-8);  // bilinear: as above
  }
}

TEST_CASE("block_linear is a block-diagonal product, alike in float on every target") {
  const std::string before = cpu_target();
  for (const std::string& target : available_cpu_targets()) {
    set_cpu_target(target);
    for (const auto& [groups, size] :
         {std::pair<std::int64_t, std::int64_t>{9, 4}, {16, 4}, {5, 3}}) {
      Exec exec({.threads = 2});
      const Tensor x = test::random_tensor({1, 70, groups * size}, 1);
      const Tensor w = test::random_tensor({groups, size, size}, 2);
      const Tensor y = block_linear(exec, x.to(DType::kFloat32), w.to(DType::kFloat32));
      for (std::int64_t t = 0; t < 70; ++t)
        for (std::int64_t c = 0; c < groups * size; ++c) {
          double sum = 0.0;
          for (std::int64_t i = 0; i < size; ++i)
            sum += w.data<double>()[c * size + i] *
                   x.data<double>()[t * groups * size + c / size * size + i];
          CHECK(std::abs(y.data<float>()[t * groups * size + c] - sum) < 1e-6);  // 4 products
        }
    }
  }
  set_cpu_target(before);
}
