#include <rill/core/check.h>
#include <rill/core/memory.h>

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <map>
#include <mutex>
#include <vector>

namespace rill {
namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::size_t kHugePage = std::size_t{2} << 20;

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

MemoryPool::MemoryPool() : lists_(std::make_unique<Lists>()) {}
MemoryPool::~MemoryPool() { trim(); }

void* MemoryPool::allocate(std::size_t bytes) {
  const std::size_t size = size_class(bytes);
  {
    const std::lock_guard lock(lists_->mutex);
    lists_->in_use += size;
    lists_->peak = std::max(lists_->peak, lists_->in_use);
    auto& blocks = lists_->free[size];
    if (!blocks.empty()) {
      void* data = blocks.back();
      blocks.pop_back();
      return data;
    }
  }
  const bool huge = size >= 2 * kHugePage;
  void* data = nullptr;
  const int error = posix_memalign(&data, huge ? kHugePage : kAlignment, size);
  if (error != 0) {
    const std::lock_guard lock(lists_->mutex);
    lists_->in_use -= size;
    fail(ErrorCode::kSystem, "Memory: {} bytes were asked for, the system has none left.", bytes);
  }
  if (huge) madvise(data, size, MADV_HUGEPAGE);  // a wish: failure changes nothing but speed
  return data;
}

void MemoryPool::release(void* data, std::size_t bytes) noexcept {
  const std::size_t size = size_class(bytes);
  const std::lock_guard lock(lists_->mutex);
  lists_->in_use -= size;
  try {
    lists_->free[size].push_back(data);
  } catch (...) {
    std::free(data);
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
    for (void* data : blocks) std::free(data);
  lists_->free.clear();
}

const std::shared_ptr<MemoryPool>& MemoryPool::process_pool() {
  static const auto pool = std::make_shared<MemoryPool>();
  return pool;
}

}  // namespace rill
