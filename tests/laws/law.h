// The laws that every layer passes (docs/architecture.md): what a law gets, and what it reports.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <rill/rill.h>
#include <rill/tests/support/compare.h>

namespace rill::laws {

/// What is under a law: one layer in one precision on one vector target.
struct Subject {
  const LayerType* type = nullptr;
  DType dtype = DType::kFloat32;
  std::string target;  // "sse4", "avx2", "avx512"; "plain" for double
  std::string fault;   // injected on purpose; empty: none

  /// A layer of the subject's kind; the values of its parameters are those of the float32 layer of
  /// the same seed, so that float32 and float64 compute the same function. `options`: name=value
  /// beside the defaults.
  std::unique_ptr<SequenceLayer> make(std::int64_t width, DType dtype,
                                      std::uint64_t seed = 1) const;
  std::unique_ptr<SequenceLayer> make(std::int64_t width = 16) const { return make(width, dtype); }
};

/// Largest error found and the bound that it may not pass.
struct Finding {
  double error = 0;
  double bound = 0;

  void add(double e, double b);
  /// Exact laws: false counts as an infinite error.
  void add(bool ok) { add(ok ? 0.0 : std::numeric_limits<double>::infinity(), 0.0); }
  bool ok() const { return worst_ <= 0; }

 private:
  double worst_ = -std::numeric_limits<double>::infinity();
};

struct Law {
  const char* number;  // "1", "1b", ...
  const char* text;
  bool in_float, in_double;
  Finding (*check)(const Subject&);
  /// False: the law does not apply to this kind of layer.
  bool (*applies)(const LayerType&) = nullptr;
};

const std::vector<Law>& all_laws();

// ---- what laws share
// ------------------------------------------------------------------------------------------------

/// Values in [-1, 1], the same in both precisions.
Tensor random_input(const Shape& shape, DType dtype, std::uint64_t seed, double scale = 1.0);
/// A state as one finds it in the middle of a stream: what some random steps leave behind.
State used_state(Exec& exec, const SequenceLayer& layer, std::int64_t batch, std::uint64_t seed);
/// The state in another precision.
State convert(const State& state, const StateSpec& spec);
/// Steps [first, first + count) of [B, T, C].
Tensor steps_of(const Tensor& x, std::int64_t first, std::int64_t count);
/// Arrays [B, t, C] one after the other in time.
Tensor join_time(const std::vector<Tensor>& parts);
bool same_state(const State& a, const State& b);
double state_error(const State& a, const State& reference);

/// forward() with everything at hand: outputs and final state.
struct Run {
  Tensor y;
  State state;
};
Run run(Exec& exec, const SequenceLayer& layer, const Tensor& x, State state,
        const Segments* segments = nullptr);
/// The same by `x.size(1)` calls of a Stepper.
Run run_steps(Exec& exec, const SequenceLayer& layer, const Tensor& x, State state);

/// Gradients of sum(y * weights) + sum(final state * weights): of x, of the initial state's
/// floating fields, of all parameters. Cut before the steps in `cuts`; state gradients are handed
/// through.
struct Gradient {
  Tensor x;
  std::vector<Tensor> state;       // undefined for fields without one
  std::vector<Tensor> parameters;  // undefined where none arrived
};
Gradient gradient(Exec& exec, const SequenceLayer& layer, const Tensor& x, const State& initial,
                  const std::vector<std::int64_t>& cuts = {}, const Segments* segments = nullptr);
/// The objective that `gradient` differentiates, in double.
double objective(Exec& exec, const SequenceLayer& layer, const Tensor& x, const State& initial);

/// The bound of the design: 2 err(plain) + 8 eps, plain being a plain loop in the same precision.
double bound_of(double plain_error, DType dtype);

// ---- the laws, by file
// ----------------------------------------------------------------------------------------------
void add_mode_laws(std::vector<Law>& laws);      // 1, 1b, 2, 3, 4, 13
void add_gradient_laws(std::vector<Law>& laws);  // 5, 5b, 6
void add_state_laws(std::vector<Law>& laws);     // 7, 8, 14
void add_runtime_laws(std::vector<Law>& laws);   // 9, 11, 12, 15

/// A layer with a fault: "dropped-state", "cut-off-by-one", "reset-ignored", "gate-transposed",
/// "non-causal-tap", "state-gradient-lost".
std::unique_ptr<SequenceLayer> with_fault(std::unique_ptr<SequenceLayer> layer,
                                          const std::string& fault);
/// Names of all faults, and the laws of which at least one must fail.
struct Fault {
  const char* name;
  std::vector<std::string> caught_by;
};
const std::vector<Fault>& all_faults();

}  // namespace rill::laws
