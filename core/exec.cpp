#include <rill/core/device_queue.h>
#include <rill/core/exec.h>
#include <rill/core/float_mode.h>
#include <rill/core/kernels.h>
#include <rill/core/recorder.h>
#include <rill/core/weight_cache.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <string_view>
#include <thread>

namespace rill {

int default_threads() {
  if (const char* text = std::getenv("RILL_NUM_THREADS")) {
    const std::string_view view(text);
    int value = 0;
    const auto [end, error] = std::from_chars(view.data(), view.data() + view.size(), value);
    check(error == std::errc{} && end == view.data() + view.size() && value >= 1 && value <= 1024,
          ErrorCode::kConfig,
          "RILL_NUM_THREADS: a number between 1 and 1024 was expected, '{}' came.", view);
    return value;
  }
  return static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1u, 1024u));
}

Exec::Exec(const ExecOptions& options)
    : options_(options), weights_(std::make_unique<WeightCache>()) {
  check(options.dtype == DType::kFloat32 || options.dtype == DType::kFloat64, ErrorCode::kDType,
        "Exec: activations are float32 or float64, {} came.", name_of(options.dtype));
  const bool on_cpu = options.device == Device{};
  if (!on_cpu) {
    queue_ = std::make_shared<DeviceQueue>(options.device);
    check(cuda_core_kernels(options.dtype) != nullptr, ErrorCode::kDType,
          "Exec: on {} activations are float32, {} came.", to_string(options.device),
          name_of(options.dtype));
  }
  memory_ = std::make_shared<MemoryPool>(options.device);
  const int threads = options.threads == 0 ? default_threads() : options.threads;
  threads_ = std::make_unique<ThreadPool>(on_cpu ? threads : 1);
}

Exec::~Exec() = default;

Tensor Exec::empty(const Shape& shape) { return empty(shape, options_.dtype); }

Tensor Exec::empty(const Shape& shape, DType dtype) {
  Tensor tensor = Tensor::empty(shape, dtype, memory_);
  if (recorder_) recorder_->own(tensor);
  return tensor;
}

Tensor Exec::zeros(const Shape& shape) {
  Tensor tensor = empty(shape);
  enqueue(*this, core_kernels(*this).fill, {.y = tensor.raw(), .count = tensor.numel()}, "zeros");
  return tensor;
}

Tensor Exec::clone(const Tensor& tensor) {
  Tensor copy = empty(tensor.shape(), tensor.dtype());
  const auto bytes = static_cast<std::int64_t>(tensor.bytes());
  enqueue(*this, core_kernels(*this).copy,
          {.source = tensor.raw(),
           .target = copy.raw(),
           .rows = 1,
           .bytes = bytes,
           .source_stride = bytes,
           .target_stride = bytes},
          "clone");
  return copy;
}

Tensor Exec::upload(const Tensor& tensor) {
  if (tensor.device() == device()) return tensor;
  Tensor copy = empty(tensor.shape(), tensor.dtype());
  const Tensor near = tensor.to(Device{});
  copy_bytes(device(), copy.raw(), near.device(), near.raw(), near.bytes(),
             queue_ ? queue_->launch().stream : nullptr);
  return copy;
}

void Exec::synchronize() {
  if (queue_) queue_->synchronize();
}

void enqueue_call(Exec& exec, const KernelCall& call) {
  if (exec.recorder() && exec.recorder()->record(call)) return;
  const KernelContext context{&exec.thread_pool(),
                              exec.queue() ? &exec.queue()->launch() : nullptr};
  const DenormalsAreZero mode;
  call.invoke(call.kernel, call.args, context);
}

}  // namespace rill
