// Launchers of the recurrent cells' kernels: arguments as on the CPU (rnn/cell_args.h), a stream to
// run on. S names the storage type: float, double (in the execution model alone), BFloat16 or
// Half. In the 16-bit ones x, gates, y, dy, dgates, h_previous, dh_tokens, projected, packed
// weights and a GRU's kept are S; biases, states and their gradients and an LSTM's kept are float;
// W_hr, and W_hh backward, are S or float (..._dtype). What the next step multiplies is h rounded
// to S; the h that a GRU carries on is not rounded.
//
// Layouts that the op hands over on a device: weight_ih and weight_hh of the forward are packed
// here, [K, G H] (launch_pack_recurrent); weight_hr is W_hr itself, [P, H]; backward, weight_hh is
// W_hh itself, [G H, P], and weight_hr W_hr, [P, H]: nothing is transposed. `scratch` is not read.
// What blocks pass on to one another lies in the launch's workspace.
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
