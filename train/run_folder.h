// Private: the folder of a training run. Files appear whole or not at all.
#pragma once

#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <rill/train/run_checkpoint.h>
#include <rill/train/trainer.h>

namespace rill {

class RunFolder {
 public:
  using Remark = std::function<void(const std::string&)>;  // hears a sentence; may be empty

  explicit RunFolder(const std::string& path) : path_(path) {}

  std::string path() const { return path_.string(); }
  /// Error(kConfig) where the name is empty, or the folder exists and the run is not to be resumed.
  static void check_free(const std::string& path, bool resume);
  /// Makes the folder, removes what a killed process left half-written in it, writes config.json.
  void create(const std::string& config);
  /// Removes what this object made, but for folders that hold something else by now.
  void remove_made() noexcept;
  /// The newest checkpoint that is whole; none where there is none. Damaged ones are passed over,
  /// each with a remark.
  std::optional<SafetensorsReader> last_checkpoint(const Remark& remark = nullptr) const;
  /// Of a run that starts over: weights of an earlier one go on as model.safetensors.before.
  void put_weights_aside(const Remark& remark) const;
  /// Older ones than the last `keep` up to this step are removed.
  void save_checkpoint(std::int64_t step, const CheckpointWriter& writer, std::int64_t keep);
  /// Opens log.jsonl for lines after `step`; lines past it, and a half-written last one, are
  /// dropped.
  void open_log(std::int64_t step);
  /// The held-out loss that the opened log has at `step`.
  std::optional<double> logged_heldout(std::int64_t step) const;
  void log(const TrainRecord& record);

 private:
  void note_made(const std::filesystem::path& path);

  std::filesystem::path path_;
  std::vector<std::filesystem::path> made_;  // folders before what lies in them
  std::ofstream log_;
  std::map<std::int64_t, double> heldout_;  // losses by step, of the lines that were kept
};

}  // namespace rill
