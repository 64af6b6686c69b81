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

namespace {

struct Call {
  Product p;
  const std::vector<float>& x;
  const std::vector<std::byte>& packed;
  const float* bias = nullptr;
  DType dtype = DType::kFloat32;
  ThreadPool* pool = nullptr;
};

std::vector<float> multiply(const Call& call) {
  std::vector<float> y(static_cast<std::size_t>(call.p.m * call.p.n));
  cpu_core_kernels_f32().linear({.x = call.x.data(),
                                 .packed = call.packed.data(),
                                 .bias = call.bias,
                                 .y = y.data(),
                                 .m = call.p.m,
                                 .n = call.p.n,
                                 .k = call.p.k,
                                 .x_row = call.p.k,
                                 .y_row = call.p.n,
                                 .weight_dtype = static_cast<std::int64_t>(call.dtype)},
                                KernelContext{call.pool});
  return y;
}

bool same_bits(const float* a, const float* b, std::size_t count) {
  return std::memcmp(a, b, count * sizeof(float)) == 0;
}

}  // namespace

TEST_CASE("a row's bits depend neither on the number of rows nor on threads") {
  EachTarget().run([] {
    ThreadPool two(2), three(3);
    for (const Product& p :
         {Product{1000, 100, 40}, {301, 257, 800}, {130, 31, 1025}, {64, 640, 390}}) {
      const auto x = noise(p.m * p.k, 4), w = noise(p.n * p.k, 5), b = noise(p.n, 6);
      for (const DType dtype : {DType::kFloat32, DType::kBFloat16, DType::kFloat16}) {
        const Tensor weight = Tensor::from(w, {p.n, p.k}).to(dtype);
        const auto packed = pack(cpu_core_kernels_f32(), weight.raw(), p.n, p.k, dtype, p.k, false);
        REQUIRE(packed ==
                pack(cpu_core_kernels_f32(), weight.raw(), p.n, p.k, dtype, p.k, false, &three));
        const auto whole = multiply({p, x, packed, b.data(), dtype});
        const std::size_t size = whole.size();
        REQUIRE(
            same_bits(whole.data(), multiply({p, x, packed, b.data(), dtype, &two}).data(), size));
        REQUIRE(same_bits(whole.data(), multiply({p, x, packed, b.data(), dtype, &three}).data(),
                          size));
        for (const std::int64_t m : {1, 2, 3, 4, 5, 6, 7, 8, 12, 13, 16, 24, 25, 63, 97}) {
          if (m > p.m) continue;
          const Product part{m, p.n, p.k};
          const auto first = multiply({part, x, packed, b.data(), dtype});
          INFO("m " << m << " n " << p.n << " k " << p.k << " " << name_of(dtype));
          REQUIRE(same_bits(whole.data(), first.data(), first.size()));
        }
      }
    }
  });
}

TEST_CASE("a cut of k that accumulates is the whole product, and x may be read transposed") {
  EachTarget().run([] {
    const CoreKernels& core = cpu_core_kernels_f32();
    ThreadPool three(3);
    for (const Product& p :
         {Product{13, 40, 700}, {1, 16, 333}, {96, 17, 1300}, {2, 3, 900}, {200, 64, 520}}) {
      const auto x = noise(p.m * p.k, 7), w = noise(p.n * p.k, 8), start = noise(p.m * p.n, 9);
      std::vector<float> x_t(x.size()), w_t(w.size());
      for (std::int64_t k = 0; k < p.k; ++k) {
        for (std::int64_t m = 0; m < p.m; ++m)
          x_t[static_cast<std::size_t>(k * p.m + m)] = x[static_cast<std::size_t>(m * p.k + k)];
        for (std::int64_t n = 0; n < p.n; ++n)
          w_t[static_cast<std::size_t>(k * p.n + n)] = w[static_cast<std::size_t>(n * p.k + k)];
      }
      const auto packed = pack(core, w.data(), p.n, p.k, DType::kFloat32, p.k, false);
      REQUIRE(packed == pack(core, w_t.data(), p.n, p.k, DType::kFloat32, p.n, true));
      const auto run = [&](bool transposed, std::int64_t cut, ThreadPool* pool) {
        std::vector<float> y = start;
        for (std::int64_t k0 = 0; k0 < p.k; k0 += cut) {
          const std::int64_t steps = std::min(cut, p.k - k0);
          const auto part =
              pack(core, w_t.data() + k0 * p.n, p.n, steps, DType::kFloat32, p.n, true);
          core.linear({.x = transposed ? x_t.data() + k0 * p.m : x.data() + k0,
                       .packed = part.data(),
                       .y = y.data(),
                       .m = p.m,
                       .n = p.n,
                       .k = steps,
                       .x_row = transposed ? 1 : p.k,
                       .x_col = transposed ? p.m : 1,
                       .y_row = p.n,
                       .accumulate = 1,
                       .weight_dtype = kF32},
                      KernelContext{pool});
        }
        return y;
      };
      const auto whole = run(false, p.k, nullptr);
      for (const std::int64_t cut : {p.k, p.k / 2, std::int64_t{100}, std::int64_t{384}}) {
        INFO("m " << p.m << " n " << p.n << " k " << p.k << " cut " << cut);
        REQUIRE(same_bits(whole.data(), run(false, cut, &three).data(), whole.size()));
        REQUIRE(same_bits(whole.data(), run(true, cut, nullptr).data(), whole.size()));
        REQUIRE(same_bits(whole.data(), run(true, cut, &three).data(), whole.size()));
      }
    }
  });
}

