// A tester's long CSV of a whole lot.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "common/files.h"
#include "faults/fault_map_io.h"
#include "faults/lot_io.h"
#include "faults/sampler.h"
#include "faults/wafer.h"
#include "tests/support/temporary_folder.h"

namespace kintsugi::faults {
namespace {

using ::testing::HasSubstr;

class LotFiles : public ::testing::Test {
 protected:
  std::vector<FaultMap> read(const std::string& text, LotFormat format = {}) {
    if (format.rows == 0) format.rows = 4;
    if (format.cols == 0) format.cols = 6;
    std::ofstream(path_) << text;
    return read_lot(path_, format);
  }
  std::string problem(const std::string& text, const LotFormat& format = {}) {
    try {
      read(text, format);
    } catch (const common::InputError& error) {
      return error.what();
    }
    return "(no problem)";
  }

  test::TemporaryFolder folder_;
  const std::filesystem::path path_ = folder_ / "lot.csv";
};

TEST_F(LotFiles, StandardColumns) {
  const auto maps = read(
      "chip,row,col,site,bit,stuck_at\n"
      "B,3,5,multiplier,3,1\n"
      "A,0,0,,,\n"
      "B,1,2,,,\n"
      "C,,,,,\n");
  ASSERT_EQ(maps.size(), 3u);
  EXPECT_EQ(maps[0].chip, "B");  // order of first appearance
  EXPECT_EQ(maps[1].chip, "A");
  EXPECT_EQ(maps[2].chip, "C");
  ASSERT_EQ(maps[0].faults.size(), 2u);
  EXPECT_EQ(maps[0].faults[0].row, 1);  // sorted
  EXPECT_FALSE(maps[0].faults[0].stuck.has_value());
  EXPECT_EQ(maps[0].faults[1].stuck, (StuckAt{pe::Site::multiplier, 3, 1}));
  EXPECT_TRUE(maps[2].faults.empty());
  EXPECT_EQ(maps[2].rows, 4);
  EXPECT_EQ(maps[2].cols, 6);
}

TEST_F(LotFiles, TesterColumnsIndexBaseAndTranspose) {
  LotFormat format;
  format.chip_column = "DIE";
  format.row_column = "R";
  format.col_column = "C";
  format.index_base = 1;
  auto maps = read("LOT,R,C,DIE,BIN\nx,4,6,\"d, 1\",7\n", format);
  ASSERT_EQ(maps.size(), 1u);
  EXPECT_EQ(maps[0].chip, "d, 1");
  EXPECT_EQ(maps[0].faults[0].row, 3);
  EXPECT_EQ(maps[0].faults[0].col, 5);

  format.transpose = true;  // R now counts the array's six columns
  maps = read("LOT,R,C,DIE,BIN\nx,6,1,d1,7\n", format);
  EXPECT_EQ(maps[0].faults[0].row, 0);
  EXPECT_EQ(maps[0].faults[0].col, 5);
  EXPECT_THAT(problem("LOT,R,C,DIE,BIN\nx,1,6,d1,7\n", format),
              HasSubstr(":2:5: error: 'C' must be a number from 1 to 4 (index base 1), but is '6'"));
}

TEST_F(LotFiles, EveryProblemIsListed) {
  const std::string text = problem(
      "chip,row,col,site,bit,stuck_at\n"
      "A,4,0,,,\n"           // 2
      "A,0,0,adder,32,1\n"   // 3
      "A,0,0,adder,1,\n"     // 4
      "A,0,0,ader,1,1\n"     // 5
      "A,1,1,adder,1,1\n"    // 6
      "A,1,1,adder,1,0\n"    // 7
      "A,2,2,,,\n"           // 8
      "A,2,2,,,\n"           // 9
      ",2,2,,,\n"            // 10
      "A,2\n"                // 11
      "D,,,,,\n"             // 12
      "D,1,1,,,\n"           // 13
      "E,1,,,,\n"            // 14
      "E,0,0,adder,1,2\n");  // 15
  for (const char* part :
       {":2:3: error: 'row' must be a number from 0 to 3 (index base 0), but is '4'",
        ":3:13: error: adder has bits 0 to 31, found bit 32",
        ":4: error: 'site', 'bit' and 'stuck_at' are given together",
        ":5:7: error: 'site' must be weight_register,",
        ":7: error: A: adder bit 1 of this PE is stuck at 0 here and at 1 on line 6",
        ":9: error: A: duplicate fault, it was already given on line 8",
        ":10:1: error: a chip's id is missing", ":11: error: this line has 2 cells, the header has 6",
        ":12: error: this line says that D has no faults, line 13 names one",
        ":14:5: error: 'col' must be a number", ":15:15: error: 'stuck_at' must be 0 or 1, but is '2'"})
    EXPECT_THAT(text, HasSubstr(part));
}

TEST_F(LotFiles, HeaderProblems) {
  EXPECT_THAT(problem("chip,rows,col\nA,1,1\n"), HasSubstr("there is no column 'row', did you mean 'rows'?"));
  EXPECT_THAT(problem("chip,row,col,site\nA,1,1,adder\n"), HasSubstr("go together"));
  EXPECT_THAT(problem("chip,row,col,col\nA,1,1,1\n"), HasSubstr("'col' is there twice"));
  EXPECT_THAT(problem(""), HasSubstr("the file is empty"));
  LotFormat named;
  named.bit_column = "BITNO";  // asked for by name: must be there
  EXPECT_THAT(problem("chip,row,col\nA,1,1\n", named), HasSubstr("there is no column 'BITNO'"));
}

// A chip's lines need not all say it; wafers that look like numbers stay what they are.
TEST_F(LotFiles, WafersGoIntoMeta) {
  auto maps = read(
      "chip,wafer,row,col\n"
      "A,W3,0,0\n"
      "B,07,0,1\n"
      "C,,1,1\n"
      "A,,1,2\n"
      "D,\"lot 7, #2\",,\n"
      "B,07,2,2\n");
  ASSERT_EQ(maps.size(), 4u);
  EXPECT_EQ(maps[0].meta, "wafer: W3\n");
  EXPECT_EQ(maps[1].meta, "wafer: \"07\"\n");
  EXPECT_EQ(maps[2].meta, "");
  std::vector<std::string> wafers;
  for (const FaultMap& map : maps) wafers.push_back(wafer_of(map));
  EXPECT_THAT(wafers, ::testing::ElementsAre("W3", "07", "", "lot 7, #2"));

  const auto back = read(lot_csv(maps));
  ASSERT_EQ(back.size(), 4u);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(fault_map_yaml(back[i]), fault_map_yaml(maps[i]));
  // As people write it in a map's file, beside other things.
  maps[2].meta = "{lot: A17, wafer: 3}";
  EXPECT_THAT(lot_csv(maps), HasSubstr("\nC,3,1,1,"));

  LotFormat named;
  named.wafer_column = "WAFER_ID";
  EXPECT_EQ(wafer_of(read("chip,row,col,WAFER_ID\nA,1,1,9\n", named)[0]), "9");
  EXPECT_THAT(problem("chip,row,col\nA,1,1\n", named), HasSubstr("there is no column 'WAFER_ID'"));
  EXPECT_THAT(
      problem("chip,row,col,wafer\nA,1,1,W3\nB,1,1,W4\nA,1,2,W4\n"),
      HasSubstr(":4:7: error: A is of wafer 'W4' here and of 'W3' on line 2; a chip comes from one wafer"));
}

TEST_F(LotFiles, DuplicatesCanBeMerged) {
  LotFormat format;
  format.merge_duplicates = true;
  const auto maps = read("chip,row,col\nA,1,1\nA,1,1\nA,1,2\n", format);
  EXPECT_EQ(maps[0].faults.size(), 2u);
}

TEST_F(LotFiles, ManyProblemsAreCut) {
  std::string text = "chip,row,col\n";
  for (int i = 0; i < 1500; ++i) text += "A,9,9\n";
  EXPECT_THAT(problem(text), HasSubstr("2000 more problems like these"));
}

TEST_F(LotFiles, WrittenLotsReadBack) {
  std::vector<FaultMap> maps;
  for (std::uint64_t i = 0; i < 6; ++i) {
    SampleSpec spec;
    spec.chip = "chip-" + std::to_string(i);
    spec.rows = 16;
    spec.cols = 24;
    spec.rate = i == 3 ? 0 : 0.05;
    if (i % 2) spec.sites = area_weights();
    spec.escapes = i == 5 ? 2 : 0;
    spec.index = i;
    maps.push_back(sample(spec));
    maps.back().meta.clear();  // a lot has no place for it, but for the wafer
  }
  LotFormat format;
  format.rows = 16;
  format.cols = 24;
  const auto back = read(lot_csv(maps), format);
  ASSERT_EQ(back.size(), maps.size());
  for (std::size_t i = 0; i < maps.size(); ++i) EXPECT_EQ(fault_map_yaml(back[i]), fault_map_yaml(maps[i]));
  EXPECT_THROW(lot_csv({maps[0], maps[0]}), common::InputError);
}

TEST_F(LotFiles, PackedMapsAreTheMaps) {
  Lot lot(16, 24);
  std::vector<FaultMap> maps;
  for (std::uint64_t i = 0; i < 4; ++i) {
    SampleSpec spec;
    spec.chip = "chip-" + std::to_string(i);
    spec.rows = 16;
    spec.cols = 24;
    spec.rate = i == 2 ? 0 : 0.1;
    if (i % 2) spec.sites = area_weights();
    spec.escapes = i == 3 ? 2 : 0;
    spec.index = i;
    maps.push_back(sample(spec));
    lot.add(maps.back());
  }
  std::size_t i = 0;
  for (const FaultMap& map : lot) EXPECT_EQ(fault_map_yaml(map), fault_map_yaml(maps[i++]));
  EXPECT_EQ(i, 4u);
  EXPECT_EQ(lot.id(3), "chip-3");
  EXPECT_THROW(Lot(16, 16).add(maps[0]), std::logic_error);
}

TEST_F(LotFiles, OrderOfLinesDoesNotMatter) {
  const auto sorted = read("chip,row,col\nA,0,1\nA,0,2\nA,3,0\nB,1,1\n");
  const auto mixed = read("chip,row,col\nA,3,0\nB,1,1\nA,0,2\nA,0,1\n");
  ASSERT_EQ(mixed.size(), 2u);
  for (std::size_t i = 0; i < 2; ++i) EXPECT_EQ(fault_map_yaml(mixed[i]), fault_map_yaml(sorted[i]));
  EXPECT_THAT(problem("chip,row,col\nA,3,0\nB,1,1\nA,3,0\n"), HasSubstr("duplicate fault"));
}

}  // namespace
}  // namespace kintsugi::faults
