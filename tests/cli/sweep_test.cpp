// `kintsugi sweep` from the outside: the grid and its order, workers, going on, failures, sampled faults.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "tests/cli/program.h"

namespace kintsugi {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class Sweep : public test::Program {
 protected:
  Sweep() {
    write("chip.yaml",
          "chip:\n  name: tiny\n  array: {rows: 8, cols: 8}\n  clock_mhz: 100\n  memory: ideal\n");
    write("t.csv", "Layer, M, N, K,\none, 10, 24, 40,\ntwo, 3, 9, 100,\n");
    write("t.yaml", "workload: {topology: t.csv}\n");
  }
  int sweep(const std::string& options) { return run("sweep --chip chip.yaml --workload t.yaml " + options); }
  // Lines of sweep.csv, split at commas.
  std::vector<std::vector<std::string>> table(const std::string& out) const {
    std::vector<std::vector<std::string>> rows;
    std::istringstream lines(file(out + "/sweep.csv"));
    for (std::string line; std::getline(lines, line);) {
      rows.emplace_back();
      std::istringstream cells(line);
      for (std::string cell; std::getline(cells, cell, ',');) rows.back().push_back(cell);
    }
    return rows;
  }
  std::vector<std::string> point_files(const std::string& out) const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_ / (out + "/points")))
      names.push_back(entry.path().filename().string());
    return names;
  }
};

// ceil(K/R) · ceil(N/C) · (2R + C + M − 2) over both layers.
std::int64_t single_buffered(int rows, int cols) {
  const auto tiles = [&](int k, int n) { return ((k + rows - 1) / rows) * ((n + cols - 1) / cols); };
  return tiles(40, 24) * (2 * rows + cols + 10 - 2) + tiles(100, 9) * (2 * rows + cols + 3 - 2);
}

TEST_F(Sweep, RunsTheGridInOrderWhateverTheWorkers) {
  const std::string grid =
      "--set chip.array.weight_double_buffer=false --set 'chip.array.rows=[8, 16, 4]' "
      "--set 'chip.array.cols=[8,5]' ";
  ASSERT_EQ(sweep(grid + "--workers 1 --out a"), 0) << file("stderr");
  ASSERT_EQ(sweep(grid + "--workers 3 --out b"), 0) << file("stderr");
  EXPECT_EQ(file("a/sweep.csv"), file("b/sweep.csv"));
  const auto rows = table("a");
  ASSERT_EQ(rows.size(), 7u);
  EXPECT_THAT(
      file("a/sweep.csv"),
      HasSubstr("chip.array.rows,chip.array.cols,cycles,stall_cycles,macs,utilization,time_us,accuracy,"
                "fault_rate,mapped_fault_rate,stall_weights_cycles,stall_activations_cycles,"
                "stall_accumulators_cycles,stall_output_cycles,dram_read_bytes,dram_write_bytes,tops,"
                "energy_uj,error\n"));
  std::size_t row = 1;
  for (const int r : {8, 16, 4}) {
    for (const int c : {8, 5}) {
      const std::int64_t cycles = single_buffered(r, c);
      EXPECT_THAT(std::vector(rows[row].begin(), rows[row].begin() + 5),
                  ElementsAre(fmt::format("{}", r), fmt::format("{}", c), fmt::format("{}", cycles), "0",
                              fmt::format("{}", 10 * 24 * 40 + 3 * 9 * 100)));
      EXPECT_EQ(std::stod(rows[row][5]),
                (10.0 * 24 * 40 + 3 * 9 * 100) / (static_cast<double>(cycles) * r * c));
      EXPECT_EQ(std::stod(rows[row][6]), static_cast<double>(cycles) / 100);
      ++row;
    }
  }
  for (const char* fidelity : {"cycle", "pe"}) {
    ASSERT_EQ(sweep(grid + fmt::format("--fidelity {0} --out {0}", fidelity)), 0) << file("stderr");
    EXPECT_EQ(file(fmt::format("{}/sweep.csv", fidelity)), file("a/sweep.csv"));
  }
}

