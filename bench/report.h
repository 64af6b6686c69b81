// Charts as SVG, pages as HTML: plain text without scripts or other files.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace rill::bench {

struct Series {
  std::string name;
  std::vector<std::pair<double, double>> points;
  bool dashed = false;
};

struct Chart {
  std::string title, x_label, y_label;
  std::vector<Series> series;
  bool log_x = false, log_y = false;
  bool from_zero = false;  // of y
};

/// A line chart, 640 x 360.
std::string svg(const Chart& chart);

/// "&", "<", ">" and quotes as HTML wants them.
std::string escape(const std::string& text);

/// A page of sections, each HTML already.
std::string page(const std::string& title, const std::vector<std::string>& sections);

/// A table; the first row is the head.
std::string table(const std::vector<std::vector<std::string>>& rows);

}  // namespace rill::bench
