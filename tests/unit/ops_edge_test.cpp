// Core's ops at their edges: bits that do not depend on an element's place, extreme values, states
// cut anywhere, and the caller's mistakes.
#include <rill/core/kernels.h>
#include <rill/tests/support/catch.h>
#include <rill/tests/support/gradcheck.h>
#include <rill/tests/support/saturated_slopes.h>

#include <cstring>
#include <limits>
#include <string>

using namespace rill;
using namespace rill::test;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr double kEps = 1.1920929e-7;  // of float

template <class F>
void on_every_target(F&& f) {
  const std::string before = cpu_target();
  for (const std::string& target : available_cpu_targets()) {
    set_cpu_target(target);
    f(target);
  }
  set_cpu_target(before);
}

Tensor floats(const Shape& shape, std::uint64_t seed, double low = -1.0, double high = 1.0) {
  return random_tensor(shape, seed, low, high).to(DType::kFloat32);
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

// max |y - y64| / max |y64|.
double error(const Tensor& y, const Tensor& y64) {
  return relative_error(std::span(&y, 1), std::span(&y64, 1), 1e-30);
}

constexpr Unary kAllUnary[] = {
    Unary::kSilu,   Unary::kGelu,       Unary::kGeluTanh,   Unary::kSigmoid,
    Unary::kTanh,   Unary::kRelu,       Unary::kSoftplus,   Unary::kLogSigmoid,
    Unary::kExp,    Unary::kLog,        Unary::kSquare,     Unary::kSqrt,
    Unary::kNegate, Unary::kReciprocal, Unary::kEluPlusOne, Unary::kMinGru};

}  // namespace

TEST_CASE("an element's bits do not depend on its place") {
  on_every_target([](const std::string& target) {
    Exec exec({.threads = 1});
    const Tensor x = floats({67}, 1, 0.1, 3.0), z = floats({67}, 2, 0.1, 3.0);
    const auto part = [](const Tensor& tensor, std::int64_t first, std::int64_t count) {
      return tensor.rows(first, count);
    };
    for (const Unary kind : kAllUnary) {
      const Tensor whole = unary(exec, kind, x), gate = gated(exec, x, z, kind);
      for (std::int64_t first = 0; first < 18; ++first)
        for (std::int64_t count = 1; count < 20; ++count) {
          INFO(target << " kind " << static_cast<int>(kind) << " at " << first << " of " << count);
          const Tensor a = part(x, first, count), b = part(z, first, count);
          REQUIRE(same_bits(unary(exec, kind, a), part(whole, first, count)));
          REQUIRE(same_bits(gated(exec, a, b, kind), part(gate, first, count)));
        }
    }
  });
}

TEST_CASE("a row's bits do not depend on the rows around it") {
  on_every_target([](const std::string& target) {
    Exec exec({.threads = 2});
    for (const std::int64_t width : {1, 5, 16, 33, 70}) {
      INFO(target << " width " << width);
      const Tensor x = floats({40, width}, 1), w = floats({width}, 2), b = floats({width}, 3);
      const Tensor rms = rms_norm(exec, x, w, 1e-5), layer = layer_norm(exec, x, w, b, 1e-5);
      const Tensor sum = add(exec, x, b);
      for (std::int64_t row = 0; row < 40; ++row) {
        const Tensor one = x.rows(row, 1);
        REQUIRE(same_bits(rms_norm(exec, one, w, 1e-5), rms.rows(row, 1)));
        REQUIRE(same_bits(layer_norm(exec, one, w, b, 1e-5), layer.rows(row, 1)));
        REQUIRE(same_bits(add(exec, one, b), sum.rows(row, 1)));
      }
    }
  });
}

