// Rill's float products beside OpenBLAS on one thread: the best of many runs, and the ratio of
// their times (above 1: Rill is faster). Usage: gemm-bench [TARGET [PREFIX OF CASES]].
#include <rill/core/core.h>
#include <rill/core/kernels.h>

#include <cblas.h>
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <string_view>
#include <utility>
#include <vector>

extern "C" char* openblas_get_corename();
extern "C" void openblas_set_num_threads(int);

namespace {

using namespace rill;

struct Case {
  const char* name;
  std::int64_t m, n, k;
  bool weight_gradient;  // y += x^T packed, both read with k = tokens
};

// The thread's own time: a machine that others use as well disturbs it less.
double now() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

double seconds_of(const auto& call) {
  const double start = now();
  call();
  return now() - start;
}

// Alternates both, so that a busy machine is busy for both.
std::pair<double, double> best_of(double budget, const auto& first, const auto& second) {
  std::pair<double, double> best{1e9, 1e9};
  const double start = now();
  for (int i = 0; i < 3 || now() - start < budget; ++i) {
    best.first = std::min(best.first, seconds_of(first));
    best.second = std::min(best.second, seconds_of(second));
  }
  return best;
}

std::vector<float> values(std::int64_t count) {
  std::vector<float> v(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < v.size(); ++i)
    v[i] = static_cast<float>((i * 7919) % 1009) / 1009.0f - 0.5f;
  return v;
}

// As the op does it: the activations are packed in pieces.
void weight_gradient(const CoreKernels& core, PackArgs pack, LinearArgs product) {
  const std::int64_t tokens = product.k, piece = gradient_piece(product.n);
  for (std::int64_t first = 0; first < tokens; first += piece) {
    pack.k = product.k = std::min(piece, tokens - first);
    core.pack(pack, {});
    core.linear(product, {});
    pack.w = static_cast<const float*>(pack.w) + piece * pack.stride;
    product.x = static_cast<const float*>(product.x) + piece * product.x_col;
    product.accumulate = 1;
  }
}

void run(const Case& c, DType dtype) {
  const CoreKernels& core = cpu_core_kernels_f32();
  const auto x = values(c.m * c.k), w = values(c.n * c.k);
  const Tensor weight = Tensor::from(w, {c.n, c.k}).to(dtype);
  std::vector<float> y(static_cast<std::size_t>(c.m * c.n)), z(y.size());
  const Tensor packed = Tensor::empty({core.packed_bytes(c.n, c.k, dtype)}, DType::kUInt8);
  const PackArgs pack{.w = weight.raw(),
                      .packed = packed.raw(),
                      .n = c.n,
                      .k = c.k,
                      .stride = c.weight_gradient ? c.n : c.k,
                      .transposed = c.weight_gradient ? 1 : 0,
                      .dtype = static_cast<std::int64_t>(dtype)};
  const LinearArgs args{.x = x.data(),
                        .packed = packed.raw(),
                        .y = y.data(),
                        .m = c.m,
                        .n = c.n,
                        .k = c.k,
                        .x_row = c.weight_gradient ? 1 : c.k,
                        .x_col = c.weight_gradient ? c.m : 1,
                        .y_row = c.n,
                        .weight_dtype = static_cast<std::int64_t>(dtype)};
  core.pack(pack, {});
  // Small products are timed in bundles.
  const int repeat = static_cast<int>(std::max(1.0, 2e6 / static_cast<double>(c.m * c.n * c.k)));
  const auto rill_product = [&] {
    for (int i = 0; i < repeat; ++i) {
      if (c.weight_gradient)
        weight_gradient(core, pack, args);
      else
        core.linear(args, {});
    }
  };
  const auto m = static_cast<int>(c.m), n = static_cast<int>(c.n), k = static_cast<int>(c.k);
  const auto blas_product = [&] {
    for (int i = 0; i < repeat; ++i) {
      if (c.weight_gradient)
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, m, n, k, 1.0f, x.data(), m, w.data(),
                    n, 0.0f, z.data(), n);
      else if (c.m == 1)
        cblas_sgemv(CblasRowMajor, CblasNoTrans, n, k, 1.0f, w.data(), k, x.data(), 1, 0.0f,
                    z.data(), 1);
      else
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, m, n, k, 1.0f, x.data(), k, w.data(),
                    k, 0.0f, z.data(), n);
    }
  };
  const auto [rill_seconds, blas_seconds] = best_of(0.5, rill_product, blas_product);
  const double work = 2e-9 * repeat * static_cast<double>(c.m * c.n * c.k);
  const double bytes =
      1e-9 * repeat * static_cast<double>(c.n * c.k) * static_cast<double>(size_of(dtype));
  std::printf(
      "%-8s %-26s %-9s %10.2f us %8.1f GFLOP/s %6.1f GB/s  OpenBLAS %10.2f us  ratio %.2f\n",
      cpu_target().c_str(), c.name, name_of(dtype), 1e6 * rill_seconds / repeat,
      work / rill_seconds, bytes / rill_seconds, 1e6 * blas_seconds / repeat,
      blas_seconds / rill_seconds);
}

}  // namespace

int main(int argc, char** argv) {
  openblas_set_num_threads(1);
  if (argc > 1) set_cpu_target(argv[1]);
  std::printf("%s; OpenBLAS %s\n", cpu_name().c_str(), openblas_get_corename());
  const Case cases[] = {
      {"1024 x 1024 x 1024", 1024, 1024, 1024, false},
      {"64 x 1024 x 256", 64, 1024, 256, false},
      {"256 x 256 x 256", 256, 256, 256, false},
      {"1024 x 64 x 64", 1024, 64, 64, false},
      {"16 x 1024 x 1024", 16, 1024, 1024, false},
      {"16 x 256 x 256", 16, 256, 256, false},
      {"8 x 1024 x 1024", 8, 1024, 1024, false},
      {"4 x 1024 x 1024", 4, 1024, 1024, false},
      {"2 x 1024 x 1024", 2, 1024, 1024, false},
      {"1 x 1024 x 1024", 1, 1024, 1024, false},
      {"1 x 256 x 256", 1, 256, 256, false},
      {"1 x 64 x 64", 1, 64, 64, false},
      {"1 x 4096 x 4096", 1, 4096, 4096, false},
      {"16 x 4096 x 4096", 16, 4096, 4096, false},
      {"dW 256 x 64, 8192 tokens", 256, 64, 8192, true},
      {"dW 512 x 512, 8192 tokens", 512, 512, 8192, true},
  };
  const std::string_view prefix = argc > 2 ? argv[2] : "";
  for (const Case& c : cases) {
    if (!std::string_view(c.name).starts_with(prefix)) continue;
    run(c, DType::kFloat32);
    if (c.weight_gradient || c.n < 1024) continue;
    run(c, DType::kBFloat16);
    run(c, DType::kFloat16);
  }
  return 0;
}
