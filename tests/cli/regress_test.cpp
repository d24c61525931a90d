// `kintsugi regress` on a copy of the shipped suite, through the real program.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <set>
#include <sstream>
#include <string>

#include "common/files.h"
#include "tests/support/temporary_folder.h"

namespace kintsugi {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

struct Outcome {
  int status = -1;
  std::string out;
  std::string err;
};

class Regress : public testing::Test {
 protected:
  Regress() {
    fs::copy(fs::path(KINTSUGI_SOURCE_DIR) / "configs/chips", folder_ / "chips", fs::copy_options::recursive);
    fs::copy(fs::path(KINTSUGI_SOURCE_DIR) / "configs/suites", folder_ / "suites",
             fs::copy_options::recursive);
  }

  Outcome regress(const std::string& options = {}) {
    const std::string command =
        fmt::format("cd '{}' && '{}' regress --suite suites/shipped.yaml {} >stdout 2>stderr </dev/null",
                    folder_.path().string(), KINTSUGI_BINARY, options);
    const int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, common::read_file(folder_ / "stdout"),
            common::read_file(folder_ / "stderr")};
  }

  // Replaces the first `from` in a file of the suite; it must be there.
  void edit(const std::string& name, const std::string& from, const std::string& to, std::size_t start = 0) {
    std::string text = common::read_file(folder_ / ("suites/" + name));
    const std::size_t at = text.find(from, start);
    ASSERT_NE(at, std::string::npos) << from << " in " << name;
    common::write_file_atomic(folder_ / ("suites/" + name), text.replace(at, from.size(), to));
  }

  static std::set<std::string> failing(const Outcome& run) {
    std::set<std::string> names;
    std::istringstream lines(run.out);
    for (std::string line; std::getline(lines, line);)
      if (line.starts_with("FAIL")) {
        std::istringstream words(line);
        std::string name;
        words >> name >> name;
        names.insert(name);
      }
    return names;
  }

  test::TemporaryFolder folder_;
};

TEST_F(Regress, ShippedSuitePasses) {
  const Outcome run = regress("--out result");
  EXPECT_EQ(run.status, 0) << run.out << run.err;
  EXPECT_THAT(run.out, HasSubstr("as recorded"));
  int maps = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator(folder_ / "suites/maps")) ++maps;
  EXPECT_GE(maps, 30);
  const std::string table = common::read_file(folder_ / "result/regress.csv");
  EXPECT_THAT(table, testing::StartsWith("case,fidelity,status,cycles,accuracy,difference\n"));
  EXPECT_THAT(table, HasSubstr("clean_one_tile,pe,ok,"));
  EXPECT_THAT(table, Not(HasSubstr("differs")));
  EXPECT_EQ(regress("--threads 1").out, run.out);
}

TEST_F(Regress, OneBitOfAMapFailsExactlyItsCase) {
  edit("maps/adder_live.yaml", "stuck_at: 1", "stuck_at: 0");
  const Outcome run = regress();
  EXPECT_EQ(run.status, 1) << run.out << run.err;
  EXPECT_THAT(failing(run), ElementsAre("adder_live"));
  EXPECT_THAT(run.out, HasSubstr("FAIL  adder_live [pe cycle functional]\n"));
  EXPECT_THAT(run.out, HasSubstr("layer 'gemm' is the first whose output differs"));
  EXPECT_THAT(run.out, HasSubstr("first difference: element ["));
  EXPECT_THAT(run.out, HasSubstr("shipped: 1 of "));
}

// A bit that the bypass hides changes no output, and is noticed all the same.
TEST_F(Regress, OneHiddenBitOfAMapFailsExactlyItsCase) {
  edit("maps/multiplier_bypassed.yaml", "stuck_at: 1", "stuck_at: 0");
  const Outcome run = regress();
  EXPECT_EQ(run.status, 1);
  EXPECT_THAT(failing(run), ElementsAre("multiplier_bypassed"));
  EXPECT_THAT(run.out, HasSubstr("the faults and bypass bits loaded into the array differ"));
  EXPECT_THAT(run.out, Not(HasSubstr("first difference")));
}

TEST_F(Regress, OneCellOfAGridFailsExactlyItsCase) {
  edit("maps/csv_grid.csv", "1", "0");
  const Outcome run = regress();
  EXPECT_EQ(run.status, 1);
  EXPECT_THAT(failing(run), ElementsAre("csv_grid"));
}

TEST_F(Regress, TheFirstDifferingElementIsNamed) {
  // The fourth row, third number of the first case's record.
  std::string text = common::read_file(folder_ / "suites/shipped.expected.yaml");
  std::size_t at = text.find("rows:");
  for (int row = 0; row < 4; ++row) at = text.find("- \"", at) + 3;
  for (int column = 0; column < 2; ++column) at = text.find(' ', at) + 1;
  const std::size_t end = text.find(' ', at);
  const std::string now = text.substr(at, end - at);
  common::write_file_atomic(folder_ / "suites/shipped.expected.yaml",
                            text.replace(at, end - at, "123456789"));
  const Outcome run = regress("--quiet");
  EXPECT_EQ(run.status, 1);
  EXPECT_THAT(failing(run), ElementsAre("clean_one_tile"));
  EXPECT_THAT(run.out,
              HasSubstr(fmt::format(
                  "first difference: element [3, 2] of the output: recorded 123456789, now {} (1 ", now)));
  EXPECT_THAT(run.out, Not(HasSubstr("\nok")));
}

TEST_F(Regress, CyclesAreCompared) {
  edit("shipped.expected.yaml", "cycles: ", "cycles: 1");
  const Outcome run = regress();
  EXPECT_EQ(run.status, 1);
  EXPECT_THAT(failing(run), ElementsAre("clean_one_tile"));
  EXPECT_THAT(run.out, HasSubstr("cycles: recorded 1"));
}

TEST_F(Regress, UpdateRecordsTheSameBytesAgain) {
  const std::string before = common::read_file(folder_ / "suites/shipped.expected.yaml");
  const Outcome same = regress("--update");
  EXPECT_EQ(same.status, 0) << same.err;
  EXPECT_THAT(same.out, HasSubstr("0 new, 0 changed"));
  EXPECT_EQ(common::read_file(folder_ / "suites/shipped.expected.yaml"), before);

  edit("maps/whole_row.yaml", "row: 3", "row: 4");
  EXPECT_THAT(regress("--update").out, HasSubstr("0 new, 1 changed"));
  EXPECT_NE(common::read_file(folder_ / "suites/shipped.expected.yaml"), before);
  EXPECT_EQ(regress().status, 0);
}

TEST_F(Regress, RecordsAndSuiteMustBelongTogether) {
  edit("shipped.yaml", "name: whole_row,", "name: one_row,");
  const Outcome run = regress();
  EXPECT_EQ(run.status, 2);
  EXPECT_THAT(run.err, HasSubstr("nothing is recorded for case 'one_row'"));
  EXPECT_THAT(run.err, HasSubstr("case 'whole_row' is recorded but not in the suite"));
}

TEST_F(Regress, BadMapsAreReportedBeforeAnythingRuns) {
  edit("maps/whole_row.yaml", "row: 3", "row: 8");
  edit("maps/adder_live.yaml", "stuck_at: 1", "stuck_at: 2");
  const Outcome run = regress();
  EXPECT_EQ(run.status, 2);
  EXPECT_THAT(run.err, HasSubstr("whole_row.yaml:7:"));
  EXPECT_THAT(run.err, HasSubstr("adder_live.yaml:"));
  EXPECT_EQ(run.out, "");
}

}  // namespace
}  // namespace kintsugi
