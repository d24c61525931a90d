// `kintsugi train` from the outside: what it writes, and that interrupting it changes nothing.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "common/files.h"
#include "tests/support/small_networks.h"
#include "tests/support/temporary_folder.h"
#include "workloads/npy.h"
#include "workloads/safetensors.h"

namespace kintsugi {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class Train : public ::testing::Test {
 protected:
  Train() {
    write("net.yaml",
          "network:\n"
          "  name: small\n"
          "  input: {channels: 1, height: 8, width: 8, scale: 0.00392157, mean: [0.4], std: [0.3]}\n"
          "  layers:\n"
          "    - {type: conv2d, name: c1, out_channels: 8, kernel: 3, padding: 1, bias: false}\n"
          "    - {type: batch_norm, name: b1}\n"
          "    - {type: relu}\n"
          "    - {type: max_pool, kernel: 2}\n"
          "    - {type: flatten}\n"
          "    - {type: linear, name: fc, out_features: 4}\n"
          "  loss: softmax_cross_entropy\n");
    write("chip.yaml", "chip:\n  name: tiny\n  array: {rows: 8, cols: 8, bypass: fap}\n  memory: ideal\n");
    write("map.yaml",
          "fault_map:\n  version: 1\n  chip: broken\n  rows: 8\n  cols: 8\n  faults:\n"
          "    - {row: 1, col: 2, site: multiplier, bit: 14, stuck_at: 1}\n"
          "    - {row: 5, col: 0, site: adder, bit: 20, stuck_at: 1}\n");
    for (const auto& [name, count] : {std::pair{"train", 700}, std::pair{"test", 300}}) {
      const auto set = testing::random_images(count, {1, 8, 8}, 4, static_cast<std::uint64_t>(count));
      workloads::write_npy(
          folder_ / fmt::format("{}.npy", name),
          workloads::Tensor<std::uint8_t>({count, 1, 8, 8}, {set.pixels.begin(), set.pixels.end()}));
      workloads::write_npy(folder_ / fmt::format("{}_labels.npy", name),
                           workloads::Tensor<std::int32_t>({count}, set.labels));
    }
  }

  void write(const std::string& name, const std::string& text) {
    common::write_file_atomic(folder_ / name, text);
  }
  std::string file(const std::string& name) const { return common::read_file(folder_ / name); }

