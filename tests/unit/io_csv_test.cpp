#include <array>

#include <rill/io/csv.h>
#include <rill/tests/support/files.h>

#include "io_values.h"

using namespace rill;
using namespace rill::test;
using Catch::Matchers::Contains;

namespace {

std::string refusal(const std::string& text, const std::string& place, const std::string& finding) {
  const std::string sentence = sentence_of(ErrorCode::kFile, [&] { parse_csv(text, "test.csv"); });
  CHECK_THAT(sentence, Contains("'test.csv'"));
  CHECK_THAT(sentence, Contains(place));
  CHECK_THAT(sentence, Contains(finding));
  return sentence;
}

}  // namespace

TEST_CASE("csv: rows with and without a header") {
  const auto table = parse_csv("a,\"b, c\", d\n1,2.5,-3e2\r\n+4,  .5 ,\"6\"\n\n \n");
  CHECK(table.columns == std::vector<std::string>{"a", "b, c", "d"});
  check_same(table.values, Tensor::from(std::vector<float>{1, 2.5f, -300, 4, .5f, 6}, {2, 3}));
  const auto plain = parse_csv(
      "\xEF\xBB\xBF"
      "1,2\n3,4",
      "x", DType::kFloat64);
  CHECK(plain.columns.empty());
  check_same(plain.values, Tensor::from(std::vector<double>{1, 2, 3, 4}, {2, 2}));
  check_same(parse_csv("t\n1\n2\n").values, Tensor::from(std::vector<float>{1, 2}, {2, 1}));
  // 1e-50 and 1e-40 are numbers: below float's range they round to zero and to a denormal.
  check_same(parse_csv("1e-50,1e-40").values, Tensor::from(std::vector<float>{0, 1e-40f}, {1, 2}));
}

TEST_CASE("csv: nine digits keep a float") {
  const float value = 0.1f + 0.2f;
  char text[32];
  std::snprintf(text, sizeof text, "%.9g", static_cast<double>(value));
  CHECK(parse_csv(text).values.data<float>()[0] == value);
}

TEST_CASE("csv: bad files name line, column, expected and found") {
  refusal("1,2\n3\n", "line 2, column 2", "2 columns were expected, 1 were found");
  refusal("1,2\n3,4,5\n", "line 2, column 3", "2 columns were expected, 3 were found");
  refusal("1,2\n3,\n", "line 2, column 2", "a number was expected, '' was found");
  refusal("a,b\nc,d\n1,2\n", "line 2, column 1", "a number was expected, 'c' was found");
  refusal("1,2\na,b\n", "line 2, column 1", "'a' was found");
  refusal("1,abc\n3,4\n", "line 1, column 2", "'abc' was found");
  refusal("a,b\n1,2,3\n", "line 2, column 3", "2 columns were expected, 3 were found");
  refusal("1,2\n\n3,4\n", "line 2, column 1", "'' was found");
  refusal("1,nan\n", "line 1, column 2", "a finite number was expected, 'nan' was found");
  refusal("1,1e99\n", "line 1, column 2", "a finite number");
  refusal("1,-inf\n", "line 1, column 2", "a finite number");
  refusal("1,2 3\n", "line 1, column 2", "'2 3' was found");
  refusal("1,+-3\n", "line 1, column 2", "'+-3' was found");
  refusal("1,0x10\n", "line 1, column 2", "'0x10' was found");
  refusal("", "no rows", "blank space");
  refusal(" \n\n", "no rows", "blank space");
  refusal("a,b\n", "no rows", "a header line");
  CHECK_THROWS_AS(parse_csv("1", "x", DType::kInt32), Error);
  CHECK_THAT(sentence_of(ErrorCode::kFile, [] { read_csv("/nonexistent/x.csv"); }),
             Contains("x.csv"));
}

TEST_CASE("csv: a stream's line") {
  std::array<float, 2> row{};
  CHECK(parse_csv_row<float>("1, 2\r", row).ok());
  CHECK(row == std::array<float, 2>{1, 2});
  CHECK(describe(parse_csv_row<float>("1,x", row)) ==
        "column 2: a number was expected, 'x' was found");
  CHECK(describe(parse_csv_row<float>("1", row)) ==
        "column 2: 2 columns were expected, 1 were found");
  CHECK(describe(parse_csv_row<float>("1,2,3", row)) ==
        "column 3: 2 columns were expected, 3 were found");
  CHECK_FALSE(parse_csv_row<float>("", row).ok());
  CHECK_FALSE(parse_csv_row<float>("1", std::span<float>()).ok());
  CHECK(count_csv_columns("") == 1);
  CHECK(count_csv_columns("a,\"b,c\",") == 3);
  CHECK(is_csv_header("a,b"));
  CHECK(is_csv_header(",b"));
  CHECK_FALSE(is_csv_header("1,b"));
  CHECK_FALSE(is_csv_header(""));
  CHECK_FALSE(is_csv_header("1e99"));
}
