// rill bench
#include "common.h"

#include <rill/bench/bench.h>
#include <rill/bench/report.h>
#include <rill/core/check.h>

#include <rill/core/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <map>

namespace rill::cli {
namespace {

using bench::Row;
using nlohmann::json;

struct BenchFlags {
  std::vector<std::string> layers, kernels, modes = {"forward", "backward", "step"};
  std::string lengths = "1k..16k:x4", json_file, html_file, model;
  std::vector<int> threads;
  std::string device = "cpu";
  bench::Options options;
  bool json = false, no_baseline = false;
};

// "4096", "4k" (2^12), "1m" (2^20).
std::int64_t parse_length(std::string_view text) {
  std::int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  const std::string_view unit(rest, static_cast<std::size_t>(end - rest));
  const std::int64_t factor = unit.empty() ? 1 : unit == "k" ? 1 << 10 : unit == "m" ? 1 << 20 : 0;
  check(
      error == std::errc{} && factor > 0 && value >= 1 && value <= (std::int64_t{1} << 40) / factor,
      ErrorCode::kConfig, "bench: a length such as 1000, 4k or 1m was expected, '{}' came.", text);
  return value * factor;
}

// "LO..HI[:xF]": LO, LO F, LO F^2, ... up to HI.
std::vector<std::int64_t> parse_lengths(std::string_view text) {
  const std::size_t dots = text.find("..");
  if (dots == std::string_view::npos) return {parse_length(text)};
  const std::size_t colon = text.find(":x", dots);
  const std::int64_t low = parse_length(text.substr(0, dots));
  const std::int64_t high = parse_length(
      text.substr(dots + 2, colon == std::string_view::npos ? colon : colon - dots - 2));
  const std::int64_t factor =
      colon == std::string_view::npos ? 2 : parse_length(text.substr(colon + 2));
  check(low <= high && factor >= 2, ErrorCode::kConfig,
        "bench: --lengths LO..HI:xF has LO <= HI and F >= 2, '{}' came.", text);
  std::vector<std::int64_t> lengths;
  for (std::int64_t length = low;; length *= factor) {
    lengths.push_back(length);
    if (length > high / factor) return lengths;
  }
}

json number(double value) { return std::isfinite(value) ? json(value) : json(); }

json to_json(const Row& row) {
  return {{"layer", row.layer},
          {"mode", row.mode},
          {"B", row.B},
          {"T", row.T},
          {"D", row.D},
          {"dtype", row.dtype},
          {"threads", row.threads},
          {"target", row.target},
          {"ns_per_token", number(row.ns_per_token)},
          {"GBps", number(row.GBps)},
          {"GFLOPs", number(row.GFLOPs)},
          {"baseline_ns", number(row.baseline_ns)},
          {"ratio", number(row.ratio)},
          {"p50_ns", number(row.p50_ns)},
          {"p99_ns", number(row.p99_ns)},
          {"max_ns", number(row.max_ns)},
          {"rss_bytes", row.rss_bytes}};
}

json to_json(const bench::Machine& machine) {
  return {{"cpu", machine.cpu},
          {"targets", machine.targets},
          {"read_GBps", machine.read_GBps},
          {"gemm_GFLOPs", machine.gemm_GFLOPs},
          {"exp_Gps", machine.exp_Gps}};
}

std::string html_of(const bench::Machine& machine, const std::vector<Row>& rows) {
  std::vector<std::string> sections = {formatted(
      "<p>{}; memory read {:.1f} GB/s, float product {:.0f} GFLOP/s, {:.2f} G exponentials a "
      "second on one core. "
      "The ratio is against plain loops in float on one thread.</p>",
      bench::escape(machine.cpu), machine.read_GBps, machine.gemm_GFLOPs, machine.exp_Gps)};
  std::map<std::string, bench::Chart> charts;
  std::vector<std::vector<std::string>> cells = {{"layer", "mode", "B", "T", "D", "threads",
                                                  "target", "ns a token", "GFLOP/s", "plain ns",
                                                  "ratio", "p99 ns"}};
  for (const Row& row : rows) {
    cells.push_back({row.layer, row.mode, std::to_string(row.B), std::to_string(row.T),
                     std::to_string(row.D), std::to_string(row.threads), row.target,
                     formatted("{:.1f}", row.ns_per_token), formatted("{:.2f}", row.GFLOPs),
                     formatted("{:.1f}", row.baseline_ns), formatted("{:.2f}", row.ratio),
                     formatted("{:.1f}", row.p99_ns)});
    if (row.T == 1) continue;
    const std::string group = row.layer.starts_with("kernel:") ? "kernels, " : "";
    bench::Chart& chart = charts[group + row.mode];
    chart.title = group + row.mode + ": time a token";
    chart.x_label = "T";
    chart.y_label = "ns";
    chart.log_x = chart.log_y = true;
    const std::string name =
        row.layer + (row.threads > 1 ? formatted(" ({} threads)", row.threads) : "");
    auto series = std::ranges::find(chart.series, name, &bench::Series::name);
    if (series == chart.series.end())
      series = chart.series.insert(series, bench::Series{.name = name});
    series->points.emplace_back(static_cast<double>(row.T), row.ns_per_token);
  }
  for (const auto& [mode, chart] : charts) sections.push_back(bench::svg(chart));
  sections.push_back(bench::table(cells));
  return bench::page("rill bench", sections);
}

// Layers alone, kernels alone, or both where neither is named.
std::vector<Row> measure_all(const BenchFlags& flags, const std::function<void(const Row&)>& show) {
  std::vector<Row> rows;
  if (!flags.layers.empty() || flags.kernels.empty())
    rows = bench::measure_layers(flags.options, show);
  const bool no_kernels = flags.options.device != Device{} || !flags.layers.empty();
  if (flags.kernels.empty() && no_kernels) return rows;
  for (Row& row : bench::measure_kernels(flags.options, show)) rows.push_back(std::move(row));
  return rows;
}

std::vector<Row> growth(const BenchFlags& flags, const std::function<void(const Row&)>& show) {
  const auto model = load_model(flags.model);
  model->to(flags.options.device);
  return bench::measure_growth(*model, flags.options.lengths, flags.options.threads.front(), show);
}

int run_bench(BenchFlags& flags) {
  flags.options.layers = flags.layers;
  if (flags.kernels != std::vector<std::string>{"all"}) flags.options.kernels = flags.kernels;
  flags.options.modes = flags.modes;
  flags.options.lengths = parse_lengths(flags.lengths);
  flags.options.threads = flags.threads;
  if (flags.threads.empty())
    flags.options.threads = {std::getenv("RILL_NUM_THREADS") ? default_threads() : 1};
  flags.options.baseline = !flags.no_baseline;
  for (const std::string& layer : flags.layers) find_layer_type(layer);
  for (const std::string& kernel : flags.options.kernels) bench::check_kernel_name(kernel);
  flags.options.device = device_from(flags.device);
  const bool on_cpu = flags.options.device == Device{};
  check(on_cpu || flags.kernels.empty(), ErrorCode::kConfig,
        "bench: single kernels are measured on the CPU; with --device {} give --layers or --model.",
        flags.device);
  Tensor::empty({1}, DType::kFloat32, flags.options.device);  // or there is no such device
  const bench::Machine machine = bench::measure_machine();
  const auto show = [&](const Row& row) {
    print_to(stderr,
             "{:<23} {:<9} B {:<3} T {:<8} {} threads {:<7} {:>10.1f} ns a token, {:>8.2f} "
             "GFLOP/s, {:>6.2f} x plain loops\n",
             row.layer, row.mode, row.B, row.T, row.threads, row.target, row.ns_per_token,
             row.GFLOPs, row.ratio);
  };
  std::vector<Row> rows;
  if (flags.model.empty())
    rows = measure_all(flags, show);
  else
    rows = growth(flags, show);
  json list = json::array();
  for (const Row& row : rows) list.push_back(to_json(row));
  const json result = {{"machine", to_json(machine)}, {"rows", list}};
  if (!flags.json_file.empty() && flags.json_file != "-")
    write_file_atomically(flags.json_file, result.dump(2) + "\n");
  if (!flags.html_file.empty()) write_file_atomically(flags.html_file, html_of(machine, rows));
  if (flags.json_file == "-") print_json(result);
  return kSuccess;
}

}  // namespace

void add_bench(CLI::App& app, std::vector<std::pair<CLI::App*, Run>>& commands) {
  auto flags = std::make_shared<BenchFlags>();
  CLI::App* command = app.add_subcommand("bench",
                                         "Time every layer in both modes and every kernel, beside "
                                         "plain loops and the machine's limits");
  command
      ->add_option("--layers", flags->layers,
                   "Names, separated by commas (default: all, unless --kernels is given)")
      ->delimiter(',')
      ->allow_extra_args(false);
  std::string kernels;
  for (const std::string& name : bench::kernel_names()) kernels += ", " + name;
  command
      ->add_option("--kernels", flags->kernels,
                   "Single ops, rows kernel:NAME, forward and backward: all" + kernels +
                       " (default: all, unless --layers is given)")
      ->delimiter(',')
      ->allow_extra_args(false);
  command->add_option("--lengths", flags->lengths, "LO..HI[:xF]; k = 2^10, m = 2^20")
      ->capture_default_str();
  command->add_option("--modes", flags->modes, "forward, backward, step")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::IsMember({"forward", "backward", "step"}))
      ->capture_default_str();
  command->add_option("--batch", flags->options.batch, "Sequences or streams")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str();
  command->add_option("--width", flags->options.width, "Width of the layers")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  command
      ->add_option("--threads", flags->threads,
                   "Numbers of threads, separated by commas (default: RILL_NUM_THREADS, else 1)")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(1, 1024));
  command->add_option("--seconds", flags->options.seconds, "Time a row is measured for")
      ->check(Positive())
      ->capture_default_str();
  command->add_flag("--no-baseline", flags->no_baseline, "Leave the plain loops out");
  CLI::Option* model = command->add_option(
      "--model", flags->model,
      "Folder of a language model: its growth with T in both modes, instead of layers");
  // A model has its own layers and width, is one stream, and grows in both modes.
  for (const char* other : {"--layers", "--kernels", "--modes", "--batch", "--width"})
    model->excludes(command->get_option(other));
  add_device_option(*command, flags->device);
  command->add_option("--json", flags->json_file, "Write {machine, rows} to F (-: stdout)");
  command->add_option("--html", flags->html_file, "Write a page with charts to F");
  command->footer(
      "Examples:\n  rill bench --layers mamba,lstm --lengths 1k..64k:x4 --threads 1,2 --html "
      "bench.html\n"
      "  rill bench --kernels linear,selective_scan --lengths 4k --json -\n"
      "  rill bench --modes step --json bench.json\n  rill bench --model run --lengths 1k..1m:x4");
  commands.emplace_back(command, [flags] { return run_bench(*flags); });
}

}  // namespace rill::cli
