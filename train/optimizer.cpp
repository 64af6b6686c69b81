#include <rill/core/check.h>
#include <rill/core/kernel.h>
#include <rill/train/optimizer.h>

#include <cmath>
#include <cstdlib>

namespace rill {
namespace {

struct AdamWArgs {
  void* value = nullptr;
  void* m = nullptr;
  void* v = nullptr;
  const void* gradient = nullptr;
  std::int64_t count = 0;
  double gradient_scale = 1, beta1 = 0, beta2 = 0, step_size = 0, v_scale = 0, eps = 0, keep = 1;
};

// theta <- keep theta - step_size m / (sqrt(v / correction2) + eps); the bias correction of m lies
// in step_size.
template <class T>
void adamw_kernel(const AdamWArgs& a, const KernelContext& context) {
  constexpr std::int64_t kTile = 16384;
  context.parallel_for((a.count + kTile - 1) / kTile, [&](std::int64_t tile) {
    T* value = static_cast<T*>(a.value);
    T* m = static_cast<T*>(a.m);
    T* v = static_cast<T*>(a.v);
    const T* gradient = static_cast<const T*>(a.gradient);
    const T scale = static_cast<T>(a.gradient_scale), beta1 = static_cast<T>(a.beta1),
            beta2 = static_cast<T>(a.beta2), step_size = static_cast<T>(a.step_size),
            v_scale = static_cast<T>(a.v_scale), eps = static_cast<T>(a.eps),
            keep = static_cast<T>(a.keep);
    const std::int64_t end = std::min(a.count, (tile + 1) * kTile);
    for (std::int64_t i = tile * kTile; i < end; ++i) {
      const T g = gradient[i] * scale;
      m[i] = beta1 * m[i] + (T(1) - beta1) * g;
      v[i] = beta2 * v[i] + (T(1) - beta2) * g * g;
      value[i] = keep * value[i] - step_size * m[i] / (std::sqrt(v[i] * v_scale) + eps);
    }
  });
}

template <class T>
double sum_of_squares(const Tensor& gradient) {
  double sum = 0;
  for (const T value : gradient.span<T>())
    sum += static_cast<double>(value) * static_cast<double>(value);
  return sum;
}

}  // namespace

AdamW::AdamW(const Walk& walk, const AdamWOptions& options) : options_(options) {
  walk([&](const std::string& name, const Tensor& value, ParameterGroup group) {
    slots_.push_back({name, value, Tensor::zeros(value.shape(), value.dtype()),
                      Tensor::zeros(value.shape(), value.dtype()), group});
  });
}

double AdamW::gradient_norm(const Tape& tape) const {
  double sum = 0;
  for (const Slot& slot : slots_) {
    const Tensor gradient = tape.gradient(slot.value);
    if (!gradient.defined()) continue;
    sum += gradient.dtype() == DType::kFloat64 ? sum_of_squares<double>(gradient)
                                               : sum_of_squares<float>(gradient);
  }
  return std::sqrt(sum);
}

void AdamW::step(Exec& exec, const Tape& tape, double lr_scale, double gradient_scale) {
  ++steps_;
  const auto t = static_cast<double>(steps_);
  const double correction1 = 1 - std::pow(options_.beta1, t);
  const double correction2 = 1 - std::pow(options_.beta2, t);
  for (const Slot& slot : slots_) {
    const Tensor gradient = tape.gradient(slot.value);
    if (!gradient.defined()) continue;
    const bool ssm = slot.group == ParameterGroup::kStateSpace;
    const double lr = options_.lr * lr_scale * (ssm ? options_.ssm_lr_ratio : 1.0);
    const double decay = slot.group == ParameterGroup::kDecay ? options_.weight_decay : 0.0;
    const AdamWArgs args{.value = slot.value.raw(),
                         .m = slot.m.raw(),
                         .v = slot.v.raw(),
                         .gradient = gradient.raw(),
                         .count = slot.value.numel(),
                         .gradient_scale = gradient_scale,
                         .beta1 = options_.beta1,
                         .beta2 = options_.beta2,
                         .step_size = lr / correction1,
                         .v_scale = 1 / correction2,
                         .eps = options_.eps,
                         .keep = 1 - lr * decay};
    const Kernel<AdamWArgs> kernel =
        slot.value.dtype() == DType::kFloat64 ? adamw_kernel<double> : adamw_kernel<float>;
    enqueue(exec, kernel, args, "adamw");
    slot.value.storage()->bump_version();
  }
}

void AdamW::save(TensorWriter& writer) const {
  writer.text("adam.steps", std::to_string(steps_));
  for (const Slot& slot : slots_) {
    writer.tensor("adam.m." + slot.name, slot.m);
    writer.tensor("adam.v." + slot.name, slot.v);
  }
}

void AdamW::load(const TensorReader& reader) {
  for (const Slot& slot : slots_)
    for (const auto& [prefix, tensor] : {std::pair{"adam.m.", slot.m}, {"adam.v.", slot.v}}) {
      check(reader.has_tensor(prefix + slot.name) &&
                reader.tensor(prefix + slot.name).shape() == tensor.shape(),
            ErrorCode::kFile, "AdamW: the tensor {}{} {} was expected in the checkpoint.", prefix,
            slot.name, to_string(tensor.shape()));
      tensor.copy_from(reader.tensor(prefix + slot.name));
    }
  steps_ = std::strtoll(reader.text("adam.steps").c_str(), nullptr, 10);
}

}  // namespace rill
