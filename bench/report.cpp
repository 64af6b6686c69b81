#include "report.h"

#include <rill/core/format.h>

#include <algorithm>
#include <cmath>

namespace rill::bench {
namespace {

constexpr double kWidth = 640, kHeight = 360, kLeft = 74, kRight = 150, kTop = 34, kBottom = 48;
constexpr const char* kColours[] = {"#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e",
                                    "#17becf", "#8c564b", "#e377c2", "#7f7f7f"};

// Maps values of one axis to pixels and chooses its ticks.
struct Axis {
  bool log = false;
  double low = 0, high = 1, from = 0, to = 1;

  double position(double value) const {
    const double part = log ? (std::log(value) - std::log(low)) / (std::log(high) - std::log(low))
                            : (value - low) / (high - low);
    return from + part * (to - from);
  }
  std::vector<double> ticks() const {
    std::vector<double> result;
    if (log) {
      const double decades = std::log10(high / low);
      const double base = decades > 2.5 ? 10 : 2;
      for (double tick = std::pow(base, std::ceil(std::log(low) / std::log(base) - 1e-9));
           tick <= high * 1.0001; tick *= base)
        result.push_back(tick);
      while (result.size() > 9)
        for (std::size_t i = 1; i < result.size(); ++i)
          result.erase(result.begin() + static_cast<std::ptrdiff_t>(i));
      return result;
    }
    const double rough = (high - low) / 6;
    const double power = std::pow(10, std::floor(std::log10(rough)));
    const double step = power * (rough / power > 5   ? 10
                                 : rough / power > 2 ? 5
                                 : rough / power > 1 ? 2
                                                     : 1);
    for (double tick = std::ceil(low / step) * step; tick <= high + step * 1e-9; tick += step)
      result.push_back(tick);
    return result;
  }
};

std::string label(double value) {
  if (value >= 1048576 && std::fmod(value, 1048576) == 0)
    return formatted("{:g} M", value / 1048576);
  if (value >= 1024 && std::fmod(value, 1024) == 0) return formatted("{:g} k", value / 1024);
  if (std::abs(value) >= 1e6) return formatted("{:g} M", value / 1e6);
  if (std::abs(value) >= 1e4) return formatted("{:g} k", value / 1e3);
  return formatted("{:.4g}", std::abs(value) < 1e-12 ? 0.0 : value);
}

void widen(Axis& axis, double value) {
  if (!std::isfinite(value) || (axis.log && value <= 0)) return;
  axis.low = std::min(axis.low, value);
  axis.high = std::max(axis.high, value);
}

void settle(Axis& axis, bool from_zero) {
  if (axis.low > axis.high) axis.low = 1, axis.high = 2;
  if (from_zero && !axis.log) axis.low = std::min(0.0, axis.low);
  if (axis.low < axis.high) return;
  axis.low = axis.log ? axis.low / 2 : axis.low - 1;
  axis.high = axis.log ? axis.high * 2 : axis.high + 1;
}

}  // namespace

std::string svg(const Chart& chart) {
  Axis x{.log = chart.log_x, .low = 1e300, .high = -1e300, .from = kLeft, .to = kWidth - kRight};
  Axis y{.log = chart.log_y, .low = 1e300, .high = -1e300, .from = kHeight - kBottom, .to = kTop};
  for (const Series& series : chart.series)
    for (const auto& [px, py] : series.points) widen(x, px), widen(y, py);
  settle(x, false);
  settle(y, chart.from_zero);
  // Room for the legend, a line for each series.
  const double height =
      std::max(kHeight, kTop + 16 + 17 * static_cast<double>(chart.series.size()));
  std::string out = formatted(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" width=\"{}\" height=\"{}\" "
      "font-family=\"sans-serif\" "
      "font-size=\"12\"><rect width=\"100%\" height=\"100%\" fill=\"white\"/><text x=\"{}\" "
      "y=\"20\" font-size=\"14\" "
      "font-weight=\"bold\">{}</text>",
      kWidth, height, kWidth, height, kLeft, escape(chart.title));
  for (const double tick : y.ticks())
    out += formatted(
        "<line x1=\"{0}\" x2=\"{1}\" y1=\"{2:.1f}\" y2=\"{2:.1f}\" stroke=\"#ddd\"/><text "
        "x=\"{3}\" y=\"{4:.1f}\" "
        "text-anchor=\"end\">{5}</text>",
        x.from, x.to, y.position(tick), kLeft - 6, y.position(tick) + 4, label(tick));
  for (const double tick : x.ticks())
    out += formatted(
        "<line x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1}\" y2=\"{2}\" stroke=\"#eee\"/><text "
        "x=\"{0:.1f}\" y=\"{3}\" "
        "text-anchor=\"middle\">{4}</text>",
        x.position(tick), y.from, y.to, kHeight - kBottom + 16, label(tick));
  std::size_t colour = 0;
  for (const Series& series : chart.series) {
    const char* stroke = kColours[colour % std::size(kColours)];
    std::string points;
    for (const auto& [px, py] : series.points)
      if (std::isfinite(px) && std::isfinite(py) && !(chart.log_x && px <= 0) &&
          !(chart.log_y && py <= 0))
        points += formatted("{:.1f},{:.1f} ", x.position(px), y.position(py));
    out += formatted("<polyline fill=\"none\" stroke=\"{}\" stroke-width=\"1.8\"{} points=\"{}\"/>",
                     stroke, series.dashed ? " stroke-dasharray=\"5 4\"" : "", points);
    const double row = kTop + 8 + 17 * static_cast<double>(colour);
    out += formatted(
        "<line x1=\"{}\" x2=\"{}\" y1=\"{}\" y2=\"{}\" stroke=\"{}\" stroke-width=\"2\"/><text "
        "x=\"{}\" y=\"{}\">{}</text>",
        kWidth - kRight + 10, kWidth - kRight + 30, row, row, stroke, kWidth - kRight + 36, row + 4,
        escape(series.name));
    ++colour;
  }
  out += formatted(
      "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text><text x=\"16\" y=\"{}\" "
      "text-anchor=\"middle\" "
      "transform=\"rotate(-90 16 {})\">{}</text></svg>",
      (x.from + x.to) / 2, kHeight - 10, escape(chart.x_label), (y.from + y.to) / 2,
      (y.from + y.to) / 2, escape(chart.y_label));
  return out;
}

std::string escape(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string page(const std::string& title, const std::vector<std::string>& sections) {
  std::string out = formatted(
      "<!doctype html><html lang=\"en\"><head><meta "
      "charset=\"utf-8\"><title>{0}</title><style>body{{font:15px/1.5 sans-serif;"
      "max-width:960px;margin:2em auto;padding:0 "
      "1em;color:#222}}table{{border-collapse:collapse;font-size:13px}}td,th{{border:1px "
      "solid #ccc;padding:2px "
      "8px;text-align:right}}td:first-child,th:first-child{{text-align:left}}pre{{background:#"
      "f6f6f6;padding:"
      "1em;white-space:pre-wrap}}svg{{max-width:100%;height:auto}}</style></head><body><h1>{0}</"
      "h1>",
      escape(title));
  for (const std::string& section : sections) out += section + "\n";
  return out + "</body></html>\n";
}

std::string table(const std::vector<std::vector<std::string>>& rows) {
  std::string out = "<table>";
  for (std::size_t r = 0; r < rows.size(); ++r) {
    out += "<tr>";
    for (const std::string& cell : rows[r])
      out += formatted("<{0}>{1}</{0}>", r == 0 ? "th" : "td", escape(cell));
    out += "</tr>";
  }
  return out + "</table>";
}

}  // namespace rill::bench
