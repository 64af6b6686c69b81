// CUB's way with the work of our own kernels, at the sizes of their rows.
#include <rill/bench/cuda/bench_run.h>
#include <rill/bench/cuda/cub_kernels.h>
#include <rill/core/cuda/on_device.h>

namespace rill::bench {
namespace {

void block_scan_row(Run& run, std::int64_t batch, std::int64_t length, std::int64_t channels) {
  const std::int64_t count = batch * length * channels;
  run.row({.name = "affine_scan",
           .shape = shape_text({batch, channels, length}) + " time last",
           .bytes = 12.0 * static_cast<double>(count),
           .by = "cub::BlockScan"},
          [&](Arrays& arrays) -> Run::Call {
            const CubRowsArgs args{.a = static_cast<float*>(arrays.uniform(count, 0.5, 1)),
                                   .b = static_cast<float*>(arrays.uniform(count, -1, 1)),
                                   .h = static_cast<float*>(arrays.empty(count)),
                                   .rows = batch * channels,
                                   .length = length};
            return [=, &run] { check_launch(cub_block_scan(args, run.stream())); };
          });
}

void device_scan_row(Run& run) {
  constexpr std::int64_t kLength = 67108864;
  run.row({.name = "affine_scan",
           .shape = shape_text({1, kLength, 1}),
           .bytes = 12.0 * kLength,
           .by = "cub::DeviceScan"},
          [&](Arrays& arrays) -> Run::Call {
            CubScanArgs args{.a = static_cast<float*>(arrays.uniform(kLength, 0.5, 1)),
                             .b = static_cast<float*>(arrays.uniform(kLength, -1, 1)),
                             .h = static_cast<float*>(arrays.empty(kLength)),
                             .length = kLength};
            std::size_t bytes = 0;
            check_launch(cub_device_scan(args, bytes, run.stream()));
            args.scratch = arrays.empty(static_cast<std::int64_t>(bytes), DType::kUInt8);
            return [=, &run] {
              std::size_t room = bytes;
              check_launch(cub_device_scan(args, room, run.stream()));
            };
          });
}

void sum_row(Run& run) {
  constexpr std::int64_t kTokens = 65536, kWidth = 4096, kCount = kTokens * kWidth;
  run.row({.name = "sum",
           .shape = shape_text({kTokens, kWidth}),
           .bytes = 4.0 * kCount,
           .by = "cub::DeviceReduce"},
          [&](Arrays& arrays) -> Run::Call {
            const auto* const x = static_cast<float*>(arrays.uniform(kCount, -2, 2));
            auto* const result = static_cast<float*>(arrays.empty(1));
            std::size_t bytes = 0;
            check_launch(cub_sum(x, kCount, result, nullptr, bytes, run.stream()));
            void* const scratch = arrays.empty(static_cast<std::int64_t>(bytes), DType::kUInt8);
            return [=, &run] {
              std::size_t room = bytes;
              check_launch(cub_sum(x, kCount, result, scratch, room, run.stream()));
            };
          });
}

}  // namespace

void cub_rows(Run& run) {
  block_scan_row(run, 8, 65536, 1536);
  block_scan_row(run, 1, 1048576, 2048);
  device_scan_row(run);
  sum_row(run);
}

}  // namespace rill::bench
