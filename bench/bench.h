// What `rill bench` measures: every layer in both modes and every kernel alone, beside plain loops
// and beside the machine's own limits.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <rill/rill.h>

namespace rill::bench {

/// The machine's limits, measured in the same run, on one core.
struct Machine {
  std::string cpu;
  std::vector<std::string> targets;
  double read_GBps = 0;    // sum of a 256 MiB array with huge pages
  double gemm_GFLOPs = 0;  // Rill's own float product, 1024 x 1024 x 1024
  double exp_Gps = 0;      // exponentials of floats in the level-1 cache
};

/// Modes: "forward", "backward" (forward and backward together), "step".
struct Row {
  std::string layer;  // or "kernel:NAME": one op
  std::string mode;
  std::int64_t B = 0, T = 0, D = 0;
  std::string dtype = "float32";
  int threads = 1;
  std::string target;
  double ns_per_token = 0;  // of B * T tokens; a step gives B
  double GBps = 0;          // bytes of input, output, parameters and state, once each, a second
  double GFLOPs = 0;
  double baseline_ns = 0;  // the same by plain loops on one CPU thread; NaN: not measured
  double ratio = 0;        // baseline_ns / ns_per_token
  double p50_ns = 0, p99_ns = 0, max_ns = 0;  // a token, over repeats (steps: over single steps)
  std::int64_t rss_bytes = 0;
};

struct Options {
  std::vector<std::string> layers;   // empty: all
  std::vector<std::string> kernels;  // empty: all
  std::vector<std::int64_t> lengths = {1024, 4096, 16384};
  std::vector<std::string> modes = {"forward", "backward", "step"};
  std::int64_t batch = 1;
  std::int64_t width = 128;
  std::vector<int> threads = {1};
  Device device;         // of layers and models; kernels alone are measured on the CPU
  double seconds = 0.3;  // a row is measured for about so long
  bool baseline = true;
};

Machine measure_machine();

/// Measures one row after the other; `done` sees each.
std::vector<Row> measure_layers(const Options& options,
                                const std::function<void(const Row&)>& done);

/// The names that measure_kernels takes: the ops that layers are made of.
std::vector<std::string> kernel_names();
/// Error(kConfig) for a name that is none.
void check_kernel_name(const std::string& name);
/// The same for single ops on x [B, T, width], forward and backward: rows "kernel:NAME". The mode
/// "step" has none: layers have steppers.
std::vector<Row> measure_kernels(const Options& options,
                                 const std::function<void(const Row&)>& done);

/// One stream through a model: time a token and memory at each length, in parallel mode (tiles,
/// outputs not kept) and step by step. Lengths ascend.
std::vector<Row> measure_growth(const Model& model, const std::vector<std::int64_t>& lengths,
                                int threads, const std::function<void(const Row&)>& done);

}  // namespace rill::bench