TEST_CASE("every 16-bit weight is read as its exact value") {
  EachTarget().run([] {
    const CoreKernels& core = cpu_core_kernels_f32();
    std::vector<std::uint16_t> bits(65536);
    for (std::size_t i = 0; i < bits.size(); ++i) bits[i] = static_cast<std::uint16_t>(i);
    for (const DType dtype : {DType::kBFloat16, DType::kFloat16})
      for (const std::int64_t m : {1, 7}) {  // converted in the tile, and before it
        const auto packed = pack(core, bits.data(), 65536, 1, dtype, 1, false);
        const std::vector<float> x(static_cast<std::size_t>(m), 1.0f);
        const auto y = multiply({{m, 65536, 1}, x, packed, nullptr, dtype});
        bool exact = true;
        for (std::size_t i = 0; i < bits.size(); ++i) {
          const float value = dtype == DType::kFloat16 ? Half{bits[i]} : BFloat16{bits[i]};
          // 0 + value: a NaN may change its payload, -0 becomes 0.
          exact = exact && (std::isnan(value) ? std::isnan(y[i]) : y[i] == value);
        }
        REQUIRE(exact);
      }
  });
}

TEST_CASE("NaN and infinity stay in their rows and columns") {
  EachTarget().run([] {
    for (const std::int64_t m : {3, 30}) {
      const Product p{m, 37, 20};
      auto x = noise(p.m * p.k, 10), w = noise(p.n * p.k, 11);
      const auto clean = multiply(
          {p, x, pack(cpu_core_kernels_f32(), w.data(), p.n, p.k, DType::kFloat32, p.k, false)});
      x[static_cast<std::size_t>(p.k) + 3] = NAN;
      w[static_cast<std::size_t>(36 * p.k) + 5] = INFINITY;
      const auto y = multiply(
          {p, x, pack(cpu_core_kernels_f32(), w.data(), p.n, p.k, DType::kFloat32, p.k, false)});
      for (std::int64_t i = 0; i < p.m; ++i)
        for (std::int64_t j = 0; j < p.n; ++j) {
          const auto at = static_cast<std::size_t>(i * p.n + j);
          if (i == 1)
            REQUIRE(std::isnan(y[at]));
          else if (j == 36)
            REQUIRE(std::isinf(y[at]));
          else
            REQUIRE(y[at] == clean[at]);
        }
    }
  });
}

TEST_CASE("double products, and float weights in them") {
  const CoreKernels& core = cpu_core_kernels_f64();
  ThreadPool three(3);
  for (const Product& p : {Product{70, 33, 65}, {1, 1, 1}, {3, 16, 0}, {130, 50, 40}}) {
    const auto xf = noise(p.m * p.k, 12), w = noise(p.n * p.k, 13), b = noise(p.n, 14);
    const std::vector<double> x(xf.begin(), xf.end()), bias(b.begin(), b.end()),
        wd(w.begin(), w.end());
    const auto packed = pack(core, w.data(), p.n, p.k, DType::kFloat32, p.k, false);
    REQUIRE(packed == pack(core, wd.data(), p.n, p.k, DType::kFloat64, p.k, false));
    std::vector<double> y(static_cast<std::size_t>(p.m * p.n));
    core.linear({.x = x.data(),
                 .packed = packed.data(),
                 .bias = bias.data(),
                 .y = y.data(),
                 .m = p.m,
                 .n = p.n,
                 .k = p.k,
                 .x_row = p.k,
                 .y_row = p.n},
                KernelContext{&three});
    for (std::int64_t m = 0; m < p.m; ++m)
      for (std::int64_t n = 0; n < p.n; ++n) {
        double magnitude = 0;
        // The same sum in the same order.
        REQUIRE(y[static_cast<std::size_t>(m * p.n + n)] ==
                reference(xf, w, b, p, m, n, magnitude));
      }
  }
}
