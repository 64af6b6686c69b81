// The execution model: runs a kernel's source where there is no GPU. Every thread of a block is a
// fiber that runs until it meets a barrier, a warp exchange or a flag to wait for; blocks run a few
// at a time, those of a cooperative launch all at once, some ahead of others; the order in which
// threads get their turn is chosen (ascending, descending, shuffled), so that code that leaves out
// a barrier gives other results in one of them. Shared memory knows its bounds and who touched an
// element since the last barrier: an access out of bounds or a race ends the launch with a
// sentence. Global memory is the host's, or the model's own that host code cannot touch (memory.h):
// AddressSanitizer knows its bounds.
//
// What it does not show: bandwidth, occupancy, and races in global memory between blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>

namespace rill::device_model {

struct Index3 {
  unsigned x = 0, y = 0, z = 0;
};

/// How threads and blocks take turns: 0 ascending, 1 descending, others shuffled by that seed.
void set_schedule(std::uint64_t seed) noexcept;
/// What went wrong in the last launch of the calling thread that failed; empty where none did.
const std::string& last_error();

/// The card that launches see: few multiprocessors, so that small sizes are cut over several.
struct Card {
  int multiprocessors = 4;
  std::size_t shared_bytes = std::size_t{227} << 10;  // of a block, sm_90
  bool cooperative = true;
};
/// Of the calling thread.
const Card& card() noexcept;
void set_card(const Card& card) noexcept;

struct BlockState;
/// One element's last accesses; see SharedRef.
struct Shadow {
  std::int32_t writer = -1, writer_warp_epoch = 0;
  std::int32_t reader = -1, reader_warp = -1, reader_warp_epoch = 0;
  std::uint32_t write_epoch = 0, read_epoch = 0;
};

/// What the code of one thread sees of itself.
struct Self {
  Index3 thread, block, block_size, grid_size;
  std::int32_t number = 0, lane = 0, warp = 0;  // in its block
  std::int32_t warp_epoch = 0;                  // warp barriers passed
  std::uint32_t exchanges = 0;
  BlockState* state = nullptr;
};
Self& self() noexcept;

void block_barrier();
void warp_barrier();
/// Lets others run while the caller waits for a flag.
void spin();

constexpr std::size_t kExchangeBytes = 64;
/// Every lane of the warp hands in `bytes` <= kExchangeBytes; afterwards lane l's are at result + l
/// * kExchangeBytes. A warp barrier.
const std::byte* warp_exchange(const void* value, std::size_t bytes);
/// Lanes of the calling thread's warp (fewer than 32 in the last warp of a block).
int warp_lanes() noexcept;

/// Memory of the calling thread's block for the declaration at `site`; the same for all its
/// threads. Holds NaN patterns at first.
struct SharedMemory {
  std::byte* data = nullptr;
  Shadow* shadow = nullptr;  // one an element
};
SharedMemory shared_memory(const void* site, const char* name, std::size_t count,
                           std::size_t element_bytes);
/// Dynamic shared memory, of which a launch states the size in bytes.
SharedMemory dynamic_shared_memory(std::size_t element_bytes, std::size_t* count);
/// A part of the dynamic shared memory; bounds are the part's own.
SharedMemory shared_part(const void* site, const char* name, std::size_t first_byte,
                         std::size_t count, std::size_t element_bytes);
void note_read(Shadow& shadow, const char* name, std::int64_t index);
void note_write(Shadow& shadow, const char* name, std::int64_t index);
/// Ends the launch of the calling thread's kernel; the thread never goes on.
[[noreturn]] void fail_launch(std::string sentence);

/// A reference to an element of shared memory.
template <class T>
class SharedRef {
 public:
  SharedRef(T* value, Shadow* shadow, const char* name, std::int64_t index)
      : value_(value), shadow_(shadow), name_(name), index_(index) {}
  operator T() const {
    note_read(*shadow_, name_, index_);
    return *value_;
  }
  T operator=(T value) const {
    note_write(*shadow_, name_, index_);
    return *value_ = value;
  }
  // Of itself it is a load and a store, as in the kernel. NOLINTNEXTLINE
  T operator=(const SharedRef& other) const { return *this = static_cast<T>(other); }
  T operator+=(T value) const { return *this = static_cast<T>(*this) + value; }
  T operator-=(T value) const { return *this = static_cast<T>(*this) - value; }
  T operator*=(T value) const { return *this = static_cast<T>(*this) * value; }

 private:
  T* value_;
  Shadow* shadow_;
  const char* name_;
  std::int64_t index_;
};

/// What a declaration of shared memory is: a pointer with bounds.
template <class T>
class Shared {
 public:
  Shared(SharedMemory memory, const char* name, std::int64_t count)
      : data_(reinterpret_cast<T*>(memory.data)),
        shadow_(memory.shadow),
        name_(name),
        count_(count) {}
  SharedRef<T> operator[](std::int64_t i) const {
    i += first_;
    if (i < 0 || i >= count_)
      fail_launch("shared memory " + std::string(name_) + ": index " + std::to_string(i) +
                  " is out of its " + std::to_string(count_) + " elements");
    return {data_ + i, shadow_ + i, name_, i};
  }
  SharedRef<T> operator*() const { return (*this)[0]; }
  Shared operator+(std::int64_t i) const {
    Shared moved = *this;
    moved.first_ += i;
    return moved;
  }
  /// Whether it points at a multiple of `bytes` from the array's begin.
  bool aligned(std::int64_t bytes) const {
    return first_ * static_cast<std::int64_t>(sizeof(T)) % bytes == 0;
  }

 private:
  T* data_;
  Shadow* shadow_;
  const char* name_;
  std::int64_t count_, first_ = 0;
};

using ThreadFunction = void (*)(const void* closure);
/// Runs `function(closure)` once for each thread of each block; 0, or 1 with last_error() set.
/// `cooperative`: all blocks at once, at most one a multiprocessor.
int run(const char* kernel, Index3 grid, Index3 block, std::size_t shared_bytes, bool cooperative,
        ThreadFunction function, const void* closure);

template <class Body>
int launch(const char* kernel, Index3 grid, Index3 block, std::size_t shared_bytes,
           bool cooperative, const Body& body) {
  return run(
      kernel, grid, block, shared_bytes, cooperative,
      [](const void* closure) { (*static_cast<const Body*>(closure))(); }, &body);
}

}  // namespace rill::device_model
