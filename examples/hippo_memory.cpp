// Compresses a real signal online into N coefficients, reads its whole history back, and draws
// both.
//
//   hippo_memory [data/seattle-weather.csv [hippo_memory.svg]]
//
// Two memories see each sample once, in order: one keeps all of the past at one resolution
// (scale-invariant LegS), one the last year only (LegT, a sliding window). The signal is the first
// column of the file.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <rill/hippo/hippo.h>

namespace {

using rill::hippo::Vector;

/// The first column of a CSV file with one header line.
Vector read_first_column(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error("hippo_memory: " + path + " cannot be read.");
  std::string line;
  std::getline(file, line);
  Vector values;
  while (std::getline(file, line)) {
    char* end = nullptr;
    values.push_back(std::strtod(line.c_str(), &end));
    if (end == line.c_str() || !std::isfinite(values.back()))
      throw std::runtime_error("hippo_memory: row " + std::to_string(values.size()) + " of " +
                               path + " does not begin with a number.");
  }
  if (values.size() < 2)
    throw std::runtime_error("hippo_memory: " + path + " needs at least two rows.");
  return values;
}

/// What one panel of the drawing shows: values at samples first, first + 1, ...
struct Panel {
  std::string title;
  std::size_t first = 0;
  Vector values;
  double error = 0;
};

double root_mean_square(const Vector& a, const Vector& signal, std::size_t first) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += std::pow(a[i] - signal[first + i], 2);
  return std::sqrt(sum / double(a.size()));
}

/// All of the past in N numbers.
Panel remember_everything(const Vector& signal, int N) {
  rill::hippo::ScaleInvariantMemory memory(N, {.method = rill::hippo::Discretization::kZoh});
  for (const double sample : signal) memory.update(sample);

  Vector positions;  // the middle of each sample, 0 the start and 1 now
  for (std::size_t i = 0; i < signal.size(); ++i)
    positions.push_back((double(i) + 0.5) / double(signal.size()));
  Panel panel{.title = "all of the past in " + std::to_string(N) + " numbers",
              .values = memory.reconstruct(positions)};
  panel.error = root_mean_square(panel.values, signal, 0);
  return panel;
}

/// The last `window` samples in N numbers.
Panel remember_window(const Vector& signal, int N, std::size_t window) {
  window = std::min(window, signal.size());
  rill::hippo::TimeInvariantMemory memory(rill::hippo::Measure::kLegt, N, 1.0,
                                          {.transition = {.window = double(window)}});
  for (const double sample : signal) memory.update(sample);

  Vector ages;
  for (std::size_t i = 0; i < window; ++i) ages.push_back(double(window - i) - 0.5);
  Panel panel{.title = "the last " + std::to_string(window) + " samples in " + std::to_string(N) +
                       " numbers",
              .first = signal.size() - window,
              .values = memory.reconstruct(ages)};
  panel.error = root_mean_square(panel.values, signal, panel.first);
  return panel;
}

class Drawing {
 public:
  Drawing(const std::string& path, const Vector& signal) : file_(path), signal_(signal) {
    const auto [low, high] = std::minmax_element(signal.begin(), signal.end());
    low_ = *low - 3;
    high_ = *high + 3;
  }

  void begin(const std::string& signal_name, std::size_t panels) {
    file_ << "<svg xmlns='http://www.w3.org/2000/svg' width='960' height='"
          << 40 + panels * kPanelHeight << "' font-family='sans-serif' font-size='13'>\n"
          << "<rect width='100%' height='100%' fill='white'/>\n"
          << "<text x='48' y='26' font-size='16'>" << signal_.size() << " samples of "
          << signal_name
          << " (grey), seen once, in order, and read back from N numbers (red)</text>\n";
  }
  void panel(const Panel& panel) {
    top_ += panel_count_++ == 0 ? 40 : kPanelHeight;
    for (double degrees = std::ceil(low_ / 10) * 10; degrees < high_; degrees += 10)
      file_ << "<line x1='48' x2='944' y1='" << y(degrees) << "' y2='" << y(degrees)
            << "' stroke='#ddd'/><text x='8' y='" << y(degrees) + 4 << "' fill='#666'>" << degrees
            << "</text>\n";
    line(0, signal_, "#b5b5b5", 1);
    line(panel.first, panel.values, "#c2410c", 2);
    char error[32];
    std::snprintf(error, sizeof error, "%.2f", panel.error);
    file_ << "<text x='52' y='" << top_ + 16 << "'>" << panel.title << ", root mean square error "
          << error << "</text>\n";
  }
  void end() {
    file_ << "</svg>\n";
    file_.flush();
    if (!file_) throw std::runtime_error("hippo_memory: the drawing could not be written.");
  }

 private:
  static constexpr double kPanelHeight = 190;

  double x(std::size_t sample) const {
    return 48 + 896 * double(sample) / double(signal_.size() - 1);
  }
  double y(double value) const {
    const double height = kPanelHeight - 20;
    // A reconstruction may overshoot: it stays in its panel.
    const double share = std::clamp((high_ - value) / (high_ - low_), 0.0, 1.0);
    return top_ + height * share;
  }
  void line(std::size_t first, const Vector& values, const char* colour, int width) {
    file_ << "<polyline fill='none' stroke='" << colour << "' stroke-width='" << width
          << "' points='";
    for (std::size_t i = 0; i < values.size(); ++i) {
      char point[48];
      std::snprintf(point, sizeof point, "%.1f,%.1f ", x(first + i), y(values[i]));
      file_ << point;
    }
    file_ << "'/>\n";
  }

  std::ofstream file_;
  const Vector& signal_;
  double low_ = 0, high_ = 0;
  double top_ = 0;
  int panel_count_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  try {
    const std::string input = argc > 1 ? argv[1] : "data/seattle-weather.csv";
    const std::string output = argc > 2 ? argv[2] : "hippo_memory.svg";
    const Vector signal = read_first_column(input);

    std::vector<Panel> panels;
    for (const int N : {16, 64, 256}) panels.push_back(remember_everything(signal, N));
    panels.push_back(remember_window(signal, 32, 365));

    Drawing drawing(output, signal);
    drawing.begin(input.substr(input.find_last_of('/') + 1), panels.size());
    for (const Panel& panel : panels) {
      drawing.panel(panel);
      std::printf("%-36s root mean square error %.2f\n", panel.title.c_str(), panel.error);
    }
    drawing.end();
    std::printf("drawn to %s\n", output.c_str());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
