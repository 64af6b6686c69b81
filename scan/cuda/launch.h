// Launchers of the kernels whose state is a matrix, and of their small companions: arguments as on
// the CPU (scan/matrix_kernels.h), a stream to run on. S is the storage type of activations; states
// are Compute<S>. The backward kernels run all rows and heads at once: `lanes` is rows * heads, and
// so is their scratch sized. `workspace` of the launch is optional: with room for one partial
// result a slice of value channels, backward slices run side by side; without, one after the other,
// to the same bits.
#pragma once

#include <rill/core/cuda/device.h>
#include <rill/scan/matrix_kernels.h>

namespace rill {

template <class S>
DeviceStatus launch_linear_attention(const LinearAttentionArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_linear_attention_backward(const LinearAttentionBackwardArgs&,
                                              const DeviceLaunch&);
template <class S>
DeviceStatus launch_delta_rule(const DeltaRuleArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_delta_rule_backward(const DeltaRuleBackwardArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_mlstm_gates(const MlstmGatesArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_mlstm_gates_backward(const MlstmGatesBackwardArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_rotary(const RotaryArgs&, const DeviceLaunch&);
DeviceStatus launch_advance(const AdvanceArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_block_linear(const BlockLinearArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_block_linear_weight(const BlockLinearWeightArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_block_pack(const BlockPackArgs&, const DeviceLaunch&);

}  // namespace rill
