// Launchers of core's kernels: arguments as on the CPU (core/kernel_args.h), a stream to run on. S
// is the storage type of activations. What a kernel does stands beside its arguments.
#pragma once

#include <rill/core/cuda/device.h>
#include <rill/core/kernel_args.h>

namespace rill {

template <class S>
DeviceStatus launch_unary(const UnaryArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_unary_backward(const UnaryBackwardArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_binary(const BinaryArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_affine(const AffineArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_gated(const GatedArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_gated_backward(const GatedBackwardArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_add_rows(const AddRowsArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_fill(const FillArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_dropout(const DropoutArgs&, const DeviceLaunch&);
DeviceStatus launch_copy(const CopyArgs&, const DeviceLaunch&);

template <class S>
DeviceStatus launch_column_sum(const ColumnSumArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_norm(const NormArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_norm_backward(const NormBackwardArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_cross_entropy(const CrossEntropyArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_cross_entropy_backward(const CrossEntropyBackwardArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_sum(const SumArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_squared_error_backward(const SquaredErrorBackwardArgs&, const DeviceLaunch&);

/// y[i] = 0, i < count; y may be null: nothing is done.
template <class S>
DeviceStatus launch_zero(void* y, std::int64_t count, const DeviceLaunch&);
template <class S>
DeviceStatus launch_adamw(const AdamWArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_squared_norm(const SquaredNormArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_reorder(const ReorderArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_last_pool(const LastPoolArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_last_pool_backward(const LastPoolBackwardArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_mean_pool(const MeanPoolArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_mean_pool_backward(const MeanPoolBackwardArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_embedding(const EmbeddingArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_embedding_backward(const EmbeddingBackwardArgs&, const DeviceLaunch&);

template <class S>
DeviceStatus launch_linear(const LinearArgs&, const DeviceLaunch&);

template <class S>
DeviceStatus launch_fft_conv(const FftConvArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_fft_conv_backward(const FftConvBackwardArgs&, const DeviceLaunch&);
/// Bytes of scratch that these need.
template <class S>
std::int64_t fft_conv_scratch(const FftConvArgs&);
template <class S>
std::int64_t fft_conv_backward_scratch(const FftConvBackwardArgs&);

/// The storage types that are compiled: float everywhere, double in the execution model alone.
#if defined(__CUDACC__)
#define RILL_INSTANTIATE(launcher, args) \
  template DeviceStatus launcher<float>(const args&, const DeviceLaunch&);
#else
#define RILL_INSTANTIATE(launcher, args)                                   \
  template DeviceStatus launcher<float>(const args&, const DeviceLaunch&); \
  template DeviceStatus launcher<double>(const args&, const DeviceLaunch&);
#endif

/// A launch whose grid would be empty does nothing.
#define RILL_LAUNCH_OR_RETURN(...)                                                   \
  do {                                                                               \
    if (const DeviceStatus rill_status = RILL_LAUNCH(__VA_ARGS__); rill_status != 0) \
      return rill_status;                                                            \
  } while (false)

}  // namespace rill