TEST_F(Sweep, TakesKeysTogetherAndListsAsValues) {
  write("other.csv", "Layer, M, N, K,\none, 1, 1, 1,\n");
  ASSERT_EQ(
      sweep("--set 'chip.array.rows,chip.array.cols=[4,8]' --set 'workload.topology=[t.csv, other.csv]' "
            "--out out"),
      0)
      << file("stderr");
  const auto rows = table("out");
  ASSERT_EQ(rows.size(), 5u);
  EXPECT_THAT(std::vector(rows[2].begin(), rows[2].begin() + 3), ElementsAre("4", "4", "other.csv"));
  EXPECT_THAT(std::vector(rows[3].begin(), rows[3].begin() + 3), ElementsAre("8", "8", "t.csv"));
  // R + max(M, R)·0 + M + R + C − 2 of a single tile.
  EXPECT_EQ(rows[2][3], "11");
  // A list as the value of one point is taken literally, so it is refused as a size here.
  EXPECT_EQ(sweep("--set 'chip.array.rows=[[4,8]]' --out refused"), 2);
  EXPECT_THAT(file("stderr"), HasSubstr("a list"));
}

TEST_F(Sweep, GoesOnWhereItStopped) {
  ASSERT_EQ(sweep("--set 'chip.array.rows=[4,8]' --out out"), 0) << file("stderr");
  const std::string first = file("out/sweep.csv");
  const auto files = point_files("out");
  ASSERT_EQ(files.size(), 2u);
  // One point is lost, one is torn, as by a power failure on a strange disk; a third is new.
  std::filesystem::remove(folder_ / ("out/points/" + files[0]));
  write("out/points/" + files[1], "{\"cycles\": 1");
  ASSERT_EQ(sweep("--set 'chip.array.rows=[4,8]' --out out"), 0) << file("stderr");
  EXPECT_EQ(file("out/sweep.csv"), first);
  // What is there is taken, not computed: a marked file shows.
  const std::string marked = file("out/points/" + files[0]);
  write("out/points/" + files[0], "{\"cycles\": 123456" + marked.substr(marked.find(',')));
  ASSERT_EQ(sweep("--set 'chip.array.rows=[4,8,16]' --out out"), 0) << file("stderr");
  EXPECT_THAT(file("out/sweep.csv"), HasSubstr(",123456,"));
  EXPECT_EQ(point_files("out").size(), 3u);
  // Another workload is another point, also under the same name.
  write("t.csv", "Layer, M, N, K,\none, 11, 24, 40,\n");
  ASSERT_EQ(sweep("--set 'chip.array.rows=[4,8]' --out out"), 0) << file("stderr");
  EXPECT_THAT(file("out/sweep.csv"), Not(HasSubstr(",123456,")));
}

TEST_F(Sweep, ReportsPointsThatFailAndFinishesTheRest) {
  EXPECT_EQ(sweep("--set 'chip.array.rows=[4,5000,8]' --out out"), 1);
  EXPECT_THAT(file("stderr"), HasSubstr("5000"));
  EXPECT_THAT(file("stderr"), HasSubstr("at chip.array.rows=5000"));
  EXPECT_THAT(file("stdout"), HasSubstr("1 of 3 points failed"));
  const auto rows = table("out");
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_EQ(rows[2][0], "5000");
  EXPECT_EQ(rows[2][1], "");
  EXPECT_NE(rows[1][1], "");
  EXPECT_NE(rows[3][1], "");

  // Found only when it runs.
  EXPECT_EQ(sweep("--set 'workload.topology=[t.csv, chip.yaml]' --out later"), 1);
  EXPECT_THAT(file("stderr"), HasSubstr("chip.yaml"));
  EXPECT_EQ(point_files("later").size(), 1u);

  EXPECT_EQ(sweep("--set 'chip.array.rows=[4000,5000]' --out refused"), 2);
  EXPECT_FALSE(exists("refused"));
  EXPECT_EQ(sweep("--set 'workload.topology=[chip.yaml]' --out refused"), 2);
  EXPECT_FALSE(exists("refused/sweep.csv"));
}

