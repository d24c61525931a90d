// `kintsugi campaign` from the outside: a folder knows how it was begun, can be shown while it runs, resumed,
// collected from and stopped; and checkpoints inside its tasks are used, or left out of account.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "tests/cli/tiny_reduce.h"

namespace kintsugi {
namespace {

namespace fs = std::filesystem;
using test::Outcome;
using testing::HasSubstr;
using testing::Not;

class CampaignCommand : public test::TinyReduce {
 protected:
  // Begins the campaign in `out` and kills it when `ready` says so.
  void kill_when(const std::string& out, const std::function<bool()>& ready) const {
    const pid_t process = start({"reduce", "all", "--campaign", "campaign.yaml", "--out", out, "--workers",
                                 "2", "--threads", "1", "--quiet", "--checkpoint-seconds", "0"});
    ASSERT_TRUE(wait_for(ready, process)) << text("log");
    ::kill(process, SIGKILL);
    end_of(process);
  }
  nlohmann::json status(const std::string& out) const {
    const Outcome outcome = run("campaign status " + out + " --json");
    EXPECT_EQ(outcome.status, 0) << outcome.text;
    return nlohmann::json::parse(outcome.text);
  }
  static const std::string kHow;
};
const std::string CampaignCommand::kHow = " --workers 2 --threads 1 --quiet ";

TEST_F(CampaignCommand, ResumeNeedsNothingButTheFolder) {
  // Paths in --set count from where the command was given.
  write("elsewhere/chip.yaml", text("chip.yaml"));
  const std::string set =
      "--set campaign.characterize.max_steps=80 --set campaign.chip=elsewhere/chip.yaml --seed 3";
  ASSERT_EQ(reduce_all("a", set).status, 0);
  ASSERT_EQ(run("reduce characterize --campaign campaign.yaml --out b " + set + kHow).status, 0);
  // The step that was given last is the one to go on with.
  ASSERT_EQ(run("reduce all --campaign campaign.yaml --out b --workers 2 --threads 1 --quiet " + set).status,
            0);
  fs::remove_all(folder_ / "b/tasks/retrain");
  fs::remove(folder_ / "b/tasks/characterize/rate_0.2_repeat_1.csv");
  fs::remove(folder_ / "b/compare.csv");
  const Outcome resumed = run("campaign resume ../b --workers 1", "mkdir -p sub && cd sub &&");
  ASSERT_EQ(resumed.status, 0) << resumed.text;
  EXPECT_THAT(resumed.text, HasSubstr("characterize: 5 of 6 tasks were done before"));
  test::expect_same_campaigns(folder_ / "a", folder_ / "b");
}

TEST_F(CampaignCommand, ResumeRefusesChangedInputsAndFoldersWithoutCampaign) {
  ASSERT_EQ(run("reduce characterize --campaign campaign.yaml --out a" + kHow).status, 0);
  std::string changed = text("campaign.yaml");
  changed.replace(changed.find("0.02}"), 5, "0.03}");
  write("campaign.yaml", changed);
  const Outcome refused = run("campaign resume a");
  EXPECT_EQ(refused.status, 2);
  EXPECT_THAT(refused.text, HasSubstr("retrain.learning_rate: \"0.02\" in the folder, \"0.03\" now"));
  fs::remove(folder_ / "a/command.yaml");
  EXPECT_THAT(run("campaign resume a").text, HasSubstr("has no command.yaml"));
  EXPECT_EQ(run("campaign status nowhere").status, 2);
  EXPECT_THAT(run("campaign status nowhere").text, HasSubstr("there is no campaign in this folder"));
}

TEST_F(CampaignCommand, StatusCountsWhatIsThere) {
  ASSERT_EQ(run("reduce characterize --campaign campaign.yaml --out a" + kHow).status, 0);
  fs::remove(folder_ / "a/tasks/characterize/rate_0.2_repeat_1.csv");
  auto json = status("a");
  EXPECT_EQ(json["running"], false);
  ASSERT_EQ(json["phases"].size(), 3u);
  EXPECT_EQ(json["phases"][2]["phase"], "characterize");
  EXPECT_EQ(json["phases"][2]["tasks"], 6);
  EXPECT_EQ(json["phases"][2]["done"], 5);
  EXPECT_EQ(json["phases"][2]["missing"], 1);
  EXPECT_EQ(json["phases"][2]["work"], 1200);
  EXPECT_EQ(json["phases"][2]["work_done"], 1000);
  EXPECT_GE(json["phases"][2]["seconds_since_result"], 0);
  EXPECT_TRUE(json["phases"][2]["seconds_left"].is_null());
  EXPECT_THAT(run("campaign status a").text, HasSubstr("5 of 6"));
  EXPECT_THAT(run("campaign status a").text, HasSubstr("no process is at work on it"));
}

// Long tasks on purpose; stopped as soon as everything was seen.
TEST_F(CampaignCommand, StatusAndCancelWorkWhileAnotherProcessRuns) {
  const pid_t process =
      start({"reduce", "all", "--campaign", "campaign.yaml", "--out", "a", "--workers", "2", "--threads", "1",
             "--json-progress", "--set", "campaign.characterize.max_steps=1000000"});
  const auto characterizing = [&] {
    return fs::exists(folder_ / "a/.status/characterize/rate_0.05_repeat_0") &&
           fs::exists(folder_ / "a/.status/characterize/rate_0.05_repeat_1");
  };
  ASSERT_TRUE(wait_for(characterizing, process)) << text("log");
  const auto json = status("a");
  EXPECT_EQ(json["running"], true);
  EXPECT_EQ(json["process"]["pid"], process);
  EXPECT_EQ(json["phases"][0]["done"], 1);
  EXPECT_EQ(json["phases"][2]["working"], 2);
  EXPECT_EQ(json["phases"][3]["begun"], false);
  const Outcome second = run("campaign resume a");
  EXPECT_EQ(second.status, 2);
  EXPECT_THAT(second.text, HasSubstr(fmt::format("(process {} on ", process)));
  EXPECT_THAT(second.text, HasSubstr("kintsugi campaign cancel"));

  const Outcome cancelled = run("campaign cancel a");
  EXPECT_EQ(cancelled.status, 0) << cancelled.text;
  EXPECT_THAT(cancelled.text, HasSubstr(fmt::format("stopped process {}", process)));
  EXPECT_EQ(end_of(process), -1);
  EXPECT_THAT(run("campaign cancel a").text, HasSubstr("no process is at work"));
  // A stale lock file with some other process in it stops nobody and is no reason to kill anything.
  write("a/.lock", fmt::format("{} {}\n", ::getpid(), "elsewhere"));
  EXPECT_THAT(run("campaign cancel a").text, HasSubstr("no process is at work"));

  int objects = 0;
  std::ifstream log(folder_ / "log");
  for (std::string line; std::getline(log, line);) {
    if (!line.starts_with('{')) continue;
    const auto progress = nlohmann::json::parse(line);
    for (const char* key : {"phase", "done", "total", "unit", "rate", "seconds_left"})
      EXPECT_TRUE(progress.contains(key)) << line;
    ++objects;
  }
  EXPECT_GE(objects, 3);
}

TEST_F(CampaignCommand, CollectMakesTablesAndComputesNothing) {
  ASSERT_EQ(reduce_all("a").status, 0);
  const auto whole = test::campaign_bytes(folder_ / "a");
  for (const char* table :
       {"characterization.csv", "resilience.csv", "results.csv", "compare.csv", "summary.yaml"})
    fs::remove(folder_ / "a" / table);
  const Outcome collected = run("campaign collect a --quiet");
  EXPECT_EQ(collected.status, 0) << collected.text;
  EXPECT_TRUE(test::campaign_bytes(folder_ / "a") == whole);

  fs::remove(folder_ / "a/tasks/retrain/chip-0002.csv");
  fs::remove(folder_ / "a/characterization.csv");
  fs::remove(folder_ / "a/results.csv");
  const Outcome incomplete = run("campaign collect a --quiet");
  EXPECT_EQ(incomplete.status, 1);
  EXPECT_THAT(incomplete.text, HasSubstr("tasks are missing:\n  retraining of chip-0002\n"));
  EXPECT_EQ(text("a/characterization.csv"), whole.at("characterization.csv"));
  EXPECT_FALSE(fs::exists(folder_ / "a/results.csv"));
  EXPECT_FALSE(fs::exists(folder_ / "a/tasks/retrain/chip-0002.csv"));
}

// A cluster's jobs: one task each, in any order and two at the same time.
TEST_F(CampaignCommand, WorkDoesSingleTasks) {
  ASSERT_EQ(reduce_all("a").status, 0);
  ASSERT_EQ(reduce_all("b").status, 0);
  for (const char* task : {"characterize/rate_0.2_repeat_1", "retrain/chip-0002"})
    fs::remove(folder_ / "b/tasks" / (std::string(task) + ".csv"));
  const Outcome unknown = run("campaign work b --phase characterize --task rate_9");
  EXPECT_EQ(unknown.status, 2);
  EXPECT_THAT(unknown.text, HasSubstr("has no task 'rate_9'"));
  EXPECT_THAT(run("campaign work b --phase bake --task x").text, HasSubstr("has no phase 'bake'"));
  const std::string work =
      "campaign work b --phase characterize --task rate_0.2_repeat_1 --task rate_0.2_repeat_0";
  const pid_t first =
      start({"campaign", "work", "b", "--phase", "characterize", "--task", "rate_0.2_repeat_1"});
  const Outcome second = run(work);
  EXPECT_EQ(second.status, 0) << second.text;
  EXPECT_EQ(end_of(first), 0) << text("log");
  const Outcome third = run("campaign work b --phase retrain --task chip-0002");
  EXPECT_EQ(third.status, 0) << third.text;
  test::expect_same_campaigns(folder_ / "a", folder_ / "b");
}

TEST_F(CampaignCommand, AnInterruptedTaskGoesOnFromItsCheckpoint) {
  ASSERT_EQ(reduce_all("a").status, 0);
  const std::string info = "campaign resume b --log-level info" + kHow;
  for (const std::string place : {"b/weights.checkpoint", "b/tasks/characterize", "b/tasks/retrain"}) {
    fs::remove_all(folder_ / "b");
    kill_when("b", [&] {
      const auto found = files_now("b", ".checkpoint");
      return std::any_of(found.begin(), found.end(), [&](const fs::path& file) {
        return file.string().find(place) != std::string::npos;
      });
    });
    const Outcome resumed = run(info);
    EXPECT_EQ(resumed.status, 0) << resumed.text;
    EXPECT_THAT(resumed.text, testing::ContainsRegex(place + "[^\n]*: going on from step [1-9]"));
    test::expect_same_campaigns(folder_ / "a", folder_ / "b");
  }
}

TEST_F(CampaignCommand, ADamagedOrForeignCheckpointIsLeftOutOfAccount) {
  ASSERT_EQ(reduce_all("a").status, 0);
  const auto interrupted = [&](const std::string& out) {
    std::vector<fs::path> found;
    kill_when(out, [&] {
      found = files_now(out + "/tasks/characterize", ".checkpoint");
      return !found.empty();
    });
    return found.front();
  };
  const fs::path damaged = interrupted("b");
  fs::resize_file(damaged, fs::file_size(damaged) / 2);
  Outcome resumed = run("campaign resume b --log-level info" + kHow);
  EXPECT_EQ(resumed.status, 0) << resumed.text;
  EXPECT_THAT(resumed.text, HasSubstr("this task is begun anew"));
  EXPECT_THAT(resumed.text, Not(HasSubstr(damaged.filename().string() + ": going on")));
  test::expect_same_campaigns(folder_ / "a", folder_ / "b");

  // A checkpoint of the same task after other marks.
  const fs::path foreign = interrupted("c");
  fs::rename(foreign, folder_ / "kept");
  fs::remove_all(folder_ / "c");
  ASSERT_EQ(reduce_all("c", "--set campaign.characterize.evaluate_every_steps=100").status, 0);
  fs::remove_all(folder_ / "e");
  ASSERT_EQ(reduce_all("e", "--set campaign.characterize.evaluate_every_steps=100").status, 0);
  fs::remove(fs::path(foreign).replace_extension(".csv"));
  fs::copy_file(folder_ / "kept", foreign);
  resumed = run("campaign resume c --log-level info" + kHow);
  EXPECT_EQ(resumed.status, 0) << resumed.text;
  EXPECT_THAT(resumed.text, HasSubstr("a checkpoint of something else; this task is begun anew"));
  test::expect_same_campaigns(folder_ / "e", folder_ / "c");
}

}  // namespace
}  // namespace kintsugi
