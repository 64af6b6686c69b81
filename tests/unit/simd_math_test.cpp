// The vector functions of core/simd_math-inl.h against the C library in double, on every target of
// this machine.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "rill/tests/unit/simd_math_test.cpp"
#include <hwy/foreach_target.h>
//
#include <hwy/highway.h>

#include <rill/core/simd-inl.h>
#include <rill/core/simd_math-inl.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#ifndef RILL_SIMD_MATH_TEST_FUNCTIONS
#define RILL_SIMD_MATH_TEST_FUNCTIONS
namespace rill::test {
enum class Function {
  kExp,
  kExp2,
  kExpm1,
  kLog,
  kLog1p,
  kTanh,
  kSigmoid,
  kSilu,
  kSoftplus,
  kLogSigmoid,
  kErf,
  kNormalCdf
};
}  // namespace rill::test
#endif

HWY_BEFORE_NAMESPACE();
namespace rill {
namespace HWY_NAMESPACE {

template <class F>
void each(const float* x, float* y, std::int64_t count, F f) {
  const hn::ScalableTag<float> d;
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t i = 0; i < count; i += lanes)
    StoreN(d, f(d, LoadN(d, x + i, count - i)), y + i, count - i);
}

void apply(test::Function function, const float* x, float* y, std::int64_t count) {
  using test::Function;
#define RILL_CASE(NAME)   \
  case Function::k##NAME: \
    return each(x, y, count, [](auto d, auto v) HWY_ATTR { return NAME(d, v); })
  switch (function) {
    RILL_CASE(Exp);
    RILL_CASE(Exp2);
    RILL_CASE(Expm1);
    RILL_CASE(Log);
    RILL_CASE(Log1p);
    RILL_CASE(Tanh);
    RILL_CASE(Sigmoid);
    RILL_CASE(Silu);
    RILL_CASE(Softplus);
    RILL_CASE(LogSigmoid);
    RILL_CASE(Erf);
    RILL_CASE(NormalCdf);
  }
#undef RILL_CASE
}

}  // namespace HWY_NAMESPACE
}  // namespace rill
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <rill/core/cpu_target.h>
#include <rill/tests/support/catch.h>

#include <limits>
#include <random>
#include <string>

