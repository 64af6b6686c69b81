// Long kernels and responses of diagonal state spaces, in float, against long double: weakly damped
// modes whose phase turns a hundred thousand times (methods 1.6c).
#include <rill/core/core.h>
#include <rill/hippo/diagonal_init.h>
#include <rill/scan/diagonal_ssm.h>
#include <rill/tests/support/catch.h>
#include <rill/tests/support/gradcheck.h>

#include <cmath>
#include <complex>
#include <vector>

using namespace rill;
using test::random_tensor;

namespace {

using Wide = std::complex<long double>;

// S4D-Inv of 64 states at dt = 1e-3, but Re A = -0.005: after 2^17 steps half of it is left.
DiagonalParameters weakly_damped(DType dtype) {
  const hippo::DiagonalInit init = hippo::diagonal_init("inv", 64, 1);
  const Tensor one = Tensor::zeros({1, 1, 32, 2}, DType::kFloat64);
  for (std::int64_t n = 0; n < 32; ++n) one.data<double>()[2 * n] = 1.0;
  // All of them pass through float, so that both dtypes hold the same values.
  const auto at = [dtype](const Tensor& t) { return t.to(DType::kFloat32).to(dtype); };
  return {at(Tensor::full({1, 1}, DType::kFloat64, std::log(1e-3))),
          at(Tensor::full({1, 32}, DType::kFloat64, std::log(0.005))),
          at(Tensor::from(std::vector<double>(init.im.begin(), init.im.end()), {1, 32})), at(one),
          at(one)};
}

struct Mode {
  Wide z, w;  // dt A and C dt expm1(z)/z B
};

std::vector<Mode> modes_of(const DiagonalParameters& parameters) {
  const Tensor dt = parameters.log_dt.to(DType::kFloat64), re = parameters.a_real.to(dt.dtype()),
               im = parameters.a_imag.to(dt.dtype());
  const long double step = std::exp(static_cast<long double>(dt.data<double>()[0]));
  std::vector<Mode> modes;
  for (std::int64_t n = 0; n < 32; ++n) {
    const Wide z = step * Wide(-std::exp(static_cast<long double>(re.data<double>()[n])),
                               -static_cast<long double>(im.data<double>()[n]));
    modes.push_back({z, step * (std::exp(z) - 1.0L) / z});
  }
  return modes;
}

/// Every 61st step of `length`, and the last.
std::vector<std::int64_t> sampled(std::int64_t length) {
  std::vector<std::int64_t> steps;
  for (std::int64_t l = 0; l < length; l += 61) steps.push_back(l);
  steps.push_back(length - 1);
  return steps;
}

/// max |K - K_exact| / max |K_exact| over the sampled steps.
double kernel_error(const Tensor& kernel, const std::vector<Mode>& modes) {
  const Tensor wide = kernel.to(DType::kFloat64);
  double worst = 0.0, peak = 0.0;
  for (const std::int64_t l : sampled(kernel.size(1))) {
    long double exact = 0.0L;
    for (const Mode& mode : modes)
      exact += 2.0L * (mode.w * std::exp(static_cast<long double>(l) * mode.z)).real();
    worst = std::max(worst, std::abs(wide.data<double>()[l] - static_cast<double>(exact)));
    peak = std::max(peak, static_cast<double>(std::abs(exact)));
  }
  return worst / peak;
}

}  // namespace

TEST_CASE("kernels of weakly damped modes keep their phase for 2^17 steps") {
  const std::int64_t length = 1 << 17;
  Exec single({.threads = 2});
  const DiagonalParameters p = weakly_damped(DType::kFloat32);
  const std::vector<Mode> modes = modes_of(p);
  DiagonalCoefficients k = discretize_diagonal(single, p, DiagonalRule::kZeroOrderHold);
  CHECK(kernel_error(diagonal_kernel(single, k, length), modes) <
        1.2e-7);  // w and K rounded to float once
  k.exact_a = {};
  CHECK(kernel_error(diagonal_kernel(single, k, length), modes) > 1e-4);  // what exact_a is for

  Exec wide({.dtype = DType::kFloat64, .threads = 2});
  const DiagonalCoefficients k64 =
      discretize_diagonal(wide, weakly_damped(DType::kFloat64), DiagonalRule::kZeroOrderHold);
  // The rounding of a, 1e-16, times 2^17.
  CHECK(kernel_error(diagonal_kernel(wide, k64, length), modes) < 2e-11);
}

