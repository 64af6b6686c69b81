#include <rill/core/check.h>
#include <rill/core/float_mode.h>
#include <rill/core/thread_pool.h>

#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace rill {
namespace {

// About 20 microseconds of spinning: the gap between the kernels of one layer is shorter.
constexpr int kSpins = 4000;

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

struct ThreadPool::Shared {
  std::vector<std::thread> workers;
  std::mutex mutex;
  std::condition_variable wake;
  std::atomic<std::uint64_t> epoch{0};
  std::atomic<bool> stop{false};
  std::atomic<int> busy{0};
  std::atomic<std::int64_t> next{0};
  std::int64_t tasks = 0;
  unsigned mode = 0;  // the caller's, so that a task's bits do not depend on its thread
  Function function = nullptr;
  const void* context = nullptr;
  // Of the first task that threw; both under the mutex.
  std::exception_ptr error;
  std::int64_t error_task = 0;

  void drain() noexcept {
    for (;;) {
      const std::int64_t i = next.fetch_add(1, std::memory_order_relaxed);
      if (i >= tasks) return;
      try {
        function(context, i);
      } catch (...) {
        keep(i, std::current_exception());
      }
    }
  }

  void keep(std::int64_t task, std::exception_ptr thrown) {
    const std::lock_guard lock(mutex);
    if (error && error_task < task) return;
    error = std::move(thrown);
    error_task = task;
  }

  void work() {
    std::uint64_t seen = 0;
    for (;;) {
      for (int spin = 0; spin < kSpins && epoch.load(std::memory_order_acquire) == seen; ++spin)
        pause();
      if (epoch.load(std::memory_order_acquire) == seen) {
        std::unique_lock lock(mutex);
        wake.wait(lock, [&] { return epoch.load(std::memory_order_acquire) != seen; });
      }
      seen = epoch.load(std::memory_order_acquire);
      if (stop.load(std::memory_order_relaxed)) return;
      set_float_mode(mode);
      drain();
      busy.fetch_sub(1, std::memory_order_release);
    }
  }

  void publish() {
    {
      const std::lock_guard lock(mutex);
      epoch.fetch_add(1, std::memory_order_release);
    }
    wake.notify_all();
  }
};

ThreadPool::ThreadPool(int threads) : threads_(threads) {
  check(threads >= 1 && threads <= 1024, ErrorCode::kConfig,
        "ThreadPool: the number of threads lies between 1 and 1024, {} came.", threads);
  if (threads == 1) return;
  shared_ = std::make_unique<Shared>();
  shared_->workers.reserve(static_cast<std::size_t>(threads));
  try {
    for (int i = 1; i < threads; ++i) shared_->workers.emplace_back([this] { shared_->work(); });
  } catch (const std::exception& refused) {
    const std::size_t started = shared_->workers.size() + 1;
    join();
    fail(ErrorCode::kSystem, "ThreadPool: {} threads were asked for, the system gave {} ({}).",
         threads, started, refused.what());
  }
}

ThreadPool::~ThreadPool() { join(); }

void ThreadPool::join() noexcept {
  if (!shared_) return;
  shared_->stop.store(true, std::memory_order_relaxed);
  shared_->publish();
  for (std::thread& worker : shared_->workers) worker.join();
}

void ThreadPool::run(std::int64_t tasks, Function function, const void* context) {
  Shared& s = *shared_;
  s.tasks = tasks;
  s.mode = float_mode();
  s.function = function;
  s.context = context;
  s.next.store(0, std::memory_order_relaxed);
  s.busy.store(threads_ - 1, std::memory_order_relaxed);
  s.publish();
  s.drain();
  for (int spin = 0; s.busy.load(std::memory_order_acquire) != 0; ++spin) {
    if (spin < kSpins)
      pause();
    else
      std::this_thread::yield();
  }
  if (s.error) std::rethrow_exception(std::exchange(s.error, nullptr));
}

}  // namespace rill
