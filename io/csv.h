// Tables of numbers as text: one row a line, fields between commas, at most one header line.
//
// A field is a finite decimal number, with spaces around it and within double quotes if need be. A
// first line in which no field is a number is a header. Lines end in LF or CRLF; empty lines may
// stand at the end only.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <rill/core/tensor.h>

namespace rill {

/// What a line was found to be.
struct CsvStatus {
  enum class Kind : std::uint8_t {
    kOk,
    kNotANumber,   // `found` is the field
    kNotFinite,    // nan, inf, or past the type's range; `found` is the field
    kColumnCount,  // `column` fields came
  };
  Kind kind = Kind::kOk;
  std::int64_t column = 0;      // of the field, from 1
  std::int64_t expected = 0;    // columns
  std::string_view found = {};  // in the line

  bool ok() const noexcept { return kind == Kind::kOk; }
};

/// One line (without its line feed) into `values`, whose size is the number of columns expected; T
/// is float or double. Allocates and throws nothing; where the status is not ok, `values` is partly
/// overwritten. Meant for streams.
template <class T>
CsvStatus parse_csv_row(std::string_view line, std::span<T> values) noexcept;

/// "column 3: a number was expected, 'abc' was found"; empty for an ok status.
std::string describe(const CsvStatus& status);

/// Fields of a line.
std::int64_t count_csv_columns(std::string_view line) noexcept;
/// No field is a number (an empty line is no header).
bool is_csv_header(std::string_view line) noexcept;
/// The names of a header line, without spaces and quotes around them.
std::vector<std::string> parse_csv_header(std::string_view line);

struct CsvTable {
  Tensor values;                     // [rows, columns]
  std::vector<std::string> columns;  // names; empty where the file has no header
};

/// A whole file; `dtype` is float32 or float64. Error(kFile), naming file, line, column, what was
/// expected and what was found, for ragged rows, text after the header, numbers that are not
/// finite, or no rows.
CsvTable read_csv(const std::filesystem::path& path, DType dtype = DType::kFloat32);
/// The same from a file's text; `name` stands in messages.
CsvTable parse_csv(std::string_view text, const std::string& name = "memory",
                   DType dtype = DType::kFloat32);

}  // namespace rill
