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
    : options_(options),
      memory_(std::make_shared<MemoryPool>()),
      weights_(std::make_unique<WeightCache>()) {
  check(options.dtype == DType::kFloat32 || options.dtype == DType::kFloat64, ErrorCode::kDType,
        "Exec: activations are float32 or float64, {} came.", name_of(options.dtype));
  check(options.device.type == Device::Type::kCpu, ErrorCode::kDevice,
        "Exec: there is no device {}.", to_string(options.device));
  threads_ =
      std::make_unique<ThreadPool>(options.threads == 0 ? default_threads() : options.threads);
}

Exec::~Exec() = default;

Tensor Exec::empty(const Shape& shape) { return empty(shape, options_.dtype); }

Tensor Exec::empty(const Shape& shape, DType dtype) {
  Tensor tensor = Tensor::empty(shape, dtype, options_.device, memory_);
  if (recorder_) recorder_->own(tensor);
  return tensor;
}

Tensor Exec::zeros(const Shape& shape) {
  Tensor tensor = empty(shape);
  enqueue(*this, core_kernels(*this).fill, {.y = tensor.raw(), .count = tensor.numel()}, "zeros");
  return tensor;
}

void enqueue_call(Exec& exec, const KernelCall& call) {
  const KernelContext context{&exec.thread_pool()};
  if (exec.recorder() && exec.recorder()->record(call)) return;
  const DenormalsAreZero mode;
  call.invoke(call.kernel, call.args, context);
}

}  // namespace rill
