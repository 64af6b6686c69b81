#include <rill/core/check.h>
#include <rill/core/kernels.h>
#include <rill/train/optimizer.h>
#include <rill/train/saved_number.h>

#include <cmath>

namespace rill {
namespace {

// A gradient that the Exec's kernels can read beside `value`.
void check_slot(const Exec& exec, const std::string& name, const Tensor& value) {
  check(value.dtype() == exec.dtype() && value.device() == exec.device(), ErrorCode::kDType,
        "AdamW: the parameter {} is {} on {}, the Exec computes in {} on {}.", name,
        name_of(value.dtype()), to_string(value.device()), name_of(exec.dtype()),
        to_string(exec.device()));
}

}  // namespace

AdamW::AdamW(const Walk& walk, const AdamWOptions& options) : options_(options) {
  walk([&](const std::string& name, const Tensor& value, ParameterGroup group) {
    slots_.push_back({name, value, Tensor::zeros(value.shape(), value.dtype(), value.device()),
                      Tensor::zeros(value.shape(), value.dtype(), value.device()), group});
  });
}

double AdamW::gradient_norm(Exec& exec, const Tape& tape) const {
  const Tensor result = exec.empty({1}, DType::kFloat64);
  bool first = true;
  for (const Slot& slot : slots_) {
    const Tensor gradient = tape.gradient(slot.value);
    if (!gradient.defined()) continue;
    check_slot(exec, slot.name, slot.value);
    const Tensor partial =
        exec.empty({(gradient.numel() + kSumTile - 1) / kSumTile}, DType::kFloat64);
    enqueue(exec, core_kernels(exec).squared_norm,
            {.x = gradient.raw(),
             .partial = partial.data<double>(),
             .result = result.data<double>(),
             .count = gradient.numel(),
             .accumulate = !first},
            "squared_norm");
    first = false;
  }
  return first ? 0.0 : std::sqrt(result.to(Device{}).data<double>()[0]);
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
    check_slot(exec, slot.name, slot.value);
    enqueue(exec, core_kernels(exec).adamw,
            {.gradient = gradient.raw(),
             .value = slot.value.raw(),
             .m = slot.m.raw(),
             .v = slot.v.raw(),
             .count = slot.value.numel(),
             .gradient_scale = gradient_scale,
             .beta1 = options_.beta1,
             .beta2 = options_.beta2,
             .step_size = lr / correction1,
             .v_scale = 1 / correction2,
             .eps = options_.eps,
             .keep = 1 - lr * decay},
            "adamw");
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
  steps_ = number_from(reader, "adam.steps", kMostSteps);
}

}  // namespace rill
