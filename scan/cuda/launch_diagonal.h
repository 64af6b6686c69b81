// Launchers of the diagonal state space (arguments: scan/diagonal_args.h).
#pragma once

#include <rill/core/cuda/launch.h>
#include <rill/scan/diagonal_args.h>

namespace rill {

template <class S>
DeviceStatus launch_diagonal_pack(const DiagonalPackArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_diagonal_unpack(const DiagonalUnpackArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_diagonal_ssm(const DiagonalSsmArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_diagonal_ssm_backward(const DiagonalSsmBackwardArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_diagonal_discretize(const DiagonalDiscretizeArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_diagonal_discretize_backward(const DiagonalDiscretizeBackwardArgs&,
                                                 const DeviceLaunch&);
template <class S>
DeviceStatus launch_diagonal_kernel(const DiagonalKernelArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_diagonal_kernel_backward(const DiagonalKernelBackwardArgs&,
                                             const DeviceLaunch&);
template <class S>
DeviceStatus launch_diagonal_response(const DiagonalResponseArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_diagonal_response_backward(const DiagonalResponseBackwardArgs&,
                                               const DeviceLaunch&);
/// Bytes of scratch that these need, whatever the storage type.
std::int64_t diagonal_kernel_backward_scratch(const DiagonalKernelBackwardArgs&);
std::int64_t diagonal_response_scratch(const DiagonalResponseArgs&);
std::int64_t diagonal_response_backward_scratch(const DiagonalResponseBackwardArgs&);

}  // namespace rill
