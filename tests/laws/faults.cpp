// Faults put into a layer on purpose: the laws must notice each of them.
#include "law.h"

#include <rill/core/kernel.h>
#include <rill/core/ops.h>

#include <atomic>
#include <cstring>

namespace rill::laws {
namespace {

// A copy of `y` whose gradient goes through `change` on its way back to `y`.
Tensor with_backward(Exec& exec, const Tensor& y,
                     const std::function<Tensor(Exec&, const Tensor& d)>& change) {
  const Tensor copy = y.clone();
  exec.tape()->record({copy}, [y, copy, change](Exec& e, Gradients& gradients) {
    const Tensor d = gradients.find(copy);
    if (d.defined()) gradients.add(e, y, change(e, d));
  });
  return copy;
}

// Exchanges the halves of the first parameter that has some: gates that lie in the wrong order.
void transpose_gates(const SequenceLayer& layer) {
  for (const Tensor& parameter : layer.parameters()) {
    if (parameter.numel() < 2) continue;
    const Tensor turned = parameter.clone();
    const std::size_t all = parameter.bytes();
    const std::size_t half =
        static_cast<std::size_t>(parameter.numel() / 2) * size_of(parameter.dtype());
    std::memcpy(turned.raw(), static_cast<const char*>(parameter.raw()) + half, all - half);
    std::memcpy(static_cast<char*>(turned.raw()) + (all - half), parameter.raw(), half);
    parameter.copy_from(turned);
    return;
  }
}

// A kernel that asks for memory; the pointer to x makes a Stepper keep the call.
struct AllocatingArgs {
  const void* x = nullptr;
};
void allocate_memory(const AllocatingArgs& args, const KernelContext&) {
  std::unique_ptr<std::vector<const void*>> kept;
  kept = std::make_unique<std::vector<const void*>>(100, args.x);
  // What is neither read nor given away may be optimised away.
  std::atomic_signal_fence(std::memory_order_seq_cst);
}

class FaultyLayer final : public SequenceLayer {
 public:
  FaultyLayer(std::unique_ptr<SequenceLayer> layer, std::unique_ptr<SequenceLayer> twin,
              std::string fault)
      : layer_(std::move(layer)), twin_(std::move(twin)), fault_(std::move(fault)) {
    if (fault_ == "gate-transposed") transpose_gates(*twin_);
  }

  StateSpec state_spec() const override { return layer_->state_spec(); }
  std::int64_t input_size() const override { return layer_->input_size(); }
  std::int64_t output_size() const override { return layer_->output_size(); }
  DType dtype() const override { return layer_->dtype(); }
  double flops_per_token() const override { return layer_->flops_per_token(); }
  void visit_parameters(const ParameterVisitor& visitor) const override {
    std::size_t left = layer_->parameters().size();
    layer_->visit_parameters(
        [&](const std::string& name, const Tensor& value, ParameterGroup group) {
          if (--left > 0 || fault_ != "parameter-not-visited") visitor(name, value, group);
        });
  }

 private:
  // All faults but one live in parallel mode: T > 1.
  Tensor compute(Exec& exec, const Tensor& x, std::span<Tensor> state,
                 const Sequence& sequence) const override {
    if (x.size(1) <= 1) {
      if (fault_ == "allocation-in-step")
        enqueue(exec, allocate_memory, AllocatingArgs{.x = x.raw()}, "fault");
      return layer_->apply(exec, x, state, sequence);
    }
    return after(exec, x, before(exec, x, state, sequence));
  }

  // While gradients are recorded, and not in the plain loops, which set the bound.
  static bool in_fast_kernels(const Exec& exec) { return exec.tape() && !PlainKernels::active(); }

