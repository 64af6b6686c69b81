// Launchers of the matrix states' chunked kernels: activations in bfloat16 or half, as the DType
// says (host compilers and nvcc call the types by other names); states, decays, gains, divisors,
// their gradients and scratch in float. With `kept` null the workspace holds at least one state.
#pragma once

#include <rill/core/device_launch.h>
#include <rill/core/dtype.h>
#include <rill/scan/matrix_kernels.h>

namespace rill {

template <DType kType>
DeviceStatus launch_chunk_attention(const LinearAttentionArgs&, const DeviceLaunch&);
template <DType kType>
DeviceStatus launch_chunk_attention_backward(const LinearAttentionBackwardArgs&,
                                             const DeviceLaunch&);
template <DType kType>
DeviceStatus launch_chunk_delta(const DeltaRuleArgs&, const DeviceLaunch&);
template <DType kType>
DeviceStatus launch_chunk_delta_backward(const DeltaRuleBackwardArgs&, const DeviceLaunch&);

}  // namespace rill
