#include <rill/core/check.h>
#include <rill/io/atomic_file.h>
#include <rill/io/text_file.h>
#include <rill/train/run_folder.h>
#include <rill/train/run_log.h>

#include <charconv>

namespace rill {
namespace {

namespace fs = std::filesystem;

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
  check(!path.empty(), ErrorCode::kConfig, "train: the name of a folder was expected, '' came.");
  std::error_code error;
  const bool exists = fs::exists(path, error);
  check(resume || !exists, ErrorCode::kConfig,
        "train: the folder {} exists; give another --out, or --resume to go on with what it holds.",
        path);
  check(!exists || fs::is_directory(path, error), ErrorCode::kConfig,
        "train: {} exists and is no folder.", path);
}

void RunFolder::note_made(const fs::path& path) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) made_.push_back(path);
}

void RunFolder::create(const std::string& config) {
  std::vector<fs::path> folders;
  for (fs::path folder = path_ / "checkpoints"; !folder.empty() && folder != folder.root_path();
       folder = folder.parent_path())
    folders.push_back(folder);
  for (auto folder = folders.rbegin(); folder != folders.rend(); ++folder) note_made(*folder);
  std::error_code error;
  fs::create_directories(path_ / "checkpoints", error);
  check(!error, ErrorCode::kSystem, "train: the folder {} cannot be made: {}.", path(),
        error.message());
  remove_stale(path_);
  remove_stale(path_ / "checkpoints");
  note_made(path_ / "config.json");
  write_file_atomically(path_ / "config.json", config);
}

void RunFolder::remove_made() noexcept {
  log_.close();
  std::error_code ignored;  // what cannot be removed is only in the way
  for (auto path = made_.rbegin(); path != made_.rend(); ++path) fs::remove(*path, ignored);
  made_.clear();
}

std::optional<SafetensorsReader> RunFolder::last_checkpoint(const Remark& remark) const {
  const auto found = checkpoints_in(path_ / "checkpoints");
  for (auto it = found.rbegin(); it != found.rend(); ++it) {
    try {
      return open_checkpoint(it->second, it->first);
    } catch (const Error& error) {
      if (remark) remark(formatted("A damaged checkpoint is passed over. {}", error.what()));
    }
  }
  if (remark && !found.empty())
    remark(formatted("No checkpoint in {} is whole; the run starts over.", path()));
  return std::nullopt;
}

void RunFolder::put_weights_aside(const Remark& remark) const {
  const fs::path weights = path_ / "model.safetensors";
  std::error_code error;
  if (!fs::exists(weights, error)) return;
  fs::rename(weights, path_ / "model.safetensors.before", error);
  check(!error, ErrorCode::kSystem, "train: {} cannot be renamed: {}.", weights.string(),
        error.message());
  if (remark) remark(formatted("The weights in {} are kept as model.safetensors.before.", path()));
}

void RunFolder::save_checkpoint(std::int64_t step, const CheckpointWriter& writer,
                                std::int64_t keep) {
  const fs::path folder = path_ / "checkpoints";
  const fs::path file = folder / ("step-" + std::to_string(step) + ".safetensors");
  note_made(file);
  writer.write(file);
  if (keep <= 0) return;
  auto found = checkpoints_in(folder);
  found.erase(found.upper_bound(step), found.end());  // damaged, or not of this run
  auto old = static_cast<std::int64_t>(found.size()) - keep;
  for (auto it = found.begin(); it != found.end() && old > 0; ++it, --old) {
    std::error_code ignored;  // what cannot be removed is only in the way
    fs::remove(it->second, ignored);
  }
}

void RunFolder::open_log(std::int64_t step) {
  const fs::path file = path_ / "log.jsonl";
  std::error_code error;
  LoggedLines lines;
  if (fs::exists(file, error)) lines = lines_until(read_text_file(file), step);
  heldout_ = std::move(lines.heldout);
  note_made(file);
  write_file_atomically(file, lines.text);
  log_.open(file, std::ios::app);
}

std::optional<double> RunFolder::logged_heldout(std::int64_t step) const {
  const auto found = heldout_.find(step);
  return found == heldout_.end() ? std::nullopt : std::optional(found->second);
}

void RunFolder::log(const TrainRecord& record) {
  log_ << log_line(record) << std::flush;
  check(log_.good(), ErrorCode::kSystem,
        "train: log.jsonl in {} cannot be written; is the disk full?", path());
}

std::optional<SavedRun> saved_run(const std::string& out) {
  const auto checkpoint = RunFolder(out).last_checkpoint();
  if (!checkpoint) return std::nullopt;
  return saved_run_in(*checkpoint);
}

}  // namespace rill
