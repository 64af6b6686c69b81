// Launchers of the affine scan, the causal convolution and the selective scan (arguments:
// scan/scan_args.h).
#pragma once

#include <rill/core/cuda/launch.h>
#include <rill/scan/scan_args.h>

namespace rill {

template <class S>
DeviceStatus launch_affine_scan(const AffineScanArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_affine_scan_backward(const AffineScanBackwardArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_transpose(const TransposeArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_causal_conv(const CausalConvArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_causal_conv_backward(const CausalConvBackwardArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_selective_prepare(const SelectivePrepareArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_selective_scan(const SelectiveScanArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_selective_scan_backward(const SelectiveScanBackwardArgs&, const DeviceLaunch&);

}  // namespace rill
