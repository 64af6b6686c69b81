// The storage types of activations that the scan room's kernels are compiled for. In a table of 16
// bits only activations and their gradients are of that type: states, decays, parameters and their
// gradients, saved statistics and scratch are Compute<S>, which is float.
#pragma once

#include <rill/core/cuda/launch.h>

#define RILL_INSTANTIATE_ACTIVATIONS(launcher, args)                          \
  RILL_INSTANTIATE(launcher, args)                                            \
  template DeviceStatus launcher<BFloat16>(const args&, const DeviceLaunch&); \
  template DeviceStatus launcher<Half>(const args&, const DeviceLaunch&);
