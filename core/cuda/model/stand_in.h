// The CUDA kernels, run by the execution model, in the place of the CPU's.
#pragma once

namespace rill {

/// From now on ops of a CPU Exec call the CUDA kernels in their execution model (core/kernel.h,
/// StandInKernels). For tests; before the first Exec works.
void use_device_model();

}  // namespace rill