TEST_F(Sweep, SamplesFaultsAtARateOrADensity) {
  const std::string sizes = "--set 'chip.array.rows,chip.array.cols=[64,128]' --seed 3 ";
  ASSERT_EQ(sweep(sizes + "--fault-rate '[0, 0.05]' --out rate"), 0) << file("stderr");
  ASSERT_EQ(sweep(sizes + "--faults-per-mm2 200 --pe-area-um2 '[250, 500]' --out density"), 0)
      << file("stderr");
  const auto rate = table("rate"), density = table("density");
  ASSERT_EQ(rate.size(), 5u);
  EXPECT_THAT(rate[0][2], "nominal_fault_rate");
  EXPECT_THAT(density[0][2], "pe_area_um2");
  const std::size_t at = 9;  // two sizes, one axis, six figures
  EXPECT_EQ(rate[0][at], "fault_rate");
  EXPECT_EQ(rate[1][at], "0");
  for (const auto& [row, rows, expected] : {std::tuple(2, 64, 0.05), std::tuple(4, 128, 0.05)})
    EXPECT_NEAR(std::stod(rate[row][at]), expected, 5 * std::sqrt(expected / rows / rows));
  // 200 faults on a mm² with 4,000 or 2,000 PEs.
  for (const auto& [row, rows, expected] :
       {std::tuple(1, 64, 0.05), std::tuple(2, 64, 0.1), std::tuple(3, 128, 0.05), std::tuple(4, 128, 0.1)})
    EXPECT_NEAR(std::stod(density[row][at]), expected, 5 * std::sqrt(expected / rows / rows));
  // The same rate and seed, so the same map.
  EXPECT_EQ(rate[2][at], density[1][at]);
  EXPECT_EQ(rate[2][at + 1], density[1][at + 1]);
  EXPECT_GT(std::stod(rate[2][at + 1]), 0);
  ASSERT_EQ(sweep("--set 'chip.array.rows,chip.array.cols=[64,128]' --seed 4 --fault-rate '[0, 0.05]' --out "
                  "rate"),
            0);
  EXPECT_NE(table("rate")[2][at], rate[2][at]);

  EXPECT_EQ(sweep(sizes + "--faults-per-mm2 200 --out refused"), 2);
  EXPECT_THAT(file("stderr"), HasSubstr("add --pe-area-um2"));
  EXPECT_EQ(sweep(sizes + "--faults-per-mm2 200 --pe-area-um2 250 --fault-rate 0.1 --out refused"), 2);
  EXPECT_THAT(file("stderr"), HasSubstr("exclude each other"));
  EXPECT_EQ(sweep(sizes + "--faults-per-mm2 20000 --pe-area-um2 250 --out refused"), 2);
  EXPECT_THAT(file("stderr"), HasSubstr("20000 faults per mm2 on PEs of 250 um2 are 5 faults per PE"));
  EXPECT_THAT(file("stderr"), HasSubstr("at every point of the sweep"));
}

// Every figure of the memory system is the sum that `run` reports.
TEST_F(Sweep, SweepsTheMemorySystem) {
  write("memory.yaml",
        "chip:\n  name: tiny\n  array: {rows: 8, cols: 8}\n  clock_mhz: 100\n"
        "  memory: {dram: {bandwidth_gb_s: 1}, unified_buffer: {size_kib: 1}, accumulators: {entries: 8}}\n"
        "  energy: {mac: 0.5, register_byte: 0.25, accumulator_byte: 2, buffer_byte: 3, dram_byte: 10}\n");
  const std::string what = "--chip memory.yaml --workload t.yaml ";
  ASSERT_EQ(run("sweep " + what + "--set 'chip.memory.dram.bandwidth_gb_s=[0.1,10]' --out out"), 0)
      << file("stderr");
  const auto rows = table("out");
  ASSERT_EQ(rows.size(), 3u);
  std::size_t row = 1;
  for (const char* bandwidth : {"0.1", "10"}) {
    ASSERT_EQ(
        run("run " + what + fmt::format("--set chip.memory.dram.bandwidth_gb_s={} --out one", bandwidth)), 0)
        << file("stderr");
    const std::string summary = file("one/summary.yaml");
    std::size_t compared = 0;
    for (std::size_t column = 1; column < rows[0].size(); ++column) {
      if (rows[0][column] == "accuracy" || rows[0][column] == "fault_rate" || rows[0][column] == "error")
        continue;
      EXPECT_THAT(summary, HasSubstr(fmt::format("\n  {}: {}\n", rows[0][column], rows[row][column])));
      ++compared;
    }
    EXPECT_EQ(compared, 14u);
    ++row;
  }
  const auto number = [&](std::size_t r, const std::string& name) {
    const auto at = std::find(rows[0].begin(), rows[0].end(), name) - rows[0].begin();
    return std::stod(rows[r][static_cast<std::size_t>(at)]);
  };
  EXPECT_GT(number(1, "stall_weights_cycles"), number(2, "stall_weights_cycles"));
  EXPECT_GT(number(2, "tops"), number(1, "tops"));
  EXPECT_EQ(number(1, "dram_read_bytes"), number(2, "dram_read_bytes"));
  EXPECT_GT(number(1, "dram_read_bytes"), 24 * 40 + 9 * 100);
  EXPECT_EQ(number(1, "dram_write_bytes"), 10 * 24 + 3 * 9);
  EXPECT_GT(number(1, "energy_uj"), 0);
}

