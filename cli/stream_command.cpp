// rill stream: one row in, one row out, for as long as rows come.
#include "common.h"

#include <rill/core/check.h>
#include <rill/io/csv.h>
#include <rill/io/safetensors.h>

#include <rill/core/format.h>

#include <poll.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>

namespace rill::cli {
namespace {

static_assert(std::endian::native == std::endian::little, "f32 rows are little-endian");

// Times of steps in buckets 2 % apart: constant memory, however long the stream runs.
class Latencies {
 public:
  void add(double seconds) {
    const double position = std::log(std::max(seconds, kLowest) / kLowest) / std::log(kRatio);
    ++counts_[std::min(counts_.size() - 1, static_cast<std::size_t>(position))];
    ++total_;
    largest_ = std::max(largest_, seconds);
  }
  double quantile(double q) const {
    auto left = static_cast<std::int64_t>(std::ceil(q * static_cast<double>(total_)));
    for (std::size_t i = 0; i < counts_.size(); ++i)
      if ((left -= counts_[i]) <= 0)
        return std::min(largest_, kLowest * std::pow(kRatio, static_cast<double>(i) + 0.5));
    return largest_;
  }
  double largest() const { return largest_; }
  std::int64_t total() const { return total_; }

 private:
  static constexpr double kLowest = 1e-8;
  static constexpr double kRatio = 1.02;
  std::array<std::int64_t, 1400> counts_{};
  std::int64_t total_ = 0;
  double largest_ = 0;
};

// Input that flushes stdout before it waits, and ends at SIGINT and SIGTERM: rows that are not read
// yet, and a row that has come in part, are then left.
class Input {
 public:
  // A whole line without its line feed; false at the end.
  bool line(std::string_view& line) {
    while (!stopped()) {
      const std::size_t end = buffer_.find('\n', first_);
      if (end != std::string::npos) {
        line = std::string_view(buffer_).substr(first_, end - first_);
        first_ = end + 1;
        if (line.ends_with('\r')) line.remove_suffix(1);
        return true;
      }
      if (!more() && !stopped()) {
        line = std::string_view(buffer_).substr(first_);
        first_ = buffer_.size();
        return !line.empty();
      }
    }
    return false;
  }
  // Exactly `bytes` bytes; fewer come at the end.
  std::string_view block(std::size_t bytes) {
    while (buffer_.size() - first_ < bytes && more()) {
    }
    if (stopped()) return {};
    const std::string_view result = std::string_view(buffer_).substr(first_, bytes);
    first_ += result.size();
    return result;
  }
  bool stopped() const { return stop_.load(std::memory_order_relaxed); }

 private:
  // Waits for input; false at the end and after a signal.
  bool wait() const {
    std::array<pollfd, 2> fds = {pollfd{STDIN_FILENO, POLLIN, 0},
                                 pollfd{stop_descriptor(), POLLIN, 0}};
    while (!stopped()) {
      if (::poll(fds.data(), fds.size(), -1) >= 0) return !stopped();
      check(errno == EINTR, ErrorCode::kSystem, "stream: stdin cannot be waited for: {}.",
            std::strerror(errno));
    }
    return false;
  }