TEST_CASE("modes of any size are discretised: quotients neither overflow nor underflow") {
  Exec exec({.dtype = DType::kFloat64, .threads = 1});
  for (const double size : {1e200, 1e-200}) {
    INFO("|z| about " << size);
    DiagonalParameters p{Tensor::zeros({1, 1}, DType::kFloat64),
                         Tensor::full({1, 1}, DType::kFloat64, std::log(size)),
                         Tensor::full({1, 1}, DType::kFloat64, 2.0 * size),
                         Tensor::zeros({1, 1, 1, 2}, DType::kFloat64),
                         Tensor::zeros({1, 1, 1, 2}, DType::kFloat64)};
    p.b.data<double>()[0] = p.c.data<double>()[0] = 1.0;
    const Wide z(-std::exp(static_cast<long double>(p.a_real.data<double>()[0])),
                 -2.0L * static_cast<long double>(size));
    const auto close = [](const Tensor& value, Wide exact) {
      const Wide v(value.data<double>()[0], value.data<double>()[1]);
      CHECK(std::abs(v - exact) <= 1e-13L * std::abs(exact));  // e^460 of a rounded 460
    };
    const auto hold = discretize_diagonal(exec, p, DiagonalRule::kZeroOrderHold);
    close(hold.w, size > 1 ? -1.0L / z : 1.0L);
    close(hold.a, size > 1 ? 0.0L : 1.0L);
    const auto bilinear = discretize_diagonal(exec, p, DiagonalRule::kBilinear);
    close(bilinear.w, 1.0L / (1.0L - z / 2.0L));
    close(bilinear.a, size > 1 ? -1.0L : 1.0L);
  }
}

TEST_CASE("what a state adds to a convolution keeps its phase for 100,000 steps") {
  const std::int64_t length = 100'000;
  Exec exec({.threads = 2});
  const DiagonalParameters p = weakly_damped(DType::kFloat32);
  const std::vector<Mode> modes = modes_of(p);
  const DiagonalCoefficients k = discretize_diagonal(exec, p, DiagonalRule::kZeroOrderHold);
  const Tensor start = random_tensor({1, 1, 32, 2}, 3).to(DType::kFloat32);
  const Tensor silence = Tensor::zeros({1, length, 1}, DType::kFloat32);
  Tensor h = start.clone();
  const Tensor y = diagonal_convolution(exec, silence, k, {}, h, Sequence::batch(exec, 1, length));
  const auto at = [](const Tensor& t, std::int64_t n) {
    return Wide(t.data<float>()[2 * n], t.data<float>()[2 * n + 1]);
  };
  double worst = 0.0, peak = 0.0;
  for (const std::int64_t t : sampled(length)) {
    long double exact = 0.0L;
    for (std::int64_t n = 0; n < 32; ++n) {
      const Mode& mode = modes[static_cast<std::size_t>(n)];
      exact += 2.0L *
               (mode.w * at(start, n) * std::exp(static_cast<long double>(t + 1) * mode.z)).real();
    }
    worst = std::max(worst, std::abs(static_cast<double>(y.data<float>()[t] - exact)));
    peak = std::max(peak, static_cast<double>(std::abs(exact)));
  }
  CHECK(worst < 2.4e-7 * peak);  // w and y rounded to float once, 32 modes against their sum's peak
  for (std::int64_t n = 0; n < 32; ++n) {
    const Wide exact =
        at(start, n) * std::exp(static_cast<long double>(length) * modes[std::size_t(n)].z);
    REQUIRE(std::abs(at(h, n) - exact) < 1.2e-7L * std::abs(at(start, n)));  // one rounding
  }
}

TEST_CASE("gradients of long kernels are float's rounding from those of double") {
  bool exact = true;
  const auto function = [&exact](Exec& exec, std::span<const Tensor> in) {
    DiagonalCoefficients k = discretize_diagonal(exec, {in[0], in[1], in[2], in[3], in[4]},
                                                 DiagonalRule::kZeroOrderHold);
    if (!exact) k.exact_a = {};
    return std::vector<Tensor>{diagonal_kernel(exec, k, 1 << 15)};
  };
  const auto gradients = [&](DType dtype) {
    Exec exec({.dtype = dtype, .threads = 2});
    const DiagonalParameters p = weakly_damped(dtype);
    const std::vector<Tensor> inputs{p.log_dt, p.a_real, p.a_imag, p.b, p.c};
    return test::tape_gradients(exec, function, inputs);
  };
  // dL/da, which grows with l, is rounded to float once; it meets its conjugate in dz.
  const std::vector<Tensor> wide = gradients(DType::kFloat64);
  CHECK(test::relative_error(gradients(DType::kFloat32), wide) < 1e-6);
  exact = false;
  CHECK(test::relative_error(gradients(DType::kFloat32), wide) > 1e-4);
}
