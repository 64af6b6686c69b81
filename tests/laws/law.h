// The laws that every layer passes (docs/architecture.md): what a law gets, and what it reports.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <rill/core/kernel.h>
#include <rill/rill.h>
#include <rill/tests/support/compare.h>

namespace rill::laws {

/// Where the laws' Execs work: the CPU (the program `laws`), or a device. What they are held
/// against is computed on the CPU.
Device device_under_law();
/// What stands for the vector target of a device: "model" (laws-device: the CUDA kernels in their
/// execution model), "card" (gpu).
std::string device_target();
inline bool on_device() { return device_under_law() != Device{}; }
/// The execution model works through everything itself: fewer sizes are worth it.
inline bool on_device_model() { return on_device() && device_target() == "model"; }
/// Called first: 0, or the exit status of a program that cannot run here. `whole`: nothing was
/// asked for in particular.
int prepare(bool whole);
/// The model's threads take turns in another order for every law: a missing barrier shows.
void choose_order(const std::string& law);
/// An Exec under the laws.
inline ExecOptions under_law(DType dtype, int threads) {
  return {.device = device_under_law(), .dtype = dtype, .threads = threads};
}

/// Options under which the laws run; the empty list is the layer as it comes.
struct Variant {
  std::string layer;   // registry name
  std::string suffix;  // "[mode=convolution]"; empty for the defaults
  std::vector<std::pair<std::string, OptionValue>> options;
  bool sequential = true;  // forward is the sequential recurrence: law 1b and exact comparisons

  std::string name() const { return layer + suffix; }
};
/// The defaults of every layer of the registry, and the options that change what is computed.
const std::vector<Variant>& all_variants();

/// What is under a law: one layer in one precision on one vector target.
struct Subject {
  const LayerType* type = nullptr;
  const Variant* variant = nullptr;
  DType dtype = DType::kFloat32;
  std::string target;  // "sse4", "avx2", "avx512"; "plain" for double
  std::string fault;   // injected on purpose; empty: none

  /// A layer of the subject's kind, every initial parameter moved by a small random amount (gate
  /// weights that start at 0 would hide what depends on them). The values are those of the float32
  /// layer of the same seed, so that float32 and float64 compute the same function.
  std::unique_ptr<SequenceLayer> make(std::int64_t width, DType dtype,
                                      std::uint64_t seed = 1) const;
  std::unique_ptr<SequenceLayer> make(std::int64_t width = 16) const { return make(width, dtype); }
  /// True where forward and steps, packed and alone, owe each other the same bits.
  bool sequential() const { return type->flags.sequential && variant->sequential && !on_device(); }
};

/// Largest error found and the bound that it may not pass.
struct Finding {
  double error = 0;
  double bound = 0;

  /// An error or a bound that is no finite number fails.
  void add(double e, double b);
  /// Exact laws: false counts as an infinite error.
  void add(bool ok);
  /// False where nothing was found out.
  bool ok() const { return any_ && worst_ <= 0; }

