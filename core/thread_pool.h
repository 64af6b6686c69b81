// A small fork-join pool: a bounded spin, then a wait. Work is cut by sizes alone, never by the
// number of threads.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>

namespace rill {

/// Runs numbered tasks on `threads` threads, the caller's among them. A pool serves one caller at a
/// time (it belongs to one Exec).
class ThreadPool {
 public:
  /// Error(kConfig) unless 1 <= threads <= 1024, Error(kSystem) where the system has no more
  /// threads.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const noexcept { return threads_; }

  /// Calls task(i) once for every i in [0, tasks), in any order, and returns when all are done.
  /// What a task throws is thrown here, after the others have ended: of several exceptions that of
  /// the first task. (On one thread the tasks after it are not begun.)
  template <class Task>
  void parallel_for(std::int64_t tasks, const Task& task) {
    if (threads_ == 1 || tasks <= 1) {
      for (std::int64_t i = 0; i < tasks; ++i) task(i);
      return;
    }
    run(
        tasks, [](const void* context, std::int64_t i) { (*static_cast<const Task*>(context))(i); },
        &task);
  }

 private:
  using Function = void (*)(const void*, std::int64_t);
  void run(std::int64_t tasks, Function function, const void* context);
  void join() noexcept;

  struct Shared;
  int threads_;
  std::unique_ptr<Shared> shared_;
};

}  // namespace rill
