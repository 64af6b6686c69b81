// Exec: where and how calls run. It belongs to one thread.
#pragma once

#include <cstdint>
#include <memory>

#include <rill/core/dtype.h>
#include <rill/core/tensor.h>
#include <rill/core/thread_pool.h>

namespace rill {

class DeviceQueue;
class Recorder;
class Tape;
class WeightCache;

struct ExecOptions {
  Device device{};
  DType dtype = DType::kFloat32;  // of activations: float32 or float64
  int threads = 0;                // 0: RILL_NUM_THREADS, else the number of processors
  std::uint64_t seed = 0;         // of dropout
};

/// Device, threads, memory pool, random seed and, while training, the tape. One Exec serves one
/// thread; layers are shared between many. Results do not depend on the number of threads. On a
/// device work is handed over and goes on by itself; copies to the host (Tensor::to) wait for it.
class Exec {
 public:
  /// Error(kDevice) where the device is absent, Error(kDType) for other dtypes than float32 and
  /// float64, or one that the device has no kernels for.
  explicit Exec(const ExecOptions& options = {});
  ~Exec();
  Exec(const Exec&) = delete;
  Exec& operator=(const Exec&) = delete;

  Device device() const noexcept { return options_.device; }
  DType dtype() const noexcept { return options_.dtype; }
  int threads() const noexcept { return threads_->threads(); }
  std::uint64_t seed() const noexcept { return options_.seed; }
  void set_seed(std::uint64_t seed) noexcept { options_.seed = seed; }
  ThreadPool& thread_pool() noexcept { return *threads_; }
  const std::shared_ptr<MemoryPool>& memory() const noexcept { return memory_; }
  /// Waits until all work that was handed to the device has ended. Error(kSystem) where it failed.
  void synchronize();

  /// Null: no gradients are recorded.
  Tape* tape() const noexcept { return tape_; }
  void set_tape(Tape* tape) noexcept { tape_ = tape; }

  /// Dropout drops while this is set, with or without a tape: a pass that only carries the state to
  /// a cut must be the same function as the one that is differentiated.
  bool training() const noexcept { return training_; }
  void set_training(bool training) noexcept { training_ = training; }

  /// Dropout masks are a function of (seed, step, op number, row, absolute t, channel).
  std::int64_t step() const noexcept { return step_; }
  void set_step(std::int64_t step) noexcept { step_ = step; }
  /// Absolute position of the next call's first step in its sequence.
  std::int64_t time() const noexcept { return time_; }
  void set_time(std::int64_t time) noexcept { time_ = time; }
  /// Number of the next dropout op. A forward of a layer or a model starts from the number that is
  /// set and sets it back at its end: recomputed and cut runs draw the same masks. Whoever calls
  /// several layers by hand sets another start for each, or their masks are alike.
  std::int64_t op_number() const noexcept { return op_number_; }
  std::int64_t next_op_number() noexcept { return op_number_++; }
  void set_op_number(std::int64_t number) noexcept { op_number_ = number; }

  /// A new tensor of the pool, not initialised; of the Exec's dtype where none is given.
  Tensor empty(const Shape& shape);
  Tensor empty(const Shape& shape, DType dtype);
  Tensor zeros(const Shape& shape);
  /// A copy of the pool, in the order of this Exec's work.
  Tensor clone(const Tensor& tensor);
  /// A copy on this Exec's device, of the pool; the same handle where it lies there.
  Tensor upload(const Tensor& tensor);

  // For ops (core/kernel.h).
  Recorder* recorder() const noexcept { return recorder_; }
  void set_recorder(Recorder* recorder) noexcept { recorder_ = recorder; }
  WeightCache& weights() noexcept { return *weights_; }
  /// Null on the CPU.
  const std::shared_ptr<DeviceQueue>& queue() const noexcept { return queue_; }

 private:
  ExecOptions options_;
  std::shared_ptr<DeviceQueue> queue_;
  std::shared_ptr<MemoryPool> memory_;
  std::unique_ptr<ThreadPool> threads_;
  std::unique_ptr<WeightCache> weights_;
  Tape* tape_ = nullptr;
  Recorder* recorder_ = nullptr;
  std::int64_t step_ = 0;
  std::int64_t time_ = 0;
  std::int64_t op_number_ = 0;
  bool training_ = false;
};

/// While alive, an Exec trains, or does not.
class TrainingScope {
 public:
  TrainingScope(Exec& exec, bool training) : exec_(exec), previous_(exec.training()) {
    exec.set_training(training);
  }
  ~TrainingScope() { exec_.set_training(previous_); }
  TrainingScope(const TrainingScope&) = delete;
  TrainingScope& operator=(const TrainingScope&) = delete;

 private:
  Exec& exec_;
  bool previous_;
};

/// Numbers of dropout ops that are drawn while this lives are given back at its end.
class OpNumberScope {
 public:
  explicit OpNumberScope(Exec& exec) : exec_(exec), start_(exec.op_number()) {}
  ~OpNumberScope() { exec_.set_op_number(start_); }
  OpNumberScope(const OpNumberScope&) = delete;
  OpNumberScope& operator=(const OpNumberScope&) = delete;

 private:
  Exec& exec_;
  std::int64_t start_;
};

/// Number of threads by RILL_NUM_THREADS, else of processors; Error(kConfig) where the variable is
/// no number >= 1.
int default_threads();

}  // namespace rill
