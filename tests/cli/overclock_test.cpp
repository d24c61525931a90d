// `kintsugi overclock` from the outside, on a campaign of a second or two: an 8×8 chip with random bit
// errors, an MLP of 240 weights, and images made here.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <thread>

#include "common/csv.h"
#include "common/diagnostics.h"
#include "common/files.h"
#include "common/text.h"
#include "tests/support/run_shell.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_campaign.h"
#include "tests/support/tiny_images.h"
#include "workloads/npy.h"

namespace kintsugi {
namespace {

namespace fs = std::filesystem;
using test::Outcome;
using testing::HasSubstr;

constexpr const char* kChip =
    "chip:\n  name: tiny\n  array: {rows: 8, cols: 8}\n  clock_mhz: 100\n  memory: ideal\n"
    "  energy: {mac: {8: 0.3}, register_byte: 0.03, accumulator_byte: 1.77, buffer_byte: 12.5, dram_byte: "
    "243.75}\n";

constexpr const char* kNetwork = test::kTinyMlp;

constexpr const char* kCampaign = R"(overclock:
  chip: chip.yaml
  network: network.yaml
  dataset: {images: x.npy, labels: y.npy, decision_images: 250}
  pretrain: {epochs: 4, batch: 32}
  retrain: {batch: 32, learning_rate: 0.01, steps: 30}
  sweep: {bit_error_rates: [1e-9, 0.01, 0.05], target: activations}
  evaluation: {batch: 50, decision_images: 200, test_images: 240}
  tipping: {accuracy_drop: 0.05}
  acceptable: {accuracy_drop: 0.2}
  compare: {chip_seeds: [7], neighbours: 1}
  host: {gmac_s: 2, link_gb_s: 0.5, link_latency_us: 10}
)";

using Row = std::map<std::string, std::string>;

class OverclockCampaign : public testing::Test {
 protected:
  void SetUp() override {
    test::write_tiny_images(folder_.path());
    common::write_file_atomic(folder_ / "chip.yaml", kChip);
    common::write_file_atomic(folder_ / "network.yaml", kNetwork);
    common::write_file_atomic(folder_ / "campaign.yaml", kCampaign);
  }
  Outcome overclock(const std::string& out, const std::string& more = "") const {
    return test::run_shell("cd '" + folder_.path().string() +
                           "' && '" KINTSUGI_BINARY "' overclock --campaign campaign.yaml --out " + out +
                           " " + more);
  }
  std::string text(const std::string& name) const { return common::read_file(folder_ / name); }
  std::vector<Row> table(const std::string& name) const {
    common::Diagnostics diagnostics;
    const auto rows = common::parse_csv(text(name), name, diagnostics);
    std::vector<Row> lines;
    for (std::size_t r = 1; r < rows.size(); ++r) {
      Row line;
      EXPECT_EQ(rows[r].cells.size(), rows[0].cells.size()) << name << " line " << r;
      for (std::size_t c = 0; c < rows[r].cells.size(); ++c)
        line[rows[0].cells[c].text] = rows[r].cells[c].text;
      lines.push_back(std::move(line));
    }
    return lines;
  }
  std::map<std::string, std::string> bytes(const std::string& out) const {
    return test::campaign_bytes(folder_ / out);
  }
  void expect_same(const std::string& a, const std::string& b) const {
    test::expect_same_campaigns(folder_ / a, folder_ / b);
  }
  std::size_t task_files(const std::string& out) const {
    std::size_t files = 0;
    std::error_code code;
    for (const char* part : {"tasks", "models"})
      for (fs::recursive_directory_iterator it(folder_ / out / part, code), end; !code && it != end;
           it.increment(code))
        files += it->is_regular_file(code) && !it->path().filename().string().starts_with('.') ? 1 : 0;
    return files;
  }
  test::TemporaryFolder folder_;
};

double number(const Row& row, const std::string& column) {
  return common::parse_real(row.at(column)).value_or(std::nan(""));
}

TEST_F(OverclockCampaign, ComparesTrainingsAtEveryPoint) {
  const Outcome outcome = overclock("a");
  ASSERT_EQ(outcome.status, 0) << outcome.text;
  EXPECT_THAT(outcome.text, HasSubstr("tipping point: 0.01"));
  const auto results = table("a/results.csv");
  std::map<std::string, std::map<std::string, double>> top1;
  for (const Row& row : results) {
    top1[row.at("point")][row.at("weights")] = number(row, "top1");
    EXPECT_EQ(row.at("images"), "240");
    EXPECT_EQ(row.at("top5"), "");  // three classes
  }
  ASSERT_EQ(top1.size(), 3u);
  for (const char* weights : {"original", "control", "noise", "dropout", "twa", "twa_clp"})
    EXPECT_TRUE(top1["0.05"].contains(weights)) << weights;
  EXPECT_LT(top1["0.05"]["original"], top1["1e-09"]["original"] - 0.05);

  // Nothing errs at 1e-9 in so few bits: no critical layer, and the change against the original is that of
  // the weights alone.
  const auto points = table("a/points.csv");
  ASSERT_EQ(points.size(), 3u);
  EXPECT_EQ(points[0].at("critical_layer"), "");
  EXPECT_EQ(points[0].at("flipped_bits"), "0");
  EXPECT_EQ(points[1].at("tipping"), "1");
  EXPECT_EQ(points[2].at("tipping"), "0");
  // 200 images in jobs of 50 on an 8×8 array by the closed form: 2 k-tiles × 2 n-tiles and 2 × 1.
  const double cycles = 4 * ((8 + 4 * 50 + 14) + (8 + 2 * 50 + 14)) / 200.0;
  EXPECT_DOUBLE_EQ(number(points[0], "cycles_per_image"), cycles);
  EXPECT_NEAR(number(points[0], "images_per_s"), 100e6 / cycles, 1e-3);
  EXPECT_GT(number(points[0], "energy_uj_per_image"), 240 * 0.3e-6);
  for (const int p : {1, 2}) {
    const bool first = points[p].at("critical_layer") == "fc1";
    const double clp_cycles = 4 * (first ? 8 + 2 * 50 + 14 : 8 + 4 * 50 + 14) / 200.0;
    EXPECT_DOUBLE_EQ(number(points[p], "clp_cycles_per_image"), clp_cycles);
    const double transfer = 10 / 50.0 + 12 / 0.5e3, host = (first ? 192 : 36) / 2e3;  // µs
    EXPECT_NEAR(number(points[p], "clp_transfer_us_per_image"), transfer, 1e-9);
    EXPECT_NEAR(number(points[p], "clp_host_us_per_image"), host, 1e-9);
    EXPECT_NEAR(number(points[p], "clp_images_per_s"), 1e6 / (clp_cycles / 100 + transfer + host), 1e-2);
  }

  // Shares add up; the critical layer is the one with the largest share of large errors.
  std::map<std::string, Row> worst;
  for (const Row& row : table("a/errors.csv")) {
    EXPECT_EQ(number(row, "right") + number(row, "wrong_by_1_to_5") + number(row, "wrong_by_more"),
              number(row, "outputs"));
    EXPECT_EQ(number(row, "outputs"), row.at("layer") == "fc1" ? 200 * 12 : 200 * 3);
    if (row.at("weights") != "original") continue;
    Row& known = worst[row.at("point")];
    if (known.empty() || number(row, "wrong_by_more_share") >= number(known, "wrong_by_more_share"))
      known = row;
  }
  EXPECT_EQ(worst["0.05"].at("layer"), points[2].at("critical_layer"));
  EXPECT_EQ(worst["0.05"].at("critical"), "1");

  // The tipping point's TWA weights at their neighbours and on the other chip.
  std::set<std::string> where;
  for (const Row& row : table("a/controls.csv"))
    where.insert(row.at("weights") + " " + row.at("evaluated_at") + " " + row.at("chip_seed"));
  EXPECT_EQ(where,
            (std::set<std::string>{"original 0.01 7", "twa 0.01 ", "twa 0.01 7", "twa 0.05 ", "twa 1e-09 "}));
  EXPECT_THAT(text("a/summary.yaml"), HasSubstr("tipping_point:\n    point: \"0.01\""));
}

TEST_F(OverclockCampaign, LeavesTheSameBytesForAnyWorkersAndThreads) {
  ASSERT_EQ(overclock("a", "--workers 1 --threads 1 --quiet").status, 0);
  const Outcome two = overclock("b", "--workers 3 --threads 2 --quiet");
  ASSERT_EQ(two.status, 0) << two.text;
  EXPECT_EQ(two.text, "");
  expect_same("a", "b");
  ASSERT_EQ(overclock("c", "--workers 2 --threads 1 --quiet --seed 2").status, 0);
  EXPECT_NE(text("a/results.csv"), text("c/results.csv"));
}

// Killed at several moments, coordinator first; whatever files were there by then, the end is the same.
TEST_F(OverclockCampaign, SurvivesKill9) {
  ASSERT_EQ(overclock("a", "--workers 2 --threads 1 --quiet").status, 0);
  ASSERT_GT(task_files("a"), 30u);
  int killed = 0;
  for (const std::size_t wanted : {3, 9, 15, 25}) {
    const pid_t child = fork();
    if (child == 0) {
      const int null = ::open("/dev/null", O_WRONLY);
      ::dup2(null, 1);
      ::dup2(null, 2);
      if (::chdir(folder_.path().c_str()) != 0) _exit(9);
      ::execl(KINTSUGI_BINARY, "kintsugi", "overclock", "--campaign", "campaign.yaml", "--out", "b",
              "--workers", "2", "--threads", "1", "--quiet", nullptr);
      _exit(9);
    }
    int status = 0;
    for (;;) {
      const bool ready = task_files("b") >= wanted;
      if (ready) ::kill(child, SIGKILL);
      if (::waitpid(child, &status, ready ? 0 : WNOHANG) == child) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    killed += WIFSIGNALED(status) ? 1 : 0;
  }
  EXPECT_GE(killed, 2);
  const Outcome resumed = overclock("b", "--workers 2 --threads 1");
  ASSERT_EQ(resumed.status, 0) << resumed.text;
  EXPECT_THAT(resumed.text, HasSubstr("tasks were done before"));
  expect_same("a", "b");
}

TEST_F(OverclockCampaign, DamagedAndDeletedTasksAreMadeAgain) {
  ASSERT_EQ(overclock("a", "--workers 2 --threads 1 --quiet").status, 0);
  const auto before = bytes("a");
  common::write_file_atomic(folder_ / "a/tasks/test/original/0.05_ber.safetensors", "no tensors");
  fs::remove(folder_ / "a/models/twa_0.01_ber.safetensors");
  fs::remove(folder_ / "a/tasks/reference/test.safetensors");
  ASSERT_EQ(overclock("a", "--workers 1 --threads 2 --quiet").status, 0);
  EXPECT_TRUE(bytes("a") == before);

  // Scales that are cut off, that can be read but are others, and none at all.
  const std::string scales = "a/tasks/reference/scales.safetensors";
  const std::string whole = text(scales);
  std::string other = whole;
  other.back() = static_cast<char>(other.back() ^ 1);
  for (const std::optional<std::string>& damaged : {std::optional(whole.substr(0, whole.size() / 2)),
                                                    std::optional(other), std::optional<std::string>()}) {
    if (damaged)
      common::write_file_atomic(folder_ / scales, *damaged);
    else
      fs::remove(folder_ / scales);
    const Outcome mended = overclock("a", "--workers 2 --threads 1 --quiet");
    ASSERT_EQ(mended.status, 0) << mended.text;
    EXPECT_THAT(mended.text, HasSubstr("scales.safetensors: this file is missing, damaged or not this "
                                       "campaign's; it is made again"));
    EXPECT_TRUE(bytes("a") == before);
  }
}

TEST_F(OverclockCampaign, RefusesToGoOnWithOtherInputs) {
  ASSERT_EQ(overclock("a", "--workers 2 --threads 1 --quiet").status, 0);
  const Outcome steps = overclock("a", "--set overclock.retrain.steps=40");
  EXPECT_EQ(steps.status, 2);
  EXPECT_THAT(steps.text, HasSubstr("retrain.steps: \"30\" in the folder, \"40\" now"));
  EXPECT_THAT(overclock("a", "--set chip.clock_mhz=200").text, HasSubstr("chip.set"));
}

TEST_F(OverclockCampaign, RefusesWhatItCannotDo) {
  const auto refused = [&](const std::string& more) {
    const Outcome outcome = overclock("a", more);
    EXPECT_EQ(outcome.status, 2) << outcome.text;
    EXPECT_FALSE(fs::exists(folder_ / "a"));
    return outcome.text;
  };
  EXPECT_THAT(refused("--set 'overclock.sweep={frequencies_mhz: [100, 110]}'"),
              HasSubstr("needs a chip with a 'timing' section"));
  EXPECT_THAT(refused("--set overclock.evaluation.decision_images=251"),
              HasSubstr("there are 250 such images"));
  EXPECT_THAT(refused("--set overclock.retrain.batch=2000"), HasSubstr("a mini-batch of 2000 does not fit"));
}

}  // namespace
}  // namespace kintsugi
