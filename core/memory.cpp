#include <rill/core/check.h>
#include <rill/core/device_queue.h>
#include <rill/core/memory.h>

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdlib>
#include <map>
#include <mutex>
#include <vector>

namespace rill {
namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::size_t kHugePage = std::size_t{2} << 20;
std::atomic<bool> fills_blocks{false};

// Eight classes an octave: at most 12.5 % is lost to rounding.
std::size_t size_class(std::size_t bytes) {
  bytes = std::max(bytes, kAlignment);
  const std::size_t step = std::max(kAlignment, std::bit_floor(bytes) / 8);
  return (bytes + step - 1) / step * step;
}

}  // namespace

struct MemoryPool::Lists {
  mutable std::mutex mutex;
  std::map<std::size_t, std::vector<void*>> free;
  std::size_t in_use = 0;
  std::size_t peak = 0;
};

MemoryPool::MemoryPool(Device device, bool keep)
    : device_(device), keep_(keep), lists_(std::make_unique<Lists>()) {
  if (device != Device{}) device_api(device);
}
MemoryPool::~MemoryPool() { trim(); }

void MemoryPool::fill_with_nan(bool fill) noexcept { fills_blocks = fill; }

// Null where there is none.
void* MemoryPool::from_system(std::size_t size) {
  void* data = nullptr;
  if (device_ != Device{}) {
    const DeviceApi& api = device_api(device_);
    return api.allocate(device_.index, size, &data) == 0 ? data : nullptr;
  }
  const bool huge = size >= 2 * kHugePage;
  if (posix_memalign(&data, huge ? kHugePage : kAlignment, size) != 0) return nullptr;
  if (huge) madvise(data, size, MADV_HUGEPAGE);  // a wish: failure changes nothing but speed
  return data;
}

void MemoryPool::to_system(void* data) noexcept {
  if (device_ == Device{}) return std::free(data);
  cuda_device_api()->release(device_.index, data);
}

void* MemoryPool::allocate(std::size_t bytes) {
  const std::size_t size = size_class(bytes);
  void* data = nullptr;
  {
    const std::lock_guard lock(lists_->mutex);
    lists_->in_use += size;
    lists_->peak = std::max(lists_->peak, lists_->in_use);
    auto& blocks = lists_->free[size];
    if (!blocks.empty()) {
      data = blocks.back();
      blocks.pop_back();
    }
  }
  if (!data) data = from_system(size);
  if (!data) {
    const std::lock_guard lock(lists_->mutex);
    lists_->in_use -= size;
    fail(ErrorCode::kSystem, "Memory: {} bytes were asked for, {} has none left.", bytes,
         device_ == Device{} ? "the system" : to_string(device_));
  }
  if (fills_blocks) fill_bytes(device_, data, 0xff, size);
  return data;
}

void MemoryPool::release(void* data, std::size_t bytes) noexcept {
  const std::size_t size = size_class(bytes);
  const std::lock_guard lock(lists_->mutex);
  lists_->in_use -= size;
  if (!keep_) return to_system(data);
  try {
    lists_->free[size].push_back(data);
  } catch (...) {
    to_system(data);
  }
}

std::size_t MemoryPool::bytes_in_use() const noexcept {
  const std::lock_guard lock(lists_->mutex);
  return lists_->in_use;
}

std::size_t MemoryPool::peak_bytes() const noexcept {
  const std::lock_guard lock(lists_->mutex);
  return lists_->peak;
}

void MemoryPool::trim() noexcept {
  const std::lock_guard lock(lists_->mutex);
  for (auto& [size, blocks] : lists_->free)
    for (void* data : blocks) to_system(data);
  lists_->free.clear();
}

const std::shared_ptr<MemoryPool>& MemoryPool::process_pool() {
  static const auto pool = std::make_shared<MemoryPool>();
  return pool;
}

// Such a tensor may pass from the work of one Exec to that of another: its memory is given back in
// the order of all the device's work, and kept by the device.
std::shared_ptr<MemoryPool> MemoryPool::process_pool(Device device) {
  if (device == Device{}) return process_pool();
  static std::mutex mutex;
  static std::map<int, std::shared_ptr<MemoryPool>> pools;
  const std::lock_guard lock(mutex);
  auto& pool = pools[device.index];
  if (!pool) pool = std::make_shared<MemoryPool>(device, false);
  return pool;
}

}  // namespace rill
