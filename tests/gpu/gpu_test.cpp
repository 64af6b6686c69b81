// The program `gpu`: all laws on a card (tests/laws), and before them what only a card can show:
// kernels beside the CPU's at sizes of several blocks, arrays past 2^31 elements, a thousand
// repeats. Exits with 77 (skipped) where the build or the machine has no CUDA device.
#include "../laws/law.h"

#include <rill/core/cuda/on_device.h>
#include <rill/core/kernels.h>
#include <rill/core/random.h>
#include <rill/scan/kernels.h>

#include <cmath>
#include <cstdio>
#include <vector>

namespace rill::laws {
namespace {

constexpr int kSkipped = 77;
constexpr int kDevice = 0;

void must(DeviceStatus status) {
  if (status != 0)
    throw Error(ErrorCode::kSystem, std::string("CUDA: ") + cuda_device_api()->describe(status));
}

// Memory of the card that lives as long as this object.
class DeviceArray {
 public:
  explicit DeviceArray(const std::vector<float>& values) : bytes_(values.size() * sizeof(float)) {
    must(cuda_device_api()->allocate(kDevice, bytes_, &data_));
    must(cuda_device_api()->copy(kDevice, data_, values.data(), bytes_, nullptr));
  }
  ~DeviceArray() { cuda_device_api()->release(kDevice, data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  void* data() const { return data_; }
  std::vector<float> read() const {
    std::vector<float> values(bytes_ / sizeof(float));
    must(cuda_device_api()->copy(kDevice, values.data(), data_, bytes_, nullptr));
    return values;
  }

 private:
  std::size_t bytes_;
  void* data_ = nullptr;
};

std::vector<float> draw(std::size_t count, std::uint64_t seed, double low, double high) {
  Generator generator(seed);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(generator.uniform(low, high));
  return values;
}

// max|a - b| / max|b|, infinite where a number is none.
double error_of(const std::vector<float>& a, const std::vector<float>& b) {
  double largest = 0, difference = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!std::isfinite(a[i])) return INFINITY;
    largest = std::max(largest, std::abs(static_cast<double>(b[i])));
    difference = std::max(difference, std::abs(static_cast<double>(a[i]) - b[i]));
  }
  return difference / largest;
}

int failures = 0;
void report(const char* name, double error, double bound) {
  std::printf("%s: error %.3g, bound %.3g%s\n", name, error, bound, error <= bound ? "" : " FAIL");
  failures += !(error <= bound);
}

constexpr double kBound = 4e-6;  // some 32 eps: two orders of a sum of a few hundred terms

void check_silu(const KernelContext& on) {
  const auto x = draw(100003, 1, -8, 8);
  std::vector<float> expected(x.size());
  const auto count = static_cast<std::int64_t>(x.size());
  const auto kind = static_cast<std::int64_t>(Unary::kSilu);
  cpu_core_kernels_f32().unary({x.data(), expected.data(), kind, count}, {});
  const DeviceArray in(x), out(x);
  cuda_core_kernels(DType::kFloat32)->unary({in.data(), out.data(), kind, count}, on);
  report("silu", error_of(out.read(), expected), kBound);
}

void check_norm(const KernelContext& on) {
  constexpr std::int64_t kRows = 37, kWidth = 1031;
  const auto x = draw(kRows * kWidth, 2, -1, 1), weight = draw(kWidth, 3, 0, 2);
  std::vector<float> expected(x.size());
  NormArgs args{.x = x.data(),
                .weight = weight.data(),
                .y = expected.data(),
                .rows = kRows,
                .width = kWidth,
                .eps = 1e-5};
  cpu_core_kernels_f32().norm(args, {});
  const DeviceArray in(x), scale(weight), out(x);
  args.x = in.data();
  args.weight = scale.data();
  args.y = out.data();
  cuda_core_kernels(DType::kFloat32)->norm(args, on);
  report("rms norm", error_of(out.read(), expected), kBound);
}

// Several chunks a row: the blocks hand their carries on.
void check_scan(const KernelContext& on) {
  constexpr std::int64_t kRows = 3, kLength = 1000, kChannels = 100;
  const auto a = draw(kRows * kLength * kChannels, 4, 0.5, 1), b = draw(a.size(), 5, -1, 1);
  const auto initial = draw(kRows * kChannels, 6, -1, 1);
  std::vector<float> h(a.size()), last(initial.size());
  std::vector<std::int64_t> start, length(kRows, kLength);
  for (std::int64_t r = 0; r < kRows; ++r) start.push_back(r * kLength);
  AffineScanArgs args{.sequence = {.rows = kRows,
                                   .tokens = kRows * kLength,
                                   .start = start.data(),
                                   .length = length.data(),
                                   .max_length = kLength},
                      .a = a.data(),
                      .b = b.data(),
                      .initial = initial.data(),
                      .final_state = last.data(),
                      .h = h.data(),
                      .channels = kChannels};
  cpu_scan_kernels_f32().affine_scan(args, {});
  const DeviceArray da(a), db(b), dinitial(initial), dlast(last), dh(h);
  void* rows = nullptr;
  must(cuda_device_api()->allocate(kDevice, 2 * kRows * sizeof(std::int64_t), &rows));
  auto* const device_rows = static_cast<std::int64_t*>(rows);
  for (const auto& [to, from] : {std::pair{device_rows, &start}, {device_rows + kRows, &length}})
    must(cuda_device_api()->copy(kDevice, to, from->data(), kRows * sizeof(std::int64_t), nullptr));
  args.sequence.start = device_rows;
  args.sequence.length = device_rows + kRows;
  args.a = da.data();
  args.b = db.data();
  args.initial = dinitial.data();
  args.final_state = dlast.data();
  args.h = dh.data();
  cuda_scan_kernels(DType::kFloat32)->affine_scan(args, on);
  report("affine scan", error_of(dh.read(), h), kBound);
  report("affine scan, final state", error_of(dlast.read(), last), kBound);
  cuda_device_api()->release(kDevice, rows);
}

// The last of 2^31 + 5 elements, and those at the edge of 32-bit numbers, are computed as others
// are. 17 GB; skipped where they are not free.
void check_past_32_bits(Exec& exec) {
  constexpr std::int64_t kCount = (std::int64_t{1} << 31) + 5, kEdge = 1024;
  Tensor x, y;
  try {
    x = exec.empty({kCount});
    y = exec.empty({kCount});
  } catch (const Error&) {
    std::printf("past 2^31 elements: skipped, 17 GB are not free\n");
    return;
  }
  enqueue(exec, core_kernels(exec).fill, {.y = x.raw(), .scale = 0.5, .count = kCount}, "fill");
  enqueue(exec, core_kernels(exec).unary,
          {x.raw(), y.raw(), static_cast<std::int64_t>(Unary::kSquare), kCount}, "square");
  bool right = true;
  for (const std::int64_t first :
       {std::int64_t{0}, (std::int64_t{1} << 31) - kEdge, kCount - kEdge})
    for (const float value : y.rows(first, kEdge).to(Device{}).span<float>())
      right = right && value == 0.25f;
  report("past 2^31 elements", right ? 0 : 1, 0);
}

// Forward and backward of a layer whose channels and time are cut over blocks: the same bits a
// thousand times.
void check_repeats(Exec& exec) {
  constexpr int kRepeats = 1000;
  const auto layer = make_layer("mamba", 64);
  layer->to(exec.device());
  const Tensor x = random_input({1, 700, 64}, DType::kFloat32, 8);
  const State initial = used_state(exec, *layer, 1, 9);
  const Run first = run(exec, *layer, x, initial);
  const Gradient gradients = gradient(exec, *layer, x, initial);
  bool same = true;
  for (int i = 0; i < kRepeats && same; ++i) {
    const Run again = run(exec, *layer, x, initial);
    same = test::same_bits(again.y, first.y) && same_state(again.state, first.state);
    const Gradient g = gradient(exec, *layer, x, initial);
    same = same && test::same_bits(g.x, gradients.x);
    for (std::size_t p = 0; p < g.parameters.size(); ++p)
      same = same && test::same_bits(g.parameters[p], gradients.parameters[p]);
  }
  report("a thousand repeats", same ? 0 : 1, 0);
}

}  // namespace

Device device_under_law() { return {Device::Type::kCuda, kDevice}; }
std::string device_target() { return "card"; }
void choose_order(const std::string&) {}

int prepare(bool whole) {
  const DeviceApi* api = cuda_device_api();
  if (!api || api->device_count() == 0) {
    std::printf("skipped: %s\n", api ? "no CUDA device" : "a build without CUDA");
    return kSkipped;
  }
  MemoryPool::fill_with_nan(true);
  if (!whole) return 0;
  Exec exec({.device = device_under_law()});
  const KernelContext on{.launch = &exec.queue()->launch()};
  check_silu(on);
  check_norm(on);
  check_scan(on);
  check_repeats(exec);
  check_past_32_bits(exec);
  return failures == 0 ? 0 : 1;
}

}  // namespace rill::laws
