#include <rill/core/cuda/model/memory.h>

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define RILL_POISON(address, bytes) ASAN_POISON_MEMORY_REGION(address, bytes)
#define RILL_UNPOISON(address, bytes) ASAN_UNPOISON_MEMORY_REGION(address, bytes)
#else
#define RILL_POISON(address, bytes) static_cast<void>(0)
#define RILL_UNPOISON(address, bytes) static_cast<void>(0)
#endif

namespace rill::device_model {
namespace {

constexpr std::size_t kReserved = std::size_t{1} << 35;
constexpr std::size_t kAlignment = 256;
constexpr std::size_t kPage = 4096;

// Blocks lie one after the other with a gap behind each, which AddressSanitizer guards. Those of
// more than kOpen bytes, such as workspaces, lie in the second half and are never closed: to close
// memory takes time for each of its pages.
constexpr std::size_t kOpen = std::size_t{1} << 24;
constexpr std::size_t kHalf = kReserved / 2;
class Arena {
 public:
  Arena() {
    void* data =
        mmap(nullptr, kReserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    base_ = data == MAP_FAILED ? nullptr : static_cast<char*>(data);
  }

  void* allocate(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    const std::size_t size = (bytes + kAlignment - 1) / kAlignment * kAlignment + kAlignment;
    char* block = nullptr;
    if (const auto found = free_.find(size); found != free_.end()) {
      block = found->second;
      free_.erase(found);
    } else {
      const bool open = size > kOpen;
      std::size_t& used = open ? used_open_ : used_;
      if (!base_ || size > kHalf - used) return nullptr;
      block = base_ + (open ? kHalf : 0) + used;
      used += open ? (size + kPage - 1) / kPage * kPage : size;
      if (open)
        mprotect(block, size, PROT_READ | PROT_WRITE);
      else if (openers_ > 0 || !guard_)
        protect(PROT_READ | PROT_WRITE);
    }
    blocks_[block] = size;
    RILL_POISON(block, size);
    RILL_UNPOISON(block, bytes);
    return block;
  }

  void release(void* data) {
    const std::lock_guard lock(mutex_);
    const auto block = blocks_.find(static_cast<char*>(data));
    if (block == blocks_.end()) return;
    RILL_POISON(block->first, block->second);
    free_.emplace(block->second, block->first);
    blocks_.erase(block);
  }

  void open() {
    const std::lock_guard lock(mutex_);
    if (openers_++ == 0 && guard_) protect(PROT_READ | PROT_WRITE);
  }
  void close() {
    const std::lock_guard lock(mutex_);
    if (--openers_ == 0 && guard_) protect(PROT_NONE);
  }
  void guard(bool guard) {
    const std::lock_guard lock(mutex_);
    guard_ = guard;
    protect(guard && openers_ == 0 ? PROT_NONE : PROT_READ | PROT_WRITE);
  }
  bool contains(std::uintptr_t address) const noexcept {
    const auto base = reinterpret_cast<std::uintptr_t>(base_);
    return address >= base && address < base + kReserved;
  }

 private:
  void protect(int mode) {
    if (used_ > 0) mprotect(base_, (used_ + kPage - 1) / kPage * kPage, mode);
  }

  std::mutex mutex_;
  char* base_ = nullptr;
  std::size_t used_ = 0, used_open_ = 0;
  bool guard_ = true;
  int openers_ = 0;
  std::multimap<std::size_t, char*> free_;  // by size
  std::map<char*, std::size_t> blocks_;
};

// Never destroyed: tensors of static lifetime are released after it would be.
Arena& arena() {
  static auto* const the_arena = new Arena;
  return *the_arena;
}

}  // namespace

void* allocate_global(std::size_t bytes) {
  void* data = arena().allocate(bytes);
  if (!data) return nullptr;
  const GlobalAccess access;
  std::memset(data, 0xff, std::min(bytes, kOpen));
  return data;
}

void release_global(void* data) { arena().release(data); }
void guard_global(bool guard) { arena().guard(guard); }
bool is_global(std::uintptr_t address) noexcept { return arena().contains(address); }
GlobalAccess::GlobalAccess() { arena().open(); }
GlobalAccess::~GlobalAccess() { arena().close(); }

}  // namespace rill::device_model
