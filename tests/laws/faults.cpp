// Faults put into a layer on purpose: the laws must notice each of them.
#include "law.h"

#include <rill/core/ops.h>

namespace rill::laws {
namespace {

class FaultyLayer final : public SequenceLayer {
 public:
  FaultyLayer(std::unique_ptr<SequenceLayer> layer, std::string fault)
      : layer_(std::move(layer)), fault_(std::move(fault)) {}

  StateSpec state_spec() const override { return layer_->state_spec(); }
  std::int64_t input_size() const override { return layer_->input_size(); }
  std::int64_t output_size() const override { return layer_->output_size(); }
  DType dtype() const override { return layer_->dtype(); }
  double flops_per_token() const override { return layer_->flops_per_token(); }
  void visit_parameters(const ParameterVisitor& visitor) const override {
    layer_->visit_parameters(visitor);
  }

 private:
  // Faults live in parallel mode: T > 1.
  Tensor compute(Exec& exec, const Tensor& x, std::span<Tensor> state,
                 const Sequence& sequence) const override {
    const std::int64_t length = x.size(1);
    if (length <= 1) return layer_->apply(exec, x, state, sequence);
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
    Tensor y = layer_->apply(exec, x, state, sequence);
    const std::int64_t width = y.size(2);
    if (fault_ == "gate-transposed" && width > 1) {
      const Tensor parts[] = {narrow(exec, y, width / 2, width - width / 2),
                              narrow(exec, y, 0, width / 2)};
      y = concat(exec, parts);
    }
    if (fault_ == "non-causal-tap") {
      const Tensor ahead = narrow_time(exec, y, 1, length - 1);
      const Tensor last = narrow_time(exec, y, length - 1, 1);
      y = add(exec, y, affine(exec, join_time({ahead, last}), 0.01));
    }
    return y;
  }

  std::unique_ptr<SequenceLayer> layer_;
  std::string fault_;
};

}  // namespace

std::unique_ptr<SequenceLayer> with_fault(std::unique_ptr<SequenceLayer> layer,
                                          const std::string& fault) {
  return std::make_unique<FaultyLayer>(std::move(layer), fault);
}

const std::vector<Fault>& all_faults() {
  static const std::vector<Fault> faults = {
      {"dropped-state", {"1", "1b", "2"}},
      {"cut-off-by-one", {"1", "2", "7"}},
      {"reset-ignored", {"8"}},
      {"gate-transposed", {"1", "1b"}},
      {"non-causal-tap", {"3"}},
      {"state-gradient-lost", {"5", "6"}},
  };
  return faults;
}

}  // namespace rill::laws
