#include "common.h"

#include <rill/core/check.h>
#include <rill/core/format.h>

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cmath>
#include <csignal>
#include <cstdio>

namespace rill::cli {

namespace {

std::size_t terminal_columns() {
  constexpr std::size_t kUsual = 80;
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col : kUsual;
}

std::atomic<bool> g_stop{false};
// A signal that comes between a look at g_stop and a wait would be lost without the pipe.
std::array<int, 2> g_stop_pipe = {-1, -1};

void on_signal(int) {
  const int before = errno;
  g_stop.store(true, std::memory_order_relaxed);
  [[maybe_unused]] const ssize_t written = write(g_stop_pipe[1], "", 1);
  errno = before;
}

// A validator that takes finite numbers for which `legal` holds.
CLI::Validator number_check(const char* description, const char* expected, bool (*legal)(double)) {
  return CLI::Validator(
      [expected, legal](std::string& text) {
        double value = 0;
        const bool fits =
            CLI::detail::lexical_cast(text, value) && std::isfinite(value) && legal(value);
        return fits ? std::string() : formatted("{} was expected, '{}' came.", expected, text);
      },
      description);
}

constexpr double kPlainInterval = 5.0;  // seconds between plain lines
constexpr double kBarInterval = 0.1;

}  // namespace

void Common::add_to(CLI::App& app, bool with_json) {
  app.add_option("--threads", threads, "Threads (default: RILL_NUM_THREADS, else all processors)")
      ->check(CLI::Range(1, 1024));
  add_device_option(app, device);
  if (with_json) app.add_flag("--json", json, "Print one JSON value on stdout");
}

ExecOptions Common::exec_options(DType dtype) const {
  return {.device = device_from(device), .dtype = dtype, .threads = threads};
}

std::unique_ptr<Model> Common::load(const std::string& directory) const {
  const Device place = device_from(device);
  Tensor::empty({1}, DType::kFloat32, place);  // or there is no such device
  auto model = load_model(directory);
  model->to(place);
  return model;
}

void add_device_option(CLI::App& app, std::string& device) {
  app.add_option("--device", device, "cpu, cuda (the first) or cuda:N")
      ->check(CLI::Validator(
          [](const std::string& text) {
            try {
              device_from(text);
              return std::string();
            } catch (const Error& error) {
              return std::string(error.what());
            }
          },
          "DEVICE"))
      ->capture_default_str();
}

Positive::Positive()
    : Validator(number_check("POSITIVE", "a number above 0", [](double v) { return v > 0; })) {}
NonNegative::NonNegative()
    : Validator(
          number_check("NONNEGATIVE", "a number of at least 0", [](double v) { return v >= 0; })) {}
Fraction::Fraction()
    : Validator(number_check("FRACTION", "a number from 0 to 1",
                             [](double v) { return v >= 0 && v <= 1; })) {}

void print_json(const nlohmann::json& value) {
  const std::string text =
      value.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

const std::atomic<bool>& catch_signals() {
  if (g_stop_pipe[0] < 0)
    check(pipe2(g_stop_pipe.data(), O_CLOEXEC | O_NONBLOCK) == 0, ErrorCode::kSystem,
          "A pipe cannot be opened.");
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;  // output on its way is not cut short
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  return g_stop;
}

int stop_descriptor() { return g_stop_pipe[0]; }

Progress::Progress(std::string unit, double total, double quiet)
    : unit_(std::move(unit)),
      total_(total),
      quiet_(quiet),
      terminal_(isatty(STDERR_FILENO) != 0),
      start_(std::chrono::steady_clock::now()) {}

Progress::~Progress() {
  if (terminal_ && shown_) std::fputs("\n", stderr);
}

void Progress::update(double done, const std::string& note) {
  const auto now = std::chrono::steady_clock::now();
  const double since_last = std::chrono::duration<double>(now - last_).count();
  if (first_ < 0) {
    first_ = done;
    start_ = now;
    if (done == 0) return;
  }
  const double seconds = std::chrono::duration<double>(now - start_).count();
  if (!shown_ && seconds < quiet_) return;
  if (since_last < (terminal_ ? kBarInterval : kPlainInterval) && !(total_ > 0 && done >= total_))
    return;
  last_ = now;
  shown_ = true;
  const double rate = seconds > 0 ? (done - first_) / seconds : 0;
  const std::string left =
      rate > 0 && total_ > 0 ? short_time(std::max(0.0, (total_ - done) / rate)) + " left" : "";
  // Of a run that is so many seconds long, seconds a second say nothing.
  const std::string speed =
      unit_ == "s" ? ""
                   : formatted("{} {}/s", short_number(rate), unit_) + (left.empty() ? "" : "  ");
  if (!terminal_) {
    std::string line = short_number(done) + " " + unit_;
    if (total_ > 0) line += " of " + short_number(total_);
    for (const std::string& part :
         {unit_ == "s" ? "" : formatted("{} {}/s", short_number(rate), unit_), left, note})
      if (!part.empty()) line += ", " + part;
    print_to(stderr, "{}\n", line);
    return;
  }
  constexpr int kWidth = 20;
  const int filled = total_ > 0 ? static_cast<int>(kWidth * std::min(1.0, done / total_)) : 0;
  const std::string line =
      formatted("[{}{}] {:3.0f} %  {}{}  {}", std::string(static_cast<std::size_t>(filled), '#'),
                std::string(static_cast<std::size_t>(kWidth - filled), '.'),
                total_ > 0 ? 100 * std::min(1.0, done / total_) : 0.0, speed, left, note);
  // One line of the terminal, and nothing of a longer one before it: \x1b[K clears to its end.
  print_to(stderr, "\r{}\x1b[K", line.substr(0, terminal_columns() - 1));
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