  // `limit`: killed after so many seconds.
  int train(const std::string& options, const std::string& limit = {}) {
    const std::string kill = limit.empty() ? "" : "timeout -s KILL " + limit;
    const std::string command = fmt::format(
        "cd '{}' && {} '{}' train --network net.yaml --images train.npy --labels train_labels.npy "
        "--test-images test.npy --test-labels test_labels.npy --decision-images 100 --batch 32 {} "
        ">stdout 2>stderr </dev/null",
        folder_.path().string(), kill, KINTSUGI_BINARY, options);
    const int status = std::system(command.c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  void expect_same_results(const std::string& one, const std::string& other) {
    for (const char* name : {"weights.safetensors", "deployed.safetensors", "log.csv", "summary.yaml",
                             "checkpoint.safetensors"}) {
      EXPECT_TRUE(file(one + "/" + name) == file(other + "/" + name)) << name << " differs";
    }
  }

  test::TemporaryFolder folder_;
};

TEST_F(Train, WritesWeightsLogAndSummary) {
  ASSERT_EQ(train("--steps 40 --out a"), 0) << file("stderr");
  EXPECT_THAT(file("stdout"), HasSubstr("int8, fault-free chip"));
  EXPECT_THAT(file("stdout"), Not(HasSubstr("int8, this chip")));
  const std::string log = file("a/log.csv");
  EXPECT_TRUE(log.starts_with("step,epoch,loss,learning_rate,decision_accuracy\n1,"));
  EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 41);
  const std::string summary = file("a/summary.yaml");
  EXPECT_THAT(summary, HasSubstr("images: {training: 600, decision: 100, test: 300}"));
  EXPECT_THAT(summary, HasSubstr("forward: float"));
  EXPECT_EQ(workloads::read_parameters(folder_ / "a/weights.safetensors").count("b1.running_mean"), 1u);
}

TEST_F(Train, ThroughAChipThatIsInterruptedAndWithOtherThreadsGivesTheSameBytes) {
  ASSERT_EQ(train("--steps 40 --out start"), 0) << file("stderr");
  const std::string options =
      "--steps 120 --learning-rate 0.01 --chip chip.yaml --fault-map map.yaml --no-bypass "
      "--weights start/weights.safetensors --checkpoint-every 7 --evaluate-every 11 ";
  ASSERT_EQ(train(options + "--threads 1 --out straight"), 0) << file("stderr");
  EXPECT_THAT(file("stdout"), HasSubstr("int8, this chip"));
  EXPECT_THAT(file("straight/summary.yaml"), HasSubstr("faulty_pes: 2, bypassed_pes: 0"));
  for (int i = 0; i < 4; ++i) train(options + "--threads 2 --out broken", fmt::format("0.{}", 10 + 5 * i));
  ASSERT_EQ(train(options + "--threads 2 --out broken"), 0) << file("stderr");
  expect_same_results("straight", "broken");
  // A finished run is not run again.
  ASSERT_EQ(train(options + "--out broken"), 0) << file("stderr");
  expect_same_results("straight", "broken");

  // Other faults make it another run, though weights, masks and scales are the same.
  write("map.yaml", file("map.yaml") + "    - {row: 6, col: 6, site: adder, bit: 9, stuck_at: 1}\n");
  EXPECT_EQ(train(options + "--out broken"), 2);
  EXPECT_THAT(file("stderr"), HasSubstr("a checkpoint of another run"));
}

TEST_F(Train, ARunAtAConstantRateMayBeProlonged) {
  const std::string options = "--schedule constant --evaluate-every 10 --checkpoint-every 10 ";
  ASSERT_EQ(train(options + "--steps 30 --out straight"), 0) << file("stderr");
  ASSERT_EQ(train(options + "--steps 20 --out longer"), 0) << file("stderr");
  ASSERT_EQ(train(options + "--steps 30 --out longer"), 0) << file("stderr");
  expect_same_results("straight", "longer");
  EXPECT_EQ(train(options + "--steps 20 --out longer"), 2);
  EXPECT_THAT(file("stderr"), HasSubstr("more than the 20 asked for"));
}

// What came before, an earlier process did: it is counted, and says nothing about the rate.
TEST_F(Train, TellsProgramsHowFarItIs) {
  const std::string options = "--schedule constant --checkpoint-every 10 --out a --json-progress --quiet ";
  const auto objects = [&] {
    std::vector<nlohmann::json> list;
    std::istringstream lines(file("stderr"));
    for (std::string line; std::getline(lines, line);) list.push_back(nlohmann::json::parse(line));
    return list;
  };
  ASSERT_EQ(train(options + "--steps 20"), 0) << file("stderr");
  auto progress = objects();
  ASSERT_GE(progress.size(), 2u);
  EXPECT_EQ(progress.front()["phase"], "training");
  EXPECT_EQ(progress.front()["unit"], "steps");
  EXPECT_EQ(progress.front()["done"], 0);
  EXPECT_TRUE(progress.front()["rate"].is_null());
  EXPECT_EQ(progress.back()["done"], 20);
  EXPECT_EQ(progress.back()["total"], 20);
  EXPECT_EQ(progress.back()["seconds_left"], 0.0);

  ASSERT_EQ(train(options + "--steps 30"), 0) << file("stderr");
  progress = objects();
  ASSERT_GE(progress.size(), 2u);
  EXPECT_EQ(progress.front()["done"], 20);
  EXPECT_TRUE(progress.front()["rate"].is_null());
  EXPECT_EQ(progress.back()["done"], 30);

  // Nothing is to be done, so nothing is to be told.
  ASSERT_EQ(train("--epochs 0 --out b --json-progress"), 0) << file("stderr");
  EXPECT_TRUE(file("stderr").empty()) << file("stderr");
}

TEST_F(Train, RetrainsAroundBypassedPes) {
  ASSERT_EQ(train("--steps 40 --out start"), 0) << file("stderr");
  ASSERT_EQ(train("--steps 20 --learning-rate 0.01 --chip chip.yaml --fault-map map.yaml --weights "
                  "start/weights.safetensors --out fapt"),
            0)
      << file("stderr");
  // PE (1, 2) holds k = 1 (and 9, ...) of output channel 2: convolution weight [2, 0, 0, 1] among others.
  const auto weights = workloads::read_parameters(folder_ / "fapt/weights.safetensors");
  EXPECT_EQ(weights.at("c1.weight").data[2 * 9 + 1], 0.0F);
  EXPECT_NE(weights.at("c1.weight").data[2 * 9 + 2], 0.0F);
  EXPECT_THAT(file("fapt/summary.yaml"), HasSubstr("bypassed_pes: 2"));
}

}  // namespace
}  // namespace kintsugi
