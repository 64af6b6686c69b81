// Private: arguments of core's kernels, shared by every back end and by device code (so this header
// includes nothing that nvcc does not read). Pointers and 8-byte scalars only (see kernel.h);
// letters as in ops.h.
#pragma once

#include <algorithm>
#include <cstdint>

#include <rill/core/dtype.h>
#include <rill/core/op_kinds.h>
#include <rill/core/seq_args.h>

namespace rill {

/// Packs W [N, K] (row stride `stride`, element type `dtype`) for x W^T, or, where `transposed`, W
/// [K, N] (k-major, such as the weight seen from dy, or activations) as if it were its transpose.
/// Layout is the back end's own.
struct PackArgs {
  const void* w = nullptr;
  void* packed = nullptr;
  std::int64_t n = 0, k = 0;
  std::int64_t stride = 0;
  std::int64_t transposed = 0;
  std::int64_t dtype = 0;  // DType of w
};

/// y[m, n] (+)= sum_k x[m, k] W[n, k] + bias[n]: one chain an element, which starts at y (where it
/// accumulates), then the bias, then k strictly in order; bits depend neither on m nor on how rows,
/// columns or calls are cut (a product over the second part of k that accumulates on the first
/// part's result is the whole product). CPU: the kernel is reentrant and allocates nothing; other
/// kernels may call cpu_core_kernels_f32().linear with a KernelContext{} (no pool) on the calling
/// thread, which costs some ten nanoseconds beside the product: fit for m = 1 ... 16 in a
/// recurrence's loop.
struct LinearArgs {
  const void* x = nullptr;
  const void* packed = nullptr;
  const void* bias = nullptr;  // or null
  void* y = nullptr;
  std::int64_t m = 0, n = 0, k = 0;
  // Strides of x in elements: x_col != 1 reads x transposed (weight gradients).
  std::int64_t x_row = 0, x_col = 1;
  std::int64_t y_row = 0;
  std::int64_t accumulate = 0;
  std::int64_t weight_dtype = 0;
  // Where a back end reads weights in place (it has no pack kernel), `packed` is W itself, with
  // these strides in elements of n and of k.
  std::int64_t weight_row = 0, weight_col = 1;
};

/// Tokens of x [tokens, K] that a weight gradient packs at a time: the packed piece stays in a
/// core's second cache.
constexpr std::int64_t gradient_piece(std::int64_t k) {
  return std::clamp<std::int64_t>(
      (std::int64_t{1} << 17) / std::max<std::int64_t>(k, 1) / 256 * 256, 256, 8192);
}

/// y[t, :] = table[token[t], :]; a token out of [0, vocabulary) is clamped (ops check it where they
/// may).
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
/// y = act(gate) * x, rows of `channels` with strides, so that both halves of one array can be
/// read.
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
/// out[c] (+)= sum over tokens of x[t, c] (* z[t, c] where z is given; rows of both x_row apart),
/// in a fixed order.
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
/// dx overwritten; dweight, dbias [weight_rows, width] accumulated (or null); stats [rows, 2] is
/// scratch.
struct NormBackwardArgs {
  const void *x = nullptr, *weight = nullptr, *dy = nullptr;
  void *dx = nullptr, *dweight = nullptr, *dbias = nullptr, *stats = nullptr;
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
/// target row += source row; strides in elements.
struct AddRowsArgs {
  const void* source = nullptr;
  void* target = nullptr;
  std::int64_t rows = 0, columns = 0, source_stride = 0, target_stride = 0;
};
/// y[i] = scale * *value, or scale where value is null.
struct FillArgs {
  const void* value = nullptr;
  void* y = nullptr;
  double scale = 0.0;
  std::int64_t count = 0;
};
/// x, y [batch, length, channels]; the mask is drawn from `key` at (row, time + t, channel).
struct DropoutArgs {
  const void* x = nullptr;
  void* y = nullptr;
  std::uint64_t key = 0;
  std::int64_t batch = 0, length = 0, channels = 0, time = 0;
  double p = 0.0;
};
/// y [tokens, channels]: x with every row's steps reversed, or in their order (`reverse` 0); tokens
/// of no row become 0.
struct ReorderArgs {
  const void* x = nullptr;
  void* y = nullptr;
  std::int64_t channels = 0, reverse = 0;
  SeqArgs sequence;
};
/// x [tokens, channels], y [rows, channels]; sum_in, sum_out [rows, channels] and count_in,
/// count_out [rows], which are double and int64 whatever x is; in and out may be the same.
struct MeanPoolArgs {
  const void* x = nullptr;
  const double* sum_in = nullptr;
  const std::int64_t* count_in = nullptr;
  double* sum_out = nullptr;
  std::int64_t* count_out = nullptr;
  void* y = nullptr;
  std::int64_t channels = 0;
  SeqArgs sequence;
};
/// Gradients of y and sum_out (each or null; of x's type) -> dx, dsum_in (each or null;
/// overwritten).
struct MeanPoolBackwardArgs {
  const void *dy = nullptr, *dsum_out = nullptr;
  const std::int64_t* count_out = nullptr;
  void *dx = nullptr, *dsum_in = nullptr;
  std::int64_t channels = 0;
  SeqArgs sequence;
};
/// x [tokens, channels], last_in, last_out (may be the same), y [rows, channels].
struct LastPoolArgs {
  const void *x = nullptr, *last_in = nullptr;
  void *last_out = nullptr, *y = nullptr;
  std::int64_t channels = 0;
  SeqArgs sequence;
};
/// Gradients of y and last_out (each or null) -> dx, dlast_in (each or null; overwritten).
struct LastPoolBackwardArgs {
  const void *dy = nullptr, *dlast_out = nullptr;
  void *dx = nullptr, *dlast_in = nullptr;
  std::int64_t channels = 0;
  SeqArgs sequence;
};
/// loss[0] = sum of token losses * scale. stats [tokens, 2]: each row's maximum and 1 / sum of
/// exp(logit - maximum), for the way back; per_token [tokens].
struct CrossEntropyArgs {
  const void* logits = nullptr;
  const std::int64_t* targets = nullptr;
  void *per_token = nullptr, *stats = nullptr, *loss = nullptr;
  std::int64_t tokens = 0, classes = 0;
  double scale = 1.0;
};
/// dlogits = (softmax - one at the target) * scale * dloss[0], 0 for negative targets.
struct CrossEntropyBackwardArgs {
  const void* logits = nullptr;
  const std::int64_t* targets = nullptr;
  const void *stats = nullptr, *dloss = nullptr;
  void* dlogits = nullptr;
  std::int64_t tokens = 0, classes = 0;
  double scale = 1.0;
};
/// result[0] = scale * sum of x, or of (x - target)^2 where the target is given and not NaN.
/// partial [ceil(count / kSumTile)] is scratch.
struct SumArgs {
  const void *x = nullptr, *target = nullptr;
  void *partial = nullptr, *result = nullptr;
  std::int64_t count = 0;
  double scale = 1.0;
};
/// dx = 2 scale dresult[0] (x - target), 0 where the target is NaN.
struct SquaredErrorBackwardArgs {
  const void *x = nullptr, *target = nullptr, *dresult = nullptr;
  void* dx = nullptr;
  std::int64_t count = 0;
  double scale = 1.0;
};
constexpr std::int64_t kSumTile = 16384;

/// y[t, c] = sum_l kernel[c, l] x[t - l, c] within each row.
struct FftConvArgs {
  SeqArgs sequence;
  const void* x = nullptr;       // [tokens, channels]
  const void* kernel = nullptr;  // [channels, kernel_length]
  void* y = nullptr;
  void* scratch = nullptr;  // as much as the table's fft_conv_scratch says, where it has one
  std::int64_t channels = 0, kernel_length = 0;
};
struct FftConvBackwardArgs {
  SeqArgs sequence;
  const void *x = nullptr, *kernel = nullptr, *dy = nullptr;
  void *dx = nullptr, *dkernel = nullptr;  // overwritten
  void* scratch = nullptr;
  std::int64_t channels = 0, kernel_length = 0;
};

/// One step of AdamW on the `count` elements of a parameter: g = gradient_scale * gradient; m <-
/// beta1 m + (1 - beta1) g; v <- beta2 v + (1 - beta2) g^2; value <- keep value - step_size m /
/// (sqrt(v_scale v) + eps). The bias correction of m lies in step_size, that of v in v_scale.
struct AdamWArgs {
  const void* gradient = nullptr;
  void *value = nullptr, *m = nullptr, *v = nullptr;
  std::int64_t count = 0;
  double gradient_scale = 1, beta1 = 0, beta2 = 0, step_size = 0, v_scale = 0, eps = 0, keep = 1;
};
/// result[0] (+)= sum of x^2, in double whatever x is. partial [ceil(count / kSumTile)] is scratch;
/// each of its sums runs in order, and so does the sum over them.
struct SquaredNormArgs {
  const void* x = nullptr;
  double *partial = nullptr, *result = nullptr;
  std::int64_t count = 0, accumulate = 0;
};

}  // namespace rill
