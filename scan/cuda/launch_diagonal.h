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

}  // namespace rill
