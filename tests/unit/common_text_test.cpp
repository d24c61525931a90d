// Numbers, words, CSV and problem lists.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

#include <cmath>
#include <limits>

#include "common/csv.h"
#include "common/diagnostics.h"
#include "common/text.h"
#include "tests/support/input_error.h"

namespace kintsugi::common {
namespace {

using testing::HasSubstr;

TEST(ParseInteger, TakesPlainDecimalsOnly) {
  EXPECT_EQ(parse_integer("0"), 0);
  EXPECT_EQ(parse_integer("-17"), -17);
  EXPECT_EQ(parse_integer("9223372036854775807"), std::numeric_limits<std::int64_t>::max());
  EXPECT_EQ(parse_integer("-9223372036854775808"), std::numeric_limits<std::int64_t>::min());
  for (const char* text : {"", "-", "+1", "010", "-01", " 1", "1 ", "1.0", "1e3", "0x10",
                           "9223372036854775808", "yes", "1_000", "--1", "½"})
    EXPECT_FALSE(parse_integer(text)) << text;
}

TEST(ParseReal, TakesPlainDecimalsOnly) {
  EXPECT_EQ(parse_real("0.5"), 0.5);
  EXPECT_EQ(parse_real("1e-3"), 0.001);
  EXPECT_EQ(parse_real("-2E+2"), -200.0);
  EXPECT_EQ(parse_real("7"), 7.0);
  for (const char* text : {"", "+1", "010", "00.5", "1e400", "-1e400", ".inf", "inf", "nan", "0x1p3", " 1",
                           "1,5", "1e", "yes", "1..2"})
    EXPECT_FALSE(parse_real(text)) << text;
}

TEST(ParseBoolean, TakesTrueAndFalseOnly) {
  EXPECT_EQ(parse_boolean("true"), true);
  EXPECT_EQ(parse_boolean("false"), false);
  for (const char* text : {"yes", "no", "on", "y", "True", "1", ""})
    EXPECT_FALSE(parse_boolean(text)) << text;
}

TEST(Nearest, FindsSlipsAndNothingElse) {
  const std::vector<std::string> words = {"rows", "cols", "weight_double_buffer", "run"};
  EXPECT_EQ(nearest("row", words), "rows");
  EXPECT_EQ(nearest("colls", words), "cols");
  EXPECT_EQ(nearest("rnu", words), "run");  // a swap of neighbours is one slip
  EXPECT_EQ(nearest("weight_dubble_buffer", words), "weight_double_buffer");
  EXPECT_EQ(nearest("clock", words), std::nullopt);
  EXPECT_EQ(nearest("xyz", words), std::nullopt);
}

TEST(FormatNumber, IsShortestAndExact) {
  EXPECT_EQ(format_number(0.1), "0.1");
  EXPECT_EQ(format_number(3), "3");
  EXPECT_EQ(format_number(-0.0), "0");
  for (const double value : {1.0 / 3, 1e-300, 123456789.125, 2.5e17, -0.7071067811865476}) {
    const std::string text = format_number(value);
    EXPECT_EQ(std::strtod(text.c_str(), nullptr), value) << text;
  }
}

TEST(JoinOr, ReadsAsASentence) {
  EXPECT_EQ(join_or(std::vector<std::string>{"a"}), "a");
  EXPECT_EQ(join_or(std::vector<std::string>{"a", "b"}), "a or b");
  EXPECT_EQ(join_or(std::vector<std::string>{"a", "b", "c"}), "a, b or c");
}

TEST(Join, PutsTheSeparatorBetween) {
  EXPECT_EQ(join(std::vector<std::string>{}), "");
  EXPECT_EQ(join(std::vector<std::string>{"a", "b", "c"}), "a, b, c");
  EXPECT_EQ(join(std::vector<std::string>{"a", "b"}, " "), "a b");
}

TEST(FormatPercent, HasTwoDecimals) {
  EXPECT_EQ(format_percent(0.97314), "97.31 %");
  EXPECT_EQ(format_percent(1), "100.00 %");
}

TEST(YamlScalar, IsPlainOnlyWhereThatReadsBackAsTheSameString) {
  for (const char* text : {"tpu256", "lot7/chip-0001.yaml", "a_b.c"}) EXPECT_EQ(yaml_scalar(text), text);
  EXPECT_EQ(yaml_quoted("tpu256"), "\"tpu256\"");
  for (const std::string text :
       {"",          "0007",     "1e3",     ".inf",  "-a",   "~",    "null",      "NULL",        "True",
        "no",        "Y",        "a b",     "it's",  "a: b", "a #b", "say \"x\"", "back\\slash", "two\nlines",
        "tab\there", "bell\x07", "del\x7f", "µ ≤ ½", "{a}",  "*b"}) {
    EXPECT_EQ(yaml_scalar(text), yaml_quoted(text)) << text;
    EXPECT_EQ(YAML::Load("{key: " + yaml_scalar(text) + "}")["key"].as<std::string>(), text);
    EXPECT_EQ(YAML::Load("key: " + yaml_scalar(text) + "  # note")["key"].as<std::string>(), text);
  }
}

TEST(Csv, KeepsCellsLinesAndColumns) {
  Diagnostics problems;
  const auto rows = parse_csv(
      "\xef\xbb\xbf"
      "a, b ,c\r\n# note\n\n\"x, \"\"y\"\"\",,2\n",
      "f.csv", problems);
  EXPECT_TRUE(problems.empty());
  ASSERT_EQ(rows.size(), 2U);
  ASSERT_EQ(rows[0].cells.size(), 3U);
  EXPECT_EQ(rows[0].cells[1].text, "b");
  EXPECT_EQ(rows[1].line, 4);
  ASSERT_EQ(rows[1].cells.size(), 3U);
  EXPECT_EQ(rows[1].cells[0].text, "x, \"y\"");
  EXPECT_EQ(rows[1].cells[1].text, "");
  EXPECT_EQ(rows[1].cells[2].text, "2");
  EXPECT_EQ(rows[1].cells[2].column, 13);
}

TEST(Csv, ReportsAnOpenQuote) {
  Diagnostics problems;
  parse_csv("a\nb,\"c\n", "f.csv", problems);
  EXPECT_THAT(problems.render(), HasSubstr("f.csv:2:3: error:"));
}

TEST(Csv, QuotesWhatNeedsIt) {
  EXPECT_EQ(csv_cell("plain"), "plain");
  EXPECT_EQ(csv_cell("a,b"), "\"a,b\"");
  EXPECT_EQ(csv_cell("say \"x\""), "\"say \"\"x\"\"\"");
}

TEST(DiagnosticsList, ShowsEveryProblemInFileOrderWithACaret) {
  Diagnostics problems;
  problems.add_source("f.yaml", "one\n\ttwo: 3\nthree\n");
  problems.error({"f.yaml", 3, 1}, "second");
  problems.error({"f.yaml", 2, 7}, "first");
  problems.error({"g.yaml"}, "other file");
  EXPECT_EQ(problems.render(),
            "f.yaml:2:7: error: first\n"
            "    2 | \ttwo: 3\n"
            "      | \t     ^\n"
            "f.yaml:3:1: error: second\n"
            "    3 | three\n"
            "      | ^\n"
            "g.yaml: error: other file");
  EXPECT_EQ(test::input_error([&] { problems.throw_if_any(); }), problems.render());
  EXPECT_NO_THROW(Diagnostics().throw_if_any());
}

}  // namespace
}  // namespace kintsugi::common
