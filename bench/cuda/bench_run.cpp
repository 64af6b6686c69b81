#include <rill/bench/cuda/bench_run.h>

#include <cuda_runtime.h>
#include <rill/bench/cuda/fill.h>
#include <rill/bench/timing.h>
#include <rill/core/error.h>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <numeric>

namespace rill::bench {
namespace {

void must(DeviceStatus status) {
  if (status != 0)
    throw Error(ErrorCode::kSystem,
                std::string("CUDA: ") + cudaGetErrorString(static_cast<cudaError_t>(status)));
}

// What a command prints, or "" where there is none such.
std::string output_of(const char* command) {
  std::string text;
  if (FILE* pipe = popen(command, "r")) {
    char piece[256];
    while (const std::size_t read = fread(piece, 1, sizeof piece, pipe)) text.append(piece, read);
    pclose(pipe);
  }
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

Card describe_card() {
  constexpr int kDevice = 0;
  Card card;
  cudaDeviceProp properties{};
  must(cudaGetDeviceProperties(&properties, kDevice));
  must(cudaRuntimeGetVersion(&card.runtime_version));
  must(cudaDriverGetVersion(&card.driver_version));
  int kilohertz = 0;
  must(cudaDeviceGetAttribute(&kilohertz, cudaDevAttrClockRate, kDevice));
  card.name = properties.name;
  card.major = properties.major;
  card.minor = properties.minor;
  card.processors = properties.multiProcessorCount;
  card.memory_bytes = properties.totalGlobalMem;
  card.clock_GHz = kilohertz * 1e-6;
  const int lanes = card.major == 8 && card.minor == 0 ? 64 : 128;  // of float, a processor
  card.fma_GFLOPs = 2.0 * lanes * card.processors * card.clock_GHz;
  card.special_Gps = 16.0 * card.processors * card.clock_GHz;
  const std::string query = "nvidia-smi -i 0 --format=csv,noheader --query-gpu=";
  card.driver = output_of((query + "driver_version 2>/dev/null").c_str());
  card.clocks = output_of((query + "clocks.sm,clocks.max.sm,clocks.mem 2>/dev/null").c_str());
  return card;
}

nlohmann::json to_json(const Card& card) {
  return {{"name", card.name},
          {"driver", card.driver},
          {"cuda_runtime", card.runtime_version},
          {"cuda_driver", card.driver_version},
          {"compute_capability", std::to_string(card.major) + "." + std::to_string(card.minor)},
          {"processors", card.processors},
          {"clock_GHz", card.clock_GHz},
          {"clocks_sm_max_memory", card.clocks},
          {"memory_bytes", card.memory_bytes},
          {"copy_GBps", card.copy_GBps},
          {"fma_GFLOPs_of_the_clock", card.fma_GFLOPs},
          {"special_Gps_of_the_clock", card.special_Gps}};
}

nlohmann::json to_json(const Row& row, const Card& card) {
  nlohmann::json json = {
      {"name", row.name}, {"shape", row.shape}, {"dtype", name_of(row.dtype)}, {"by", row.by}};
  if (!row.skipped.empty()) {
    json[row.failed ? "failed" : "skipped"] = row.skipped;
    return json;
  }
  json["ns"] = row.ns;
  json["best_ns"] = row.best_ns;
  json["first_ns"] = row.first_ns;
  json["samples"] = row.samples;
  json["bytes"] = row.bytes;
  json["GBps"] = row.bytes / row.ns;
  if (card.copy_GBps > 0) json["of_copy"] = row.bytes / row.ns / card.copy_GBps;
  if (const double flops = row.flops + row.tensor_flops; flops > 0) json["GFLOPs"] = flops / row.ns;
  if (const double expected = predicted_ns(row, card); expected > 0)
    json["predicted_ns"] = expected;
  return json;
}

}  // namespace

double predicted_ns(const Row& row, const Card& card) {
  if (card.copy_GBps <= 0) return 0;
  return std::max(
      {row.bytes / card.copy_GBps, row.flops / card.fma_GFLOPs, row.special / card.special_Gps});
}

std::string shape_text(std::initializer_list<std::int64_t> sizes) {
  std::string text;
  for (const std::int64_t size : sizes) text += (text.empty() ? "[" : ", ") + std::to_string(size);
  return text + "]";
}

// ---- Arrays

Arrays::~Arrays() {
  cudaStreamSynchronize(static_cast<cudaStream_t>(stream_));
  for (void* data : held_) cudaFree(data);
}

void* Arrays::empty(std::int64_t count, DType dtype) {
  const std::size_t bytes =
      static_cast<std::size_t>(std::max<std::int64_t>(count, 1)) * size_of(dtype);
  std::size_t free = 0, total = 0;
  must(cudaMemGetInfo(&free, &total));
  const std::size_t reserve = total / 50;  // the context's own, and what allocations lose
  if (bytes + reserve > free) throw NoRoom{bytes, free};
  void* data = nullptr;
  must(cudaMalloc(&data, bytes));
  held_.push_back(data);
  return data;
}

void* Arrays::zeros(std::int64_t count, DType dtype) {
  void* const data = empty(count, dtype);
  must(cudaMemsetAsync(data, 0, static_cast<std::size_t>(count) * size_of(dtype),
                       static_cast<cudaStream_t>(stream_)));
  return data;
}

void* Arrays::uniform(std::int64_t count, double low, double high, DType dtype) {
  void* const data = empty(count, dtype);
  must(fill_uniform(data, count, dtype, low, high, ++seed_, stream_));
  return data;
}

SeqArgs Arrays::sequence(std::int64_t rows, std::int64_t length) {
  return packed(std::vector<std::int64_t>(static_cast<std::size_t>(rows), length));
}

SeqArgs Arrays::packed(const std::vector<std::int64_t>& lengths) {
  const auto rows = static_cast<std::int64_t>(lengths.size());
  std::vector<std::int64_t> numbers(lengths.size());  // starts, then lengths
  std::exclusive_scan(lengths.begin(), lengths.end(), numbers.begin(), std::int64_t{0});
  const std::int64_t tokens = numbers.back() + lengths.back();
  numbers.insert(numbers.end(), lengths.begin(), lengths.end());
  auto* const data = static_cast<std::int64_t*>(empty(2 * rows, DType::kInt64));
  must(cudaMemcpy(data, numbers.data(), numbers.size() * sizeof(std::int64_t),
                  cudaMemcpyHostToDevice));
  return {.rows = rows,
          .tokens = tokens,
          .start = data,
          .length = data + rows,
          .max_length = *std::max_element(lengths.begin(), lengths.end())};
}

// ---- Run

Run::Run(const RunOptions& options) : options_(options), card_(describe_card()), began_(now_ns()) {
  launch_.workspace_bytes = std::size_t{1} << 26;
  cudaStream_t stream = nullptr;
  must(cudaStreamCreate(&stream));
  launch_.stream = stream;
  must(cudaMalloc(&launch_.workspace, launch_.workspace_bytes));
  context_.launch = &launch_;
}

Run::~Run() {
  cudaFree(launch_.workspace);
  cudaStreamDestroy(static_cast<cudaStream_t>(launch_.stream));
}

bool Run::failed() const {
  return std::any_of(rows_.begin(), rows_.end(), [](const Row& row) { return row.failed; });
}

double Run::events_ns(const Call& call, int calls) const {
  const auto stream = static_cast<cudaStream_t>(launch_.stream);
  cudaEvent_t start = nullptr, stop = nullptr;
  must(cudaEventCreate(&start));
  must(cudaEventCreate(&stop));
  must(cudaEventRecord(start, stream));
  for (int i = 0; i < calls; ++i) call();
  must(cudaEventRecord(stop, stream));
  must(cudaEventSynchronize(stop));
  float milliseconds = 0;
  must(cudaEventElapsedTime(&milliseconds, start, stop));
  cudaEventDestroy(start);
  cudaEventDestroy(stop);
  return 1e6 * static_cast<double>(milliseconds) / calls;
}

void Run::measure(Row& row, const Call& call) const {
  constexpr double kSampleNs = 2e5;  // long beside an event's resolution of half a microsecond
  must(cudaStreamSynchronize(static_cast<cudaStream_t>(launch_.stream)));
  const double start = now_ns();
  call();
  must(cudaStreamSynchronize(static_cast<cudaStream_t>(launch_.stream)));
  row.first_ns = now_ns() - start;
  const double once = std::max(events_ns(call, 1), 100.0);
  const int calls = static_cast<int>(std::clamp(kSampleNs / once, 1.0, 1000.0));
  const double least = once > 3e8 ? 1 : 3;
  const int samples =
      static_cast<int>(std::clamp(1e9 * options_.row_seconds / (once * calls), least, 50.0));
  Samples measured;
  for (int i = 0; i < samples; ++i) measured.ns.push_back(events_ns(call, calls));
  row.samples = samples;
  row.ns = measured.median();
  row.best_ns = measured.quantile(0);
}

void Run::row(Row row, const std::function<Call(Arrays&)>& build) {
  const bool is_limit = row.name == "copy";
  if (!is_limit && row.name.find(options_.filter) == std::string::npos) return;
  if (now_ns() - began_ > 1e9 * options_.seconds) {
    row.skipped = "the time for the bench was up";
  } else {
    try {
      Arrays arrays(launch_.stream);
      if (const Call call = build(arrays))
        measure(row, call);
      else
        row.skipped = "this build has no such kernel";
    } catch (const NoRoom& room) {
      row.skipped = "an array of " + std::to_string(room.wanted >> 20) + " MiB does not fit, " +
                    std::to_string(room.free >> 20) + " MiB are free";
    } catch (const Error& error) {
      row.skipped = error.what();
      row.failed = true;
    }
  }
  if (is_limit && row.ns > 0) card_.copy_GBps = row.bytes / row.ns;
  std::fprintf(
      stderr, "%s %s %s: %s\n", row.name.c_str(), row.shape.c_str(), row.by.c_str(),
      row.skipped.empty() ? (std::to_string(row.ns * 1e-6) + " ms").c_str() : row.skipped.c_str());
  rows_.push_back(std::move(row));
  write_json();
}

void Run::write_json() const {
  if (options_.json.empty()) return;
  nlohmann::json json = {{"card", to_json(card_)}, {"rows", nlohmann::json::array()}};
  for (const Row& row : rows_) json["rows"].push_back(to_json(row, card_));
  std::ofstream(options_.json) << json.dump(1) << "\n";
}

void copy_row(Run& run) {
  // Far more than the card's caches hold.
  const std::int64_t bytes = std::min<std::int64_t>(
      std::int64_t{1} << 32, static_cast<std::int64_t>(run.card().memory_bytes / 8));
  run.row(
      {.name = "copy",
       .shape = shape_text({bytes}),
       .dtype = DType::kUInt8,
       .bytes = 2.0 * static_cast<double>(bytes),
       .by = "cudaMemcpyAsync"},
      [&](Arrays& arrays) -> Run::Call {
        void* const from = arrays.zeros(bytes, DType::kUInt8);
        void* const to = arrays.empty(bytes, DType::kUInt8);
        return [=, &run] {
          must(cudaMemcpyAsync(to, from, static_cast<std::size_t>(bytes), cudaMemcpyDeviceToDevice,
                               static_cast<cudaStream_t>(run.stream())));
        };
      });
}

}  // namespace rill::bench