TEST_CASE("vector kernels are as accurate as plain float loops") {
  // The law's bound: twice the plain loop's error and 8 eps.
  const KernelContext context{};
  const CoreKernels &plain = cpu_core_kernels_plain_f32(), &exact = cpu_core_kernels_f64();
  on_every_target([&](const std::string& target) {
    const CoreKernels& fast = cpu_core_kernels_f32();
    for (const std::int64_t width : {1, 3, 17, 64, 257, 1000}) {
      INFO(target << " width " << width);
      const Tensor x = floats({8, width}, 1, -2.0, 6.0), w = floats({width}, 2);
      const Tensor x64 = x.to(DType::kFloat64), w64 = w.to(DType::kFloat64);
      for (const std::int64_t kind : {0, 1, 2}) {
        const auto apply = [&](const CoreKernels& table, const Tensor& at, const Tensor& weight) {
          const Tensor y = Tensor::empty(at.shape(), at.dtype());
          table.norm({.x = at.raw(),
                      .weight = weight.raw(),
                      .y = y.raw(),
                      .rows = 8,
                      .width = width,
                      .kind = kind,
                      .eps = 1e-5},
                     context);
          return y;
        };
        const Tensor y64 = apply(exact, x64, w64);
        CHECK(error(apply(fast, x, w), y64) <= 2 * error(apply(plain, x, w), y64) + 8 * kEps);
      }
      for (const Unary kind : kAllUnary) {
        if (kind == Unary::kLog || kind == Unary::kSqrt || kind == Unary::kReciprocal)
          continue;  // x < 0 here
        const auto apply = [&](const CoreKernels& table, const Tensor& at) {
          const Tensor y = Tensor::empty(at.shape(), at.dtype());
          table.unary({.x = at.raw(),
                       .y = y.raw(),
                       .kind = static_cast<std::int64_t>(kind),
                       .count = at.numel()},
                      context);
          return y;
        };
        INFO("kind " << static_cast<int>(kind));
        const Tensor y64 = apply(exact, x64);
        CHECK(error(apply(fast, x), y64) <= 2 * error(apply(plain, x), y64) + 8 * kEps);
      }
    }
  });
}

TEST_CASE("activations keep their limits") {
  on_every_target([](const std::string& target) {
    INFO(target);
    Exec exec({.threads = 1});
    const Tensor x =
        Tensor::from(std::vector<float>{-kInfinity, -1e30f, 1e30f, kInfinity, NAN}, {5});
    const auto at = [&](Unary kind) {
      const Tensor y = unary(exec, kind, x);
      CHECK(std::isnan(y.data<float>()[4]));
      return std::vector<float>(y.data<float>(), y.data<float>() + 4);
    };
    const std::vector<float> gate{0, 0, 1e30f, kInfinity}, unit{0, 0, 1, 1};
    CHECK(at(Unary::kSilu) == gate);
    CHECK(at(Unary::kGelu) == gate);
    CHECK(at(Unary::kGeluTanh) == gate);
    CHECK(at(Unary::kRelu) == gate);
    CHECK(at(Unary::kSoftplus) == gate);
    CHECK(at(Unary::kSigmoid) == unit);
    CHECK(at(Unary::kTanh) == std::vector<float>{-1, -1, 1, 1});
    CHECK(at(Unary::kLogSigmoid) == std::vector<float>{-kInfinity, -1e30f, 0, 0});
    CHECK(at(Unary::kEluPlusOne) == gate);
  });
}

TEST_CASE("derivatives of activations keep their limits") {
  const auto check = [](auto zero, const CoreKernels& table) {
    check_saturated_slopes<decltype(zero)>(
        [&](const UnaryArgs& args) { table.unary(args, {}); },
        [&](const UnaryBackwardArgs& args) { table.unary_backward(args, {}); });
  };
  on_every_target([&](const std::string& target) {
    INFO(target);
    check(0.0f, cpu_core_kernels_f32());
  });
  check(0.0f, cpu_core_kernels_plain_f32());
  check(0.0, cpu_core_kernels_f64());
}

