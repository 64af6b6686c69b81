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

// Sanitizers put their own allocator in place, and tell of its calls.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void*,
                                                                           std::size_t),
                                                         void (*on_free)(const volatile void*));

namespace {
[[maybe_unused]] const int g_installed = __sanitizer_install_malloc_and_free_hooks(
    [](const volatile void*, std::size_t) { ++t_count; }, [](const volatile void*) {});
}  // namespace
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