namespace rill {
HWY_EXPORT(apply);
namespace {

using test::Function;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

std::vector<float> run(Function function, const std::vector<float>& x) {
  std::vector<float> y(x.size());
  HWY_DYNAMIC_DISPATCH(apply)(function, x.data(), y.data(), static_cast<std::int64_t>(x.size()));
  return y;
}

double reference(Function function, double x) {
  switch (function) {
    case Function::kExp:
      return std::exp(x);
    case Function::kExp2:
      return std::exp2(x);
    case Function::kExpm1:
      return std::expm1(x);
    case Function::kLog:
      return std::log(x);
    case Function::kLog1p:
      return std::log1p(x);
    case Function::kTanh:
      return std::tanh(x);
    case Function::kSigmoid:
      return 1.0 / (1.0 + std::exp(-x));
    case Function::kSilu:
      return x / (1.0 + std::exp(-x));
    case Function::kSoftplus:
      return std::fmax(x, 0.0) + std::log1p(std::exp(-std::fabs(x)));
    case Function::kLogSigmoid:
      return std::fmin(x, 0.0) - std::log1p(std::exp(-std::fabs(x)));
    case Function::kErf:
      return std::erf(x);
    case Function::kNormalCdf:
      return 0.5 * std::erfc(-x / std::sqrt(2.0));
  }
  return 0.0;
}

// Distance in units of the float spacing at the reference; results under the flush limit count as
// their distance to it.
double ulp_error(float y, double expected) {
  if (std::isnan(expected)) return std::isnan(y) ? 0.0 : 1e9;
  if (std::fabs(expected) > 3.4028234e38) return std::fabs(y) > 3.4e38f ? 0.0 : 1e9;
  constexpr double kFlushed = 1.67e-38;
  if (std::fabs(expected) < kFlushed) return std::fabs(y) <= kFlushed ? 0.0 : 1e9;
  if (!std::isfinite(y)) return 1e9;
  int exponent = 0;
  std::frexp(expected, &exponent);
  return std::fabs(y - expected) / std::ldexp(1.0, exponent - 24);
}

struct Case {
  Function function;
  const char* name;
  double low, high;
  double bound;  // ulp
};

// Three fused steps of half an ulp each and a division's half explain 2 and 3; without FMA (SSE4)
// the products round too.
constexpr Case kCases[] = {
    {Function::kExp, "exp", -100, 100, 1.5},
    {Function::kExp2, "exp2", -140, 140, 1.5},
    {Function::kExpm1, "expm1", -100, 100, 2.0},
    {Function::kLog, "log", 0, 1e30, 1.5},
    {Function::kLog1p, "log1p", -1, 1e30, 2.0},
    {Function::kTanh, "tanh", -20, 20, 3.5},
    {Function::kSigmoid, "sigmoid", -95, 95, 2.5},
    {Function::kSilu, "silu", -80, 80, 3.0},
    {Function::kSoftplus, "softplus", -85, 85, 2.5},
    {Function::kLogSigmoid, "log_sigmoid", -85, 85, 2.5},
    {Function::kErf, "erf", -6, 6, 2.0},
};

// Uniform ones, and ones spread over the exponents, both signs.
std::vector<float> samples(double low, double high) {
  std::mt19937_64 random(1);
  std::vector<float> x;
  std::uniform_real_distribution<double> uniform(low, high);
  std::uniform_real_distribution<double> exponent(-40, std::log2(high));
  for (int i = 0; i < 100000; ++i) {
    x.push_back(static_cast<float>(uniform(random)));
    const double magnitude = std::exp2(exponent(random));
    if (magnitude < high) x.push_back(static_cast<float>(magnitude));
    if (-magnitude > low) x.push_back(static_cast<float>(-magnitude));
  }
  return x;
}

template <class F>
void on_every_target(F&& f) {
  const std::string before = cpu_target();
  for (const std::string& target : available_cpu_targets()) {
    set_cpu_target(target);
    f(target);
  }
  set_cpu_target(before);
}

}  // namespace

TEST_CASE("vector functions agree with the C library's in double") {
  on_every_target([](const std::string& target) {
    for (const Case& c : kCases) {
      const std::vector<float> x = samples(c.low, c.high);
      const std::vector<float> y = run(c.function, x);
      double worst = 0.0;
      float at = 0.0f;
      for (std::size_t i = 0; i < x.size(); ++i) {
        const double error = ulp_error(y[i], reference(c.function, x[i]));
        if (error > worst) worst = error, at = x[i];
      }
      INFO(target << " " << c.name << " at " << at);
      CHECK(worst <= c.bound);
    }
    // In the lower tail four roundings on the way to x^2 / 2 are its
    // relative error.
    const std::vector<float> x = samples(-12, 12);
    const std::vector<float> y = run(Function::kNormalCdf, x);
    double worst = 0.0;
    for (std::size_t i = 0; i < x.size(); ++i)
      worst = std::max(worst, ulp_error(y[i], reference(Function::kNormalCdf, x[i])) /
                                  (6.0 + 2.0 * std::pow(x[i], 2)));
    CHECK(worst <= 1.0);
  });
}

TEST_CASE("vector functions at the ends of the range") {
  on_every_target([](const std::string& target) {
    INFO(target);
    for (const Case& c : kCases) {
      INFO(c.name);
      const std::vector<float> y =
          run(c.function, {-kInfinity, kInfinity, kNaN, -3e38f, 3e38f, 0.0f, -0.0f, 1e-45f});
      CHECK(std::isnan(y[2]));
      const bool silu = c.function == Function::kSilu;
      const float low = silu ? 0.0f : static_cast<float>(reference(c.function, -kInfinity));
      if (std::isnan(low))
        CHECK(std::isnan(y[0]));
      else
        CHECK(y[0] == low);
      if (std::isnan(low))
        CHECK(std::isnan(y[3]));
      else if (std::isfinite(low))
        CHECK(y[3] == low);
      CHECK(y[1] == static_cast<float>(reference(c.function, kInfinity)));
      CHECK(ulp_error(y[4], reference(c.function, 3e38f)) <= c.bound);
      for (int i : {5, 6, 7}) {
        const double at_zero = reference(c.function, i == 7 ? 1e-45f : 0.0);
        if (std::isinf(at_zero))
          CHECK(y[static_cast<std::size_t>(i)] == at_zero);
        else
          CHECK(ulp_error(y[static_cast<std::size_t>(i)], at_zero) <= c.bound);
      }
    }
    CHECK(run(Function::kLog, {-1.0f, 0.0f, 1.0f, 1e-45f})[1] == -kInfinity);
    CHECK(std::isnan(run(Function::kLog, {-1.0f})[0]));
    CHECK(run(Function::kLog, {1.0f})[0] == 0.0f);
    CHECK(run(Function::kLog1p, {-1.0f})[0] == -kInfinity);
    CHECK(run(Function::kExp, {88.7f, 88.73f, -87.5f, 0.0f})[1] == kInfinity);
    CHECK(run(Function::kExp, {0.0f})[0] == 1.0f);
    CHECK(run(Function::kExp2, {127.999f, 128.0f, -3.0f})[2] == 0.125f);
    CHECK(run(Function::kTanh, {20.0f, -20.0f})[1] == -1.0f);
  });
}

TEST_CASE("a value's bits do not depend on its lane or on the length") {
  on_every_target([](const std::string& target) {
    INFO(target);
    for (const Case& c : kCases) {
      const std::vector<float> x = samples(c.low, c.high);
      const std::vector<float> all = run(c.function, {x.begin(), x.begin() + 67});
      for (std::ptrdiff_t first = 0; first < 17; ++first)
        for (std::ptrdiff_t count = 1; count < 34; ++count) {
          const std::vector<float> part =
              run(c.function, {x.begin() + first, x.begin() + first + count});
          for (std::ptrdiff_t i = 0; i < count; ++i)
            if (part[static_cast<std::size_t>(i)] != all[static_cast<std::size_t>(first + i)])
              FAIL(c.name);
        }
    }
  });
}

}  // namespace rill
#endif