TEST_CASE("cross entropy of large logits is finite and counts what it should") {
  for (const DType dtype : {DType::kFloat32, DType::kFloat64}) {
    Exec exec({.dtype = dtype, .threads = 1});
    const Tensor logits =
        Tensor::from(std::vector<double>{1e4, 0, -1e4, 3, 3, 3}, {2, 3}).to(dtype);
    const Tensor per_token = exec.empty({2});
    const Tensor loss =
        cross_entropy(exec, logits, Tensor::from(std::vector<std::int64_t>{2, 1}, {2}), 2.0,
                      per_token)
            .to(DType::kFloat64);
    CHECK(loss.data<double>()[0] == Approx((2e4 + std::log(3.0)) / 2));  // closed form
    CHECK(per_token.to(DType::kFloat64).data<double>()[1] == Approx(std::log(3.0)));
    const Tensor none =
        cross_entropy(exec, logits, Tensor::from(std::vector<std::int64_t>{-1, -100}, {2}), 2.0);
    CHECK(none.to(DType::kFloat64).data<double>()[0] == 0.0);
    const Tensor empty =
        cross_entropy(exec, exec.empty({0, 3}), Tensor::empty({0}, DType::kInt64), 1.0);
    CHECK(empty.to(DType::kFloat64).data<double>()[0] == 0.0);
  }
}

TEST_CASE("a dropout mask is a function of where it falls") {
  Exec exec({.threads = 2, .seed = 3});
  const TrainingScope training(exec, true);
  Tape tape;
  const TapeScope scope(exec, &tape);
  const auto mask = [&](std::int64_t batch, std::int64_t time, std::int64_t length,
                        std::int64_t op) {
    exec.set_time(time);
    exec.set_op_number(op);
    return dropout(exec, Tensor::full({batch, length, 37}, DType::kFloat32, 1.0), 0.25);
  };
  const Tensor whole = mask(2, 0, 100, 0);
  // Cut in two, each row's parts are parts of the whole.
  const Tensor tail = mask(2, 60, 40, 0);
  for (std::int64_t row = 0; row < 2; ++row)
    CHECK(std::memcmp(tail.data<float>() + row * 40 * 37,
                      whole.data<float>() + (row * 100 + 60) * 37, 40 * 37 * sizeof(float)) == 0);
  CHECK_FALSE(same_bits(mask(2, 0, 100, 1), whole));
  exec.set_step(1);
  CHECK_FALSE(same_bits(mask(2, 0, 100, 0), whole));
  std::int64_t dropped = 0;
  for (const float value : whole.span<float>()) {
    CHECK((value == 0.0f || value == 1.0f / 0.75f));
    dropped += value == 0.0f;
  }
  // 7400 draws: five standard deviations.
  CHECK(std::abs(static_cast<double>(dropped) / 7400 - 0.25) < 5 * std::sqrt(0.25 * 0.75 / 7400));
  exec.set_step(0);
  exec.set_seed(4);
  CHECK_FALSE(same_bits(mask(2, 0, 100, 0), whole));
  exec.set_seed(3);
  {
    const TapeScope off(exec, nullptr);  // a tape has no say in it
    CHECK(same_bits(mask(2, 0, 100, 0), whole));
  }
  const TrainingScope inference(exec, false);
  CHECK(same_bits(dropout(exec, whole.view({2, 100, 37}), 0.25), whole));
}

