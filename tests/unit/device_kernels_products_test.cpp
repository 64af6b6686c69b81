// Matrix products of the device: which go to the library, in the layouts of the linear op's three
// products, and what the library's stand-in asks of them.
#include "device_support.h"

#include <rill/core/cuda/blas.h>
#include <rill/core/cuda/launch.h>
#include <rill/core/half.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace {

using namespace rill;
using namespace rill::device_test;

// y[m, n] (+)= x W^T + bias; a stride of 1 along k, or across it.
struct ProductCase {
  std::int64_t m, n, k;
  bool x_across = false, weight_across = false, bias = false, accumulate = false;
  std::int64_t gap = 0;  // elements between the rows
};

constexpr std::int64_t stride_of(bool across, std::int64_t rows, std::int64_t k, std::int64_t gap) {
  return (across ? rows : k) + gap;
}

// The largest error beside the sum's definition in double, and the largest element.
template <class T>
std::pair<double, double> run_product(const ProductCase& c, const DeviceLaunch& on = {}) {
  const std::int64_t x_row = stride_of(c.x_across, c.m, c.k, c.gap),
                     w_row = stride_of(c.weight_across, c.n, c.k, c.gap), y_row = c.n + c.gap;
  const auto x = as<T>(random_values(x_row * (c.x_across ? c.k : c.m), -1, 1, 1));
  const auto w = as<T>(random_values(w_row * (c.weight_across ? c.k : c.n), -1, 1, 2));
  const auto bias = as<T>(random_values(c.n, -1, 1, 3));
  const auto before = as<T>(random_values(y_row * c.m, -1, 1, 4));
  auto y = before;
  const LinearArgs args{
      .x = x.data(),
      .packed = w.data(),
      .bias = c.bias ? bias.data() : nullptr,
      .y = y.data(),
      .m = c.m,
      .n = c.n,
      .k = c.k,
      .x_row = c.x_across ? 1 : x_row,
      .x_col = c.x_across ? x_row : 1,
      .y_row = y_row,
      .accumulate = c.accumulate,
      .weight_dtype = static_cast<std::int64_t>(sizeof(T) == 8 ? DType::kFloat64 : DType::kFloat32),
      .weight_row = c.weight_across ? 1 : w_row,
      .weight_col = c.weight_across ? w_row : 1};
  launched(launch_linear<T>(args, on));
  double error = 0, scale = 0;
  for (std::int64_t i = 0; i < c.m; ++i)
    for (std::int64_t j = 0; j < y_row; ++j) {
      const auto at = static_cast<std::size_t>(i * y_row + j);
      double sum = c.accumulate || j >= c.n ? static_cast<double>(before[at]) : 0.0;
      if (j < c.n) {
        for (std::int64_t l = 0; l < c.k; ++l)
          sum += static_cast<double>(x[static_cast<std::size_t>(i * args.x_row + l * args.x_col)]) *
                 static_cast<double>(
                     w[static_cast<std::size_t>(j * args.weight_row + l * args.weight_col)]);
        if (c.bias) sum += static_cast<double>(bias[static_cast<std::size_t>(j)]);
      }
      error = std::max(error, std::abs(static_cast<double>(y[at]) - sum));
      scale = std::max(scale, std::abs(sum));
    }
  return {error, scale};
}

template <class In, class Out>
double error_of_product(DType input, DType output) {
  constexpr std::int64_t kM = 5, kN = 7, kK = 33;
  const auto values = [](std::int64_t count, unsigned seed) {
    std::vector<In> result;
    for (const double v : random_values(count, -1, 1, seed))
      result.push_back(In::from_float(static_cast<float>(v)));
    return result;
  };
  const auto a = values(kK * kM, 1), b = values(kK * kN, 2);
  std::vector<Out> d(kM * kN);
  launched(matrix_product({.a = a.data(),
                           .b = b.data(),
                           .d = d.data(),
                           .m = kM,
                           .n = kN,
                           .k = kK,
                           .lda = kK,
                           .ldb = kN,
                           .ldd = kM,
                           .transpose_a = true,
                           .transpose_b = true,
                           .input = input,
                           .output = output},
                          {}));
  double error = 0;
  for (std::size_t i = 0; i < kM; ++i)
    for (std::size_t j = 0; j < kN; ++j) {
      double sum = 0;
      for (std::size_t k = 0; k < kK; ++k)
        sum += static_cast<double>(static_cast<float>(a[k + i * kK])) *
               static_cast<double>(static_cast<float>(b[j + k * kN]));
      error =
          std::max(error, std::abs(static_cast<double>(static_cast<float>(d[i + j * kM])) - sum));
    }
  return error;
}

}  // namespace

