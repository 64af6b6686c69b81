// Draws docs/picture.svg: a trained model reads a series, first in parallel mode, then, from the
// state that this leaves, step by step. Fails unless the steps give the bits of one call over all.
//
//   two_modes MODEL SERIES.csv PICTURE.svg        MODEL: what train_series made
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <exception>
#include <sstream>
#include <stdexcept>

#include <rill/rill.h>

namespace {

using namespace rill;

constexpr std::int64_t kDays = 160, kCut = 108;  // shown; read in parallel mode
constexpr double kLeft = 52, kRight = 940, kTop = 70, kBottom = 262;  // of the curves
constexpr double kBoxTop = 282, kBoxBottom = 318, kStateTop = 356, kCell = 8;
constexpr const char *kBlue = "#2563eb", *kOrange = "#ea580c";

/// What the model reads and says of it: the first column, in the data's units.
struct Reading {
  std::vector<double> measured, predicted;  // [kDays]; predicted[t] is of day t + 1
  State cut;                                // after kCut days
};

/// The last kDays rows of a table as the model sees them, [1, kDays, columns].
Tensor scaled_input(const Model& model, const CsvTable& table) {
  const std::int64_t columns = table.values.size(1), first = table.values.size(0) - kDays;
  if (first < 0 || model.config().input_size != columns)
    throw std::runtime_error("two_modes: the series does not fit the model.");
  const Scaling& scaling = model.config().input_scaling;
  const Tensor x = Tensor::empty({1, kDays, columns}, DType::kFloat32);
  for (std::int64_t i = 0; i < x.numel(); ++i) {
    const auto c = static_cast<std::size_t>(i % columns);
    const double value = table.values.data<double>()[first * columns + i];
    x.data<float>()[i] = static_cast<float>((value - scaling.mean[c]) / scaling.scale[c]);
  }
  return x;
}

Tensor days_of(const Tensor& x, std::int64_t first, std::int64_t count) {
  return x.view({kDays, x.size(2)}).rows(first, count).view({1, count, x.size(2)}).clone();
}

Reading read_both_ways(const Model& model, const CsvTable& table) {
  const Tensor x = scaled_input(model, table);
  Exec exec({.threads = 1});
  State state = model.initial_state(exec, 1);
  const Tensor whole = model.forward(exec, x, state);

  state = model.initial_state(exec, 1);
  const Tensor head = model.forward(exec, days_of(x, 0, kCut), state);
  Reading reading{.cut = state};
  Stepper stepper = model.prepare_step(exec, 1);
  const Tensor y = Tensor::empty(stepper.output_shape(), DType::kFloat32);
  bool same = std::memcmp(head.raw(), whole.raw(), head.bytes()) == 0;
  for (std::int64_t t = kCut; t < kDays; ++t) {
    const Tensor x_t = days_of(x, t, 1).view(stepper.input_shape());
    same = same && stepper.step(x_t, state, y) == StepStatus::kOk &&
           std::memcmp(y.raw(), days_of(whole, t, 1).raw(), y.bytes()) == 0;
  }
  if (!same) throw std::runtime_error("two_modes: the modes do not give the same bits.");

  const Scaling &in = model.config().input_scaling, &out = model.config().output_scaling;
  for (std::int64_t t = 0; t < kDays; ++t) {
    reading.measured.push_back(x.data<float>()[t * x.size(2)] * in.scale[0] + in.mean[0]);
    reading.predicted.push_back(whole.data<float>()[t * whole.size(2)] * out.scale[0] +
                                out.mean[0]);
  }
  return reading;
}

class Drawing {
 public:
  explicit Drawing(const Reading& reading) : reading_(reading) {
    const auto [low, high] = std::ranges::minmax(reading.measured);
    low_ = low - 2;
    high_ = high + 2;
    svg_ << "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 960 452' width='960' "
            "height='452' font-family='system-ui, sans-serif' font-size='13' fill='#1f2937'>\n"
            "<rect width='960' height='452' rx='10' fill='white'/>\n"
            "<defs><marker id='tip' viewBox='0 0 8 8' refX='7' refY='4' markerWidth='7' "
            "markerHeight='7' orient='auto'><path d='M0 0L8 4L0 8z' fill='#1f2937'/></marker>"
            "</defs>\n";
    text(24, 34, "One definition, two modes", "font-size='19' font-weight='600'");
    text(936, 34, "y, state = layer(x, state)",
         "text-anchor='end' font-family='monospace' font-size='15'");
  }

  std::string finish() {
    curves();
    modes();
    state();
    const char* small = "font-size='12' fill='#6b7280'";
    text(24, 418,
         "A small LSTM predicts the next day's temperature (grey: measured). Steps and one call "
         "over "
         "all days give the same bits.",
         small);
    text(24, 435, "Drawn by examples/two_modes.", small);
    svg_ << "</svg>\n";
    return svg_.str();
  }

 private:
  static std::string number(double value) {
    char digits[32];
    std::snprintf(digits, sizeof digits, "%.1f", value);
    return digits;
  }
  static double x(double day) {
    return kLeft + (kRight - kLeft) * day / static_cast<double>(kDays);
  }
  double y(double value) const {
    return kBottom - (kBottom - kTop) * (value - low_) / (high_ - low_);
  }