TEST_CASE("pooling cut anywhere is pooling of the whole") {
  Exec exec({.threads = 1});
  const Tensor x = floats({1, 11, 70}, 1);
  const auto pooled = [&](std::vector<std::int64_t> cuts) {
    Tensor sum = Tensor::zeros({1, 70}, DType::kFloat64),
           count = Tensor::zeros({1, 1}, DType::kInt64), last = exec.zeros({1, 70}), mean, y;
    std::int64_t first = 0;
    cuts.push_back(11);
    for (const std::int64_t cut : cuts) {
      const Tensor part = narrow_time(exec, x, first, cut - first);
      const Sequence sequence = Sequence::batch(exec, 1, cut - first);
      mean = mean_pool(exec, part, sum, count, sequence);
      y = last_pool(exec, part, last, sequence);
      first = cut;
    }
    return std::vector{mean, y, sum, count, last};
  };
  const auto whole = pooled({});
  CHECK(whole[3].data<std::int64_t>()[0] == 11);
  for (std::int64_t cut = 0; cut <= 11; ++cut) {
    const auto parts = pooled({cut, std::min<std::int64_t>(11, cut + 2)});
    for (std::size_t i = 0; i < whole.size(); ++i) CHECK(same_bits(parts[i], whole[i]));
  }
  // No steps at all: 0, and nothing divides by the count.
  Tensor sum = Tensor::zeros({1, 70}, DType::kFloat64),
         count = Tensor::zeros({1, 1}, DType::kInt64);
  const Tensor none =
      mean_pool(exec, exec.empty({1, 0, 70}), sum, count, Sequence::batch(exec, 1, 0));
  CHECK(same_bits(none, Tensor::zeros({1, 70}, DType::kFloat32)));
}

TEST_CASE("mean pooling counts and sums past the digits of a float") {
  // At 2^24 a float is full: adding 1 to it, or to a sum of that size, changes nothing.
  constexpr std::int64_t kFull = std::int64_t{1} << 24;
  for (const DType dtype : {DType::kFloat32, DType::kFloat64})
    for (const std::int64_t before : {kFull - 1, kFull, kFull + 1, std::int64_t{1} << 40}) {
      INFO(name_of(dtype) << " after " << before << " steps");
      Exec exec({.dtype = dtype, .threads = 1});
      const double start = static_cast<double>(before);  // the mean so far is 1
      Tensor sum = Tensor::full({1, 3}, DType::kFloat64, start),
             count = Tensor::full({1, 1}, DType::kInt64, start);
      const Tensor x = Tensor::full({1, 5, 3}, dtype, 3.0);
      const Tensor y = mean_pool(exec, x, sum, count, Sequence::batch(exec, 1, 5));
      CHECK(count.data<std::int64_t>()[0] == before + 5);
      CHECK(sum.data<double>()[2] == start + 15);
      const Tensor expected = Tensor::full({1, 3}, dtype, (start + 15) / (start + 5));
      CHECK(same_bits(y, expected));
    }
}

TEST_CASE("packed and padded sequences are reversed alone") {
  Exec exec({.threads = 1});
  const Tensor x = Tensor::from(std::vector<float>{1, 2, 3, 4, 5, 6}, {1, 6, 1});
  Segments packed;
  packed.offsets = {0, 2, 2, 6};
  const Tensor y = reverse_time(exec, x, Sequence::from(exec, &packed, 1, 6));
  CHECK(std::vector<float>(y.data<float>(), y.data<float>() + 6) ==
        std::vector<float>{2, 1, 6, 5, 4, 3});
  Segments padded;
  padded.lengths = {4};
  const Sequence sequence = Sequence::from(exec, &padded, 1, 6);
  const Tensor z = reverse_time(exec, x, sequence);
  CHECK(std::vector<float>(z.data<float>(), z.data<float>() + 6) ==
        std::vector<float>{4, 3, 2, 1, 0, 0});
  const Tensor zeroed = zero_padding(exec, x, sequence);
  CHECK(std::vector<float>(zeroed.data<float>(), zeroed.data<float>() + 6) ==
        std::vector<float>{1, 2, 3, 4, 0, 0});
}

TEST_CASE("sums of many elements keep their digits") {
  Exec exec({.threads = 2});
  const std::int64_t count = 3000017;
  const Tensor x = Tensor::full({count}, DType::kFloat32, 0.1f);
  const double total = sum(exec, x).data<float>()[0];
  // Partial sums of at most 256 roundings each are added in double: 256 eps is the worst, and equal
  // terms, which all round the same way, come near it. One float sum would be off by 1e-2.
  CHECK(std::abs(total / (static_cast<double>(0.1f) * static_cast<double>(count)) - 1.0) <
        256 * kEps);
}

