// Launchers of the recurrent cells' kernels: arguments as on the CPU (rnn/cell_args.h), a stream to
// run on. S is the storage type of activations and weights; states are Compute<S>.
//
// Layouts that the op hands over on a device: weight_ih and weight_hh of the forward are packed
// here, [K, G H] (launch_pack_recurrent); weight_hr is W_hr itself, [P, H]; backward, weight_hh is
// W_hh itself, [G H, P], and weight_hr W_hr, [P, H]: nothing is transposed. `scratch` is not read.
#pragma once

#include <rill/core/cuda/device.h>
#include <rill/rnn/cell_args.h>

namespace rill {

template <class S>
DeviceStatus launch_pack_recurrent(const PackRecurrentArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_lstm(const RecurrentArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_lstm_backward(const RecurrentBackwardArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_gru(const RecurrentArgs&, const DeviceLaunch&);
template <class S>
DeviceStatus launch_gru_backward(const RecurrentBackwardArgs&, const DeviceLaunch&);

/// Elements of a packed weight.
std::int64_t device_packed_count(std::int64_t hidden, std::int64_t gates, std::int64_t width);

}  // namespace rill