 private:
  bool any_ = false;
  double worst_ = -std::numeric_limits<double>::infinity();
};

struct Law {
  const char* number;  // "1", "1b", ...
  const char* text;
  bool in_float, in_double;
  Finding (*check)(const Subject&);
  /// False: the law does not apply to this kind of layer.
  bool (*applies)(const Subject&) = nullptr;
};

const std::vector<Law>& all_laws();
/// False for laws that do not apply to what this program runs on.
bool runs_here(const std::string& law, DType dtype);

/// A cell of the table of laws: "1b mamba float32 cpu avx2".
std::string cell(const std::string& law, const std::string& layer, DType dtype,
                 const std::string& target);
/// The cells that have to run on this machine, by a list that comes neither from the registered
/// laws nor from the registry's flags, and by the processor's own word about its vector sets.
std::set<std::string> expected_cells();
/// Faults of the registry itself: layers that are not those of the list, a flag that is not set.
std::vector<std::string> registry_faults();
/// Vector targets that this build carries, and those of them that the processor can run.
std::vector<std::string> compiled_targets();
std::vector<std::string> runnable_targets();

// ---- what laws share
// ------------------------------------------------------------------------------------------------

/// Values in [-1, 1], the same in both precisions.
Tensor random_input(const Shape& shape, DType dtype, std::uint64_t seed, double scale = 1.0);
/// The layer, on the Exec's device.
const SequenceLayer& moved(Exec& exec, const SequenceLayer& layer);
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

// Arrays and states lie on the host throughout; what works on a layer moves it to the Exec's device
// first, and what comes back is the host's.

/// forward() with everything at hand: outputs and final state.
struct Run {
  Tensor y;
  State state;
};
Run run(Exec& exec, const SequenceLayer& layer, const Tensor& x, State state,
        const Segments* segments = nullptr);
/// The same by `x.size(1)` calls of a Stepper.
Run run_steps(Exec& exec, const SequenceLayer& layer, const Tensor& x, State state);

/// The bound of the design: 2 err(plain) + 8 eps, plain being a plain loop in the same precision;
/// never more than a plain loop in working order needs. Infinite where the plain loop failed.
double bound_of(double plain_error, DType dtype, double factor = 2);

/// Errors of several arrays, each over one draw or several: add(), then judge(). Draws are pooled
/// as if they were one array, since the rounding errors of a handful of numbers are luck. Where the
/// exact array is all zero, or undefined, the result must be.
class ArrayErrors {
 public:
  void add(std::size_t array, const Tensor& got, const Tensor& plain, const Tensor& exact);
  /// `factor`: how much more than the plain loop's error is allowed.
  void judge(Finding& finding, DType dtype, double factor = 2) const;

 private:
  struct Sum {
    double reference = 0, got = 0, plain = 0;  // largest magnitude, largest differences
  };
  std::vector<Sum> sums_;
};

/// What the subject's runs are held against: the result in double, and that of plain loops.
struct Reference {
  Run exact, plain;
};
/// `change` is done to every layer that is made.
Reference reference(const Subject& subject, std::int64_t width, const Tensor& x,
                    const State& initial,
                    const std::function<void(const SequenceLayer&)>& change = {});
void add(ArrayErrors& errors, const Run& got, const Reference& expected);
void compare(Finding& finding, const Subject& subject, const Run& got, const Reference& expected);

/// Gradients of sum(y * dy) + sum(final state * d_final): of x, of the initial state's floating
/// fields, of all parameters. Cut before the steps in `cuts`; state gradients are handed through.
struct Gradient {
  Tensor x;
  std::vector<Tensor> state;       // undefined for fields without one
  std::vector<Tensor> parameters;  // undefined where none arrived
};
struct Objective {
  std::vector<std::int64_t> cuts = {};
  const Segments* segments = nullptr;
  Tensor dy = {};                    // undefined: fixed random weights
  std::vector<Tensor> d_final = {};  // empty: fixed random weights; an undefined one: none
};
Gradient gradient(Exec& exec, const SequenceLayer& layer, const Tensor& x, const State& initial,
                  const Objective& objective = {});
/// The value that `gradient` differentiates, in double.
double objective(Exec& exec, const SequenceLayer& layer, const Tensor& x, const State& initial);
/// Fixed random weights in the shape of `like`.
Tensor weights_like(const Tensor& like, std::uint64_t seed);
/// Largest magnitude; 0 for an undefined array, infinite where an element is not finite.
double largest(const Tensor& array);

void add(ArrayErrors& errors, const Gradient& got, const Gradient& plain, const Gradient& exact);

// ---- the laws, by file
// ----------------------------------------------------------------------------------------------
void add_mode_laws(std::vector<Law>& laws);      // 1, 1b, 2, 3, 4, 13
void add_gradient_laws(std::vector<Law>& laws);  // 5, 5b, 6
void add_state_laws(std::vector<Law>& laws);     // 7, 8, 14
void add_runtime_laws(std::vector<Law>& laws);   // 9, 11, 12
void add_extreme_laws(std::vector<Law>& laws);   // 15

/// A layer with one of all_faults(). `twin` is another layer with the same parameters.
std::unique_ptr<SequenceLayer> with_fault(std::unique_ptr<SequenceLayer> layer,
                                          std::unique_ptr<SequenceLayer> twin,
                                          const std::string& fault);
/// A fault, and the laws that must fail, every one of them.
struct Fault {
  const char* name;
  std::vector<std::string> caught_by;
};
const std::vector<Fault>& all_faults();

}  // namespace rill::laws
