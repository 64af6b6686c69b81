// Convolution by FFT against the sum that it is, and its gradients.
#include <rill/core/core.h>
#include <rill/tests/support/catch.h>
#include <rill/tests/support/gradcheck.h>

#include <vector>

using namespace rill;
using test::random_tensor;

namespace {

// y[t, c] = sum_l kernel[c, l] x[t - l, c] within each row, by the definition.
Tensor direct(const Tensor& x, const Tensor& kernel, const Sequence& sequence) {
  const std::int64_t channels = kernel.size(0), taps = kernel.size(1);
  const Tensor y = Tensor::zeros(x.shape(), DType::kFloat64);
  for (std::int64_t row = 0; row < sequence.rows(); ++row)
    for (std::int64_t t = 0; t < sequence.args().length[row]; ++t)
      for (std::int64_t c = 0; c < channels; ++c)
        for (std::int64_t l = 0; l < taps && l <= t; ++l)
          y.data<double>()[(sequence.args().start[row] + t) * channels + c] +=
              kernel.data<double>()[c * taps + l] *
              x.data<double>()[(sequence.args().start[row] + t - l) * channels + c];
  return y;
}

double error(const Tensor& a, const Tensor& b) {
  const std::vector<Tensor> left{a}, right{b};
  return test::relative_error(left, right);
}

}  // namespace

TEST_CASE("fft_conv is the convolution, at all lengths") {
  Exec exec({.dtype = DType::kFloat64, .threads = 2}), single({.threads = 2});
  for (const std::int64_t length : {0, 1, 2, 3, 5, 16, 31, 100})
    for (const std::int64_t taps : {1, 2, 7, 100, 130}) {
      INFO("length " << length << ", taps " << taps);
      const Tensor x = random_tensor({2, length, 3}, 1), kernel = random_tensor({3, taps}, 2);
      const Sequence sequence = Sequence::batch(exec, 2, length);
      const Tensor expected = direct(x, kernel, sequence);
      // 1e-14: a hundred terms of order 1 in double.
      CHECK(error(fft_conv(exec, x, kernel, sequence), expected) < 1e-14);
      // 4e-7: rounding of inputs and result to float; transforms are double.
      CHECK(error(fft_conv(single, x.to(DType::kFloat32), kernel.to(DType::kFloat32), sequence),
                  expected) < 4e-7);
    }
}

TEST_CASE("fft_conv keeps packed and padded sequences apart") {
  Exec exec({.dtype = DType::kFloat64, .threads = 1});
  const Tensor kernel = random_tensor({2, 9}, 3);
  const Segments packed{.offsets = {0, 5, 5, 12}};
  const Sequence rows = Sequence::from(exec, &packed, 1, 12);
  const Tensor x = random_tensor({1, 12, 2}, 4);
  CHECK(error(fft_conv(exec, x, kernel, rows), direct(x, kernel, rows)) <
        1e-14);  // a dozen terms in double
  const Segments padded{.lengths = {4, 0, 6}};
  const Sequence shorter = Sequence::from(exec, &padded, 3, 6);
  const Tensor z = random_tensor({3, 6, 2}, 5);
  CHECK(error(fft_conv(exec, z, kernel, shorter), direct(z, kernel, shorter)) < 1e-14);  // the same
  Segments cut;
  cut.reset = Tensor::zeros({1, 12}, DType::kUInt8);
  CHECK_THROWS_AS(fft_conv(exec, x, kernel, Sequence::from(exec, &cut, 1, 12)), Error);
  CHECK_THROWS_AS(fft_conv(exec, x, random_tensor({3, 4}, 1), rows), Error);
  CHECK_THROWS_AS(fft_conv(exec, x, kernel.to(DType::kFloat32), rows), Error);
}

TEST_CASE("gradients of fft_conv") {
  for (const std::int64_t taps : {1, 4, 11, 20}) {
    const auto function = [](Exec& exec, std::span<const Tensor> in) {
      const Segments segments{.lengths = {11, 7}};
      return std::vector<Tensor>{
          fft_conv(exec, in[0], in[1], Sequence::from(exec, &segments, 2, 11))};
    };
    // 1e-8: central differences of a bilinear function are exact up to rounding over h.
    CHECK(test::gradcheck(function, {random_tensor({2, 11, 3}, 6), random_tensor({3, taps}, 7)}) <
          1e-8);
  }
}
