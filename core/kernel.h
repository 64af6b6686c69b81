// Private: how ops reach a back end. A kernel is a plain function on a trivially copyable struct of
// arguments; ops hand both to enqueue(), which runs it (CPU), launches it (GPU) or writes it down
// (Stepper). Nothing else touches data.
#pragma once

#include <cstring>
#include <type_traits>

#include <rill/core/check.h>
#include <rill/core/device_launch.h>
#include <rill/core/exec.h>
#include <rill/core/thread_pool.h>

namespace rill {

/// What a kernel may use besides its arguments. `pool` is null in a Stepper: it runs on the calling
/// thread.
struct KernelContext {
  ThreadPool* pool = nullptr;
  const DeviceLaunch* launch = nullptr;  // of kernels on a device

  template <class Task>
  void parallel_for(std::int64_t tasks, const Task& task) const {
    if (pool) return pool->parallel_for(tasks, task);
    for (std::int64_t i = 0; i < tasks; ++i) task(i);
  }
};

template <class Args>
using Kernel = void (*)(const Args&, const KernelContext&);

/// One kernel call, type-erased.
struct KernelCall {
  void (*invoke)(void (*kernel)(), const void* args, const KernelContext& context);
  void (*kernel)();
  const void* args;
  std::size_t bytes;
};

/// Runs the call now, or writes it down where `exec` records. Takes trivially copyable arguments
/// alone: pointers in them are aligned words, so that a Stepper can find and patch those to the
/// state.
void enqueue_call(Exec& exec, const KernelCall& call);

template <class Args>
void enqueue(Exec& exec, Kernel<Args> kernel, const std::type_identity_t<Args>& args,
             const char* op) {
  static_assert(std::is_trivially_copyable_v<Args> && sizeof(Args) % sizeof(void*) == 0);
  check(kernel != nullptr, ErrorCode::kUnsupported, "{}: there is no {} form on {}.", op,
        name_of(exec.dtype()), to_string(exec.device()));
  const auto invoke = [](void (*erased)(), const void* erased_args, const KernelContext& context) {
    reinterpret_cast<Kernel<Args>>(erased)(*static_cast<const Args*>(erased_args), context);
  };
  enqueue_call(exec, {invoke, reinterpret_cast<void (*)()>(kernel), &args, sizeof(Args)});
}

/// While alive, float32 kernels are the plain loops in float: what the error of the vector kernels
/// is measured against. For tests; one thread, no other Exec at work.
class PlainKernels {
 public:
  PlainKernels() noexcept { active_ = true; }
  ~PlainKernels() { active_ = false; }
  PlainKernels(const PlainKernels&) = delete;
  PlainKernels& operator=(const PlainKernels&) = delete;
  static bool active() noexcept { return active_; }

 private:
  static inline bool active_ = false;
};

/// The table for an Exec's dtype: `plain` is the double's code in float.
template <class Table>
const Table& by_dtype(const Exec& exec, const Table& f32, const Table& f64, const Table& plain) {
  if (exec.dtype() == DType::kFloat64) return f64;
  return PlainKernels::active() ? plain : f32;
}

}  // namespace rill
