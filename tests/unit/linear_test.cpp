// Matrix products: values against double, and bits that depend neither on rows, threads, tiles nor
// cuts.
#include <rill/core/core.h>
#include <rill/core/half.h>
#include <rill/core/kernels.h>
#include <rill/core/random.h>
#include <rill/tests/support/catch.h>

#include <cmath>
#include <cstring>
#include <vector>

using namespace rill;

namespace {

std::vector<float> noise(std::int64_t count, std::uint64_t seed) {
  Generator generator(seed, "noise");
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = static_cast<float>(generator.uniform(-1.0, 1.0));
  return values;
}

// Restores the target that the process runs with.
class EachTarget {
 public:
  ~EachTarget() { set_cpu_target(before_); }
  template <class F>
  void run(const F& f) const {
    for (const std::string& target : available_cpu_targets()) {
      set_cpu_target(target);
      INFO("target " << target);
      f();
    }
  }

 private:
  std::string before_ = cpu_target();
};

struct Product {
  std::int64_t m, n, k;
};

std::vector<std::byte> pack(const CoreKernels& core, const void* w, std::int64_t n, std::int64_t k,
                            DType dtype, std::int64_t stride, bool transposed,
                            ThreadPool* pool = nullptr) {
  std::vector<std::byte> packed(static_cast<std::size_t>(core.packed_bytes(n, k, dtype)));
  core.pack({.w = w,
             .packed = packed.data(),
             .n = n,
             .k = k,
             .stride = stride,
             .transposed = transposed ? 1 : 0,
             .dtype = static_cast<std::int64_t>(dtype)},
            KernelContext{pool});
  return packed;
}

// The definition in double, and the sum of absolute values that bounds the error.
double reference(const std::vector<float>& x, const std::vector<float>& w,
                 const std::vector<float>& b, const Product& p, std::int64_t m, std::int64_t n,
                 double& magnitude) {
  double sum = b[static_cast<std::size_t>(n)];
  magnitude = std::abs(sum);
  for (std::int64_t k = 0; k < p.k; ++k) {
    const double term = static_cast<double>(x[static_cast<std::size_t>(m * p.k + k)]) *
                        static_cast<double>(w[static_cast<std::size_t>(n * p.k + k)]);
    sum += term;
    magnitude += std::abs(term);
  }
  return sum;
}

constexpr std::int64_t kF32 = static_cast<std::int64_t>(DType::kFloat32);

}  // namespace

TEST_CASE("float products are right at all edges") {
  EachTarget().run([] {
    const CoreKernels& core = cpu_core_kernels_f32();
    for (const std::int64_t n :
         {1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48, 63, 65, 100, 127, 129, 145})
      for (const std::int64_t m : {0, 1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 16, 23, 25, 95, 97, 110})
        for (const std::int64_t k : {0, 1, 2, 15, 64, 255, 256, 257, 530}) {
          if (m * n * k > 400000 && (m + n + k) % 3 != 0) continue;
          const Product p{m, n, k};
          const auto x = noise(m * k, 1), w = noise(n * k, 2), b = noise(n, 3);
          const auto packed = pack(core, w.data(), n, k, DType::kFloat32, k, false);
          const std::int64_t row = n + 3;
          std::vector<float> y(static_cast<std::size_t>(m * row + 1), -77.0f);
          core.linear({.x = x.data(),
                       .packed = packed.data(),
                       .bias = b.data(),
                       .y = y.data(),
                       .m = m,
                       .n = n,
                       .k = k,
                       .x_row = k,
                       .y_row = row,
                       .weight_dtype = kF32},
                      KernelContext{});
          INFO("m " << m << " n " << n << " k " << k);
          bool right = true, untouched = true;
          for (std::int64_t i = 0; i < m; ++i) {
            for (std::int64_t j = 0; j < n; ++j) {
              double magnitude = 0;
              const double expected = reference(x, w, b, p, i, j, magnitude);
              // k + 1 roundings of the partial sums at most.
              const double bound = static_cast<double>(k + 1) * 0x1p-24 * magnitude * 1.1;
              right =
                  right && std::abs(y[static_cast<std::size_t>(i * row + j)] - expected) <= bound;
            }
            for (std::int64_t j = n; j < row; ++j)
              untouched = untouched && y[static_cast<std::size_t>(i * row + j)] == -77.0f;
          }
          REQUIRE(right);
          REQUIRE(untouched);
        }
  });
}
