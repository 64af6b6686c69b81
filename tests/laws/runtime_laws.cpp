// Laws 9, 11, 12, 15: no allocation, shared layers, any number of threads, long runs and extreme
// inputs.
#include "law.h"

#include <rill/core/kernel.h>
#include <rill/tests/support/allocations.h>

#include <memory>
#include <thread>

namespace rill::laws {
namespace {

// Allocations of `action` on this thread.
template <class Action>
std::int64_t allocations_of(const Action& action) {
  const std::int64_t before = test::allocation_count();
  action();
  return test::allocation_count() - before;
}

Finding allocates_nothing(const Subject& subject) {
  Finding finding;
  // The counter counts.
  std::unique_ptr<std::vector<int>> made;
  finding.add(allocations_of([&] { made = std::make_unique<std::vector<int>>(100); }) >= 2);
  Exec exec({.dtype = subject.dtype, .threads = 1});
  const auto layer = subject.make();
  State state = layer->initial_state(exec, 2);
  Stepper stepper = layer->prepare_step(exec, 2);
  const Tensor x = random_input({2, layer->input_size()}, subject.dtype, 41);
  const Tensor y = Tensor::empty({2, layer->output_size()}, subject.dtype);
  bool stepped = true;
  const std::int64_t in_steps = allocations_of([&] {
    for (int t = 0; t < 100; ++t) stepped = stepped && stepper.step(x, state, y) == StepStatus::kOk;
  });
  finding.add(stepped);
  finding.add(in_steps == 0);
  // The time loop: a sequence of 200 steps allocates as often as one of 40.
  const Tensor longer = random_input({2, 200, layer->input_size()}, subject.dtype, 42);
  const Tensor shorter = random_input({2, 40, layer->input_size()}, subject.dtype, 42);
  const auto forward = [&](const Tensor& input) {
    State fresh = layer->initial_state(exec, 2);
    return allocations_of([&] { layer->forward(exec, input, fresh); });
  };
  for (int warm = 0; warm < 2; ++warm) forward(longer), forward(shorter);
  finding.add(forward(longer) <= forward(shorter));
  // On a mismatch nothing changes.
  State wrong = layer->initial_state(exec, 3);
  const State kept = wrong.clone();
  finding.add(stepper.step(x, wrong, y) == StepStatus::kState && same_state(kept, wrong));
  return finding;
}

Finding shared_by_threads(const Subject& subject) {
  Finding finding;
  const auto layer = subject.make();
  const Tensor x = random_input({2, 33, layer->input_size()}, subject.dtype, 43);
  Exec reference_exec({.dtype = subject.dtype, .threads = 1});
  const Run expected = run(reference_exec, *layer, x, layer->initial_state(reference_exec, 2));
  const Run expected_steps =
      run_steps(reference_exec, *layer, x, layer->initial_state(reference_exec, 2));
  bool ok[2] = {false, false};
  const auto work = [&](int i) {
    Exec exec({.dtype = subject.dtype, .threads = 1});
    const Run whole = run(exec, *layer, x, layer->initial_state(exec, 2));
    const Run steps = run_steps(exec, *layer, x, layer->initial_state(exec, 2));
    ok[i] = test::same_bits(whole.y, expected.y) && test::same_bits(steps.y, expected_steps.y) &&
            same_state(whole.state, expected.state);
  };
  std::thread first(work, 0), second(work, 1);
  first.join();
  second.join();
  finding.add(ok[0] && ok[1]);
  return finding;
}

Finding any_threads(const Subject& subject) {
  Finding finding;
  const auto layer = subject.make(48, subject.dtype);
  const Tensor x = random_input({3, 67, layer->input_size()}, subject.dtype, 44);
  Exec one({.dtype = subject.dtype, .threads = 1});
  const State initial = used_state(one, *layer, 3, 45);
  const Run expected = run(one, *layer, x, initial);
  const Gradient expected_gradient = gradient(one, *layer, x, initial);
  for (const int threads : {1, 2, 3, 5}) {
    Exec exec({.dtype = subject.dtype, .threads = threads});
    const Run got = run(exec, *layer, x, initial);
    finding.add(test::same_bits(got.y, expected.y) && same_state(got.state, expected.state));
    const Gradient g = gradient(exec, *layer, x, initial);
    finding.add(test::same_bits(g.x, expected_gradient.x));
    for (std::size_t p = 0; p < g.parameters.size(); ++p)
      finding.add(g.parameters[p].defined() == expected_gradient.parameters[p].defined() &&
                  (!g.parameters[p].defined() ||
                   test::same_bits(g.parameters[p], expected_gradient.parameters[p])));
  }
  return finding;
}

// Largest magnitude of outputs and state; infinite for what is not finite.
double magnitude(const Run& run) {
  double largest = 0;
  const auto look = [&](const Tensor& values) {
    if (!is_floating(values.dtype())) return;
    for (const double value : values.to(DType::kFloat64).span<double>())
      largest = std::isfinite(value) ? std::max(largest, std::abs(value))
                                     : std::numeric_limits<double>::infinity();
  };
  look(run.y);
  for (const Tensor& field : run.state.fields()) look(field);
  return largest;
}

// A million steps in float (a tenth of that in double and under sanitizers, which are ten times
// slower), ordinary inputs; then inputs and parameters that push gates to +-40 and decays to 0
// and 1.
Finding extremes(const Subject& subject) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  constexpr std::int64_t kChunks = 1;
#else
  const std::int64_t kChunks = subject.dtype == DType::kFloat32 ? 64 : 6;
#endif
  // Outputs of stable recurrences with inputs in [-1, 1] and initial parameters stay far below; 1e6
  // tells growth.
  constexpr double kBound = 1e6;
  Finding finding;
  Exec exec({.dtype = subject.dtype, .threads = 2});
  const auto layer = subject.make();
  State state = layer->initial_state(exec, 1);
  const Tensor x = random_input({1, 16384, layer->input_size()}, subject.dtype, 46);
  for (std::int64_t chunk = 0; chunk < kChunks; ++chunk) {
    Run part = run(exec, *layer, x, std::move(state));
    finding.add(magnitude(part), kBound);
    state = std::move(part.state);
  }
  const Tensor loud = random_input({2, 257, layer->input_size()}, subject.dtype, 47, 40.0);
  const Run whole = run(exec, *layer, loud, layer->initial_state(exec, 2));
  finding.add(std::isfinite(magnitude(whole)));
  if (subject.type->flags.sequential) {
    const Run steps = run_steps(exec, *layer, loud, layer->initial_state(exec, 2));
    finding.add(test::same_bits(whole.y, steps.y));
  }
  const Gradient g = gradient(exec, *layer, loud, layer->initial_state(exec, 2), {100});
  finding.add(std::isfinite(magnitude({.y = g.x})));
  for (const Tensor& parameter : g.parameters)
    if (parameter.defined()) finding.add(std::isfinite(magnitude({.y = parameter})));
  return finding;
}

bool has_stepper(const LayerType& type) { return type.flags.stepper; }

}  // namespace

void add_runtime_laws(std::vector<Law>& laws) {
  laws.push_back({"9", "step and the forward time loop allocate nothing", true, true,
                  allocates_nothing, has_stepper});
  laws.push_back({"11", "two threads share a layer with two states", true, true, shared_by_threads,
                  has_stepper});
  laws.push_back({"12", "any number of threads, any run: the same bits", true, true, any_threads});
  laws.push_back({"15", "extreme gates and long runs stay finite", true, true, extremes});
}

}  // namespace rill::laws
