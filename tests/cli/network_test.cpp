// Networks that are no chains, from the outside: the same bits and cycles at every fidelity, the table of
// `kintsugi network show`, runs on random weights that say so, and training.
#include "configs/network.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <string>

#include "common/files.h"
#include "common/thread_pool.h"
#include "tests/support/integer_reference.h"
#include "tests/support/small_networks.h"
#include "tests/support/temporary_folder.h"
#include "workloads/deployed.h"
#include "workloads/float_forward.h"
#include "workloads/npy.h"

namespace kintsugi {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const std::filesystem::path kConfigs = std::filesystem::path(KINTSUGI_SOURCE_DIR) / "configs";

class NetworkCommand : public ::testing::Test {
 protected:
  void write(const std::string& name, const std::string& text) {
    common::write_file_atomic(folder_ / name, text);
  }
  std::string file(const std::string& name) const { return common::read_file(folder_ / name); }
  int kintsugi(const std::string& words) {
    const std::string command = fmt::format("cd '{}' && '{}' {} >stdout 2>stderr </dev/null",
                                            folder_.path().string(), KINTSUGI_BINARY, words);
    const int status = std::system(command.c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  test::TemporaryFolder folder_;
};

class ResidualRun : public NetworkCommand {
 protected:
  ResidualRun() {
    write("net.yaml",
          "network:\n  name: residual\n  input: {channels: 2, height: 9, width: 7}\n  layers:\n"
          "    - {type: conv2d, name: c1, out_channels: 6, kernel: 3, padding: 1, bias: false}\n"
          "    - {type: batch_norm, name: b1}\n"
          "    - {type: relu}\n"
          "    - {type: local_response_norm, name: n1, size: 3, alpha: 0.7}\n"
          "    - {type: max_pool, name: p1, kernel: 3, stride: 2, padding: 1}\n"
          "    - {type: conv2d, name: c2, out_channels: 6, kernel: 3, padding: 1}\n"
          "    - {type: add, name: a1, inputs: [c2, p1]}\n"
          "    - {type: relu, name: r1}\n"
          "    - {type: conv2d, name: c3, out_channels: 7, kernel: 3, stride: 2, padding: 1}\n"
          "    - {type: batch_norm, name: b3}\n"
          "    - {type: conv2d, name: short, input: r1, out_channels: 7, kernel: 1, stride: 2}\n"
          "    - {type: add, name: a2, inputs: [b3, short]}\n"
          "    - {type: relu}\n"
          "    - {type: conv2d, name: c4, out_channels: 5, kernel: 1}\n"
          "    - {type: max_pool, kernel: 3, stride: 1, padding: 1}\n"
          "    - {type: conv2d, name: c5, out_channels: 5, kernel: 1}\n"
          "    - {type: global_avg_pool}\n"
          "    - {type: flatten}\n"
          "    - {type: linear, name: fc, out_features: 4}\n");
    write("work.yaml",
          "workload:\n  network: net.yaml\n  weights: random(3)\n  dataset: {random: {images: 5, seed: 8}}\n"
          "  batch: 2\n");
    write("chip.yaml", "chip:\n  name: tiny\n  array: {rows: 6, cols: 5}\n  memory: ideal\n");
    write("map.yaml",
          "fault_map:\n  version: 1\n  chip: broken\n  rows: 6\n  cols: 5\n  faults:\n"
          "    - {row: 1, col: 2, site: multiplier, bit: 6, stuck_at: 1}\n"
          "    - {row: 2, col: 0, site: activation_register, bit: 5, stuck_at: 0}\n"
          "    - {row: 3, col: 3, site: psum_register, bit: 9, stuck_at: 1}\n");
  }
};

TEST_F(ResidualRun, GivesTheSameBitsAndCyclesAtEveryFidelity) {
  const auto run = [&](const std::string& fidelity, const std::string& more) {
    return kintsugi(
        fmt::format("run --chip chip.yaml --workload work.yaml --fidelity {} {}", fidelity, more));
  };
  const auto digests = [&](const std::string& folder) {
    const std::string summary = file(folder + "/summary.yaml");
    return summary.substr(summary.find("layer_sha256"));
  };
  for (const std::string faults : {"", "--fault-map map.yaml ", "--fault-map map.yaml --no-bypass "}) {
    for (const char* fidelity : {"pe", "cycle", "functional"}) {
      ASSERT_EQ(run(fidelity, faults + "--out " + fidelity), 0) << file("stderr");
      EXPECT_TRUE(file(fmt::format("{}/logits.npy", fidelity)) == file("pe/logits.npy"))
          << fidelity << faults;
      EXPECT_EQ(file(fmt::format("{}/layers.csv", fidelity)), file("pe/layers.csv")) << fidelity << faults;
      EXPECT_EQ(digests(fidelity), digests("pe")) << fidelity << faults;
    }
    if (faults.empty())
      std::filesystem::copy(folder_ / "functional", folder_ / "clean");
    else
      EXPECT_NE(digests("functional"), digests("clean")) << faults;
  }
  EXPECT_THAT(file("clean/layers.csv"), HasSubstr("\na1,0,0,0,0,0,0,0,0,0,"));

  // Arithmetic on paper.
  const auto network = workloads::build_network(configs::read_network(folder_ / "net.yaml"));
  const auto images = workloads::random_image_set({5, 8}, network);
  const auto parameters = workloads::random_weights(network, 3);
  common::ThreadPool pool(1);
  const auto deployed = workloads::deploy(
      network, parameters, workloads::calibrate(network, parameters, images, configs::QuantizationConfig{}));
  const auto logits = workloads::read_npy<float>(folder_ / "clean/logits.npy");
  std::vector<float> image(static_cast<std::size_t>(network.input_shape().count()));
  for (std::int64_t i = 0; i < images.size(); ++i) {
    workloads::normalize(images, i, 1, network.input, image);
    const std::vector<float> found(logits.data.begin() + i * 4, logits.data.begin() + (i + 1) * 4);
    EXPECT_EQ(found, test::reference_logits(network, deployed, image)) << "image " << i;
  }
}

// A chip with a memory system, so small that little stays in its buffer and results are pooled in pieces;
// adds and normalisation on the host and on the chip.
TEST_F(ResidualRun, GivesTheSameBitsWithAMemorySystemAndCyclesAtEveryFidelity) {
  ASSERT_EQ(kintsugi("run --chip chip.yaml --workload work.yaml --out ideal"), 0) << file("stderr");
  write("chip.yaml",
        "chip:\n  name: tiny\n  array: {rows: 6, cols: 5}\n  memory:\n"
        "    dram: {bandwidth_gb_s: 4, latency_ns: 20}\n"
        "    unified_buffer: {size_kib: 1, bytes_per_cycle: 8}\n    weight_fifo: {tiles: 2}\n"
        "    accumulators: {entries: 16}\n");
  std::string unit = file("net.yaml");
  for (const std::string layer : {"alpha: 0.7", "inputs: [c2, p1]", "inputs: [b3, short]"})
    unit.insert(unit.find(layer) + layer.size(), ", unit: activation_unit");
  write("unit.yaml", unit);
  std::string work = file("work.yaml");
  write("on_unit.yaml", work.replace(work.find("net.yaml"), 8, "unit.yaml"));
  const auto digests = [&](const std::string& folder) {
    const std::string summary = file(folder + "/summary.yaml");
    return summary.substr(summary.find("layer_sha256"));
  };
  for (const std::string workload : {"work", "on_unit"})
    for (const std::string fidelity : {"pe", "cycle", "functional"}) {
      const std::string out = workload + "_" + fidelity;
      ASSERT_EQ(kintsugi(fmt::format("run --chip chip.yaml --workload {}.yaml --fidelity {} --out {}",
                                     workload, fidelity, out)),
                0)
          << file("stderr");
      EXPECT_TRUE(file(out + "/logits.npy") == file("ideal/logits.npy")) << out;
      EXPECT_EQ(digests(out), digests("ideal")) << out;
      EXPECT_EQ(file(out + "/layers.csv"), file(workload + "_pe/layers.csv")) << out;
    }
  EXPECT_THAT(file("work_pe/layers.csv"), HasSubstr("\na1,0,0,0,0,0,"));
  EXPECT_THAT(file("on_unit_pe/layers.csv"), Not(HasSubstr("\na1,0,0,0,0,0,")));
}

TEST_F(ResidualRun, SaysThatWeightsAreRandom) {
  ASSERT_EQ(kintsugi("run --chip chip.yaml --workload work.yaml --out a"), 0) << file("stderr");
  EXPECT_THAT(file("stdout"), HasSubstr("The weights are random (seed 3), not trained"));
  EXPECT_THAT(file("stdout"), Not(HasSubstr("accuracy over")));
  EXPECT_THAT(file("a/summary.yaml"), HasSubstr("weights: 'random(3), not trained"));
  EXPECT_THAT(file("a/summary.yaml"), HasSubstr("dataset: 'random images, seed 8'"));
  EXPECT_THAT(file("a/summary.yaml"), Not(HasSubstr("accuracy:")));
  ASSERT_EQ(kintsugi("run --chip chip.yaml --workload work.yaml --set 'workload.weights=random(4)' --out b"),
            0);
  EXPECT_FALSE(file("a/logits.npy") == file("b/logits.npy"));
}

// Float, then through the broken chip; what the trainer says of its deployed network, a run finds again.
TEST_F(ResidualRun, Trains) {
  for (const auto& [name, count] : {std::pair{"train", 500}, std::pair{"test", 200}}) {
    const auto set = testing::random_images(count, {2, 9, 7}, 4, static_cast<std::uint64_t>(count));
    workloads::write_npy(
        folder_ / fmt::format("{}.npy", name),
        workloads::Tensor<std::uint8_t>({count, 2, 9, 7}, {set.pixels.begin(), set.pixels.end()}));
    workloads::write_npy(folder_ / fmt::format("{}_labels.npy", name),
                         workloads::Tensor<std::int32_t>({count}, set.labels));
  }
  const std::string data =
      "train --network net.yaml --images train.npy --labels train_labels.npy --test-images test.npy "
      "--test-labels test_labels.npy --decision-images 100 --batch 32 ";
  ASSERT_EQ(kintsugi(data + "--steps 60 --out float"), 0) << file("stderr");
  const std::string on_chip =
      "--steps 24 --learning-rate 0.01 --chip chip.yaml --fault-map map.yaml "
      "--no-bypass --weights float/weights.safetensors ";
  ASSERT_EQ(kintsugi(data + on_chip + "--threads 1 --out chip"), 0) << file("stderr");
  ASSERT_EQ(kintsugi(data + on_chip + "--threads 2 --out again"), 0) << file("stderr");
  for (const char* name : {"weights.safetensors", "deployed.safetensors", "summary.yaml", "log.csv"})
    EXPECT_TRUE(file(fmt::format("chip/{}", name)) == file(fmt::format("again/{}", name))) << name;
  write("trained.yaml",
        "workload:\n  network: net.yaml\n  weights: chip/deployed.safetensors\n"
        "  dataset: {images: test.npy, labels: test_labels.npy}\n");
  ASSERT_EQ(kintsugi("run --chip chip.yaml --fault-map map.yaml --no-bypass --workload trained.yaml --out r"),
            0)
      << file("stderr");
  const auto accuracy_in = [](const std::string& text) {
    const std::string key = "int8_this_chip: ";
    const auto at = text.rfind(key);
    return at == std::string::npos ? -1.0 : std::stod(text.substr(at + key.size()));
  };
  const double trained = accuracy_in(file("chip/summary.yaml"));
  EXPECT_GT(trained, 0.6) << file("chip/summary.yaml");
  EXPECT_EQ(accuracy_in(file("r/summary.yaml")), trained);
}

TEST_F(NetworkCommand, ShowsEveryShippedNetworkWithinAHundredColumns) {
  for (const auto& entry : std::filesystem::directory_iterator(kConfigs / "networks")) {
    ASSERT_EQ(kintsugi(fmt::format("network show '{}'", entry.path().string())), 0) << file("stderr");
    std::istringstream lines(file("stdout"));
    for (std::string line; std::getline(lines, line);) {
      // Bytes that begin a UTF-8 character.
      const auto columns = std::ranges::count_if(line, [](char c) { return (c & 0xC0) != 0x80; });
      EXPECT_LE(columns, 100) << line;
    }
    EXPECT_THAT(file("stdout"), HasSubstr("chip tpu256, 256x256"));
  }
}

TEST_F(NetworkCommand, WritesCountsOfANetworkOnAChip) {
  ASSERT_EQ(
      kintsugi(fmt::format("network show '{0}/networks/resnet18.yaml' --chip '{0}/chips/tpu256.yaml' --out r",
                           kConfigs.string())),
      0)
      << file("stderr");
  EXPECT_THAT(file("r/summary.yaml"), HasSubstr("\n  parameters: 11689512\n  macs: 1814073344\n"));
  EXPECT_THAT(file("r/layers.csv"),
              HasSubstr("\nlayer1.0.add,add,64,56,56,64,56,56,56,56,0,0,200704,0,0,0,0,0\n"));
  // K = 64 · 9, N = 128: three k-tiles of one n-tile.
  EXPECT_THAT(file("r/layers.csv"),
              HasSubstr("\nlayer2.0.conv1,conv2d,64,56,56,128,28,28,28,28,73984,57802752,"
                        "100352,784,576,128,1,3\n"));
  EXPECT_THAT(file("r/layers.csv"), HasSubstr("\nconv1,conv2d,3,224,224,64,112,112,56,56,"));

  write("chip.yaml", "chip:\n  name: tiny\n  array: {rows: 6, cols: 5}\n  memory: ideal\n");
  ASSERT_EQ(kintsugi(fmt::format("network show '{}/networks/alexnet.yaml' --chip chip.yaml --quiet --out a",
                                 kConfigs.string())),
            0);
  EXPECT_EQ(file("stdout"), "");
  // Two groups of K = 48 · 25, N = 128: 200 k-tiles of 26 n-tiles each.
  EXPECT_THAT(file("a/layers.csv"), HasSubstr(",729,1200,128,2,10400\n"));
}

}  // namespace
}  // namespace kintsugi
