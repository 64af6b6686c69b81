// The activations of the recurrent cells (rnn/cpu/cell_gates-inl.h) against the C library in
// double.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "rill/tests/unit/rnn_gates_test.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h:
#include <hwy/highway.h>

#include <rill/core/simd-inl.h>
#include <rill/rnn/cpu/cell_gates-inl.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace rill {
namespace HWY_NAMESPACE {
namespace {

template <class F>
void Each(const float* x, float* y, std::int64_t count, const F& f) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t i = 0; i < count; i += lanes)
    StoreN(d, f(d, LoadN(d, x + i, count - i)), y + i, count - i);
}

void GateSigmoid(const float* x, float* y, std::int64_t count) {
  Each(x, y, count, [](auto d, auto v) HWY_ATTR { return cell_gates::Sigmoid(d, v); });
}

void GateTanh(const float* x, float* y, std::int64_t count) {
  Each(x, y, count, [](auto d, auto v) HWY_ATTR { return cell_gates::Tanh(d, v); });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rill
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <cmath>
#include <limits>
#include <vector>

#include "rnn_support.h"

namespace rill {
namespace {

HWY_EXPORT(GateSigmoid);
HWY_EXPORT(GateTanh);

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Every size from 2^-30 to 2^7, both signs.
std::vector<float> arguments() {
  std::vector<float> all{0.0f, 0.625f, -0.625f, 40.0f, -40.0f};
  for (float x = std::ldexp(1.0f, -30); x < 128.0f; x *= 1.0001f) {
    all.push_back(x);
    all.push_back(-x);
  }
  return all;
}

// Distance in units of the last place of `exact` as a float.
double ulps(float y, double exact) {
  const float rounded = static_cast<float>(std::abs(exact));
  const double unit = static_cast<double>(std::nextafter(rounded, kInfinity)) - rounded;
  return std::abs(y - exact) / unit;
}

}  // namespace

TEST_CASE("activations of the cells are within 4 ulp") {
  const std::vector<float> x = arguments();
  const auto count = static_cast<std::int64_t>(x.size());
  std::vector<float> y(x.size());
  rnn_test::on_each_target([&] {
    double worst = 0.0;
    HWY_DYNAMIC_DISPATCH(GateTanh)(x.data(), y.data(), count);
    for (std::size_t i = 0; i < x.size(); ++i)
      worst = std::max(worst, ulps(y[i], std::tanh(static_cast<double>(x[i]))));
    CHECK(worst <= 4.0);  // exp 1.2e-7, a sum and a division 6e-8 each; units halve above 2^n
    worst = 0.0;
    HWY_DYNAMIC_DISPATCH(GateSigmoid)(x.data(), y.data(), count);
    for (std::size_t i = 0; i < x.size(); ++i)
      if (x[i] > -87.0f)  // below, e^-x is clamped: the result is 0 or denormal
        worst = std::max(worst, ulps(y[i], 1.0 / (1.0 + std::exp(-static_cast<double>(x[i])))));
    CHECK(worst <= 4.0);  // as above
  });
}

TEST_CASE("activations of the cells reach their limits and keep NaN") {
  const float x[] = {kInfinity, -kInfinity, std::numeric_limits<float>::quiet_NaN(), 1e30f, -1e30f};
  float y[5];
  rnn_test::on_each_target([&] {
    HWY_DYNAMIC_DISPATCH(GateTanh)(x, y, 5);
    CHECK((y[0] == 1.0f && y[1] == -1.0f && std::isnan(y[2]) && y[3] == 1.0f && y[4] == -1.0f));
    HWY_DYNAMIC_DISPATCH(GateSigmoid)(x, y, 5);
    CHECK((y[0] == 1.0f && y[1] < 1e-37f && std::isnan(y[2]) && y[3] == 1.0f && y[4] < 1e-37f));
  });
}

}  // namespace rill
#endif
