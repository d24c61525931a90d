// `kintsugi run` on SCALE-Sim topologies: SCALE-Sim's cycles, the same at every fidelity.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/cli/program.h"

namespace kintsugi {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class RunTopology : public test::Program {};

const std::string kAlexNet = fmt::format(
    "run --chip '{0}/configs/chips/tpu256_ideal.yaml' --workload '{0}/configs/workloads/alexnet.yaml' ",
    KINTSUGI_SOURCE_DIR);

TEST_F(RunTopology, GivesScaleSimsCyclesForAlexNet) {
  ASSERT_EQ(run(kAlexNet + "--set chip.array.weight_double_buffer=false --out out"), 0) << file("stderr");
  const std::string layers = file("out/layers.csv");
  // ceil(K/256) · ceil(N/256) · (2 · 256 + 256 + M − 2)
  EXPECT_THAT(layers, HasSubstr("\nConv1,3025,363,96,2,7582,0,"));
  EXPECT_THAT(layers, HasSubstr("\nConv2,529,2400,256,10,12950,0,"));
  EXPECT_THAT(layers, HasSubstr("\nConv3,121,2304,384,18,15966,0,"));
  EXPECT_THAT(layers, HasSubstr("\nConv4,121,3456,384,28,24836,0,"));
  EXPECT_THAT(layers, HasSubstr("\nConv5,121,3456,256,14,12418,0,"));
  EXPECT_THAT(file("out/summary.yaml"), HasSubstr("\n  cycles: 73752\n"));
  EXPECT_THAT(file("out/summary.yaml"), HasSubstr("\n  numbers_computed: false\n  operands: none\n"));
  EXPECT_THAT(file("stdout"), HasSubstr("no numbers were computed"));
  EXPECT_FALSE(exists("out/output.npy"));
}

TEST_F(RunTopology, GivesScaleSimsCyclesForProducts) {
  write("t.csv", "Layer, M, N, K,\nexact, 100, 256, 256,\nragged, 100, 300, 300,\nlarge, 1000, 512, 512,\n");
  write("t.yaml", "workload: {topology: t.csv}\n");
  ASSERT_EQ(run(fmt::format("run --chip '{}/configs/chips/tpu256_ideal.yaml' --workload t.yaml --set "
                            "chip.array.weight_double_buffer=false --quiet --out out",
                            KINTSUGI_SOURCE_DIR)),
            0)
      << file("stderr");
  EXPECT_THAT(file("out/layers.csv"), HasSubstr("\nexact,100,256,256,1,866,0,6553600,"));
  EXPECT_THAT(file("out/layers.csv"), HasSubstr("\nragged,100,300,300,4,3464,0,9000000,"));
  EXPECT_THAT(file("out/layers.csv"), HasSubstr("\nlarge,1000,512,512,4,7064,0,262144000,"));
}

TEST_F(RunTopology, IsTheSameAtEveryFidelity) {
  write("chip.yaml", "chip:\n  name: tiny\n  array: {rows: 6, cols: 5}\n  clock_mhz: 100\n  memory: ideal\n");
  write("map.yaml",
        "fault_map:\n  version: 1\n  chip: broken\n  rows: 6\n  cols: 5\n  faults:\n"
        "    - {row: 0, col: 1}\n    - {row: 5, col: 4}\n    - {row: 2, col: 2}\n");
  write("t.csv",
        "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,\n"
        "Odd, 8, 7, 3, 2, 3, 7, 2,\nThin_DP, 5, 5, 3, 3, 3, 2, 1,\nFC, 1, 1, 1, 1, 20, 11, 1,\n");
  write("t.yaml", "workload: {topology: t.csv}\n");
  for (const char* mapping : {"im2col", "channel"}) {
    for (const char* fidelity : {"pe", "cycle", "functional"}) {
      ASSERT_EQ(run(fmt::format("run --chip chip.yaml --workload t.yaml --fault-map map.yaml --fidelity {1} "
                                "--set chip.mapping.convolution={0} --out {0}_{1}",
                                mapping, fidelity)),
                0)
          << file("stderr");
      EXPECT_EQ(file(fmt::format("{}_{}/layers.csv", mapping, fidelity)),
                file(fmt::format("{}_pe/layers.csv", mapping)));
    }
  }
  EXPECT_THAT(file("im2col_pe/summary.yaml"), HasSubstr("\n  operands: random\n"));
  EXPECT_NE(file("im2col_pe/layers.csv"), file("channel_pe/layers.csv"));
  // Odd: M = ceil(5/2 + 1) · ceil(5/2 + 1) = 4 · 4, K = 18, N = 7: 3 k-tiles, 2 n-tiles of 5 and 2 columns.
  // PE (0,1) has a weight in all of them, (2,2) and (5,4) only in those with 5 columns.
  EXPECT_THAT(file("im2col_pe/layers.csv"), HasSubstr("\nOdd,16,18,7,6,"));
  EXPECT_THAT(file("im2col_pe/layers.csv"), HasSubstr(fmt::format(",{},", (6 + 3 + 3) / (18.0 * 7))));
  // The matrix product: K = 20 in 4 k-tiles (the last of 2 rows), N = 11 in 3 n-tiles (the last of 1 column).
  EXPECT_THAT(file("im2col_pe/layers.csv"),
              HasSubstr(fmt::format(",{},", (4 * 2 + 3 * 2 + 3 * 2) / (20.0 * 11))));
}

// The calendar without numbers against the clocked arrays, stall by stall and event by event.
TEST_F(RunTopology, CostsTheSameAtEveryFidelityWithAMemorySystem) {
  write("chip.yaml",
        "chip:\n  name: tiny\n  array: {rows: 6, cols: 5}\n  clock_mhz: 100\n"
        "  memory:\n    dram: {bandwidth_gb_s: 0.3, latency_ns: 30, burst_bytes: 32, "
        "row_buffer: {banks: 2, row_bytes: 128}}\n"
        "    dma: {outstanding: 3, transfer_bytes: 128}\n    unified_buffer: {size_kib: 0.25, "
        "bytes_per_cycle: 5}\n"
        "    weight_fifo: {tiles: 2}\n    accumulators: {entries: 10}\n    layer_overlap: true\n");
  write("t.csv",
        "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,\n"
        "Odd, 8, 7, 3, 2, 3, 7, 2,\nThin_DP, 5, 5, 3, 3, 3, 2, 1,\nFC, 1, 1, 1, 1, 20, 11, 1,\n");
  write("t.yaml", "workload: {topology: t.csv}\n");
  for (const char* overlap : {"true", "false"}) {
    for (const char* fidelity : {"pe", "cycle", "functional"}) {
      ASSERT_EQ(run(fmt::format("run --chip chip.yaml --workload t.yaml --fidelity {1} --set "
                                "chip.memory.layer_overlap={0} --timeline {0}_{1}/t.json --out {0}_{1}",
                                overlap, fidelity)),
                0)
          << file("stderr");
      for (const char* name : {"layers.csv", "t.json"})
        EXPECT_EQ(file(fmt::format("{}_{}/{}", overlap, fidelity, name)),
                  file(fmt::format("{}_pe/{}", overlap, name)))
            << fidelity;
    }
  }
  EXPECT_NE(file("true_pe/layers.csv"), file("false_pe/layers.csv"));
  EXPECT_EQ(
      run("run --chip chip.yaml --workload t.yaml --set chip.memory.unified_buffer.size_kib=0.02 --out x"),
      2);
  EXPECT_THAT(file("stderr"), HasSubstr("layer 'Odd': "));
}

TEST_F(RunTopology, IsNoCaseOfASuite) {
  write("suite.yaml",
        fmt::format(
            "suite:\n  name: s\n  cases:\n    - {{name: one, chip: '{0}/configs/chips/tpu256_ideal.yaml', "
            "workload: '{0}/configs/workloads/alexnet.yaml'}}\n",
            KINTSUGI_SOURCE_DIR));
  EXPECT_EQ(run("regress --suite suite.yaml --update"), 2) << file("stderr");
  EXPECT_THAT(file("stderr") + file("stdout"), HasSubstr("no outputs to record"));
}

}  // namespace
}  // namespace kintsugi
