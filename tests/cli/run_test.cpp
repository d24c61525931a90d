// `kintsugi run` from the outside: what it writes, the same at every fidelity, and what it refuses.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "array/functional_accelerator.h"
#include "common/files.h"
#include "common/random.h"
#include "common/thread_pool.h"
#include "faults/fault_map_io.h"
#include "tests/support/naive_array.h"
#include "tests/support/small_networks.h"
#include "tests/support/temporary_folder.h"
#include "workloads/deployed.h"
#include "workloads/float_forward.h"
#include "workloads/inference.h"
#include "workloads/npy.h"
#include "workloads/pruning_mask.h"
#include "workloads/safetensors.h"

namespace kintsugi {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kM = 9, kK = 21, kN = 11;

class Run : public ::testing::Test {
 protected:
  Run() {
    write(
        "chip.yaml",
        "chip:\n  name: tiny\n  array: {rows: 6, cols: 5, bypass: fap}\n  clock_mhz: 100\n  memory: ideal\n");
    write("gemm.yaml", "workload: {gemm: {activations: a.npy, weights: w.npy}}\n");
    // A fault at each site, one PE of unknown nature; the bypass hides some, misses some, and hits one that
    // is well.
    write("map.yaml",
          "fault_map:\n  version: 1\n  chip: broken\n  rows: 6\n  cols: 5\n  faults:\n"
          "    - {row: 0, col: 1, site: weight_register, bit: 6, stuck_at: 1}\n"
          "    - {row: 1, col: 2, site: multiplier, bit: 9, stuck_at: 1}\n"
          "    - {row: 2, col: 0, site: activation_register, bit: 3, stuck_at: 0}\n"
          "    - {row: 3, col: 3, site: psum_register, bit: 12, stuck_at: 1}\n"
          "    - {row: 4, col: 1, site: adder, bit: 4, stuck_at: 0}\n"
          "    - {row: 5, col: 4}\n");
    write("bypass.yaml",
          "fault_map:\n  version: 1\n  chip: found\n  rows: 6\n  cols: 5\n  faults:\n"
          "    - {row: 0, col: 0}\n    - {row: 1, col: 2}\n    - {row: 3, col: 3}\n    - {row: 5, col: 4}\n");
    activations_ = random_matrix("activations", kM, kK);
    weights_ = random_matrix("weights", kK, kN);
    workloads::write_npy(folder_ / "a.npy", activations_);
    workloads::write_npy(folder_ / "w.npy", weights_);
  }

