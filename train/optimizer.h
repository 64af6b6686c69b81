// AdamW (Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019) with parameter
// groups.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <rill/core/archive.h>
#include <rill/core/exec.h>
#include <rill/core/parameter.h>
#include <rill/core/tape.h>

namespace rill {

struct AdamWOptions {
  double lr = 2e-3;
  double ssm_lr_ratio = 0.5;  // of A, B and dt, as a part of lr
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0.05;  // of kDecay parameters
};

/// First and second moments beside each parameter. Parameters without a gradient keep their value
/// and moments.
class AdamW {
 public:
  /// `visit` walks the parameters, always in the same order.
  using Walk = std::function<void(const ParameterVisitor&)>;
  AdamW(const Walk& walk, const AdamWOptions& options);

  /// sqrt of the sum of squares of all gradients on the tape, in double, in the order of the
  /// parameters. Error(kDType), as of step, where a parameter is not of the Exec's dtype and
  /// device.
  double gradient_norm(Exec& exec, const Tape& tape) const;
  /// One step with the gradients on the tape, each multiplied by `gradient_scale`, at `lr_scale`
  /// times the learning rate. Bumps the versions of the parameters.
  void step(Exec& exec, const Tape& tape, double lr_scale, double gradient_scale);

  std::int64_t steps() const noexcept { return steps_; }
  /// Tensors "adam.m.NAME", "adam.v.NAME" and the text "adam.steps".
  void save(TensorWriter& writer) const;
  /// Error(kFile) where something is missing or has another shape.
  void load(const TensorReader& reader);

 private:
  struct Slot {
    std::string name;
    Tensor value, m, v;
    ParameterGroup group;
  };
  AdamWOptions options_;
  std::vector<Slot> slots_;
  std::int64_t steps_ = 0;
};

}  // namespace rill