  bool more() {
    check(std::fflush(stdout) == 0, ErrorCode::kSystem, "stream: stdout cannot be written to.");
    buffer_.erase(0, first_);
    first_ = 0;
    if (!wait()) return false;
    std::array<char, 65536> chunk;
    ssize_t count = 0;
    do count = ::read(STDIN_FILENO, chunk.data(), chunk.size());
    while (count < 0 && errno == EINTR);
    check(count >= 0, ErrorCode::kSystem, "stream: stdin cannot be read: {}.",
          std::strerror(errno));
    buffer_.append(chunk.data(), static_cast<std::size_t>(count));
    return count > 0;
  }
  const std::atomic<bool>& stop_ = catch_signals();
  std::string buffer_;
  std::size_t first_ = 0;
};

struct StreamFlags {
  Common common;
  std::string out, format = "csv", load_file, save_file;
  bool latency = false;
};

class RowStream {
 public:
  RowStream(const StreamFlags& flags, const Model& model)
      : model_(model),
        exec_(flags.common.exec_options()),
        stepper_(model.prepare_step(exec_, 1)),
        state_(model.initial_state(exec_, 1)),
        language_(model.config().task == Task::kLanguageModel),
        place_(flags.format == "csv" ? "line" : "row"),
        x_(Tensor::empty(stepper_.input_shape(), language_ ? DType::kInt32 : DType::kFloat32)),
        y_(Tensor::empty(stepper_.output_shape(), DType::kFloat32)),
        row_(static_cast<std::size_t>(x_.numel())) {
    if (flags.load_file.empty()) return;
    state_ = State::load(SafetensorsReader::open(flags.load_file), model.state_spec())
                 .to(exec_.device());
    state_.check_fits(model.state_spec(), 1, "stream --load-state");
  }

  std::span<float> row() { return row_; }
  std::span<const float> output() const { return y_.span<float>(); }
  const Latencies& latencies() const { return latencies_; }
  void reset() { state_ = model_.initial_state(exec_, 1); }
  void save(const std::string& file) const {
    SafetensorsWriter writer;
    state_.save(writer);
    writer.write(file);
  }

  // What the rows of the format are called in messages.
  const char* place() const { return place_; }

