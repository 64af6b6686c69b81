// Mamba's selective scan: a batch of sequences, one long sequence, and single steps.
#include <rill/bench/cuda/bench_run.h>
#include <rill/scan/kernels.h>

namespace rill::bench {
namespace {

constexpr std::int64_t kStates = 16;

struct Size {
  std::int64_t batch, length, channels;

  std::int64_t tokens() const { return batch * length; }
  std::int64_t count() const { return tokens() * channels; }
  std::int64_t states() const { return batch * channels * kStates; }
  std::string text() const { return shape_text({batch, length, channels, kStates}); }
  std::int64_t checkpoints() const {
    return (tokens() / kSelectiveChunk + batch) * kStates * channels;
  }
  // Of the first pass over `segments` of time: their states, and sums of dt.
  std::int64_t work(std::int64_t segments) const {
    return segments > 1 ? batch * segments * (kStates + 1) * channels : states();
  }
};

SelectivePlan plan_of(const Size& size, DType dtype) {
  const ScanKernels& table = *cuda_scan_kernels(dtype);
  return table.selective_plan
             ? table.selective_plan(size.batch, size.channels, kStates, size.length)
             : SelectivePlan();
}

SelectiveScanArgs arguments(Arrays& arrays, const Size& size, DType dtype, bool keep) {
  SelectiveScanArgs args{.sequence = arrays.sequence(size.batch, size.length),
                         .x = arrays.uniform(size.count(), -1, 1, dtype),
                         .dt = arrays.uniform(size.count(), -6, 0, dtype),
                         .dt_bias = arrays.uniform(size.channels, -1, 0),
                         .a = arrays.uniform(kStates * size.channels, -16, -1),
                         .b = arrays.uniform(size.tokens() * kStates, -1, 1, dtype),
                         .c = arrays.uniform(size.tokens() * kStates, -1, 1, dtype),
                         .d = arrays.uniform(size.channels, 0, 1),
                         .z = arrays.uniform(size.count(), -1, 1, dtype),
                         .initial = arrays.zeros(size.states()),
                         .final_state = arrays.empty(size.states()),
                         .work = arrays.empty(size.work(plan_of(size, dtype).segments)),
                         .y = arrays.empty(size.count(), dtype),
                         .channels = size.channels,
                         .states = kStates};
  if (keep) args.checkpoints = arrays.empty(size.checkpoints());
  return args;
}

// x, dt, z and y a channel, B and C a token, the states twice.
double forward_bytes(const Size& size, DType dtype) {
  const auto activations = static_cast<double>(4 * size.count() + 2 * size.tokens() * kStates);
  return activations * static_cast<double>(size_of(dtype)) +
         8.0 * static_cast<double>(size.states());
}

void forward_row(Run& run, const char* name, const Size& size, DType dtype) {
  const ScanKernels& table = *cuda_scan_kernels(dtype);
  const double updates = static_cast<double>(size.count()) * kStates;
  run.row({.name = name,
           .shape = size.text(),
           .dtype = dtype,
           .bytes = forward_bytes(size, dtype),
           .flops = updates * 6,
           .special = updates},
          [&](Arrays& arrays) -> Run::Call {
            if (!table.selective_scan) return {};
            const SelectiveScanArgs args = arguments(arrays, size, dtype, false);
            return [=, &run, &table] { table.selective_scan(args, run.on()); };
          });
}

SelectiveScanBackwardArgs backward_arguments(Arrays& arrays, const SelectiveScanArgs& forward,
                                             const Size& size, DType dtype) {
  const SelectivePlan plan = plan_of(size, dtype);
  const std::int64_t tiles = (size.channels + plan.tile - 1) / plan.tile;
  return {.forward = forward,
          .dy = arrays.uniform(size.count(), -1, 1, dtype),
          .dx = arrays.empty(size.count(), dtype),
          .ddt = arrays.empty(size.count(), dtype),
          .dz = arrays.empty(size.count(), dtype),
          .db = arrays.empty(size.tokens() * kStates, dtype),
          .dc = arrays.empty(size.tokens() * kStates, dtype),
          .dinitial = arrays.empty(size.states()),
          .da_log = arrays.zeros(kStates * size.channels),
          .dd = arrays.zeros(size.channels),
          .dbias = arrays.zeros(size.channels),
          .parts_bc = arrays.empty(tiles * 2 * size.tokens() * kStates),
          .parts_a = arrays.empty(size.states() * plan.back_segments),
          .parts_d = arrays.empty(size.batch * plan.back_segments * 2 * size.channels),
          .carries = arrays.empty(size.work(plan.back_segments)),
          .scratch = arrays.empty(selective_scratch(kStates))};
}

void backward_row(Run& run, const Size& size, DType dtype) {
  const ScanKernels& table = *cuda_scan_kernels(dtype);
  const double updates = static_cast<double>(size.count()) * kStates;
  const auto activations = static_cast<double>(7 * size.count() + 4 * size.tokens() * kStates);
  run.row({.name = "selective_scan backward",
           .shape = size.text(),
           .dtype = dtype,
           .bytes = activations * static_cast<double>(size_of(dtype)) +
                    4.0 * static_cast<double>(size.checkpoints()),
           .flops = updates * 20,
           .special = updates},
          [&](Arrays& arrays) -> Run::Call {
            if (!table.selective_scan_backward) return {};
            const SelectiveScanArgs forward = arguments(arrays, size, dtype, true);
            table.selective_scan(forward, run.on());
            const SelectiveScanBackwardArgs args = backward_arguments(arrays, forward, size, dtype);
            return [=, &run, &table] { table.selective_scan_backward(args, run.on()); };
          });
}

}  // namespace

void selective_rows(Run& run) {
  for (const DType dtype : types_of(cuda_scan_kernels)) {
    for (const Size& size : {Size{16, 4096, 4096}, Size{1, 65536, 4096}}) {
      forward_row(run, "selective_scan", size, dtype);
      backward_row(run, size, dtype);
    }
    for (const std::int64_t batch : {1, 64, 1024})
      forward_row(run, "selective_scan step", {batch, 1, 1536}, dtype);
  }
}

}  // namespace rill::bench