TEST_CASE("ops refuse what does not fit") {
  Exec exec({.threads = 1});
  const Tensor x = floats({2, 3, 4}, 1), other = floats({2, 3, 5}, 2), vector = floats({3}, 3);
  const Tensor wide = random_tensor({2, 3, 4}, 1), nothing;
  const Sequence sequence = Sequence::batch(exec, 2, 4);
  Tensor state = floats({2, 4}, 4), count = Tensor::zeros({2, 1}, DType::kInt64);
  Tensor sums = Tensor::zeros({2, 4}, DType::kFloat64);
  CHECK_THROWS_AS(silu(exec, nothing), Error);
  CHECK_THROWS_AS(silu(exec, wide), Error);
  CHECK_THROWS_AS(add(exec, x, other), Error);
  CHECK_THROWS_AS(add(exec, x, vector), Error);
  CHECK_THROWS_AS(affine(exec, wide, 1.0), Error);
  CHECK_THROWS_AS(gated(exec, x, other, Unary::kSilu), Error);
  CHECK_THROWS_AS(glu(exec, other), Error);
  CHECK_THROWS_AS(add_in_place(exec, x, other), Error);
  CHECK_THROWS_AS(dropout(exec, x, 1.0), Error);
  CHECK_THROWS_AS(dropout(exec, x, -0.1), Error);
  CHECK_THROWS_AS(dropout(exec, vector, 0.1), Error);
  CHECK_THROWS_AS(rms_norm(exec, x, vector, 1e-5), Error);
  CHECK_THROWS_AS(layer_norm(exec, x, {}, vector, 1e-5), Error);
  CHECK_THROWS_AS(group_norm(exec, x, 3, {}, {}, 1e-5, true), Error);
  CHECK_THROWS_AS(group_norm(exec, x, 2, vector, {}, 1e-5, true), Error);
  CHECK_THROWS_AS(l2_norm(exec, x, 0, 1e-5), Error);
  CHECK_THROWS_AS(reshape(exec, x, {5, 5}), Error);
  CHECK_THROWS_AS(narrow(exec, x, 2, 3), Error);
  CHECK_THROWS_AS(narrow(exec, x, -1, 2), Error);
  CHECK_THROWS_AS(narrow(exec, x, 1, std::numeric_limits<std::int64_t>::max()), Error);
  CHECK_THROWS_AS(narrow_time(exec, x, 3, 1), Error);
  CHECK_THROWS_AS(narrow_time(exec, vector, 0, 1), Error);
  CHECK_THROWS_AS(concat(exec, {}), Error);
  CHECK_THROWS_AS(concat(exec, std::vector{x, vector}), Error);
  CHECK_THROWS_AS(reverse_time(exec, x, sequence), Error);
  CHECK_THROWS_AS(mean_pool(exec, x, sums, count, sequence), Error);
  const Tensor eight = floats({2, 4, 4}, 6);
  CHECK_NOTHROW(mean_pool(exec, eight, sums, count, sequence));
  CHECK_THROWS_AS(mean_pool(exec, eight, state, count, sequence), Error);  // a float sum
  CHECK_THROWS_AS(mean_pool(exec, eight, sums, state, sequence), Error);
  CHECK_THROWS_AS(last_pool(exec, x, state, Sequence::batch(exec, 3, 2)), Error);
  CHECK_THROWS_AS(cross_entropy(exec, x, Tensor::zeros({5}, DType::kInt64), 1.0), Error);
  CHECK_THROWS_AS(cross_entropy(exec, x, Tensor::full({6}, DType::kInt64, 4), 1.0), Error);
  CHECK_THROWS_AS(cross_entropy(exec, x, Tensor::zeros({6}, DType::kInt64), 0.0), Error);
  CHECK_THROWS_AS(squared_error(exec, x, other, 1.0), Error);
  // The sentence names the op, the argument, what was expected and what came.
  CHECK_THROWS_WITH(add(exec, x, other),
                    "add: b of shape [2, 3, 4] or [4] was expected, [2, 3, 5] came.");
}
