// Private: the CPU's matrix products. Packed weights are panels of kLinearPanel columns, [N /
// 16][K][16], padded with zeros in N, of the weight's own type for float products (float, bfloat16,
// float16) and of double for double ones. The layout is the same for every vector target: 16 floats
// are one AVX-512 vector, two of AVX2, four of SSE4.
#pragma once

#include <cstdint>

#include <rill/core/kernels.h>

namespace rill {

inline constexpr std::int64_t kLinearPanel = 16;

void pack_f32(const PackArgs& args, const KernelContext& context);
void pack_f64(const PackArgs& args, const KernelContext& context);
std::int64_t packed_bytes_f32(std::int64_t n, std::int64_t k, DType weight);
std::int64_t packed_bytes_f64(std::int64_t n, std::int64_t k, DType weight);
void linear_f32(const LinearArgs& args, const KernelContext& context);
void linear_f64(const LinearArgs& args, const KernelContext& context);
// A plain loop in float, each product rounded before it is added; panels are float whatever W is.
void pack_plain_f32(const PackArgs& args, const KernelContext& context);
std::int64_t packed_bytes_plain_f32(std::int64_t n, std::int64_t k, DType weight);
void linear_plain_f32(const LinearArgs& args, const KernelContext& context);

void embedding_f32(const EmbeddingArgs& args, const KernelContext& context);
void embedding_f64(const EmbeddingArgs& args, const KernelContext& context);
void embedding_backward_f32(const EmbeddingBackwardArgs& args, const KernelContext& context);
void embedding_backward_f64(const EmbeddingBackwardArgs& args, const KernelContext& context);

}  // namespace rill
