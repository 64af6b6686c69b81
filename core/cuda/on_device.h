// Private, host code: how an entry of a table hands its arguments to a launcher.
#pragma once

#include <rill/core/device_queue.h>
#include <rill/core/kernel.h>

namespace rill {

/// The context's stream and workspace, or, where a kernel runs in the execution model on a CPU
/// Exec's call, the model's.
const DeviceLaunch& launch_of(const KernelContext& context);
/// While alive, a device is the calling thread's: kernels are launched on that one. The caller's
/// comes back.
class CurrentDevice {
 public:
  explicit CurrentDevice(int device);
  ~CurrentDevice();
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;

 private:
  const DeviceApi& api_;
  int device_, before_ = 0;
};

#if defined(RILL_DEVICE_MODEL)
/// Of a call that came by an Exec on the model's device: Error(kDevice) where an argument is an
/// address of the host, which a card could not read.
void check_addresses(const void* args, std::size_t bytes, const KernelContext& context);
#endif

template <class Args, DeviceStatus (*launcher)(const Args&, const DeviceLaunch&)>
void on_device(const Args& args, const KernelContext& context) {
#if defined(RILL_DEVICE_MODEL)
  check_addresses(&args, sizeof(Args), context);
#endif
  const DeviceLaunch& launch = launch_of(context);
  const CurrentDevice current(launch.device);
  check_launch(launcher(args, launch));
}

}  // namespace rill
