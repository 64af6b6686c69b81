#include "common.h"

#include <rill/core/format.h>

#include <unistd.h>
#include <cmath>
#include <csignal>
#include <cstdio>

namespace rill::cli {
namespace {

std::atomic<bool> g_stop{false};

void on_signal(int) { g_stop.store(true, std::memory_order_relaxed); }

constexpr double kPlainInterval = 5.0;  // seconds between plain lines
constexpr double kBarInterval = 0.1;

}  // namespace

void Common::add_to(CLI::App& app, bool with_json) {
  app.add_option("--threads", threads, "Threads (default: RILL_NUM_THREADS, else all processors)")
      ->check(CLI::Range(1, 1024));
  if (with_json) app.add_flag("--json", json, "Print one JSON value on stdout");
}

ExecOptions Common::exec_options(DType dtype) const { return {.dtype = dtype, .threads = threads}; }

void print_json(const nlohmann::json& value) {
  const std::string text = value.dump(2) + "\n";
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

const std::atomic<bool>& catch_signals() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  return g_stop;
}

Progress::Progress(std::string unit, double total)
    : unit_(std::move(unit)),
      total_(total),
      terminal_(isatty(STDERR_FILENO) != 0),
      start_(std::chrono::steady_clock::now()) {}

Progress::~Progress() {
  if (terminal_ && first_ >= 0) std::fputs("\n", stderr);
}

void Progress::update(double done, const std::string& note) {
  const auto now = std::chrono::steady_clock::now();
  const double since_last = std::chrono::duration<double>(now - last_).count();
  if (first_ < 0) {
    first_ = done;
    start_ = now;
  }
  if (since_last < (terminal_ ? kBarInterval : kPlainInterval) && !(total_ > 0 && done >= total_))
    return;
  last_ = now;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const double rate = seconds > 0 ? (done - first_) / seconds : 0;
  const std::string left =
      rate > 0 && total_ > 0 ? short_time((total_ - done) / rate) + " left" : "";
  const std::string speed = formatted("{} {}/s", short_number(rate), unit_);
  if (!terminal_) {
    print_to(stderr, "{} {}{}, {}{}{}, {}\n", short_number(done), unit_,
             total_ > 0 ? " of " + short_number(total_) : "", speed, left.empty() ? "" : ", ", left,
             note);
    return;
  }
  constexpr int kWidth = 28;
  const int filled = total_ > 0 ? static_cast<int>(kWidth * std::min(1.0, done / total_)) : 0;
  print_to(stderr, "\r[{}{}] {:3.0f} %  {}  {}  {}   ",
           std::string(static_cast<std::size_t>(filled), '#'),
           std::string(static_cast<std::size_t>(kWidth - filled), '.'),
           total_ > 0 ? 100 * std::min(1.0, done / total_) : 0.0, speed, left, note);
  std::fflush(stderr);
}

std::string short_number(double value) {
  if (!std::isfinite(value)) return "?";
  if (value >= 1e9) return formatted("{:.2f} G", value / 1e9);
  if (value >= 1e6) return formatted("{:.2f} M", value / 1e6);
  if (value >= 1e4) return formatted("{:.1f} k", value / 1e3);
  return value == std::floor(value) ? formatted("{:.0f}", value) : formatted("{:.1f}", value);
}

std::string short_time(double seconds) {
  if (seconds >= 3600)
    return formatted("{:.0f} h {:02.0f} min", std::floor(seconds / 3600),
                     std::fmod(seconds, 3600) / 60);
  if (seconds >= 60)
    return formatted("{:.0f} min {:02.0f} s", std::floor(seconds / 60), std::fmod(seconds, 60));
  return formatted("{:.1f} s", seconds);
}

std::string short_bytes(double bytes) {
  if (bytes >= 1073741824.0) return formatted("{:.2f} GiB", bytes / 1073741824.0);
  if (bytes >= 1048576.0) return formatted("{:.1f} MiB", bytes / 1048576.0);
  if (bytes >= 1024.0) return formatted("{:.1f} KiB", bytes / 1024.0);
  return formatted("{:.0f} bytes", bytes);
}

}  // namespace rill::cli
