#include <rill/core/check.h>
#include <rill/io/atomic_file.h>
#include <rill/io/text_file.h>
#include <rill/train/run_folder.h>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>
#include <map>
#include <sstream>
#include <vector>

namespace rill {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// Checkpoints of a folder by step.
std::map<std::int64_t, fs::path> checkpoints_in(const fs::path& folder) {
  std::map<std::int64_t, fs::path> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    std::int64_t step = 0;
    if (!name.starts_with("step-") || !name.ends_with(".safetensors")) continue;
    const char* end = name.data() + name.size() - 12;
    if (std::from_chars(name.data() + 5, end, step).ptr == end) found[step] = entry.path();
  }
  return found;
}

std::string line_of(const TrainRecord& record) {
  json line = {{"step", record.step},           {"split", record.split},
               {"loss", record.loss},           {"lr", record.lr},
               {"grad_norm", record.grad_norm}, {"tokens_per_s", record.tokens_per_s},
               {"seconds", record.seconds},     {"peak_rss_bytes", record.peak_rss_bytes}};
  if (record.split != "train") line["lr"] = line["grad_norm"] = nullptr;
  return line.dump() + "\n";
}

// What a process that was killed left half-written: ".NAME.tmp-PID-COUNT" of a run's own files.
void remove_stale(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::path> stale;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    const std::size_t mark = name.find(".tmp-");
    if (!name.starts_with('.') || mark == std::string::npos) continue;
    const std::string of = name.substr(1, mark - 1);
    if (of == "config.json" || of == "model.safetensors" || of == "log.jsonl" ||
        (of.starts_with("step-") && of.ends_with(".safetensors")))
      stale.push_back(entry.path());
  }
  std::error_code ignored;  // what cannot be removed is only in the way
  for (const fs::path& path : stale) fs::remove(path, ignored);
}

}  // namespace

void RunFolder::check_free(const std::string& path, bool resume) {
  std::error_code error;
  const bool exists = fs::exists(path, error);
  check(resume || !exists, ErrorCode::kConfig,
        "train: the folder {} exists; give another --out, or --resume to go on with what it holds.",
        path);
  check(!exists || fs::is_directory(path, error), ErrorCode::kConfig,
        "train: {} exists and is no folder.", path);
}

void RunFolder::create(const std::string& config) {
  std::error_code error;
  fs::create_directories(path_ / "checkpoints", error);
  check(!error, ErrorCode::kSystem, "train: the folder {} cannot be made: {}.", path(),
        error.message());
  remove_stale(path_);
  remove_stale(path_ / "checkpoints");
  write_file_atomically(path_ / "config.json", config);
}

std::optional<SafetensorsReader> RunFolder::last_checkpoint() const {
  const auto found = checkpoints_in(path_ / "checkpoints");
  for (auto it = found.rbegin(); it != found.rend(); ++it) {
    try {
      SafetensorsReader reader = SafetensorsReader::open(it->second);
      if (reader.has_text("rill.checkpoint") &&
          reader.text("rill.step") == std::to_string(it->first))
        return reader;
    } catch (const Error&) {
      // Damaged: the one before it is the last whole one.
    }
  }
  return std::nullopt;
}

void RunFolder::save_checkpoint(std::int64_t step, const SafetensorsWriter& writer,
                                std::int64_t keep) const {
  const fs::path folder = path_ / "checkpoints";
  writer.write(folder / ("step-" + std::to_string(step) + ".safetensors"));
  if (keep <= 0) return;
  const auto found = checkpoints_in(folder);
  auto old = static_cast<std::int64_t>(found.size()) - keep;
  for (auto it = found.begin(); it != found.end() && old > 0; ++it, --old) {
    std::error_code ignored;  // what cannot be removed is only in the way
    fs::remove(it->second, ignored);
  }
}

void RunFolder::open_log(std::int64_t step) {
  const fs::path file = path_ / "log.jsonl";
  std::string kept;
  std::error_code error;
  if (fs::exists(file, error)) {
    std::istringstream lines(read_text_file(file));
    for (std::string line; std::getline(lines, line);) {
      const json value = json::parse(line, nullptr, false);
      if (!value.is_object() || !value.contains("step") || !value["step"].is_number_integer())
        continue;
      const auto at = value["step"].get<std::int64_t>();
      if (at > step) continue;
      kept += line + "\n";
      if (value.value("split", json()) == "heldout" && value.value("loss", json()).is_number())
        heldout_[at] = value["loss"].get<double>();
    }
  }
  write_file_atomically(file, kept);
  log_.open(file, std::ios::app);
}

std::optional<double> RunFolder::logged_heldout(std::int64_t step) const {
  const auto found = heldout_.find(step);
  return found == heldout_.end() ? std::nullopt : std::optional(found->second);
}

void RunFolder::log(const TrainRecord& record) {
  log_ << line_of(record) << std::flush;
  check(log_.good(), ErrorCode::kSystem,
        "train: log.jsonl in {} cannot be written; is the disk full?", path());
}

std::optional<TrainOptions> saved_train_options(const std::string& out) {
  const auto checkpoint = RunFolder(out).last_checkpoint();
  if (!checkpoint) return std::nullopt;
  return TrainOptions::from_json(checkpoint->text("rill.options"));
}

}  // namespace rill
