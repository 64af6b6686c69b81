// Private: the folder of a training run. Files appear whole or not at all.
#pragma once

#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <string>

#include <rill/io/safetensors.h>
#include <rill/train/trainer.h>

namespace rill {

class RunFolder {
 public:
  explicit RunFolder(const std::string& path) : path_(path) {}

  std::string path() const { return path_.string(); }
  /// Error(kConfig) where the folder exists and the run is not to be resumed.
  static void check_free(const std::string& path, bool resume);
  /// Makes the folder, removes what a killed process left half-written in it, writes config.json.
  void create(const std::string& config);
  /// The newest checkpoint that is whole (a damaged one is passed over); none where there is none.
  std::optional<SafetensorsReader> last_checkpoint() const;
  void save_checkpoint(std::int64_t step, const SafetensorsWriter& writer, std::int64_t keep) const;
  /// Opens log.jsonl for lines after `step`; lines past it, and a half-written last one, are
  /// dropped.
  void open_log(std::int64_t step);
  /// The held-out loss that the opened log has at `step`.
  std::optional<double> logged_heldout(std::int64_t step) const;
  void log(const TrainRecord& record);

 private:
  std::filesystem::path path_;
  std::ofstream log_;
  std::map<std::int64_t, double> heldout_;  // losses by step, of the lines that were kept
};

}  // namespace rill
