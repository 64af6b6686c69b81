// Private: where a device's work goes, and how bytes come there. Host code reaches a device through
// this alone.
#pragma once

#include <cstddef>

#include <rill/core/device_launch.h>
#include <rill/core/dtype.h>

namespace rill {

/// Error(kDevice) where this build or this machine has no such device.
const DeviceApi& device_api(Device device);
/// Throws for a status that is not 0: Error(kUnsupported) for a size that the kernels do not take,
/// else Error(kSystem).
void check_launch(DeviceStatus status);

/// Copies between addresses of one device, or of the host and a device, after what `stream` holds;
/// it has ended on return where the target is the host's. Error(kDevice) between two devices,
/// Error(kSystem) where the device fails.
void copy_bytes(Device to, void* target, Device from, const void* source, std::size_t bytes,
                DeviceStream stream = nullptr);
/// Sets every byte, after what `stream` holds.
void fill_bytes(Device device, void* target, int byte, std::size_t bytes,
                DeviceStream stream = nullptr);

/// A stream of a device with its workspace. Work of one queue runs in order; what runs on the null
/// stream (copies of tensors that belong to no Exec) is in order with every queue.
class DeviceQueue {
 public:
  /// Error(kDevice) where the device is absent, Error(kSystem) where it has no memory left.
  explicit DeviceQueue(Device device);
  ~DeviceQueue();
  DeviceQueue(const DeviceQueue&) = delete;
  DeviceQueue& operator=(const DeviceQueue&) = delete;

  Device device() const noexcept { return device_; }
  const DeviceApi& api() const noexcept { return api_; }
  const DeviceLaunch& launch() const noexcept { return launch_; }
  /// Waits until all work has ended.
  void synchronize() const;

 private:
  Device device_;
  const DeviceApi& api_;
  DeviceLaunch launch_;
};

}  // namespace rill