  static workloads::Tensor<std::int8_t> random_matrix(const char* purpose, std::int64_t rows,
                                                      std::int64_t cols) {
    common::RandomStream random(11, purpose);
    workloads::Tensor<std::int8_t> matrix({rows, cols});
    for (std::int8_t& value : matrix.data) {
      value = static_cast<std::int8_t>(static_cast<int>(random.below(256)) - 128);
    }
    return matrix;
  }
  void write(const std::string& name, const std::string& text) {
    common::write_file_atomic(folder_ / name, text);
  }
  std::string file(const std::string& name) const { return common::read_file(folder_ / name); }
  int run(const std::string& options) {
    const std::string command = fmt::format("cd '{}' && '{}' run {} >stdout 2>stderr </dev/null",
                                            folder_.path().string(), KINTSUGI_BINARY, options);
    const int status = std::system(command.c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  void expect_refused(const std::string& options, const std::string& message) {
    EXPECT_EQ(run(options), 2) << options;
    EXPECT_THAT(file("stderr"), HasSubstr(message));
    EXPECT_FALSE(std::filesystem::exists(folder_ / "refused/summary.yaml"));
  }

  test::TemporaryFolder folder_;
  workloads::Tensor<std::int8_t> activations_, weights_;
};

TEST_F(Run, GivesTheSameOutputAndCyclesAtEveryFidelity) {
  const std::string what =
      "--chip chip.yaml --workload gemm.yaml --fault-map map.yaml --bypass-map bypass.yaml --threads 2 ";
  for (const char* fidelity : {"pe", "cycle", "functional"}) {
    ASSERT_EQ(run(what + fmt::format("--fidelity {0} --out {0}", fidelity)), 0) << file("stderr");
    EXPECT_EQ(file("stderr"), "");
    EXPECT_TRUE(file(fmt::format("{}/output.npy", fidelity)) == file("pe/output.npy")) << fidelity;
    EXPECT_EQ(file(fmt::format("{}/layers.csv", fidelity)), file("pe/layers.csv")) << fidelity;
    EXPECT_THAT(file(fmt::format("{}/summary.yaml", fidelity)),
                HasSubstr(fmt::format("fidelity: {}", fidelity)));
  }

  // The naive loop, with arithmetic on strings of bits.
  configs::ArrayConfig array;
  array.rows = 6;
  array.cols = 5;
  const faults::FaultMap physical = faults::read_fault_map(folder_ / "map.yaml");
  const faults::FaultMap bypass = faults::read_fault_map(folder_ / "bypass.yaml");
  const auto compiled =
      faults::compile(physical, faults::BypassSource::bypass_map, &bypass, array.rows, array.cols, 32);
  const auto expected =
      test::naive_array(array, configs::ConvolutionMapping::im2col, compiled, array::gemm_shape(kM, kK, kN),
                        activations_.data.data(), weights_.data.data(), test::NaiveArithmetic::bit_strings);
  EXPECT_EQ(workloads::read_npy<std::int32_t>(folder_ / "functional/output.npy").data, expected);

  // 4 k-tiles, 3 n-tiles: R + 11 · max(M, R) + M + R + C − 2. Bypassed weights: of rows 0, 1, 3, 5 of each
  // k-tile (row 3: k = 3, 9, 15; row 5: k = 5, 11, 17; rows 0, 1: four or four) in their columns of each
  // n-tile.
  const int cycles = 6 + 11 * 9 + 9 + 6 + 5 - 2;
  const int mapped = 4 * 3 + 4 * 2 + 3 * 2 + 3 * 2;  // column 0 stands for n = 0, 5, 10; 2, 3, 4 for two each
  EXPECT_THAT(file("functional/layers.csv"), HasSubstr(fmt::format("gemm,9,21,11,12,{},0,2079,", cycles)));
  EXPECT_THAT(file("functional/summary.yaml"), HasSubstr(fmt::format("\n  time_us: {}\n", 0.01 * cycles)));
  EXPECT_THAT(file("functional/layers.csv"), HasSubstr(fmt::format(",{},", mapped / (21.0 * 11.0))));
  EXPECT_THAT(file("functional/summary.yaml"), HasSubstr("assumed_maskable: 1\n"));
  EXPECT_THAT(file("functional/summary.yaml"), HasSubstr("bypassed_pes: 4\n"));
  EXPECT_THAT(file("stdout"), HasSubstr("assumed maskable: 1 of 6 faults"));
  EXPECT_THAT(file("stdout"), HasSubstr("psum_register bit 12 stuck at 1"));
}

TEST_F(Run, TakesMapsFromTheChipFileUnlessToldOtherwise) {
  write("mapped.yaml",
        "chip:\n  name: tiny\n  array: {rows: 6, cols: 5}\n  clock_mhz: 100\n  memory: ideal\n"
        "  fault_map: map.yaml\n  bypass_map: bypass.yaml\n");
  ASSERT_EQ(
      run("--chip chip.yaml --workload gemm.yaml --fault-map map.yaml --bypass-map bypass.yaml --out a"), 0);
  ASSERT_EQ(run("--chip mapped.yaml --workload gemm.yaml --quiet --out b"), 0);
  EXPECT_EQ(file("stdout"), "");
  EXPECT_TRUE(file("a/output.npy") == file("b/output.npy"));
  ASSERT_EQ(run("--chip chip.yaml --workload gemm.yaml --out clean"), 0);
  EXPECT_FALSE(file("a/output.npy") == file("clean/output.npy"));
  EXPECT_THAT(file("clean/summary.yaml"), HasSubstr("faulty_pes: 0\n"));
}

constexpr const char* kMemoryChip =
    "chip:\n  name: tiny\n  array: {rows: 6, cols: 5}\n  clock_mhz: 100\n"
    "  memory: {dram: {bandwidth_gb_s: 0.2, latency_ns: 50}, dma: {transfer_bytes: 64}, "
    "unified_buffer: {size_kib: 0.5, bytes_per_cycle: 4}, weight_fifo: {tiles: 2}, accumulators: {entries: "
    "8}}\n"
    "  energy: {mac: 0.5, register_byte: 0.25, accumulator_byte: 2, buffer_byte: 3, dram_byte: 10}\n";

TEST_F(Run, ReportsTheMemorySystemTheSameAtEveryFidelity) {
  write("memory.yaml", kMemoryChip);
  for (const char* fidelity : {"pe", "cycle", "functional"}) {
    ASSERT_EQ(run(fmt::format("--chip memory.yaml --workload gemm.yaml --fidelity {0} --out {0} "
                              "--timeline {0}/timeline.json",
                              fidelity)),
              0)
        << file("stderr");
    for (const char* name : {"output.npy", "layers.csv", "layers.json", "timeline.json"})
      EXPECT_TRUE(file(fmt::format("{}/{}", fidelity, name)) == file(fmt::format("pe/{}", name)))
          << fidelity << " " << name;
    EXPECT_THAT(file("stdout"), HasSubstr("stall %"));
    EXPECT_THAT(file("stdout"), HasSubstr("roofline"));
    EXPECT_THAT(file("stdout"), HasSubstr("energy: "));
    EXPECT_THAT(file("stdout"), HasSubstr("timeline of "));
  }
  const std::string stdout_with_memory = file("stdout");
  ASSERT_EQ(run("--chip chip.yaml --workload gemm.yaml --out ideal"), 0);
  EXPECT_TRUE(file("ideal/output.npy") == file("pe/output.npy"));
  EXPECT_THAT(file("stdout"), Not(HasSubstr("stall %")));

  const auto json = nlohmann::json::parse(file("pe/layers.json"));
  const auto& layer = json.at("layers").at(0);
  const auto number = [&](const char* name) { return layer.at(name).get<double>(); };
  EXPECT_GT(number("stall_cycles"), 0);
  EXPECT_EQ(number("stall_cycles"), number("stall_weights_cycles") + number("stall_activations_cycles") +
                                        number("stall_accumulators_cycles") + number("stall_output_cycles"));
  EXPECT_EQ(number("cycles"), number("stall_cycles") + number("active_cycles") +
                                  number("weight_shift_cycles") + number("pipeline_cycles"));
  // Three m-chunks of at most four positions, four k-tiles, three n-tiles.
  EXPECT_EQ(layer.at("tiles"), 36);
  EXPECT_EQ(layer.at("active_cycles"), 9 * 4 * 3);
  EXPECT_DOUBLE_EQ(number("mapped_pes"), 9.0 * 21 * 11 / (9 * 4 * 3 * 30));
  EXPECT_EQ(layer.at("dram_write_bytes"), 4 * 9 * 11);
  EXPECT_DOUBLE_EQ(number("energy_mac_uj"), 9 * 21 * 11 * 0.5 / 1e6);
  EXPECT_LE(number("tops"), number("roofline_tops"));
  for (const char* name : {"cycles", "stall_weights_cycles", "dram_read_bytes", "energy_uj"})
    EXPECT_THAT(file("pe/summary.yaml"),
                HasSubstr(fmt::format("\n  {}: {}\n", name, json.at("total").at(name).dump())));

  // The terminal's second table has the same figures in its columns.
  const std::string table = stdout_with_memory.substr(stdout_with_memory.find("stall %"));
  std::istringstream cells(table.substr(table.find("\ngemm") + 1));
  std::string cell;
  cells >> cell;
  for (const char* name : {"weight_shift_cycles", "pipeline_cycles", "stall_weights_cycles",
                           "stall_activations_cycles", "stall_accumulators_cycles", "stall_output_cycles"}) {
    cells >> cell;
    EXPECT_EQ(cell, fmt::format("{:.1f}", 100 * number(name) / number("cycles"))) << name;
  }
  const double dram = number("dram_read_bytes") + number("dram_write_bytes");
  for (const double value : {dram / 1e6, number("tops"), number("intensity_ops_per_byte"),
                             number("roofline_tops"), number("energy_uj")}) {
    cells >> cell;
    EXPECT_EQ(cell, fmt::format("{:.4g}", value));
  }

  // The streams of the timeline are the active cycles, and nothing happens after the end.
  const auto timeline = nlohmann::json::parse(file("pe/timeline.json"));
  std::map<int, std::string> lanes;
  std::map<std::string, int> slices, cycles;
  for (const auto& event : timeline.at("traceEvents")) {
    const int lane = event.at("tid").get<int>();
    if (event.at("name") == "thread_name") lanes[lane] = event.at("args").at("name").get<std::string>();
    if (event.at("ph") != "X") continue;
    ++slices[lanes.at(lane)];
    cycles[lanes.at(lane)] += event.at("args").at("cycles").get<int>();
    EXPECT_GE(event.at("ts").get<double>(), 0);
    EXPECT_LE(event.at("ts").get<double>() + event.at("dur").get<double>(), number("cycles") / 100 + 1e-9);
  }
  EXPECT_EQ(slices["layers"], 1);
  EXPECT_EQ(cycles["layers"], number("cycles"));
  EXPECT_EQ(slices["stream"], 36);
  EXPECT_EQ(cycles["stream"], number("active_cycles"));
  EXPECT_EQ(slices["weight load"], 36);
  EXPECT_EQ(cycles["weight load"], 36 * 6);
  EXPECT_EQ(slices["activation unit"], 9);
  EXPECT_GE(slices["DMA weights"], 1);
  EXPECT_GE(slices["DMA activations"], 1);
  EXPECT_GE(slices["DMA outputs"], 1);
}

TEST_F(Run, RefusesWhatCannotRunBeforeAnythingIsWritten) {
  const std::string chip = "--chip chip.yaml --out refused ";
  const std::string gemm = "--workload gemm.yaml ";
  expect_refused(chip + gemm + "--trace run.vcd", "the functional fidelity has no registers to show");
  expect_refused(chip + gemm + "--timeline t.json",
                 "--timeline: the chip 'tiny' has ideal memory, so there is nothing to show");
  expect_refused("--chip chip.yaml " + gemm, "--out is missing");
  expect_refused(chip + gemm + "--fidelity exact",
                 "--fidelity must be pe, cycle or functional, but is 'exact'");
  expect_refused(chip + gemm + "--fault-map map.yaml --bypass-map bypass.yaml --no-bypass",
                 "exclude each other");
  expect_refused(chip + gemm + "--fault-map map.yaml --no-bypass",
                 "map.yaml:12:7: error: row 5, col 4 has a fault of unknown nature and is not bypassed");
  expect_refused(chip + gemm + "--bypass-map bypass.yaml --set chip.array.bypass=none",
                 "the chip has 'bypass: none', but a bypass map is given");
  expect_refused(chip + gemm + "--fault-map map.yaml --set chip.array.rows=7", "7");

  workloads::write_npy(folder_ / "w.npy", random_matrix("weights", kK + 1, kN));
  expect_refused(chip + gemm, "activations of 9x21 need weights with 21 rows, but");
  workloads::write_npy(folder_ / "w.npy", workloads::Tensor<std::int8_t>({3}));
  expect_refused(chip + gemm, "w.npy: error: weights must be a matrix with at least one element; this array");
  workloads::write_npy(folder_ / "w.npy", workloads::Tensor<float>({kK, kN}));
  expect_refused(chip + gemm, "w.npy");
  write("blocked", "a file");
  expect_refused("--chip chip.yaml --out blocked/run " + gemm,
                 "blocked/run: error: cannot create the folder");
}

// A network with random weights: what matters here is which weights reach the chip under which bypass.
class RunNetwork : public Run {
 protected:
  static constexpr int kImages = 40;
  RunNetwork() {
    write("net.yaml",
          "network:\n  name: small\n  input: {channels: 1, height: 8, width: 8}\n  layers:\n"
          "    - {type: conv2d, name: c1, out_channels: 8, kernel: 3, padding: 1}\n"
          "    - {type: relu}\n    - {type: max_pool, kernel: 2}\n    - {type: flatten}\n"
          "    - {type: linear, name: fc, out_features: 4}\n  loss: softmax_cross_entropy\n");
    network_ = workloads::build_network(configs::read_network(folder_ / "net.yaml"));
    parameters_ = workloads::initial_parameters(network_, 3);
    workloads::write_parameters(folder_ / "float.safetensors", parameters_);
    images_ = testing::random_images(kImages, {1, 8, 8}, 4, 5);
    workloads::write_npy(
        folder_ / "images.npy",
        workloads::Tensor<std::uint8_t>({kImages, 1, 8, 8}, {images_.pixels.begin(), images_.pixels.end()}));
    workloads::write_npy(folder_ / "labels.npy", workloads::Tensor<std::int32_t>({kImages}, images_.labels));
    for (const char* name : {"float", "deployed"}) {
      write(fmt::format("{}.yaml", name),
            fmt::format(
                "workload: {{network: net.yaml, weights: {}.safetensors, dataset: {{images: images.npy, "
                "labels: labels.npy}}, batch: 7}}\n",
                name));
    }
    chip_ = configs::read_chip(folder_ / "chip.yaml");
    const faults::FaultMap map = faults::read_fault_map(folder_ / "bypass.yaml");
    faults_ = faults::compile(map, faults::BypassSource::fault_map, nullptr, 6, 5, 32);
    common::ThreadPool pool(1);
    deployed_ = workloads::deploy(network_, parameters_,
                                  workloads::calibrate(network_, parameters_, images_, {}, &pool),
                                  workloads::pruning_masks(network_, faults_, chip_));
    array::FunctionalAccelerator device(chip_, &pool);
    device.load_faults(faults_);
    expected_ = workloads::infer(device, network_, deployed_, images_, kImages, faults_).logits;
  }

  workloads::Network network_;
  workloads::Parameters parameters_;
  workloads::ImageSet images_;
  configs::ChipConfig chip_;
  faults::ArrayFaults faults_;
  workloads::DeployedNetwork deployed_;
  workloads::Tensor<float> expected_;
};

TEST_F(RunNetwork, MasksFloatWeightsByTheBypassAndReportsThreeAccuracies) {
  for (const char* fidelity : {"pe", "functional"}) {
    ASSERT_EQ(run(fmt::format("--chip chip.yaml --workload float.yaml --fault-map bypass.yaml --fidelity {0} "
                              "--out {0}",
                              fidelity)),
              0)
        << file("stderr");
    EXPECT_THAT(file("stderr"), HasSubstr("no training images of its own"));
    EXPECT_EQ(workloads::read_npy<float>(folder_ / fmt::format("{}/logits.npy", fidelity)), expected_);
    const auto summary = file(fmt::format("{}/summary.yaml", fidelity));
    EXPECT_THAT(summary, HasSubstr("    float: "));
    EXPECT_THAT(summary, HasSubstr("    int8_fault_free: "));
    EXPECT_THAT(summary, HasSubstr("    int8_this_chip: "));
    EXPECT_THAT(summary, HasSubstr("images: 40\n"));
  }
  EXPECT_EQ(file("pe/layers.csv"), file("functional/layers.csv"));
  EXPECT_TRUE(file("pe/predictions.npy") == file("functional/predictions.npy"));
}

// 40 images in batches of 7: six launches of each layer, told apart.
TEST_F(RunNetwork, ShowsEveryLayerOfEveryBatchOnTheTimeline) {
  write("memory.yaml", kMemoryChip);
  for (const char* fidelity : {"pe", "functional"}) {
    ASSERT_EQ(run(fmt::format(
                  "--chip memory.yaml --workload float.yaml --set chip.memory.unified_buffer.size_kib=2 "
                  "--fidelity {0} --out {0} --timeline {0}/timeline.json",
                  fidelity)),
              0)
        << file("stderr");
  }
  EXPECT_TRUE(file("pe/layers.csv") == file("functional/layers.csv"));
  EXPECT_TRUE(file("pe/timeline.json") == file("functional/timeline.json"));
  std::vector<std::string> layers;
  std::map<std::string, std::int64_t> active;
  double end = 0;
  const auto timeline = nlohmann::json::parse(file("pe/timeline.json"));
  for (const auto& event : timeline.at("traceEvents")) {
    if (event.at("ph") != "X") continue;
    const auto name = event.at("name").get<std::string>();
    if (event.at("tid") == 1) {
      layers.push_back(name);
      EXPECT_NEAR(event.at("ts").get<double>(), end, 1e-9);
      end = event.at("ts").get<double>() + event.at("dur").get<double>();
    } else if (name.starts_with("stream ")) {
      active[event.at("cat").get<std::string>()] += event.at("args").at("cycles").get<std::int64_t>();
    }
  }
  ASSERT_EQ(layers.size(), 12u);
  for (std::size_t i = 0; i < layers.size(); ++i) EXPECT_EQ(layers[i], i % 2 == 0 ? "c1" : "fc");
  const auto json = nlohmann::json::parse(file("pe/layers.json"));
  for (const auto& layer : json.at("layers"))
    EXPECT_EQ(active.at(layer.at("layer").get<std::string>()), layer.at("active_cycles"));
  EXPECT_NEAR(end, json.at("total").at("cycles").get<double>() / 100, 1e-9);
}

TEST_F(RunNetwork, HonoursTheBypassThatADeployedNetworkWasMadeFor) {
  deployed_.bypass = faults_.bypass;
  deployed_.rows = 6;
  deployed_.cols = 5;
  workloads::write_deployed(folder_ / "deployed.safetensors", network_, deployed_);
  const std::string what = "--chip chip.yaml --workload deployed.yaml ";
  ASSERT_EQ(run(what + "--out recorded"), 0) << file("stderr");
  EXPECT_EQ(file("stderr"), "");
  EXPECT_THAT(file("recorded/summary.yaml"), HasSubstr("bypassed_pes: 4\n"));
  EXPECT_THAT(file("recorded/summary.yaml"), Not(HasSubstr("    float: ")));
  EXPECT_EQ(workloads::read_npy<float>(folder_ / "recorded/logits.npy"), expected_);

  // Asked for explicitly, another bypass is taken, with a warning.
  ASSERT_EQ(run(what + "--no-bypass --out none"), 0);
  EXPECT_THAT(file("stderr"), HasSubstr("made for another bypass: 4 PEs differ"));
  EXPECT_THAT(file("none/summary.yaml"), HasSubstr("bypassed_pes: 0\n"));
  ASSERT_EQ(run(what + "--fault-map map.yaml --bypass-map map.yaml --out other"), 0);
  EXPECT_THAT(file("stderr"), HasSubstr("made for another bypass"));
  EXPECT_THAT(file("other/summary.yaml"), HasSubstr("bypassed_pes: 6\n"));

  expect_refused(what + "--out refused --set chip.array.cols=6", "was deployed for an array of 6x5");
}

}  // namespace
}  // namespace kintsugi
