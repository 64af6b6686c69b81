// Private, host code: how an entry of a table hands its arguments to a launcher.
#pragma once

#include <rill/core/kernel.h>

namespace rill {

/// The context's stream and workspace, or, where a kernel runs in the execution model on a CPU
/// Exec's call, the model's.
const DeviceLaunch& launch_of(const KernelContext& context);
/// Throws for a status that is not 0: Error(kUnsupported) for a size that the kernels do not take,
/// else Error(kSystem).
void check_launch(DeviceStatus status);

template <class Args, DeviceStatus (*launcher)(const Args&, const DeviceLaunch&)>
void on_device(const Args& args, const KernelContext& context) {
  check_launch(launcher(args, launch_of(context)));
}

}  // namespace rill