TEST_CASE("device products of either side agree with their definition in every layout") {
  // Below and above the limit from which they are the library's.
  for (const ProductCase& size : {ProductCase{70, 66, 37}, ProductCase{192, 130, 700}})
    for (const bool x_across : {false, true})
      for (const bool weight_across : {false, true})
        for (const std::int64_t gap : {0, 3}) {
          ProductCase c = size;
          c.x_across = x_across;
          c.weight_across = weight_across;
          c.gap = gap;
          c.bias = gap == 0;
          c.accumulate = x_across;
          INFO("m " << c.m << " x across " << x_across << " weight across " << weight_across
                    << " gap " << gap);
          const auto [error, scale] = run_product<double>(c);
          CHECK(error <= 1e-13 * scale);  // sums of up to 700 terms, in another order
          const auto [error32, scale32] = run_product<float>(c);
          CHECK(error32 <= 5e-6 * scale32);  // the same: 700 terms of random signs at 6e-8
        }
  CHECK(!prefers_library(70, 66, 37));
  CHECK(prefers_library(192, 130, 700));
}

TEST_CASE("device products of few rows are never the library's") {
  CHECK(!prefers_library(8, 4096, 4096));
  CHECK(!prefers_library(63, 65536, 65536));
  CHECK(prefers_library(64, 65536, 65536));
  CHECK(prefers_library(std::int64_t{1} << 31, std::int64_t{1} << 20, std::int64_t{1} << 20));
}

TEST_CASE("device products round to TF32 where the launch says so, and only there") {
  const ProductCase c{192, 130, 700};
  const auto [error, scale] = run_product<float>(c);
  const auto [rounded, rounded_scale] = run_product<float>(c, {.tf32 = true});
  CHECK(error < 1e-6 * scale * 5);
  CHECK(rounded > 10 * error);
  CHECK(rounded < 2e-3 * rounded_scale);  // inputs to 2^-11, 700 terms of random signs
}

TEST_CASE("the library's products of 16-bit inputs, to float and to their own type") {
  using enum DType;
  CHECK(error_of_product<BFloat16, float>(kBFloat16, kFloat32) < 1e-5);
  CHECK(error_of_product<Half, float>(kFloat16, kFloat32) < 1e-5);
  CHECK(error_of_product<BFloat16, BFloat16>(kBFloat16, kBFloat16) < 0.04);  // 2^-8 of up to 10
  CHECK(error_of_product<Half, Half>(kFloat16, kFloat16) < 0.005);           // 2^-11 of up to 10
}

TEST_CASE("the library's stand-in refuses what the library would") {
  float x[64] = {};
  const MatrixProduct whole{
      .a = x, .b = x, .d = x + 32, .m = 2, .n = 2, .k = 4, .lda = 2, .ldb = 4, .ldd = 2};
  CHECK(matrix_product(whole, {}) == 0);
  for (const auto member : {&MatrixProduct::lda, &MatrixProduct::ldb, &MatrixProduct::ldd}) {
    MatrixProduct narrow = whole;
    narrow.*member -= 1;
    CHECK(matrix_product(narrow, {}) == kProductFailed);
  }
  MatrixProduct mixed = whole;
  mixed.input = DType::kUInt8;
  CHECK(matrix_product(mixed, {}) == kNoProductLibrary);
}
