// What the commands of the program share.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <rill/rill.h>

namespace rill::cli {

/// Exit statuses: the program's contract.
inline constexpr int kSuccess = 0;
inline constexpr int kFailed = 1;
inline constexpr int kBadUsage = 2;

/// Options that most commands take.
struct Common {
  int threads = 0;  // 0: RILL_NUM_THREADS, else all processors
  std::string device = "cpu";
  bool json = false;

  void add_to(CLI::App& app, bool with_json);
  ExecOptions exec_options(DType dtype = DType::kFloat32) const;
  /// Reads a model, onto the device. Error(kDevice) where there is none, before anything is read.
  std::unique_ptr<Model> load(const std::string& directory) const;
};

/// --device, for every command that computes.
void add_device_option(CLI::App& app, std::string& device);

/// Adds one command; what it returns is the exit status. Every command has its file.
using Run = std::function<int()>;
void add_train(CLI::App& app, std::vector<std::pair<CLI::App*, Run>>& commands);
void add_eval(CLI::App& app, std::vector<std::pair<CLI::App*, Run>>& commands);
void add_generate(CLI::App& app, std::vector<std::pair<CLI::App*, Run>>& commands);
void add_stream(CLI::App& app, std::vector<std::pair<CLI::App*, Run>>& commands);
void add_logits(CLI::App& app, std::vector<std::pair<CLI::App*, Run>>& commands);
void add_layers(CLI::App& app, std::vector<std::pair<CLI::App*, Run>>& commands);
void add_info(CLI::App& app, std::vector<std::pair<CLI::App*, Run>>& commands);
void add_bench(CLI::App& app, std::vector<std::pair<CLI::App*, Run>>& commands);

/// Checks of numbers on the command line: finite, and above 0, of at least 0, or from 0 to 1.
struct Positive : CLI::Validator {
  Positive();
};
struct NonNegative : CLI::Validator {
  NonNegative();
};
struct Fraction : CLI::Validator {
  Fraction();
};

/// One JSON value on stdout, nothing else. NaN and infinities become null, bytes of paths that are
/// not UTF-8 the replacement character.
void print_json(const nlohmann::json& value);

/// SIGINT and SIGTERM set the returned flag instead of ending the program.
const std::atomic<bool>& catch_signals();
/// After catch_signals(): a descriptor that is readable from the first signal on, for poll(). Calls
/// that block in other places go on.
int stop_descriptor();

/// Progress on stderr: a bar with rate and time left on a terminal, a plain line every few seconds
/// elsewhere.
class Progress {
 public:
  /// `total` in units (steps, bytes); 0: unknown. Work that ends within `quiet` seconds shows
  /// nothing.
  Progress(std::string unit, double total, double quiet = 0);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  /// `done` units so far; `note` stands at the end ("loss 1.523"). An update with 0 done starts the
  /// clock and shows nothing.
  void update(double done, const std::string& note = "");

 private:
  std::string unit_;
  double total_, quiet_;
  bool terminal_, shown_ = false;
  std::chrono::steady_clock::time_point start_, last_;
  double first_ = -1;
};

/// "12.3 k", "4.5 M".
std::string short_number(double value);
/// "1 h 02 min", "3.4 s".
std::string short_time(double seconds);
/// "1.5 MiB".
std::string short_bytes(double bytes);

}  // namespace rill::cli
