// Laws 9, 11, 12: no allocation, shared layers, any number of threads.
#include "law.h"

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

// On a mismatch of x, state or y a code comes back, and nothing is allocated or has changed.
void mismatches(Finding& finding, const Subject& subject, const SequenceLayer& layer,
                Stepper& stepper) {
  Exec exec(under_law(subject.dtype, 1));
  const std::int64_t in = layer.input_size(), out = layer.output_size();
  const DType other = subject.dtype == DType::kFloat32 ? DType::kFloat64 : DType::kFloat32;
  const Tensor x = random_input({2, in}, subject.dtype, 41);
  const Tensor y = Tensor::full({2, out}, subject.dtype, 7.0);
  struct Call {
    Tensor x, y;
    std::int64_t rows;
    StepStatus status;
  };
  const Call calls[] = {
      {x, y, 3, StepStatus::kState},
      {random_input({2, in + 1}, subject.dtype, 41), y, 2, StepStatus::kInput},
      {random_input({1, in}, subject.dtype, 41), y, 2, StepStatus::kInput},
      {x.to(other), y, 2, StepStatus::kInput},
      {x, Tensor::full({2, out + 1}, subject.dtype, 7.0), 2, StepStatus::kOutput},
      {x, Tensor::full({3, out}, subject.dtype, 7.0), 2, StepStatus::kOutput},
      {x, y.to(other), 2, StepStatus::kOutput},
  };
  for (const Call& call : calls) {
    State state = used_state(exec, layer, call.rows, 49);
    const State kept = state.clone();
    const Tensor kept_y = call.y.clone();
    StepStatus status = StepStatus::kOk;
    const std::int64_t allocations =
        allocations_of([&] { status = stepper.step(call.x, state, call.y); });
    finding.add(status == call.status && allocations == 0);
    finding.add(same_state(kept, state) && test::same_bits(kept_y, call.y));
  }
}

Finding allocates_nothing(const Subject& subject) {
  Finding finding;
  // The counter counts.
  std::unique_ptr<std::vector<int>> made;
  finding.add(allocations_of([&] { made = std::make_unique<std::vector<int>>(100); }) >= 2);
  Exec exec(under_law(subject.dtype, 1));
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
  mismatches(finding, subject, *layer, stepper);
  return finding;
}

Finding shared_by_threads(const Subject& subject) {
  Finding finding;
  const auto layer = subject.make();
  const Tensor x = random_input({2, 33, layer->input_size()}, subject.dtype, 43);
  Exec reference_exec(under_law(subject.dtype, 1));
  const Run expected = run(reference_exec, *layer, x, layer->initial_state(reference_exec, 2));
  const Run expected_steps =
      run_steps(reference_exec, *layer, x, layer->initial_state(reference_exec, 2));
  bool ok[2] = {false, false};
  const auto work = [&](int i) {
    Exec exec(under_law(subject.dtype, 1));
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
  Exec one(under_law(subject.dtype, 1));
  const State initial = used_state(one, *layer, 3, 45);
  const Run expected = run(one, *layer, x, initial);
  const Gradient expected_gradient = gradient(one, *layer, x, initial);
  for (const int threads : {1, 2, 3, 5}) {
    Exec exec(under_law(subject.dtype, threads));
    const Run got = run(exec, *layer, x, initial);
    finding.add(test::same_bits(got.y, expected.y) && same_state(got.state, expected.state));
    const Gradient g = gradient(exec, *layer, x, initial);
    const auto same = [&](const Tensor& a, const Tensor& b) {
      finding.add(a.defined() == b.defined() && (!a.defined() || test::same_bits(a, b)));
    };
    same(g.x, expected_gradient.x);
    for (std::size_t f = 0; f < g.state.size(); ++f) same(g.state[f], expected_gradient.state[f]);
    for (std::size_t p = 0; p < g.parameters.size(); ++p)
      same(g.parameters[p], expected_gradient.parameters[p]);
  }
  return finding;
}

bool has_stepper(const Subject& subject) { return subject.type->flags.stepper; }

}  // namespace

void add_runtime_laws(std::vector<Law>& laws) {
  laws.push_back({"9", "step and the forward time loop allocate nothing", true, true,
                  allocates_nothing, has_stepper});
  laws.push_back({"11", "two threads share a layer with two states", true, true, shared_by_threads,
                  has_stepper});
  laws.push_back({"12", "any number of threads, any run: the same bits", true, true, any_threads});
}

}  // namespace rill::laws
