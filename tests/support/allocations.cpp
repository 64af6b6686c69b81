#include <rill/tests/support/allocations.h>

#include <cerrno>
#include <cstdlib>
#include <new>

// glibc's own entry points, so that ours can stand before them.
extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
}

namespace {
thread_local std::int64_t t_count = 0;
}  // namespace

namespace rill::test {
std::int64_t allocation_count() noexcept { return t_count; }
}  // namespace rill::test

// Sanitizers put their own allocator in place; there, operator new alone is counted.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
void* operator new(std::size_t size) {
  ++t_count;
  if (void* data = std::malloc(size ? size : 1)) return data;
  throw std::bad_alloc();
}
void operator delete(void* data) noexcept { std::free(data); }
void operator delete(void* data, std::size_t) noexcept { std::free(data); }
#else
extern "C" {
void* malloc(std::size_t size) {
  ++t_count;
  return __libc_malloc(size);
}
void* calloc(std::size_t count, std::size_t size) {
  ++t_count;
  return __libc_calloc(count, size);
}
void* realloc(void* data, std::size_t size) {
  ++t_count;
  return __libc_realloc(data, size);
}
int posix_memalign(void** data, std::size_t alignment, std::size_t size) {
  ++t_count;
  *data = __libc_memalign(alignment, size);
  return *data ? 0 : ENOMEM;
}
void* aligned_alloc(std::size_t alignment, std::size_t size) {
  ++t_count;
  return __libc_memalign(alignment, size);
}
}
#endif