  void step(std::int64_t number) {
    const auto start = std::chrono::steady_clock::now();
    language_ ? take_token(number) : scale_input(number);
    const StepStatus status = stepper_.step(x_, state_, y_);
    check(status == StepStatus::kOk, ErrorCode::kState, "stream: {} {}: {}. {}", place_, number,
          to_string(status), stepper_.error());
    scale_output(number);
    latencies_.add(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }

 private:
  void take_token(std::int64_t number) {
    const double token = row_[0];
    check(token >= 0 && token < static_cast<double>(model_.config().vocab_size) &&
              token == std::floor(token),
          ErrorCode::kValue, "stream: {} {}: a token in [0, {}) was expected, {} came.", place_,
          number, model_.config().vocab_size, token);
    x_.data<std::int32_t>()[0] = static_cast<std::int32_t>(token);
  }

  // An infinity would never leave the state again.
  void scale_input(std::int64_t number) {
    const Scaling& scaling = model_.config().input_scaling;
    float* x = x_.data<float>();
    for (std::size_t i = 0; i < row_.size(); ++i) {
      const double value =
          scaling.mean.empty() ? row_[i] : (row_[i] - scaling.mean[i]) / scaling.scale[i];
      check(std::abs(value) <= std::numeric_limits<float>::max(), ErrorCode::kValue,
            "stream: {} {}: column {} is out of range, {} came (scaled by {}).", place_, number,
            i + 1, row_[i], scaling.mean.empty() ? 1.0 : scaling.scale[i]);
      x[i] = static_cast<float>(value);
    }
  }

  void scale_output(std::int64_t number) {
    const Scaling& scaling = model_.config().output_scaling;
    const std::span<float> y = y_.span<float>();
    for (std::size_t i = 0; i < y.size(); ++i) {
      const double value = scaling.mean.empty() ? y[i] : y[i] * scaling.scale[i] + scaling.mean[i];
      check(std::abs(value) <= std::numeric_limits<float>::max(), ErrorCode::kValue,
            "stream: {} {}: the model answers with {}; the row is out of its range.", place_,
            number, value);
      y[i] = static_cast<float>(value);
    }
  }

  const Model& model_;
  Exec exec_;
  Stepper stepper_;
  State state_;
  bool language_;
  const char* place_;
  Tensor x_, y_;
  std::vector<float> row_;
  Latencies latencies_;
};

void write_csv(std::span<const float> row) {
  std::array<char, 32> text;
  for (std::size_t i = 0; i < row.size(); ++i) {
    const int length = std::snprintf(text.data(), text.size(), "%.9g%c",
                                     static_cast<double>(row[i]), i + 1 == row.size() ? '\n' : ',');
    std::fwrite(text.data(), 1, static_cast<std::size_t>(length), stdout);
  }
}

void run_csv(RowStream& stream, Input& input) {
  std::int64_t number = 0;
  for (std::string_view line; input.line(line);) {
    if (++number == 1 && line.starts_with("\xEF\xBB\xBF"))
      line.remove_prefix(3);  // a byte order mark, as spreadsheets write it
    if (line.empty()) {
      stream.reset();
      continue;
    }
    const CsvStatus status = parse_csv_row(line, stream.row());
    check(status.ok(), ErrorCode::kValue, "stream: {} {}: {}.", stream.place(), number,
          describe(status));
    stream.step(number);
    write_csv(stream.output());
  }
}

void run_f32(RowStream& stream, Input& input) {
  const std::size_t bytes = stream.row().size_bytes();
  for (std::int64_t number = 1;; ++number) {
    const std::string_view block = input.block(bytes);
    if (block.empty()) return;
    check(block.size() == bytes, ErrorCode::kValue,
          "stream: row {}: {} bytes were expected, {} came before the end.", number, bytes,
          block.size());
    std::memcpy(stream.row().data(), block.data(), bytes);
    for (const float value : stream.row())
      check(std::isfinite(value), ErrorCode::kValue,
            "stream: row {}: finite numbers were expected, {} came.", number, value);
    stream.step(number);
    std::fwrite(stream.output().data(), 1, stream.output().size_bytes(), stdout);
  }
}

int run_stream(const StreamFlags& flags) {
  const auto model = flags.common.load(flags.out);
  RowStream stream(flags, *model);
  Input input;
  try {
    flags.format == "csv" ? run_csv(stream, input) : run_f32(stream, input);
  } catch (const Error&) {
    std::fflush(stdout);  // the outputs of the rows before
    throw;
  }
  check(std::fflush(stdout) == 0, ErrorCode::kSystem, "stream: stdout cannot be written to.");
  if (!flags.save_file.empty()) stream.save(flags.save_file);
  if (input.stopped())
    print_to(stderr, "Stopped by a signal after {} rows.{}\n", stream.latencies().total(),
             flags.save_file.empty() ? "" : " To go on: --load-state " + flags.save_file);
  if (flags.latency) {
    const Latencies& l = stream.latencies();
    print_to(stderr,
             "{} steps; microseconds a step: p50 {:.2f}, p99 {:.2f}, p99.9 {:.2f}, max {:.2f}\n",
             l.total(), 1e6 * l.quantile(0.5), 1e6 * l.quantile(0.99), 1e6 * l.quantile(0.999),
             1e6 * l.largest());
  }
  return kSuccess;
}

}  // namespace

void add_stream(CLI::App& app, std::vector<std::pair<CLI::App*, Run>>& commands) {
  auto flags = std::make_shared<StreamFlags>();
  CLI::App* command =
      app.add_subcommand("stream", "One input row on stdin, one output row on stdout, at once");
  flags->common.add_to(*command, false);
  command->add_option("OUT", flags->out, "Folder of a model")->required();
  command->add_option("--format", flags->format, "csv, or f32: raw little-endian rows")
      ->check(CLI::IsMember({"csv", "f32"}))
      ->capture_default_str();
  command->add_flag("--latency", flags->latency,
                    "Report p50, p99, p99.9 and max of a step on stderr");
  command->add_option("--save-state", flags->save_file, "Keep the state in F at the end");
  command->add_option("--load-state", flags->load_file, "Go on from F");
  command->footer(
      "An empty line resets the state and prints nothing. SIGINT and SIGTERM end the stream like "
      "the end of its input.\n"
      "Examples:\n  tail -f sensor.csv | rill stream run\n  rill stream run --latency --save-state "
      "s < day1.csv\n"
      "  rill stream run --load-state s < day2.csv");
  commands.emplace_back(command, [flags] { return run_stream(*flags); });
}

}  // namespace rill::cli
