// Gathers what scripts/demo measured into build/demo/report.json and one HTML page.
//   rill-demo-report FOLDER: reads run/log.jsonl, train.json, eval-*.json, growth.json, text.txt
#include "report.h"

#include <rill/rill.h>

#include <rill/core/format.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <map>
#include <sstream>

namespace {

using namespace rill;
using nlohmann::json;
namespace fs = std::filesystem;

json read_json(const fs::path& file) { return json::parse(read_text_file(file)); }

bench::Chart loss_chart(const std::string& log) {
  bench::Chart chart{.title = "Loss",
                     .x_label = "seconds of training",
                     .y_label = "nats a byte",
                     .series = {{.name = "training"}, {.name = "held out"}}};
  std::istringstream lines(log);
  double average = 0;
  int count = 0;
  for (std::string text; std::getline(lines, text);) {
    const json line = json::parse(text);
    const double loss = line["loss"];
    const double seconds = line["seconds"];
    if (line["split"] == "heldout") {
      chart.series[1].points.emplace_back(seconds, loss);
      continue;
    }
    average = count++ == 0 ? loss : 0.9 * average + 0.1 * loss;
    if (count > 20) chart.series[0].points.emplace_back(seconds, average);
  }
  return chart;
}

bench::Chart growth_chart(const json& growth, const std::string& field, const std::string& title,
                          const std::string& unit, double scale) {
  bench::Chart chart{
      .title = title, .x_label = "T", .y_label = unit, .log_x = true, .from_zero = true};
  std::map<std::string, bench::Series> series;
  for (const json& row : growth) {
    bench::Series& one = series[row["mode"]];
    one.name = row["mode"];
    one.points.emplace_back(row["T"].get<double>(), row[field].get<double>() * scale);
  }
  for (auto& [mode, one] : series) chart.series.push_back(one);
  return chart;
}

int run(const fs::path& folder) {
  const json train = read_json(folder / "train.json");
  json growth = json::array();
  const json bench = read_json(folder / "growth.json");
  for (const json& row : bench["rows"])
    growth.push_back({{"T", row["T"]},
                      {"mode", row["mode"]},
                      {"ns_per_token", row["ns_per_token"]},
                      {"rss_bytes", row["rss_bytes"]}});
  json eval;
  for (const char* mode : {"parallel", "chunk", "step"})
    eval[mode] = read_json(folder / (std::string("eval-") + mode + ".json"))["loss"];
  const json report = {
      {"train", {{"seconds", train["seconds"]}, {"tokens_per_s", train["tokens_per_s"]}}},
      {"eval", eval},
      {"growth", growth}};
  write_file_atomically(folder / "report.json", report.dump(2) + "\n");

  std::vector<std::vector<std::string>> cells = {{"T", "mode", "ns a token", "resident MiB"}};
  for (const json& row : growth)
    cells.push_back({std::to_string(row["T"].get<std::int64_t>()), row["mode"],
                     formatted("{:.0f}", row["ns_per_token"].get<double>()),
                     formatted("{:.0f}", row["rss_bytes"].get<double>() / 1048576)});
  const std::string head = formatted(
      "<p>A Mamba language model of {} parameters, trained for {:.0f} s at {:.0f} bytes a second "
      "on {} ({}).</p>"
      "<p>Held-out loss in nats a byte: parallel {:.6f}, in chunks {:.6f}, step by step "
      "{:.6f}.</p>",
      train["parameters"].get<std::int64_t>(), train["seconds"].get<double>(),
      train["tokens_per_s"].get<double>(), bench::escape(bench["machine"]["cpu"]), cpu_target(),
      eval["parallel"].get<double>(), eval["chunk"].get<double>(), eval["step"].get<double>());
  const std::string html = bench::page(
      "Rill: a state-space language model, trained and streamed",
      {head, bench::svg(loss_chart(read_text_file(folder / "run" / "log.jsonl"))),
       "<h2>What it writes, byte by byte</h2><pre>" +
           bench::escape(read_text_file(folder / "text.txt")) + "</pre>",
       "<h2>Growth with the length of the sequence</h2>",
       bench::svg(growth_chart(growth, "ns_per_token", "Time a token", "microseconds", 1e-3)),
       bench::svg(growth_chart(growth, "rss_bytes", "Resident memory", "MiB", 1.0 / 1048576)),
       bench::table(cells)});
  write_file_atomically(folder / "report.html", html);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    print_to(stderr, "usage: rill-demo-report FOLDER\n");
    return 2;
  }
  try {
    return run(argv[1]);
  } catch (const std::exception& error) {
    print_to(stderr, "rill-demo-report: {}\n", error.what());
    return 1;
  }
}
