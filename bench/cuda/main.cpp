// cuda-bench: what each kernel takes on a card, as a part of the copy bandwidth of the same run and
// beside what its bytes and operations allow. Exits with 77 where there is no card.
//   cuda-bench [--filter NAME] [--seconds S] [--row-seconds S] [--json FILE]
#include <rill/bench/cuda/bench_run.h>
#include <rill/core/device_launch.h>
#include <rill/core/error.h>

#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace {

using namespace rill::bench;

constexpr int kSkipped = 77, kUsage = 2;

bool read_options(int count, char** arguments, RunOptions& options) {
  for (int i = 1; i + 1 < count; i += 2) {
    const std::string_view name = arguments[i];
    const char* const value = arguments[i + 1];
    if (name == "--filter")
      options.filter = value;
    else if (name == "--seconds")
      options.seconds = std::atof(value);
    else if (name == "--row-seconds")
      options.row_seconds = std::atof(value);
    else if (name == "--json")
      options.json = value;
    else
      return false;
  }
  return count % 2 == 1;
}

void print_card(const Card& card) {
  std::printf("%s, compute capability %d.%d, %d processors, %.0f GiB\n", card.name.c_str(),
              card.major, card.minor, card.processors,
              static_cast<double>(card.memory_bytes) / (1 << 30));
  std::printf("driver %s (CUDA %d.%d), runtime %d.%d; clocks (SM, highest, memory): %s\n",
              card.driver.c_str(), card.driver_version / 1000, card.driver_version % 1000 / 10,
              card.runtime_version / 1000, card.runtime_version % 1000 / 10, card.clocks.c_str());
  std::printf("copy %.0f GB/s, read and written\n\n", card.copy_GBps);
}

void print_rows(const Run& run) {
  std::printf("%-32s %-26s %-8s %-15s %10s %8s %7s %10s %9s\n", "kernel", "shape", "dtype", "by",
              "ms", "GB/s", "of copy", "predicted", "first ms");
  for (const Row& row : run.rows()) {
    std::printf("%-32s %-26s %-8s %-15s ", row.name.c_str(), row.shape.c_str(),
                rill::name_of(row.dtype), row.by.c_str());
    if (!row.skipped.empty()) {
      std::printf("%s: %s\n", row.failed ? "FAILED" : "skipped", row.skipped.c_str());
      continue;
    }
    std::printf("%10.4f %8.0f %6.0f%% %10.4f %9.2f", row.ns * 1e-6, row.bytes / row.ns,
                100 * row.bytes / row.ns / run.card().copy_GBps,
                predicted_ns(row, run.card()) * 1e-6, row.first_ns * 1e-6);
    if (row.tensor_flops > 0) std::printf("  %.0f TFLOP/s", row.tensor_flops / row.ns * 1e-3);
    std::printf("\n");
  }
}

}  // namespace

int main(int count, char** arguments) {
  RunOptions options;
  if (!read_options(count, arguments, options)) {
    std::fprintf(stderr,
                 "cuda-bench [--filter NAME] [--seconds S] [--row-seconds S] [--json FILE]\n");
    return kUsage;
  }
  const rill::DeviceApi* const api = rill::cuda_device_api();
  if (!api || api->device_count() == 0) {
    std::printf("skipped: no CUDA device\n");
    return kSkipped;
  }
  try {
    Run run(options);
    copy_row(run);
    product_rows(run);
    scan_rows(run);
    cub_rows(run);
    selective_rows(run);
    core_rows(run);
    matrix_rows(run);
    recurrent_rows(run);
    print_card(run.card());
    print_rows(run);
    return run.failed() ? 1 : 0;
  } catch (const rill::Error& error) {
    std::printf("%s\n", error.what());
    return 1;
  }
}
