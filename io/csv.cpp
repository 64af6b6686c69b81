#include <rill/io/csv.h>

#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>

#include <rill/core/check.h>
#include <rill/io/text_file.h>

#include "quote.h"

namespace rill {
namespace {

std::string_view trim(std::string_view text) noexcept {
  const auto is_space = [](char c) { return c == ' ' || c == '\t' || c == '\r'; };
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

/// Takes the first field off `line` (with the comma after it); false where it was the last. Commas
/// within quotes separate nothing.
bool next_field(std::string_view& line, std::string_view& field) noexcept {
  bool quoted = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '"') quoted = !quoted;
    if (line[i] != ',' || quoted) continue;
    field = trim(line.substr(0, i));
    line.remove_prefix(i + 1);
    return true;
  }
  field = trim(line);
  line = {};
  return false;
}

std::string_view unquote(std::string_view field) noexcept {
  if (field.size() >= 2 && field.front() == '"' && field.back() == '"')
    return trim(field.substr(1, field.size() - 2));
  return field;
}

template <class T>
CsvStatus::Kind parse_number(std::string_view field, T& value) noexcept {
  field = unquote(field);
  if (field.starts_with('+') && !field.starts_with("+-"))
    field.remove_prefix(1);  // from_chars knows no plus
  const char* const end = field.data() + field.size();
  const auto [stop, error] = std::from_chars(field.data(), end, value);
  if (error == std::errc::invalid_argument || stop != end) return CsvStatus::Kind::kNotANumber;
  if (error == std::errc::result_out_of_range) {
    // 1e-50 is out of a float's range as 1e50 is; the first is a number, zero.
    double wide = 0;
    if (std::from_chars(field.data(), end, wide).ec != std::errc{} || std::abs(wide) > 1)
      return CsvStatus::Kind::kNotFinite;
    value = static_cast<T>(wide);
  }
  return std::isfinite(value) ? CsvStatus::Kind::kOk : CsvStatus::Kind::kNotFinite;
}

/// Lines of a text, numbered from 1, without line feeds.
class Lines {
 public:
  explicit Lines(std::string_view text) : left_(text) {}
  bool next(std::string_view& line) noexcept {
    if (left_.empty()) return false;
    const std::size_t end = left_.find('\n');
    line = left_.substr(0, end);
    left_.remove_prefix(end == std::string_view::npos ? left_.size() : end + 1);
    ++number_;
    return true;
  }
  std::int64_t number() const noexcept { return number_; }

 private:
  std::string_view left_;
  std::int64_t number_ = 0;
};

template <class T>
CsvTable parse_typed(std::string_view text, const std::string& file) {
  if (text.starts_with("\xEF\xBB\xBF"))
    text.remove_prefix(3);  // a byte order mark, as spreadsheets write it
  const std::size_t last = text.find_last_not_of(" \t\r\n");
  text = text.substr(0, last == std::string_view::npos ? 0 : last + 1);

  CsvTable table;
  std::vector<T> values;
  std::int64_t columns = 0;
  Lines lines(text);
  for (std::string_view line; lines.next(line);) {
    if (lines.number() == 1) {
      columns = count_csv_columns(line);
      if (is_csv_header(line)) {
        table.columns = parse_csv_header(line);
        continue;
      }
    }
    const std::size_t row = values.size();
    values.resize(row + static_cast<std::size_t>(columns));
    const CsvStatus status = parse_csv_row(line, std::span(values).subspan(row));
    if (!status.ok())
      fail(ErrorCode::kFile, "The CSV file {}, line {}, {}.", file, lines.number(),
           describe(status));
  }
  check(!values.empty(), ErrorCode::kFile, "The CSV file {} has no rows of numbers, only {}.", file,
        table.columns.empty() ? "blank space" : "a header line");
  const auto rows = static_cast<std::int64_t>(values.size()) / columns;
  table.values = Tensor::from(values, {rows, columns});
  return table;
}

}  // namespace

template <class T>
CsvStatus parse_csv_row(std::string_view line, std::span<T> values) noexcept {
  const auto expected = static_cast<std::int64_t>(values.size());
  const std::string_view whole = line;
  const auto wrong_count = [&]() -> CsvStatus {
    return {CsvStatus::Kind::kColumnCount, count_csv_columns(whole), expected, whole};
  };
  std::int64_t column = 0;
  for (bool more = true; more; ++column) {
    if (column == expected) return wrong_count();
    std::string_view field;
    more = next_field(line, field);
    const CsvStatus::Kind kind = parse_number(field, values[static_cast<std::size_t>(column)]);
    if (kind != CsvStatus::Kind::kOk) return {kind, column + 1, expected, field};
  }
  if (column != expected) return wrong_count();
  return {CsvStatus::Kind::kOk, 0, expected, {}};
}
template CsvStatus parse_csv_row(std::string_view, std::span<float>) noexcept;
template CsvStatus parse_csv_row(std::string_view, std::span<double>) noexcept;

std::string describe(const CsvStatus& status) {
  switch (status.kind) {
    case CsvStatus::Kind::kOk:
      break;
    case CsvStatus::Kind::kNotANumber:
      return formatted("column {}: a number was expected, {} was found", status.column,
                       quote(status.found));
    case CsvStatus::Kind::kNotFinite:
      return formatted("column {}: a finite number was expected, {} was found", status.column,
                       quote(status.found));
    case CsvStatus::Kind::kColumnCount:
      return formatted("column {}: {} columns were expected, {} were found",
                       std::min(status.column, status.expected) + 1, status.expected,
                       status.column);
  }
  return {};
}

std::int64_t count_csv_columns(std::string_view line) noexcept {
  std::string_view field;
  std::int64_t count = 1;
  while (next_field(line, field)) ++count;
  return count;
}

bool is_csv_header(std::string_view line) noexcept {
  if (trim(line).empty()) return false;
  std::string_view field;
  for (bool more = true; more;) {
    more = next_field(line, field);
    double value = 0;
    if (parse_number(field, value) != CsvStatus::Kind::kNotANumber) return false;
  }
  return true;
}

std::vector<std::string> parse_csv_header(std::string_view line) {
  std::vector<std::string> names;
  std::string_view field;
  for (bool more = true; more;) {
    more = next_field(line, field);
    names.emplace_back(unquote(field));
  }
  return names;
}

CsvTable parse_csv(std::string_view text, const std::string& name, DType dtype) {
  check(dtype == DType::kFloat32 || dtype == DType::kFloat64, ErrorCode::kDType,
        "parse_csv: float32 or float64 was expected, {} came.", name_of(dtype));
  return dtype == DType::kFloat32 ? parse_typed<float>(text, quote(name))
                                  : parse_typed<double>(text, quote(name));
}

CsvTable read_csv(const std::filesystem::path& path, DType dtype) {
  constexpr std::int64_t kLargest = std::int64_t{1} << 36;  // text in memory
  return parse_csv(read_text_file(path, kLargest), path.string(), dtype);
}

}  // namespace rill
