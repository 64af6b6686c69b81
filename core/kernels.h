// Private: the table of core's kernels. A back end fills one per dtype; null means that it has no such kernel.
// Arguments are pointers and 8-byte scalars only (see kernel.h); letters as in ops.h.
#pragma once

#include <cstdint>

#include <rill/core/kernel.h>
#include <rill/core/ops.h>
#include <rill/core/sequence.h>

namespace rill {

/// Packs W [N, K] (row stride `stride`, element type `dtype`) for x W^T, or, where `transposed`, W [K, N] (k-major, such
/// as the weight seen from dy, or activations) as if it were its transpose. Layout is the back end's own.
struct PackArgs {
  const void* w = nullptr;
  void* packed = nullptr;
  std::int64_t n = 0, k = 0;
  std::int64_t stride = 0;
  std::int64_t transposed = 0;
  std::int64_t dtype = 0;  // DType of w
};

/// y[m, n] (+)= sum_k x[m, k] W[n, k] + bias[n]: one chain an element, which starts at y (where it accumulates), then the
/// bias, then k strictly in order; bits depend neither on m nor on how rows, columns or calls are cut (a product over
/// the second part of k that accumulates on the first part's result is the whole product). CPU: the kernel is reentrant
/// and allocates nothing; other kernels may call core_kernels_f32().linear with a KernelContext{} (no pool) on the
/// calling thread, which costs some ten nanoseconds beside the product: fit for m = 1 ... 16 in a recurrence's loop.
struct LinearArgs {
  const void* x = nullptr;
  const void* packed = nullptr;
  const void* bias = nullptr;  // or null
  void* y = nullptr;
  std::int64_t m = 0, n = 0, k = 0;
  std::int64_t x_row = 0, x_col = 1;  // strides of x in elements: x_col != 1 reads x transposed (weight gradients)
  std::int64_t y_row = 0;
  std::int64_t accumulate = 0;
  std::int64_t weight_dtype = 0;
};

/// y[t, :] = table[token[t], :]; a token out of [0, vocabulary) is clamped (ops check it where they may).
struct EmbeddingArgs {
  const void *token = nullptr, *table = nullptr;
  void* y = nullptr;
  std::int64_t token_dtype = 0, table_dtype = 0;  // DType
  std::int64_t tokens = 0, vocabulary = 0, channels = 0;
};
/// dtable[token[t], :] += dy[t, :], tokens in order for every element.
struct EmbeddingBackwardArgs {
  const void *token = nullptr, *dy = nullptr;
  void* dtable = nullptr;
  std::int64_t token_dtype = 0;  // DType
  std::int64_t tokens = 0, vocabulary = 0, channels = 0;
};

struct UnaryArgs {
  const void* x = nullptr;
  void* y = nullptr;
  std::int64_t kind = 0;  // Unary
  std::int64_t count = 0;
};
struct UnaryBackwardArgs {
  const void *x = nullptr, *y = nullptr, *dy = nullptr;
  void* dx = nullptr;
  std::int64_t kind = 0;
  std::int64_t count = 0;
};
/// y = a op b; b has `tokens` rows, or one (b_rows = 1).
struct BinaryArgs {
  const void *a = nullptr, *b = nullptr;
  void* y = nullptr;
  std::int64_t kind = 0;  // Binary
  std::int64_t tokens = 0, channels = 0, b_rows = 0;
};
/// y = scale * x + shift (y may be x).
struct AffineArgs {
  const void* x = nullptr;
  void* y = nullptr;
  double scale = 1.0, shift = 0.0;
  std::int64_t count = 0;
};
/// y = act(gate) * x, rows of `channels` with strides, so that both halves of one array can be read.
struct GatedArgs {
  const void *x = nullptr, *gate = nullptr;
  void* y = nullptr;
  std::int64_t kind = 0;
  std::int64_t tokens = 0, channels = 0, x_row = 0, gate_row = 0;
};
struct GatedBackwardArgs {
  const void *x = nullptr, *gate = nullptr, *dy = nullptr;
  void *dx = nullptr, *dgate = nullptr;
  std::int64_t kind = 0;
  std::int64_t tokens = 0, channels = 0, x_row = 0, gate_row = 0;  // also of dx, dgate
};
/// out[c] (+)= sum over tokens of x[t, c] (* z[t, c] where z is given), in a fixed order.
struct ColumnSumArgs {
  const void *x = nullptr, *z = nullptr;
  void* out = nullptr;
  std::int64_t tokens = 0, channels = 0, x_row = 0;
  std::int64_t accumulate = 0;
};
/// rows of `width`; weight row = row % weight_rows (weight [weight_rows, width]); rms: no mean.
struct NormArgs {
  const void *x = nullptr, *weight = nullptr, *bias = nullptr;
  void* y = nullptr;
  std::int64_t rows = 0, width = 0, weight_rows = 1;
  std::int64_t kind = 0;  // 0 rms, 1 layer norm, 2 l2
  double eps = 0.0;
};
/// dx overwritten; dweight, dbias [weight_rows, width] accumulated (or null).
struct NormBackwardArgs {
  const void *x = nullptr, *weight = nullptr, *dy = nullptr;
  void *dx = nullptr, *dweight = nullptr, *dbias = nullptr;
  std::int64_t rows = 0, width = 0, weight_rows = 1;
  std::int64_t kind = 0;
  double eps = 0.0;
};
/// Strided copy of `rows` rows of `bytes` bytes.
struct CopyArgs {
  const void* source = nullptr;
  void* target = nullptr;
  std::int64_t rows = 0, bytes = 0, source_stride = 0, target_stride = 0;  // strides in bytes
};

struct CoreKernels {
  Kernel<PackArgs> pack = nullptr;
  std::int64_t (*packed_bytes)(std::int64_t n, std::int64_t k, DType weight) = nullptr;
  Kernel<LinearArgs> linear = nullptr;
  Kernel<EmbeddingArgs> embedding = nullptr;
  Kernel<EmbeddingBackwardArgs> embedding_backward = nullptr;
  Kernel<UnaryArgs> unary = nullptr;
  Kernel<UnaryBackwardArgs> unary_backward = nullptr;
  Kernel<BinaryArgs> binary = nullptr;
  Kernel<AffineArgs> affine = nullptr;
  Kernel<GatedArgs> gated = nullptr;
  Kernel<GatedBackwardArgs> gated_backward = nullptr;
  Kernel<ColumnSumArgs> column_sum = nullptr;
  Kernel<NormArgs> norm = nullptr;
  Kernel<NormBackwardArgs> norm_backward = nullptr;
  Kernel<CopyArgs> copy = nullptr;
};

/// The table for an Exec's device and dtype.
const CoreKernels& core_kernels(const Exec& exec);

const CoreKernels& cpu_core_kernels_f32();
const CoreKernels& cpu_core_kernels_f64();
/// Null where the build has no CUDA.
const CoreKernels* cuda_core_kernels();

}  // namespace rill
