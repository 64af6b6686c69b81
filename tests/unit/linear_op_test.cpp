// The ops linear and embedding: gradients, row ranges, 16-bit weights, changed weights, refusals,
// recorded steps.
#include <rill/core/core.h>
#include <rill/core/recorder.h>
#include <rill/core/weight_cache.h>
#include <rill/tests/support/catch.h>
#include <rill/tests/support/files.h>
#include <rill/tests/support/gradcheck.h>

#include <cstring>

using namespace rill;
using test::gradcheck;
using test::random_tensor;
using test::sentence_of;

namespace {

// Central differences with h = 1e-5 of bilinear functions: only rounding, eps / h.
constexpr double kGradientBound = 1e-8;

bool same(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

}  // namespace

TEST_CASE("linear: gradients") {
  const std::vector<Tensor> inputs = {random_tensor({2, 5, 7}, 1), random_tensor({9, 7}, 2),
                                      random_tensor({9}, 3)};
  CHECK(gradcheck(
            [](Exec& e, std::span<const Tensor> in) {
              return std::vector{linear(e, in[0], in[1], in[2])};
            },
            inputs) < kGradientBound);
  CHECK(gradcheck(
            [](Exec& e, std::span<const Tensor> in) {
              // Two parts of one weight, one of them twice.
              return std::vector{linear(e, in[0], in[1], in[2], {2, 4}),
                                 linear(e, in[0], in[1], in[2], {4, 5}), linear(e, in[0], in[1])};
            },
            inputs) < kGradientBound);
}

TEST_CASE("linear: float gradients are near the double ones and do not depend on threads") {
  const std::vector<Tensor> inputs = {random_tensor({3, 700, 33}, 4), random_tensor({50, 33}, 5),
                                      random_tensor({50}, 6)};
  const auto function = [](Exec& e, std::span<const Tensor> in) {
    return std::vector{linear(e, in[0], in[1], in[2], {3, 40})};
  };
  const auto gradients = [&](DType dtype, int threads) {
    Exec exec({.dtype = dtype, .threads = threads});
    std::vector<Tensor> cast;
    for (const Tensor& input : inputs) cast.push_back(input.to(dtype));
    return test::tape_gradients(exec, function, cast);
  };
  const auto exact = gradients(DType::kFloat64, 1);
  const std::string before = cpu_target();
  for (const std::string& target : available_cpu_targets()) {
    set_cpu_target(target);
    INFO(target);
    const auto one = gradients(DType::kFloat32, 1), three = gradients(DType::kFloat32, 3);
    // 2100 roundings of random sign in the sum over tokens: about sqrt(2100) / 2 half-ulps.
    CHECK(test::relative_error(one, exact) < 64 * 0x1p-24);
    for (std::size_t i = 0; i < one.size(); ++i) CHECK(same(one[i], three[i]));
  }
  set_cpu_target(before);
}

TEST_CASE("linear: 16-bit weights, and none of x") {
  Exec exec({.threads = 2});
  const Tensor x = random_tensor({40, 20}, 7).to(DType::kFloat32), w = random_tensor({30, 20}, 8);
  for (const DType dtype : {DType::kBFloat16, DType::kFloat16}) {
    const Tensor narrow = w.to(DType::kFloat32).to(dtype);
    CHECK(same(linear(exec, x, narrow), linear(exec, x, narrow.to(DType::kFloat32))));
    Tape tape;
    tape.watch(x);
    tape.watch(narrow);
    const TapeScope scope(exec, &tape);
    const Tensor y = linear(exec, x, narrow);
    backward(exec, tape, {{y, y}});
    CHECK(tape.gradient(narrow).dtype() == DType::kFloat32);
    CHECK(tape.gradient(x).shape() == x.shape());
  }
  CHECK(linear(exec, Tensor::zeros({2, 0, 20}, DType::kFloat32), w.to(DType::kFloat32)).shape() ==
        Shape({2, 0, 30}));
  const Tensor bias = random_tensor({30}, 9).to(DType::kFloat32);
  const Tensor y = linear(exec, Tensor::zeros({1, 0}, DType::kFloat32),
                          Tensor::zeros({30, 0}, DType::kFloat32), bias);
  CHECK(std::memcmp(y.raw(), bias.raw(), bias.bytes()) == 0);
}

TEST_CASE("linear and embedding: 16-bit weights in double are their values") {
  Exec exec({.dtype = DType::kFloat64, .threads = 1});
  const Tensor x = random_tensor({4, 20}, 7), w = random_tensor({30, 20}, 8);
  const Tensor tokens = Tensor::from(std::vector<std::int32_t>{29, 0, 7}, {3});
  for (const DType dtype : {DType::kBFloat16, DType::kFloat16}) {
    const Tensor narrow = w.to(dtype), wide = narrow.to(DType::kFloat64);
    CHECK_FALSE(same(wide, w));
    CHECK(same(linear(exec, x, narrow), linear(exec, x, wide)));
    CHECK(same(embedding(exec, tokens, narrow), embedding(exec, tokens, wide)));
    Tape tape;
    tape.watch(narrow);
    const TapeScope scope(exec, &tape);
    const Tensor y = linear(exec, x, narrow);
    backward(exec, tape, {{y, y}});
    CHECK(tape.gradient(narrow).dtype() == DType::kFloat64);
  }
  sentence_of(ErrorCode::kDType, [&] { linear(exec, x, w.to(DType::kFloat32)); });
}

TEST_CASE("linear: a changed weight is packed again, a held copy stays") {
  Exec exec({.threads = 1});
  const Tensor x = random_tensor({2, 6}, 10).to(DType::kFloat32),
               w = random_tensor({5, 6}, 11).to(DType::kFloat32);
  const Tensor first = linear(exec, x, w);
  const Tensor held = exec.weights().packed(exec, w, 0, 5, false);
  CHECK(exec.weights().packed(exec, w, 0, 5, false).raw() == held.raw());
  w.copy_from(random_tensor({5, 6}, 12).to(DType::kFloat32));
  const Tensor second = linear(exec, x, w);
  CHECK_FALSE(same(first, second));
  CHECK(exec.weights().packed(exec, w, 0, 5, false).raw() != held.raw());
  CHECK(same(second, linear(exec, x, w.clone())));
}

TEST_CASE("linear and embedding: a recorded step replays with the weights it was made from") {
  Exec exec({.threads = 1});
  const Tensor w = random_tensor({5, 6}, 13).to(DType::kFloat32),
               table = random_tensor({9, 6}, 14).to(DType::kFloat32);
  const Tensor tokens = Tensor::from(std::vector<std::int64_t>{3, 8}, {2});
  const Tensor expected = linear(exec, embedding(exec, tokens, table), w);
  Stepper stepper = Stepper::record(exec, {2, 1}, DType::kInt64, StateSpec{"test", {}}, {},
                                    [&](Exec& e, const Tensor& x, std::span<Tensor>) {
                                      return linear(e, embedding(e, x, table), w);
                                    });
  Tensor again = random_tensor({5, 6}, 15).to(DType::kFloat32);
  w.copy_from(again);
  linear(exec, random_tensor({1, 6}, 16).to(DType::kFloat32), w);
  State state = State::fresh(StateSpec{"test", {}}, 2);
  Tensor y = Tensor::zeros({2, 5}, DType::kFloat32);
  REQUIRE(stepper.step(tokens, state, y) == StepStatus::kOk);
  CHECK(std::memcmp(y.raw(), expected.raw(), y.bytes()) == 0);
  // Out of range, where only the caller could check: any row, but no other memory.
  REQUIRE(stepper.step(Tensor::from(std::vector<std::int64_t>{-5, 1000000}, {2}), state, y) ==
          StepStatus::kOk);
}

TEST_CASE("linear refuses what does not fit") {
  Exec exec({.threads = 1});
  const auto f32 = [](const Shape& shape) { return Tensor::zeros(shape, DType::kFloat32); };
  CHECK_THROWS_AS(linear(exec, f32({2, 3}), f32({4, 5})), Error);
  CHECK_THROWS_AS(linear(exec, f32({2, 3}), f32({4, 3, 1})), Error);
  CHECK_THROWS_AS(linear(exec, f32({2, 3}), f32({4, 3}), f32({3})), Error);
  CHECK_THROWS_AS(linear(exec, f32({2, 3}), f32({4, 3}), {}, {2, 3}), Error);
  CHECK_THROWS_AS(linear(exec, f32({2, 3}), Tensor::zeros({4, 3}, DType::kFloat64)), Error);
  CHECK_THROWS_AS(linear(exec, Tensor(), f32({4, 3})), Error);
}

TEST_CASE("embedding: values, gradients, tokens out of range") {
  Exec exec({.threads = 3});
  const Tensor table = random_tensor({300, 37}, 17);
  const Tensor narrow = table.to(DType::kFloat32);
  std::vector<std::int64_t> tokens(500);
  for (std::size_t i = 0; i < tokens.size(); ++i)
    tokens[i] = static_cast<std::int64_t>(i * i % 251);
  const Tensor ids = Tensor::from(tokens, {5, 100});
  const Tensor y = embedding(exec, ids, narrow);
  REQUIRE(y.shape() == Shape({5, 100, 37}));
  for (std::size_t i = 0; i < tokens.size(); ++i)
    REQUIRE(std::memcmp(y.data<float>() + i * 37, narrow.data<float>() + tokens[i] * 37,
                        37 * sizeof(float)) == 0);
  const std::vector<std::int32_t> ids32(tokens.begin(), tokens.end());
  const std::vector<std::uint8_t> ids8(tokens.begin(), tokens.end());
  CHECK(same(y, embedding(exec, Tensor::from(ids32, {5, 100}), narrow)));
  CHECK(same(y, embedding(exec, Tensor::from(ids8, {5, 100}), narrow)));
  CHECK(gradcheck([&](Exec& e,
                      std::span<const Tensor> in) { return std::vector{embedding(e, ids, in[0])}; },
                  {table}) < kGradientBound);
  try {
    embedding(exec, Tensor::from(std::vector<std::int32_t>{1, 300}, {2}), narrow);
    FAIL("a token out of range passed");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::kValue);
    CHECK(std::string(error.what()).find("token 1 is 300") != std::string::npos);
  }
  CHECK_THROWS_AS(embedding(exec, narrow, narrow), Error);
  CHECK(embedding(exec, Tensor::zeros({0}, DType::kInt64), narrow).shape() == Shape({0, 37}));
}
