// Any bytes are a table of finite numbers, or an Error; the line parser agrees with the file
// parser.
#include <rill/core/error.h>
#include <rill/io/csv.h>

#include <cmath>
#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace rill;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  std::vector<float> row(static_cast<std::size_t>(count_csv_columns(text)));
  const CsvStatus status = parse_csv_row<float>(text, row);
  if (status.ok() != describe(status).empty()) std::abort();
  try {
    const CsvTable table = parse_csv(text);
    for (const float value : table.values.span<float>())
      if (!std::isfinite(value)) std::abort();
    if (!table.columns.empty() &&
        static_cast<std::int64_t>(table.columns.size()) != table.values.size(1))
      std::abort();
    if (parse_csv(text, "fuzz", DType::kFloat64).values.shape() != table.values.shape())
      std::abort();
  } catch (const Error&) {
    // A number past float's range is one in double: only the other way round is a finding.
  }
  return 0;
}
