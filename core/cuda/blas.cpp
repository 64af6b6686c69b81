// cuBLASLt behind matrix_product. Each thread keeps a handle a device and, for every shape that it
// has multiplied, the descriptors and the algorithm that the library's heuristic named first.
#include <rill/core/cuda/blas.h>
#include <rill/core/cuda/library.h>

#include <cublasLt.h>
#include <cuda_runtime.h>

#include <array>
#include <map>
#include <memory>
#include <string>

namespace rill {
namespace {

struct CublasLt {
  decltype(&cublasLtCreate) create = nullptr;
  decltype(&cublasLtDestroy) destroy = nullptr;
  decltype(&cublasLtMatmul) matmul = nullptr;
  decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic = nullptr;
  decltype(&cublasLtMatmulDescCreate) operation_create = nullptr;
  decltype(&cublasLtMatmulDescDestroy) operation_destroy = nullptr;
  decltype(&cublasLtMatmulDescSetAttribute) operation_set = nullptr;
  decltype(&cublasLtMatrixLayoutCreate) layout_create = nullptr;
  decltype(&cublasLtMatrixLayoutDestroy) layout_destroy = nullptr;
  decltype(&cublasLtMatmulPreferenceCreate) preference_create = nullptr;
  decltype(&cublasLtMatmulPreferenceDestroy) preference_destroy = nullptr;
  decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set = nullptr;
  bool whole = true;

  CublasLt() {
    void* const library =
        open_library(("libcublasLt.so." + std::to_string(CUBLAS_VER_MAJOR)).c_str());
    find(library, "cublasLtCreate", create);
    find(library, "cublasLtDestroy", destroy);
    find(library, "cublasLtMatmul", matmul);
    find(library, "cublasLtMatmulAlgoGetHeuristic", heuristic);
    find(library, "cublasLtMatmulDescCreate", operation_create);
    find(library, "cublasLtMatmulDescDestroy", operation_destroy);
    find(library, "cublasLtMatmulDescSetAttribute", operation_set);
    find(library, "cublasLtMatrixLayoutCreate", layout_create);
    find(library, "cublasLtMatrixLayoutDestroy", layout_destroy);
    find(library, "cublasLtMatmulPreferenceCreate", preference_create);
    find(library, "cublasLtMatmulPreferenceDestroy", preference_destroy);
    find(library, "cublasLtMatmulPreferenceSetAttribute", preference_set);
  }

  template <class Function>
  void find(void* library, const char* name, Function& function) {
    function = reinterpret_cast<Function>(library_function(library, name));
    whole = whole && function != nullptr;
  }
};

const CublasLt& blas() {
  static const CublasLt library;
  return library;
}

cudaDataType_t type_of(DType dtype) {
  if (dtype == DType::kBFloat16) return CUDA_R_16BF;
  return dtype == DType::kFloat16 ? CUDA_R_16F : CUDA_R_32F;
}

// The largest power of two, at most 256, that divides the address: algorithms ask for it.
std::uint32_t alignment_of(const void* address) {
  const auto bits = reinterpret_cast<std::uintptr_t>(address) | 256;
  return static_cast<std::uint32_t>(bits & (~bits + 1));
}

// The workspace is asked to lie as cudaMalloc's memory does.
std::size_t workspace_of(const DeviceLaunch& on) {
  return alignment_of(on.workspace) == 256 ? on.workspace_bytes : 0;
}

// Descriptors of one product's shape.
struct Descriptors {
  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t a = nullptr, b = nullptr, d = nullptr;
  cublasLtMatmulAlgo_t algorithm{};
  bool usable = false;

  Descriptors() = default;
  Descriptors(const Descriptors&) = delete;
  Descriptors& operator=(const Descriptors&) = delete;
  ~Descriptors() {
    if (operation) blas().operation_destroy(operation);
    for (const cublasLtMatrixLayout_t layout : {a, b, d})
      if (layout) blas().layout_destroy(layout);
  }

  bool set(cublasLtMatmulDescAttributes_t attribute, const auto& value) const {
    return blas().operation_set(operation, attribute, &value, sizeof value) ==
           CUBLAS_STATUS_SUCCESS;
  }
  static bool layout(cublasLtMatrixLayout_t& layout, DType dtype, std::int64_t rows,
                     std::int64_t columns, std::int64_t ld) {
    return blas().layout_create(&layout, type_of(dtype), static_cast<std::uint64_t>(rows),
                                static_cast<std::uint64_t>(columns), ld) == CUBLAS_STATUS_SUCCESS;
  }

