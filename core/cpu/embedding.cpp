// y[t, :] = table[token[t], :], and its adjoint dtable[token[t], :] += dy[t, :], tokens in order
// for every element.
#include <rill/core/cpu/linear.h>
#include <rill/core/half.h>

#include <algorithm>

namespace rill {
namespace {

// A token out of range is clamped: where nobody could check (a recorded step), memory is still
// safe.
std::int64_t token_at(const void* tokens, DType dtype, std::int64_t i, std::int64_t vocabulary) {
  std::int64_t token = 0;
  switch (dtype) {
    case DType::kInt32:
      token = static_cast<const std::int32_t*>(tokens)[i];
      break;
    case DType::kUInt8:
      token = static_cast<const std::uint8_t*>(tokens)[i];
      break;
    default:
      token = static_cast<const std::int64_t*>(tokens)[i];
      break;
  }
  return std::clamp<std::int64_t>(token, 0, vocabulary - 1);
}

template <class T, class W>
void gather(const EmbeddingArgs& args, const KernelContext& context) {
  constexpr std::int64_t kBlock = 256;
  const std::int64_t c = args.channels;
  const auto task = [&](std::int64_t block) {
    const std::int64_t end = std::min(args.tokens, (block + 1) * kBlock);
    for (std::int64_t t = block * kBlock; t < end; ++t) {
      const std::int64_t token =
          token_at(args.token, static_cast<DType>(args.token_dtype), t, args.vocabulary);
      const W* row = static_cast<const W*>(args.table) + token * c;
      T* out = static_cast<T*>(args.y) + t * c;
      for (std::int64_t j = 0; j < c; ++j) out[j] = static_cast<T>(row[j]);
    }
  };
  context.parallel_for((args.tokens + kBlock - 1) / kBlock, task);
}

template <class T>
void gather_any(const EmbeddingArgs& args, const KernelContext& context) {
  if (args.vocabulary <= 0) return;
  switch (static_cast<DType>(args.table_dtype)) {
    case DType::kFloat64:
      return gather<T, double>(args, context);
    case DType::kBFloat16:
      return gather<T, BFloat16>(args, context);
    case DType::kFloat16:
      return gather<T, Half>(args, context);
    default:
      return gather<T, float>(args, context);
  }
}

template <class T>
void scatter_add(const EmbeddingBackwardArgs& args, const KernelContext& context) {
  if (args.vocabulary <= 0) return;
  // Tasks own channels, so that every element of the table sees its tokens in order.
  constexpr std::int64_t kBlock = 32;
  const auto task = [&](std::int64_t block) {
    const std::int64_t c0 = block * kBlock, c1 = std::min(args.channels, c0 + kBlock);
    for (std::int64_t t = 0; t < args.tokens; ++t) {
      const std::int64_t token =
          token_at(args.token, static_cast<DType>(args.token_dtype), t, args.vocabulary);
      const T* dy = static_cast<const T*>(args.dy) + t * args.channels;
      T* row = static_cast<T*>(args.dtable) + token * args.channels;
      for (std::int64_t j = c0; j < c1; ++j) row[j] += dy[j];
    }
  };
  context.parallel_for((args.channels + kBlock - 1) / kBlock, task);
}

}  // namespace

void embedding_f32(const EmbeddingArgs& args, const KernelContext& context) {
  gather_any<float>(args, context);
}
void embedding_f64(const EmbeddingArgs& args, const KernelContext& context) {
  gather_any<double>(args, context);
}
void embedding_backward_f32(const EmbeddingBackwardArgs& args, const KernelContext& context) {
  scatter_add<float>(args, context);
}
void embedding_backward_f64(const EmbeddingBackwardArgs& args, const KernelContext& context) {
  scatter_add<double>(args, context);
}

}  // namespace rill
