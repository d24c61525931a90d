// `kintsugi fault-map` from the outside: what it prints, writes, and exits with.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "common/files.h"
#include "faults/fault_map_io.h"
#include "faults/lot_io.h"
#include "tests/support/run_shell.h"
#include "tests/support/temporary_folder.h"

namespace kintsugi {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

using test::Outcome;

class FaultMapCommand : public ::testing::Test {
 protected:
  // Runs in the test's folder.
  Outcome run(const std::string& arguments) {
    return test::run_shell("cd '" + folder_.path().string() + "' && '" KINTSUGI_BINARY "' fault-map " +
                           arguments);
  }
  std::string file(const std::string& name) { return common::read_file(folder_ / name); }
  void write(const std::string& name, const std::string& text) { std::ofstream(folder_ / name) << text; }

  test::TemporaryFolder folder_;
};

TEST_F(FaultMapCommand, EverySubCommandExplainsItselfWithAnExample) {
  EXPECT_EQ(run("").status, 2);
  EXPECT_EQ(run("--help").status, 0);
  for (const char* name : {"sample", "import", "show", "check", "convert", "diff", "masks"}) {
    EXPECT_THAT(run("--help").text, HasSubstr(name));
    const Outcome help = run(std::string(name) + " --help");
    EXPECT_EQ(help.status, 0);
    EXPECT_THAT(help.text, HasSubstr(std::string("Usage: kintsugi fault-map ") + name));
    EXPECT_THAT(help.text, HasSubstr(std::string("Example:\n  kintsugi fault-map ") + name));
  }
  const Outcome wrong = run("smaple");
  EXPECT_EQ(wrong.status, 2);
  EXPECT_THAT(wrong.text, HasSubstr("there is no sub-command 'smaple', did you mean 'sample'?"));
}

TEST_F(FaultMapCommand, SampleIsTheSameForAnyThreadsAndLotSize) {
  const std::string what =
      "sample --rows 32 --cols 48 --rate-range 0.01,0.3 --sites area --escapes 2 --seed 5 --quiet ";
  ASSERT_EQ(run(what + "--count 12 --threads 1 --out a").status, 0);
  ASSERT_EQ(run(what + "--count 12 --threads 3 --out b").status, 0);
  ASSERT_EQ(run(what + "--count 3 --out c --gzip").status, 0);
  for (int i = 1; i <= 12; ++i) {
    const std::string name = std::string(i < 10 ? "chip-000" : "chip-00") + std::to_string(i) + ".yaml";
    EXPECT_EQ(file("a/" + name), file("b/" + name));
    if (i <= 3) {
      EXPECT_EQ(common::read_file_maybe_gzip(folder_ / ("c/" + name + ".gz")), file("a/" + name));
    }
    const auto map = faults::read_fault_map(folder_ / "a" / name, faults::ArrayGeometry{32, 48, 32});
    EXPECT_GE(map.fault_rate(), 0.003);
    EXPECT_LE(map.fault_rate(), 0.35);
  }
  EXPECT_THAT(file("a/chips.csv"),
              HasSubstr("chip,fault_map,faulty_pes,fault_rate\nchip-0001,chip-0001.yaml,"));

  ASSERT_EQ(run(what + "--count 12 --lot lot.csv").status, 0);
  faults::LotFormat format;
  format.rows = 32;
  format.cols = 48;
  const auto maps = faults::read_lot(folder_ / "lot.csv", format);
  ASSERT_EQ(maps.size(), 12u);
  auto first = faults::read_fault_map(folder_ / "a/chip-0001.yaml");
  first.meta.clear();
  EXPECT_EQ(faults::fault_map_yaml(maps[0]), faults::fault_map_yaml(first));
}

TEST_F(FaultMapCommand, SampleDoesNotMixTwoLots) {
  ASSERT_EQ(run("sample --rows 8 --cols 8 --rate 0.1 --count 3 --out a").status, 0);
  const Outcome outcome = run("sample --rows 8 --cols 8 --rate 0.1 --count 2 --out a");
  EXPECT_EQ(outcome.status, 2);
  EXPECT_THAT(outcome.text, HasSubstr("the folder already holds chip-0003.yaml"));
}

TEST_F(FaultMapCommand, SampleOptionsThatDoNotFit) {
  const auto problem = [&](const std::string& options) {
    const Outcome outcome = run("sample --rows 8 --cols 8 --out x " + options);
    EXPECT_EQ(outcome.status, 2) << options;
    return outcome.text;
  };
  EXPECT_THAT(problem(""), HasSubstr("give one of --rate R, --faults N and --rate-range"));
  EXPECT_THAT(problem("--rate 0.1 --faults 3"),
              HasSubstr("give one of --rate R, --faults N and --rate-range"));
  EXPECT_THAT(problem("--rate 1.5"), HasSubstr("--rate must be a number from 0 to 1, but is '1.5'"));
  EXPECT_THAT(problem("--rate 0.1 --model cluster"), HasSubstr("--model must be iid, exact, clustered"));
  EXPECT_THAT(problem("--rate 0.1 --block 4"),
              HasSubstr("--block goes with --model clustered, not with iid"));
  EXPECT_THAT(problem("--rate 0.1 --sites addr"), HasSubstr("did you mean 'adder'?"));
  EXPECT_THAT(problem("--faults 65"), HasSubstr("65 faulty PEs; the array has 64"));
  EXPECT_THAT(problem("--rate-range 0.3,0.1"),
              HasSubstr("--rate-range must be a number from 0.3 to 1, but is '0.1'"));
  EXPECT_THAT(problem("--rate 0.1 --lot l.csv"), HasSubstr("give one of --out DIR and --lot FILE"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "x"));
  EXPECT_THAT(run("sample --rate 0.1 --out x").text, HasSubstr("give --chip FILE, or --rows N --cols N"));
}

TEST_F(FaultMapCommand, ImportSaysHowItUnderstoodRowsAndColumns) {
  write("t.csv", "LOT,DIE,R,C\nx,d1,1,1\nx,d1,8,3\nx,d2,2,2\nx,d3,,\n");
  const std::string columns = "--chip-column DIE --row-column R --col-column C --index-base 1 ";
  const Outcome outcome = run("import t.csv --rows 4 --cols 8 --transpose --out lot " + columns);
  EXPECT_EQ(outcome.status, 0) << outcome.text;
  EXPECT_THAT(outcome.text,
              HasSubstr("t.csv: 3 chips of 4x8 PEs, 1 of them without a fault; 3 faults on 3 PEs"));
  EXPECT_THAT(outcome.text,
              HasSubstr("orientation: 'C' is the array's row, 'R' its column (transposed); index base 1"));
  EXPECT_THAT(outcome.text, HasSubstr("for example chip d1: C 3, R 8 is row 2, col 7 here"));
  EXPECT_EQ(
      file("lot/d1.yaml"),
      "fault_map:\n  version: 1\n  chip: d1\n  rows: 4\n  cols: 8\n  meta:\n    imported_from: \"t.csv\"\n"
      "  faults:\n    - {row: 0, col: 0}\n    - {row: 2, col: 7}\n");
  EXPECT_THAT(file("lot/d3.yaml"), HasSubstr("faults: []"));

  const Outcome wrong = run("import t.csv --rows 4 --cols 8 " + columns);
  EXPECT_EQ(wrong.status, 2);
  EXPECT_THAT(wrong.text,
              HasSubstr("t.csv:3:6: error: 'R' must be a number from 1 to 4 (index base 1), but is '8'"));

  ASSERT_EQ(run("import t.csv --rows 4 --cols 8 --transpose --lot std.csv " + columns).status, 0);
  EXPECT_EQ(file("std.csv"), "chip,row,col,site,bit,stuck_at\nd1,0,0,,,\nd1,2,7,,,\nd2,1,1,,,\nd3,,,,,\n");
}

TEST_F(FaultMapCommand, CheckListsTheProblemsOfAllFiles) {
  ASSERT_EQ(run("sample --rows 4 --cols 4 --faults 3 --out a").status, 0);
  write("bad.yaml",
        "fault_map:\n  version: 1\n  rows: 4\n  cols: 4\n  faults:\n    - {row: 9, col: 0}\n    - {row: 0, "
        "cols: 1}\n");
  write("worse.yaml", "fault_map: {rows: 4\n");
  const Outcome good = run("check a/chip-0001.yaml --rows 4 --cols 4");
  EXPECT_EQ(good.status, 0);
  EXPECT_THAT(good.text, HasSubstr("a/chip-0001.yaml: ok: chip chip-0001, 4x4 PEs, 3 faulty"));
  const Outcome bad = run("check bad.yaml a/chip-0001.yaml worse.yaml --quiet");
  EXPECT_EQ(bad.status, 2);
  EXPECT_THAT(bad.text, HasSubstr("bad.yaml:6:13: error: 'row'"));
  EXPECT_THAT(bad.text, HasSubstr("bad.yaml:7:7: error: a fault needs the key 'col'"));
  EXPECT_THAT(bad.text, HasSubstr("did you mean 'col'?"));
  EXPECT_THAT(bad.text, HasSubstr("worse.yaml:"));
  const Outcome other = run("check a/chip-0001.yaml --rows 8 --cols 4");
  EXPECT_EQ(other.status, 2);
  EXPECT_THAT(other.text,
              HasSubstr("a/chip-0001.yaml:4:9: error: the map has 4 rows, the chip's array has 8"));
}

TEST_F(FaultMapCommand, ShowCountsDrawsAndWritesJson) {
  write("m.yaml",
        "fault_map:\n  version: 1\n  chip: c\n  rows: 2\n  cols: 3\n  faults:\n"
        "    - {row: 0, col: 0, site: psum_register, bit: 1, stuck_at: 1}\n    - {row: 1, col: 2}\n");
  const Outcome outcome = run("show m.yaml --out report");
  EXPECT_EQ(outcome.status, 0);
  EXPECT_EQ(outcome.text,
            "chip c: 2 of 6 PEs faulty, fault rate 0.333333\n"
            "  array             2 rows x 3 columns\n"
            "  faults by site\n"
            "    psum_register             1\n"
            "    unknown nature            1\n"
            "  rows most hit     0 (1), 1 (1)\n"
            "  columns most hit  0 (1), 2 (1)\n"
            "  bypassed PEs      2\n"
            "  not hidden        1 fault, which reaches 1 of 3 columns:\n"
            "    row 0, col 0, psum_register bit 1 stuck at 1: reaches all outputs of column 0\n"
            "  assumed maskable: 1 of 2 faults\n"
            "  test coverage assumed: 100 %\n"
            "┌───┐\n│▀ ▄│ 0\n└───┘\n"
            "each character is two PEs, one above the other: █ both faulty, ▀ upper, ▄ lower\n");
  EXPECT_THAT(file("report/report.json"), HasSubstr("\"assumed_maskable\": 1"));
  EXPECT_THAT(run("show m.yaml --no-bypass").text,
              HasSubstr("cannot be run     1 PE has a fault of unknown nature"));
  write("b.csv", "0,1,0\n0,0,1\n");
  EXPECT_THAT(run("show m.yaml --bypass-map b.csv").text,
              HasSubstr("bypassed PEs      2, 1 of them without a fault"));
}

TEST_F(FaultMapCommand, ConvertThereAndBack) {
  ASSERT_EQ(run("sample --rows 6 --cols 5 --faults 7 --sites area --out a").status, 0);
  ASSERT_EQ(run("convert a/chip-0001.yaml m.yaml.gz --quiet").status, 0);
  ASSERT_EQ(run("convert m.yaml.gz m.yaml --quiet").status, 0);
  EXPECT_EQ(file("m.yaml"), file("a/chip-0001.yaml"));
  EXPECT_EQ(run("diff m.yaml.gz m.yaml").status, 0);

  const Outcome lossy = run("convert m.yaml m.csv");
  EXPECT_EQ(lossy.status, 0);
  EXPECT_THAT(lossy.text, HasSubstr("a grid has no place for site, bit and value: 7 faults"));
  const auto map = faults::read_fault_map(folder_ / "m.csv");
  EXPECT_EQ(map.faulty_pes(), 7);
  EXPECT_EQ(run("convert m.yaml m.txt").status, 2);
}

TEST_F(FaultMapCommand, DiffSeesASingleBit) {
  const std::string head = "fault_map:\n  version: 1\n  chip: c\n  rows: 2\n  cols: 3\n  faults:\n";
  write("a.yaml",
        head + "    - {row: 0, col: 0, site: adder, bit: 1, stuck_at: 1}\n    - {row: 1, col: 2}\n");
  write("b.yaml",
        head + "    - {row: 0, col: 0, site: adder, bit: 2, stuck_at: 1}\n    - {row: 1, col: 2}\n");
  const Outcome outcome = run("diff a.yaml b.yaml");
  EXPECT_EQ(outcome.status, 1);
  EXPECT_EQ(outcome.text,
            "different: 1 faults only in a.yaml (-), 1 only in b.yaml (+), 1 in both\n"
            "  - row 0, col 0, adder bit 1 stuck at 1\n  + row 0, col 0, adder bit 2 stuck at 1\n");
  EXPECT_EQ(run("diff a.yaml a.yaml").text, "same: 2 faults on 2 PEs\n");
  EXPECT_EQ(run("diff a.yaml absent.yaml").status, 2);
}

TEST_F(FaultMapCommand, MasksAreWrittenForPyTorch) {
  write("chip.yaml", "chip:\n  name: c\n  array: {rows: 4, cols: 2}\n  clock_mhz: 700\n");
  write("net.yaml",
        "network:\n  name: n\n  input: {channels: 1, height: 1, width: 5}\n  layers:\n    - {type: flatten}\n"
        "    - {type: linear, name: fc, out_features: 3}\n  loss: softmax_cross_entropy\n");
  write("m.csv", "0,0\n1,0\n0,0\n0,0\n");  // row 1, column 0: inputs 1 (and 5), outputs 0 and 2
  const Outcome outcome =
      run("masks --chip chip.yaml --network net.yaml --fault-map m.csv --out masks.safetensors");
  ASSERT_EQ(outcome.status, 0) << outcome.text;
  EXPECT_THAT(outcome.text, HasSubstr("1 of 8 PEs bypassed"));
  EXPECT_THAT(outcome.text, HasSubstr("assumed maskable: 1 of 1 faults"));
  const std::string bytes = file("masks.safetensors");
  EXPECT_THAT(bytes, HasSubstr("\"fc.weight\""));
  // The only tensor's data are the file's last 3×5 bytes, outputs × inputs.
  const std::string expected(
      "\1\0\1\1\1"
      "\1\1\1\1\1"
      "\1\0\1\1\1",
      15);
  EXPECT_EQ(bytes.substr(bytes.size() - 15), expected);
  EXPECT_THAT(run("masks --chip chip.yaml --network net.yaml --out x.safetensors").text,
              HasSubstr("missing --fault-map"));
}

}  // namespace
}  // namespace kintsugi