  bool describe(const MatrixProduct& p, bool tf32) {
    const bool rounded = tf32 && p.input == DType::kFloat32;
    if (blas().operation_create(&operation,
                                rounded ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F,
                                CUDA_R_32F) != CUBLAS_STATUS_SUCCESS)
      return false;
    const cublasOperation_t op_a = p.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N,
                            op_b = p.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasLtEpilogue_t epilogue = p.bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
    return set(CUBLASLT_MATMUL_DESC_TRANSA, op_a) && set(CUBLASLT_MATMUL_DESC_TRANSB, op_b) &&
           set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue) &&
           set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, p.bias) &&
           layout(a, p.input, p.transpose_a ? p.k : p.m, p.transpose_a ? p.m : p.k, p.lda) &&
           layout(b, p.input, p.transpose_b ? p.n : p.k, p.transpose_b ? p.k : p.n, p.ldb) &&
           layout(d, p.output, p.m, p.n, p.ldd);
  }

  // Parts of a sum over k that is split go to the workspace in float and are added in a step of
  // their own: the other schemes round them to D's type, or add them as they come.
  bool choose(cublasLtHandle_t handle, const MatrixProduct& p, std::size_t workspace) {
    cublasLtMatmulPreference_t preference = nullptr;
    if (blas().preference_create(&preference) != CUBLAS_STATUS_SUCCESS) return false;
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
      return blas().preference_set(preference, attribute, &value, sizeof value) ==
             CUBLAS_STATUS_SUCCESS;
    };
    const std::uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    const auto bytes = static_cast<std::uint64_t>(workspace);
    int found = 0;
    cublasLtMatmulHeuristicResult_t result{};
    const bool chosen = prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, schemes) &&
                        prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, bytes) &&
                        prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment_of(p.a)) &&
                        prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment_of(p.b)) &&
                        prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment_of(p.d)) &&
                        prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment_of(p.d)) &&
                        blas().heuristic(handle, operation, a, b, d, d, preference, 1, &result,
                                         &found) == CUBLAS_STATUS_SUCCESS &&
                        found > 0 && result.state == CUBLAS_STATUS_SUCCESS;
    blas().preference_destroy(preference);
    algorithm = result.algo;
    return chosen;
  }
};

class Products {
  using Key = std::array<std::int64_t, 17>;

 public:
  Products() = default;
  Products(const Products&) = delete;
  Products& operator=(const Products&) = delete;
  ~Products() {
    shapes_.clear();
    for (const auto& [device, handle] : handles_) blas().destroy(handle);
  }

  DeviceStatus run(const MatrixProduct& p, const DeviceLaunch& on) {
    int device = 0;
    if (const cudaError_t error = cudaGetDevice(&device)) return error;
    const auto [at, fresh] = handles_.try_emplace(device, nullptr);
    if (fresh && blas().create(&at->second) != CUBLAS_STATUS_SUCCESS) {
      handles_.erase(at);
      return kNoProductLibrary;
    }
    const cublasLtHandle_t handle = at->second;
    const std::size_t workspace = workspace_of(on);
    const Descriptors& shape = find(handle, device, p, on.tf32, workspace);
    if (!shape.usable) return kNoProductLibrary;
    if (p.bias && !shape.set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, p.bias)) return kProductFailed;
    const float one = 1.0f, beta = p.accumulate ? 1.0f : 0.0f;
    const cublasStatus_t status = blas().matmul(
        handle, shape.operation, &one, p.a, shape.a, p.b, shape.b, &beta, p.d, shape.d, p.d,
        shape.d, &shape.algorithm, workspace > 0 ? on.workspace : nullptr, workspace,
        static_cast<cudaStream_t>(on.stream));
    return status == CUBLAS_STATUS_SUCCESS ? 0 : kProductFailed;
  }

 private:
  // Shapes that a thread keeps before it forgets them all: packed batches bring ever new ones.
  static constexpr std::size_t kKept = 1024;

  const Descriptors& find(cublasLtHandle_t handle, int device, const MatrixProduct& p, bool tf32,
                          std::size_t workspace) {
    const Key key{device,
                  p.m,
                  p.n,
                  p.k,
                  p.lda,
                  p.ldb,
                  p.ldd,
                  2 * p.transpose_a + p.transpose_b,
                  p.accumulate,
                  static_cast<std::int64_t>(p.input),
                  static_cast<std::int64_t>(p.output),
                  alignment_of(p.a),
                  alignment_of(p.b),
                  alignment_of(p.d),
                  p.bias ? alignment_of(p.bias) : 0,
                  tf32,
                  static_cast<std::int64_t>(workspace)};
    if (shapes_.size() >= kKept && !shapes_.contains(key)) shapes_.clear();
    const auto [at, fresh] = shapes_.try_emplace(key);
    if (fresh) {
      at->second = std::make_unique<Descriptors>();
      at->second->usable =
          at->second->describe(p, tf32) && at->second->choose(handle, p, workspace);
    }
    return *at->second;
  }

  std::map<int, cublasLtHandle_t> handles_;
  std::map<Key, std::unique_ptr<Descriptors>> shapes_;
};

}  // namespace

DeviceStatus matrix_product(const MatrixProduct& product, const DeviceLaunch& on) {
  if (!blas().whole) return kNoProductLibrary;
  thread_local Products products;
  return products.run(product, on);
}

}  // namespace rill
