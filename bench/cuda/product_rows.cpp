// The card's product rate by cuBLASLt: bfloat16, half, TF32 and float, sums in float.
#include <rill/bench/cuda/bench_run.h>
#include <rill/core/error.h>

#include <cublasLt.h>

#include <memory>

namespace rill::bench {
namespace {

constexpr std::int64_t kSize = 8192, kCount = kSize * kSize;
constexpr std::size_t kWorkspace = std::size_t{1} << 25;

void must(cublasStatus_t status) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw Error(ErrorCode::kSystem, "cuBLASLt: status " + std::to_string(static_cast<int>(status)));
}

// What a product needs to be launched; freed with the last copy of the call.
struct Plan {
  cublasLtHandle_t handle = nullptr;
  cublasLtMatmulDesc_t product = nullptr;
  cublasLtMatrixLayout_t layout = nullptr;
  cublasLtMatmulHeuristicResult_t chosen{};

  Plan(cudaDataType_t type, cublasComputeType_t compute) {
    must(cublasLtCreate(&handle));
    must(cublasLtMatmulDescCreate(&product, compute, CUDA_R_32F));
    const cublasOperation_t transposed = CUBLAS_OP_T;  // x W^T, as a linear layer has it
    must(cublasLtMatmulDescSetAttribute(product, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                        sizeof transposed));
    must(cublasLtMatrixLayoutCreate(&layout, type, kSize, kSize, kSize));
    choose();
  }
  ~Plan() {
    cublasLtMatrixLayoutDestroy(layout);
    cublasLtMatmulDescDestroy(product);
    cublasLtDestroy(handle);
  }
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

 private:
  void choose() {
    cublasLtMatmulPreference_t preference = nullptr;
    must(cublasLtMatmulPreferenceCreate(&preference));
    must(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                              &kWorkspace, sizeof kWorkspace));
    int found = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
        handle, product, layout, layout, layout, layout, preference, 1, &chosen, &found);
    cublasLtMatmulPreferenceDestroy(preference);
    must(status);
    if (found == 0) throw Error(ErrorCode::kUnsupported, "cuBLASLt has no such product.");
  }
};

void product_row(Run& run, const char* name, DType dtype, cudaDataType_t type,
                 cublasComputeType_t compute) {
  run.row(
      {.name = name,
       .shape = shape_text({kSize, kSize, kSize}),
       .dtype = dtype,
       .bytes = 3.0 * kCount * static_cast<double>(size_of(dtype)),
       .tensor_flops = 2.0 * kCount * kSize,
       .by = "cublasLt"},
      [&](Arrays& arrays) -> Run::Call {
        const void* const a = arrays.uniform(kCount, -1, 1, dtype);
        const void* const b = arrays.uniform(kCount, -1, 1, dtype);
        void* const d = arrays.zeros(kCount, dtype);
        void* const workspace = arrays.empty(static_cast<std::int64_t>(kWorkspace), DType::kUInt8);
        const auto plan = std::make_shared<Plan>(type, compute);
        return [=, &run] {
          const float one = 1, zero = 0;
          must(cublasLtMatmul(plan->handle, plan->product, &one, a, plan->layout, b, plan->layout,
                              &zero, d, plan->layout, d, plan->layout, &plan->chosen.algo,
                              workspace, kWorkspace, static_cast<cudaStream_t>(run.stream())));
        };
      });
}

}  // namespace

void product_rows(Run& run) {
  product_row(run, "product", DType::kBFloat16, CUDA_R_16BF, CUBLAS_COMPUTE_32F);
  product_row(run, "product", DType::kFloat16, CUDA_R_16F, CUBLAS_COMPUTE_32F);
  product_row(run, "product tf32", DType::kFloat32, CUDA_R_32F, CUBLAS_COMPUTE_32F_FAST_TF32);
  product_row(run, "product", DType::kFloat32, CUDA_R_32F, CUBLAS_COMPUTE_32F);
}

}  // namespace rill::bench
