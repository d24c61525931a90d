// Map files: what is written reads back, and every mistake is named at its place.
#include "faults/fault_map_io.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "common/files.h"
#include "tests/support/temporary_folder.h"

namespace kintsugi::faults {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class FaultMapFiles : public ::testing::Test {
 protected:
  std::filesystem::path write(const std::string& name, const std::string& text) {
    const auto path = folder_ / name;
    std::ofstream(path) << text;
    return path;
  }
  // A 4×5 map with these lines of faults.
  std::filesystem::path map_file(const std::string& faults, const std::string& head = "") {
    return write("m.yaml", "fault_map:\n  version: 1\n  chip: c1\n  rows: 4\n  cols: 5\n" + head + faults);
  }
  static std::string problem(const std::filesystem::path& path,
                             const std::optional<ArrayGeometry>& array = std::nullopt) {
    try {
      read_fault_map(path, array);
    } catch (const common::InputError& error) {
      return error.what();
    }
    return "(no problem)";
  }

  test::TemporaryFolder folder_;
};

FaultMap example() {
  FaultMap map;
  map.chip = "chip-0007";
  map.rows = 6;
  map.cols = 9;
  map.faults = {{1, 2, StuckAt{pe::Site::multiplier, 15, 1}, false, {}},
                {1, 2, StuckAt{pe::Site::weight_register, 0, 0}, false, {}},
                {5, 8, std::nullopt, false, {}},
                {3, 3, StuckAt{pe::Site::psum_register, 31, 0}, true, {}}};
  map.sort();
  return map;
}

void expect_same(const FaultMap& a, const FaultMap& b) {
  EXPECT_EQ(a.chip, b.chip);
  EXPECT_EQ(a.rows, b.rows);
  EXPECT_EQ(a.cols, b.cols);
  EXPECT_EQ(a.meta, b.meta);
  ASSERT_EQ(a.faults.size(), b.faults.size());
  for (std::size_t i = 0; i < a.faults.size(); ++i) {
    EXPECT_EQ(a.faults[i].row, b.faults[i].row);
    EXPECT_EQ(a.faults[i].col, b.faults[i].col);
    EXPECT_EQ(a.faults[i].stuck, b.faults[i].stuck);
    EXPECT_EQ(a.faults[i].escape, b.faults[i].escape);
  }
}

TEST_F(FaultMapFiles, YamlRoundTrip) {
  for (const char* name : {"a.yaml", "a.yaml.gz", "a.yml"}) {
    FaultMap map = example();
    map.meta = "lot: A17   # as on the box\nwafer: 3\n\nnotes: |\n  two lines,\n    indented\n# the end\n";
    write_fault_map(folder_ / name, map);
    const FaultMap back = read_fault_map(folder_ / name);
    expect_same(map, back);
    write_fault_map(folder_ / "again.yaml", back);
    EXPECT_EQ(common::read_file_maybe_gzip(folder_ / name), common::read_file(folder_ / "again.yaml"));
  }
}

TEST_F(FaultMapFiles, GzipIsKnownByContentNotName) {
  common::write_file_atomic(folder_ / "odd.yaml", common::gzip(fault_map_yaml(example())));
  expect_same(example(), read_fault_map(folder_ / "odd.yaml"));
}

TEST_F(FaultMapFiles, MetaIsKeptToTheLetter) {
  const std::string block =
      "    # where it comes from\n    lot:   A17\n    die: {x: 3, y: -1}  # from the centre\n    list:\n     "
      " - 1\n";
  const auto path = map_file("  meta:\n" + block + "  # no longer meta\n  faults: []\n");
  const FaultMap map = read_fault_map(path);
  EXPECT_EQ(map.meta,
            "# where it comes from\nlot:   A17\ndie: {x: 3, y: -1}  # from the centre\nlist:\n  - 1\n");
  EXPECT_THAT(fault_map_yaml(map), HasSubstr("  meta:\n" + block + "  faults: []\n"));

  const auto flow = map_file("  meta: {lot: \"a } b\", t: 'it''s', list: [1, {a: 2}]}  # c\n  faults: []\n");
  EXPECT_EQ(read_fault_map(flow).meta, "{lot: \"a } b\", t: 'it''s', list: [1, {a: 2}]}");
  write_fault_map(folder_ / "flow.yaml", read_fault_map(flow));
  EXPECT_EQ(read_fault_map(folder_ / "flow.yaml").meta, read_fault_map(flow).meta);
}

TEST_F(FaultMapFiles, ChipIdsAreQuotedWhereYamlWouldReadSomethingElse) {
  for (const char* id : {"a: b", "null", "-", "x #1", "say \"x\"", "päß", "0007", "true", "{", "a\tb\\"}) {
    FaultMap map = example();
    map.chip = id;
    write_fault_map(folder_ / "q.yaml", map);
    EXPECT_EQ(read_fault_map(folder_ / "q.yaml").chip, id);
  }
}

TEST_F(FaultMapFiles, RangesAndAllAreExpanded) {
  const FaultMap map = read_fault_map(map_file(
      "  faults:\n    - {row: 1-2, col: all}\n    - {row: 3, col: 0-1, site: adder, bit: 5, stuck_at: 1}\n"));
  EXPECT_EQ(map.faults.size(), 12u);
  EXPECT_EQ(map.faulty_pes(), 12);
  EXPECT_DOUBLE_EQ(map.fault_rate(), 12.0 / 20.0);
  EXPECT_EQ(map.faults.front().row, 1);
  EXPECT_EQ(map.faults.back().col, 1);
  EXPECT_EQ(map.faults.back().stuck, (StuckAt{pe::Site::adder, 5, 1}));
  EXPECT_EQ(map.faults.back().where.line, 8);
}

TEST_F(FaultMapFiles, GridRoundTrip) {
  const FaultMap map = example();
  write_fault_map(folder_ / "chip-9.csv", map);
  EXPECT_EQ(common::read_file(folder_ / "chip-9.csv").substr(0, 36),
            "0,0,0,0,0,0,0,0,0\n0,0,1,0,0,0,0,0,0\n");
  const FaultMap back = read_fault_map(folder_ / "chip-9.csv");
  EXPECT_EQ(back.chip, "chip-9");
  EXPECT_EQ(back.rows, 6);
  EXPECT_EQ(back.cols, 9);
  ASSERT_EQ(back.faults.size(), 3u);
  for (const Fault& fault : back.faults) EXPECT_FALSE(fault.stuck.has_value());
  EXPECT_EQ(fault_map_grid(back), fault_map_grid(map));
  write_fault_map(folder_ / "chip-9.csv.gz", map);
  expect_same(read_fault_map(folder_ / "chip-9.csv.gz"), back);
}

TEST_F(FaultMapFiles, GridProblems) {
  const std::string text = problem(write("g.csv", "0,1,0\n0,2,0\n1,0\n"));
  EXPECT_THAT(text, HasSubstr("g.csv:2:3: error: a cell of a grid is 0 (good) or 1 (bad), but this is '2'"));
  EXPECT_THAT(text, HasSubstr("g.csv:3: error: this row has 2 cells, the first has 3"));
  EXPECT_THAT(problem(write("g.csv", "0,1\n0,0\n"), ArrayGeometry{2, 3, 32}),
              HasSubstr("2 columns, the chip's array has 3"));
  EXPECT_THAT(problem(write("g.csv", "chip,row,col\nA,1,2\n")), HasSubstr("kintsugi fault-map import"));
}

TEST_F(FaultMapFiles, EveryProblemIsListedAtItsPlace) {
  const std::string text =
      problem(map_file("  faults:\n"
                       "    - {row: 4, col: 0}\n"                                          // 7
                       "    - {row: 0, col: 3-1}\n"                                        // 8
                       "    - {row: 0, col: x}\n"                                          // 9
                       "    - {col: 0}\n"                                                  // 10
                       "    - {row: 0, col: 0, site: multiplyer, bit: 3, stuck_at: 1}\n"   // 11
                       "    - {row: 0, col: 0, site: multiplier, bit: 16, stuck_at: 1}\n"  // 12
                       "    - {row: 0, col: 0, site: multiplier, bit: 3, stuck_at: 2}\n"   // 13
                       "    - {row: 0, col: 0, site: multiplier}\n"                        // 14
                       "    - {row: 0, col: 1, escape: true}\n"                            // 15
                       "    - {row: 0, col: 2, sites: adder}\n"                            // 16
                       "    - {row: 1, col: 1}\n"                                          // 17
                       "    - {row: 1, col: 1}\n"                                          // 18
                       "    - {row: 2, col: 2, site: adder, bit: 0, stuck_at: 0}\n"        // 19
                       "    - {row: 2, col: all, site: adder, bit: 0, stuck_at: 1}\n"      // 20
                       "    - {row: 010, col: 0}\n"                                        // 21
                       ));
  EXPECT_THAT(
      text,
      HasSubstr(
          "m.yaml:7:13: error: 'row' must be a number from 0 to 3, a range like 0-3, or all, but is 4"));
  EXPECT_THAT(text, HasSubstr("m.yaml:8:21: error: 'col' is the range 3-1, which runs backwards; write 1-3"));
  EXPECT_THAT(
      text,
      HasSubstr(
          "m.yaml:9:21: error: 'col' must be a number from 0 to 4, a range like 0-4, or all, but is 'x'"));
  EXPECT_THAT(text, HasSubstr("m.yaml:10:7: error: a fault needs the key 'row'"));
  EXPECT_THAT(
      text,
      HasSubstr("m.yaml:11:30: error: 'site' must be weight_register, multiplier, adder, psum_register or "
                "activation_register, but is 'multiplyer'"));
  EXPECT_THAT(text, HasSubstr("m.yaml:12:47: error: multiplier has bits 0 to 15, found bit 16"));
  EXPECT_THAT(text, HasSubstr("m.yaml:13:60: error: 'stuck_at' must be an integer from 0 to 1, but is 2"));
  EXPECT_THAT(
      text,
      HasSubstr("m.yaml:14:7: error: a fault of known nature has 'site', 'bit' and 'stuck_at'; 'bit' and "
                "'stuck_at' are missing here"));
  EXPECT_THAT(text, HasSubstr("m.yaml:15:32: error: an escape is live on the chip"));
  EXPECT_THAT(text, HasSubstr("m.yaml:16:24: error: unknown key 'sites'"));
  EXPECT_THAT(
      text,
      HasSubstr("m.yaml:18:7: error: duplicate fault: row 1, col 1 of unknown nature was already given on "
                "line 17"));
  EXPECT_THAT(
      text,
      HasSubstr("m.yaml:20:7: error: row 2, col 2, adder bit 0 is stuck at 1 here and at 0 on line 19"));
  EXPECT_THAT(text, HasSubstr("m.yaml:21:13: error: 'row' must be a number"));
  std::size_t errors = 0;
  for (std::size_t at = 0; (at = text.find(": error: ", at)) != std::string::npos; ++at) ++errors;
  EXPECT_EQ(errors, 13u) << text;
}

TEST_F(FaultMapFiles, OverlappingRangesAreReportedOncePerPairOfEntries) {
  const std::string text =
      problem(map_file("  faults:\n    - {row: all, col: 0}\n    - {row: 1-3, col: all}\n"));
  EXPECT_THAT(
      text,
      HasSubstr(
          "m.yaml:8:7: error: duplicate fault: row 1, col 0 of unknown nature was already given on line 7 "
          "(and 2 more of this entry)"));
  EXPECT_THAT(text, Not(HasSubstr("row 2")));
}

TEST_F(FaultMapFiles, HeadProblems) {
  EXPECT_THAT(problem(write("m.yaml", "fault_map:\n  version: 2\n  cols: 0\n  chips: a\n  faults: []\n")),
              ::testing::AllOf(HasSubstr("m.yaml:2:12: error: 'version'"), HasSubstr("needs the key 'rows'"),
                               HasSubstr("m.yaml:3:9: error: 'cols'"), HasSubstr("did you mean 'chip'?")));
  EXPECT_THAT(problem(map_file("")), HasSubstr("needs the key 'faults'"));
  EXPECT_THAT(problem(map_file("  meta: 3\n  faults: []\n")), HasSubstr("'meta' must be a mapping"));
  EXPECT_THAT(problem(folder_ / "absent.yaml"), HasSubstr("absent.yaml"));
}

TEST_F(FaultMapFiles, IsCheckedAgainstTheChip) {
  const auto path = map_file("  faults:\n    - {row: 0, col: 0, site: adder, bit: 24, stuck_at: 1}\n");
  EXPECT_EQ(problem(path, ArrayGeometry{4, 5, 32}), "(no problem)");
  EXPECT_THAT(problem(path, ArrayGeometry{4, 5, 24}),
              HasSubstr("m.yaml:7:42: error: adder has bits 0 to 23, found bit 24"));
  EXPECT_THAT(problem(path, ArrayGeometry{8, 5, 32}),
              HasSubstr("m.yaml:4:9: error: the map has 4 rows, the chip's array has 8"));

  EXPECT_THAT(problem(path, ArrayGeometry{8, 5, 32}), Not(HasSubstr("unknown key")));

  const FaultMap map = read_fault_map(path);
  EXPECT_NO_THROW(check_against(map, 4, 5, 32));
  EXPECT_THROW(check_against(map, 4, 5, 24), common::InputError);
  EXPECT_THROW(check_against(map, 5, 4, 32), common::InputError);
  FaultMap twice = example();
  twice.faults.push_back(twice.faults.back());
  try {
    check_against(twice, 6, 9, 32);
    FAIL();
  } catch (const common::InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("fault map of chip-0007: error: duplicate fault: row 5, col 8"));
  }
}

TEST_F(FaultMapFiles, OverridesApply) {
  const auto path = map_file("  faults: []\n");
  const FaultMap map =
      read_fault_map(path, std::nullopt, {{"fault_map.chip", "other"}, {"fault_map.rows", "7"}});
  EXPECT_EQ(map.chip, "other");
  EXPECT_EQ(map.rows, 7);
}

TEST_F(FaultMapFiles, WritesOnlyNamesItKnows) {
  EXPECT_THROW(write_fault_map(folder_ / "map.txt", example()), common::InputError);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "map.txt"));
}

}  // namespace
}  // namespace kintsugi::faults