  // Faults of the state and of the time loop.
  Tensor before(Exec& exec, const Tensor& x, std::span<Tensor> state,
                const Sequence& sequence) const {
    const std::int64_t length = x.size(1);
    if (fault_ == "dropped-state") {
      const State fresh = State::fresh(state_spec(), sequence.rows());
      for (std::size_t f = 0; f < state.size(); ++f) state[f].copy_from(fresh.fields()[f]);
    }
    if (fault_ == "state-gradient-lost")
      for (Tensor& field : state) field = field.clone();
    if (fault_ == "reset-ignored" && sequence.args().reset)
      return layer_->apply(exec, x, state, Sequence::batch(exec, x.size(0), length));
    if (fault_ == "cut-off-by-one" && sequence.rows() == x.size(0) && !sequence.padded()) {
      std::vector<Tensor> early;
      for (const Tensor& field : state) early.push_back(field.clone());
      layer_->apply(exec, narrow_time(exec, x, 0, length - 1), early,
                    Sequence::batch(exec, x.size(0), length - 1));
      const Tensor y = layer_->apply(exec, x, state, sequence);
      for (std::size_t f = 0; f < state.size(); ++f) state[f] = early[f];
      return y;
    }
    if (fault_ == "gradient-passes-reset" && sequence.args().reset && in_fast_kernels(exec)) {
      const Tensor leaking = with_backward(exec, x, [](Exec& e, const Tensor& d) {
        const Tensor later = steps_of(d, 1, d.size(1) - 1);
        const Tensor last = Tensor::zeros({d.size(0), 1, d.size(2)}, d.dtype());
        return add(e, d, affine(e, join_time({later, last}), 0.1));
      });
      return layer_->apply(exec, leaking, state, sequence);
    }
    const SequenceLayer& layer = fault_ == "gate-transposed" ? *twin_ : *layer_;
    return layer.apply(exec, x, state, sequence);
  }

  // Faults of the outputs.
  Tensor after(Exec& exec, const Tensor& x, Tensor y) const {
    const std::int64_t length = x.size(1);
    if (fault_ == "non-causal-tap") {
      const Tensor ahead = narrow_time(exec, y, 1, length - 1);
      const Tensor last = narrow_time(exec, y, length - 1, 1);
      return add(exec, y, affine(exec, join_time({ahead, last}), 0.01));
    }
    if (fault_ == "rows-leak" && y.size(0) > 1) {
      const Tensor turned = Tensor::empty(y.shape(), y.dtype());
      turned.rows(0, y.size(0) - 1).copy_from(y.rows(1, y.size(0) - 1));
      turned.rows(y.size(0) - 1, 1).copy_from(y.rows(0, 1));
      return add(exec, y, affine(exec, turned, 0.01));
    }
    if (fault_ == "float-gradient-scaled" && in_fast_kernels(exec) && dtype() == DType::kFloat32)
      return with_backward(exec, y, [](Exec& e, const Tensor& d) { return affine(e, d, 1.0001); });
    // In the plain loops as well: an op's own fault, which no comparison with them would show.
    if (fault_ == "float-gradient-doubled" && exec.tape() && dtype() == DType::kFloat32)
      return with_backward(exec, y, [](Exec& e, const Tensor& d) { return affine(e, d, 2.0); });
    if (fault_ == "state-hidden-in-layer")
      return affine(exec, y, 1.0, 1e-3 * static_cast<double>(++calls_));
    if (fault_ == "thread-dependent" && exec.threads() > 1) return affine(exec, y, 1.0 + 1e-6);
    if (fault_ == "edge-length-wrong" && length == 63) return affine(exec, y, 1.0, 0.01);
    if (fault_ == "nan-at-extremes" && largest(x) > 30.0) return affine(exec, y, NAN);
    return y;
  }

  std::unique_ptr<SequenceLayer> layer_, twin_;
  std::string fault_;
  mutable std::atomic<int> calls_{0};
};

}  // namespace

std::unique_ptr<SequenceLayer> with_fault(std::unique_ptr<SequenceLayer> layer,
                                          std::unique_ptr<SequenceLayer> twin,
                                          const std::string& fault) {
  return std::make_unique<FaultyLayer>(std::move(layer), std::move(twin), fault);
}

const std::vector<Fault>& all_faults() {
  static const std::vector<Fault> faults = {
      {"dropped-state", {"1", "1b", "2"}},
      {"cut-off-by-one", {"1", "1b", "2", "7"}},
      {"reset-ignored", {"8"}},
      {"gate-transposed", {"1", "1b"}},
      {"non-causal-tap", {"3"}},
      {"rows-leak", {"4"}},
      {"state-gradient-lost", {"5", "6"}},
      {"float-gradient-scaled", {"5b"}},
      {"float-gradient-doubled", {"5b"}},
      {"gradient-passes-reset", {"8"}},
      {"state-hidden-in-layer", {"7", "11", "12"}},
      {"allocation-in-step", {"9"}},
      {"thread-dependent", {"12"}},
      {"edge-length-wrong", {"13"}},
      {"parameter-not-visited", {"14"}},
      {"nan-at-extremes", {"15"}},
  };
  return faults;
}

}  // namespace rill::laws
