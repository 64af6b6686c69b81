// No task of a kernel allocates: it could not throw, so a failed allocation would end the program.
#include <rill/core/core.h>
#include <rill/core/kernel.h>
#include <rill/model/registry.h>
#include <rill/tests/support/allocations.h>
#include <rill/tests/support/catch.h>
#include <rill/tests/support/gradcheck.h>

#include <array>
#include <atomic>
#include <thread>
#include <vector>

using namespace rill;
using test::random_tensor;

namespace {

/// Allocations of the Exec's two threads since they began.
struct Counts {
  std::array<std::int64_t, 2> allocations{};
  std::array<std::thread::id, 2> threads{};
};

struct ProbeArgs {
  Counts* counts;
};

// Two tasks that wait for each other: one on each thread.
void probe(const ProbeArgs& args, const KernelContext& context) {
  std::atomic<int> arrived{0};
  context.parallel_for(2, [&](std::int64_t i) {
    args.counts->allocations[static_cast<std::size_t>(i)] = test::allocation_count();
    args.counts->threads[static_cast<std::size_t>(i)] = std::this_thread::get_id();
    for (++arrived; arrived < 2;) std::this_thread::yield();
  });
}

/// Allocations of the worker, the thread that is not the caller's.
std::int64_t worker_allocations(Exec& exec) {
  Counts counts;
  enqueue(exec, Kernel<ProbeArgs>(probe), {&counts}, "probe");
  return counts.allocations[counts.threads[0] == std::this_thread::get_id() ? 1 : 0];
}

// Forward and back over enough rows and steps that the worker has its share.
std::int64_t allocations_of(const LayerType& type, const Options& options, DType dtype) {
  const auto layer = type.create(64, options, dtype, 1);
  Exec exec({.dtype = dtype, .threads = 2});
  const Tensor x = random_tensor({32, 100, 64}, 2).to(dtype);
  State state = layer->initial_state(exec, 32);
  const std::int64_t before = worker_allocations(exec);
  {
    Tape tape;
    tape.watch(x);
    const TapeScope scope(exec, &tape);
    const Tensor y = layer->forward(exec, x, state);
    backward(exec, tape, {{y, random_tensor(y.shape(), 3).to(dtype)}});
  }
  return worker_allocations(exec) - before;
}

}  // namespace

TEST_CASE("the counter of a worker's allocations counts") {
  Exec exec({.threads = 2});
  struct Args {
    std::int64_t size;
  };
  const std::int64_t before = worker_allocations(exec);
  const auto allocate = [](const Args& args, const KernelContext& context) {
    std::atomic<int> arrived{0};
    context.parallel_for(2, [&](std::int64_t) {
      const std::vector<int> memory(static_cast<std::size_t>(args.size));
      for (++arrived; arrived < 2 && memory.data();) std::this_thread::yield();
    });
  };
  enqueue(exec, Kernel<Args>(allocate), {1000}, "allocate");
  CHECK(worker_allocations(exec) == before + 1);
}

TEST_CASE("no layer's kernels allocate in a worker, forward or back") {
  for (const LayerType& type : layer_types())
    for (const DType dtype : {DType::kFloat32, DType::kFloat64}) {
      INFO(type.name << " " << name_of(dtype));
      Options options(type.options);
      CHECK(allocations_of(type, options, dtype) == 0);
      if (type.name != "s4d") continue;
      options.set("mode", std::string("convolution"));
      CHECK(allocations_of(type, options, dtype) == 0);
    }
}