  void text(double at_x, double at_y, const std::string& words, const std::string& style = "") {
    svg_ << "<text x='" << number(at_x) << "' y='" << number(at_y) << "' " << style << ">" << words
         << "</text>\n";
  }
  void box(double left, double top, double width, double height, const std::string& style) {
    svg_ << "<rect x='" << number(left) << "' y='" << number(top) << "' width='" << number(width)
         << "' height='" << number(height) << "' " << style << "/>\n";
  }
  void arrow(const std::string& path) {
    svg_ << "<path d='" << path
         << "' fill='none' stroke='#1f2937' stroke-width='1.5' marker-end='url(#tip)'/>\n";
  }
  /// Values of days first + shift, first + 1 + shift, ...
  void line(const std::vector<double>& values, std::int64_t first, std::int64_t end, double shift,
            const char* colour, double width) {
    svg_ << "<polyline fill='none' stroke='" << colour << "' stroke-width='" << width
         << "' stroke-linejoin='round' points='";
    for (std::int64_t t = first; t < end; ++t)
      svg_ << number(x(static_cast<double>(t) + shift)) << ","
           << number(y(values[static_cast<std::size_t>(t)])) << " ";
    svg_ << "'/>\n";
  }

  void curves() {
    for (double degrees = std::ceil(low_ / 10) * 10; degrees < high_; degrees += 10) {
      svg_ << "<line x1='" << kLeft << "' x2='" << kRight << "' y1='" << number(y(degrees))
           << "' y2='" << number(y(degrees)) << "' stroke='#e5e7eb'/>\n";
      text(kLeft - 8, y(degrees) + 4, std::to_string(static_cast<int>(degrees)) + " °C",
           "text-anchor='end' font-size='11' fill='#6b7280'");
    }
    line(reading_.measured, 0, kDays, 0.5, "#b6bcc6", 1.5);
    line(reading_.predicted, 0, kCut, 1.5, kBlue, 2.2);
    for (std::int64_t t = kCut; t + 1 < kDays; ++t)
      svg_ << "<circle cx='" << number(x(static_cast<double>(t) + 1.5)) << "' cy='"
           << number(y(reading_.predicted[static_cast<std::size_t>(t)])) << "' r='2.6' fill='"
           << kOrange << "'/>\n";
  }

  void modes() {
    const double height = kBoxBottom - kBoxTop, cut = static_cast<double>(kCut);
    box(x(0), kBoxTop, x(cut) - x(0) - 3, height,
        "rx='5' fill='#dbeafe' stroke='#2563eb' stroke-width='1.5'");
    text((x(0) + x(cut)) / 2, (kBoxTop + kBoxBottom) / 2 + 5,
         "parallel mode: one call over " + std::to_string(kCut) + " days",
         "text-anchor='middle' fill='#1e40af'");
    for (std::int64_t t = kCut; t < kDays; ++t)
      box(x(static_cast<double>(t)) + 0.6, kBoxTop, x(1) - x(0) - 1.2, height,
          "rx='1.5' fill='#ffedd5' stroke='#ea580c'");
    text((x(cut) + x(kDays)) / 2, kBoxBottom + 20,
         "recurrent mode: " + std::to_string(kDays - kCut) + " steps, each at once",
         "text-anchor='middle' fill='#9a3412'");
  }

  /// The state that is handed over, a row of cells for every field.
  void state() {
    const auto fields = reading_.cut.fields();
    std::int64_t widest = 1;
    for (const Tensor& field : fields) widest = std::max(widest, field.numel());
    const double shown = static_cast<double>(std::min<std::int64_t>(widest, 48));
    const double cut_x = x(static_cast<double>(kCut)), right = cut_x - 70;
    const double left = right - kCell * shown, rows = std::min<double>(6, double(fields.size()));
    for (std::size_t f = 0; f < static_cast<std::size_t>(rows); ++f) {
      const Tensor values = fields[f].to(DType::kFloat64);
      for (std::int64_t i = 0; i < std::min<std::int64_t>(values.numel(), 48); ++i)
        box(left + kCell * double(i), kStateTop + kCell * double(f), kCell, kCell,
            "fill='" + colour_of(values.data<double>()[i]) + "'");
    }
    const double bottom = kStateTop + kCell * rows, middle = (kStateTop + bottom) / 2;
    box(left, kStateTop, right - left, bottom - kStateTop, "fill='none' stroke='#1f2937'");
    arrow("M" + number(left + 40) + " " + number(kBoxBottom + 1) + "V" + number(kStateTop - 3));
    arrow("M" + number(right + 1) + " " + number(middle) + "H" + number(cut_x + 3) + "V" +
          number(kBoxBottom + 3));
    text(left - 12, middle - 3, "the state, handed over:", "text-anchor='end'");
    text(left - 12, middle + 14,
         std::to_string(reading_.cut.bytes()) + " bytes, however long the past",
         "text-anchor='end' fill='#6b7280'");
  }

  /// White at 0, orange above, blue below.
  static std::string colour_of(double value) {
    const double strength = std::tanh(2 * std::abs(value));
    const int full[2][3] = {{234, 88, 12}, {37, 99, 235}};
    char text[16];
    int c[3];
    for (int i = 0; i < 3; ++i)
      c[i] = static_cast<int>(255 + strength * (full[value < 0 ? 1 : 0][i] - 255));
    std::snprintf(text, sizeof text, "#%02x%02x%02x", c[0], c[1], c[2]);
    return text;
  }

  const Reading& reading_;
  std::ostringstream svg_;
  double low_ = 0, high_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: two_modes MODEL SERIES.csv PICTURE.svg\n");
    return 2;
  }
  try {
    const auto model = load_model(argv[1]);
    const Reading reading = read_both_ways(*model, read_csv(argv[2], DType::kFloat64));
    write_file_atomically(argv[3], Drawing(reading).finish());
    std::printf("drawn to %s\n", argv[3]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