// A network on images, with live faults: every point is what `run` gives there.
TEST_F(Sweep, AgreesWithRun) {
  const std::string suites = fmt::format("{}/configs/suites/", KINTSUGI_SOURCE_DIR);
  const std::string what = fmt::format(
      "--chip '{0}chips/channel8.yaml' --workload '{0}network_workload.yaml' "
      "--fault-map '{0}maps/network_channel_live.yaml' ",
      suites);
  ASSERT_EQ(run("sweep " + what +
                "--set chip.array.bypass=none --set 'chip.clock_mhz=[50]' --set 'workload.batch=[1,3]' "
                "--set 'chip.mapping.convolution=[im2col,channel]' --out out"),
            0)
      << file("stderr");
  const auto rows = table("out");
  ASSERT_EQ(rows.size(), 5u);
  std::size_t row = 1;
  for (const int batch : {1, 3}) {
    for (const char* mapping : {"im2col", "channel"}) {
      ASSERT_EQ(
          run(fmt::format("run {} --set chip.array.bypass=none --set chip.clock_mhz=50 --set "
                          "workload.batch={} --set chip.mapping.convolution={} --fidelity cycle --out one",
                          what, batch, mapping)),
          0)
          << file("stderr");
      const std::string summary = file("one/summary.yaml");
      EXPECT_THAT(summary, HasSubstr(fmt::format("\n  cycles: {}\n", rows[row][3])));
      EXPECT_THAT(summary, HasSubstr(fmt::format("\n  macs: {}\n", rows[row][5])));
      EXPECT_THAT(summary, HasSubstr(fmt::format("\n  utilization: {}\n", rows[row][6])));
      EXPECT_THAT(summary, HasSubstr(fmt::format("\n  time_us: {}\n", rows[row][7])));
      EXPECT_THAT(summary, HasSubstr(fmt::format("\n    int8_this_chip: {}\n", rows[row][8])));
      EXPECT_THAT(summary, HasSubstr(fmt::format("\n    fault_rate: {}\n", rows[row][9])));
      ++row;
    }
  }
  EXPECT_NE(rows[1][3], rows[2][3]);
  EXPECT_NE(rows[1][3], rows[3][3]);
}

TEST_F(Sweep, PrintsATableOfAtMost100Columns) {
  const std::string deep = "a_folder_with_quite_a_long_name/and_another_one_below_it/topology_number_one.csv";
  write(deep, file("t.csv"));
  ASSERT_EQ(sweep(fmt::format("--set 'workload.topology=[{}, t.csv]' --set 'chip.array.rows=[16,32]' --set "
                              "'chip.array.cols=[16]' --set 'chip.clock_mhz=[100.25]' --set "
                              "'chip.mapping.convolution=[im2col,channel]' --fault-rate '[0.01]' --out out",
                              deep)),
            0)
      << file("stderr");
  std::istringstream lines(file("stdout"));
  std::size_t count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    std::size_t width = 0;
    for (const char c : line) width += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
    EXPECT_LE(width, 100u) << line;
  }
  EXPECT_GE(count, 10u);
  EXPECT_THAT(file("stdout"), HasSubstr("_one.csv"));
  EXPECT_THAT(file("out/sweep.csv"), HasSubstr(deep));
}

TEST_F(Sweep, RefusesWhatIsNoGrid) {
  const auto refused = [&](const std::string& options, const std::string& message) {
    EXPECT_EQ(sweep(options + " --out refused"), 2) << options;
    EXPECT_THAT(file("stderr"), HasSubstr(message));
    EXPECT_FALSE(exists("refused"));
  };
  refused("--set chip.array.rows=4", "nothing is swept");
  refused("--set 'chip.array.rows=[]'", "the list of values is empty");
  refused("--set 'chip.array.rows=[4]' --set chip.array.rows=8", "'chip.array.rows' is set more than once");
  refused("--set 'chip.array.rows,=[4]'", "is not a dotted key");
  refused("--set 'chip.array.rows'", "needs the form key=value");
  refused("--set 'campaign.policy=[4]'", "a sweep reads no campaign file");
  refused("--set 'chip.array.row=[4,8]'", "unknown key 'row'");
  refused("--set 'chip.array.rows=[4,8]' --fault-rate 2", "--fault-rate must be a number from 0 to 1");
  refused("--set 'chip.array.rows=[4,8]' --workers 0", "--workers must be an integer from 1 to 1024");
}

}  // namespace
}  // namespace kintsugi
