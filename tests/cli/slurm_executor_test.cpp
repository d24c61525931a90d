// The Slurm executor on stand-ins for Slurm's programs: what it asks of them, and what it makes of their
// answers. tests/slurm/ has the real ones.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/cli/program.h"
#include "tests/cli/tiny_groups.h"
#include "tests/support/run_shell.h"
#include "tests/support/tiny_campaign.h"

namespace kintsugi {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kCampaign = R"(campaign:
  chip: chip.yaml
  network: network.yaml
  dataset: {images: x.npy, labels: y.npy, decision_images: 250}
  pretrain: {epochs: 4, batch: 32}
  retrain: {batch: 32, learning_rate: 0.02}
  constraint: {accuracy_drop: 0.02}
  characterize: {fault_rates: [0.1, 0.4], repeats: 2, max_steps: 60, evaluate_every_steps: 10}
  chips: {sample: {count: 3, fault_rate: {uniform: [0.02, 0.6]}}}
)";

// Runs the elements at once, one after another, unless the file `lose` says that so many more are to be lost.
constexpr const char* kSbatch = R"(#!/bin/sh
for word; do
  case $word in
  --array=*) last=${word#--array=0-}; last=${last%%%*} ;;
  --output=*) output=${word#--output=} ;;
  esac
done
echo "$*" >>"$FAKE/calls"
[ -f "$FAKE/refuse" ] && { cat "$FAKE/refuse" >&2; exit 1; }
element=0
while [ "$element" -le "$last" ]; do
  lose=$(cat "$FAKE/lose" 2>/dev/null || echo 0)
  if [ "$lose" -gt 0 ]; then
    echo $((lose - 1)) >"$FAKE/lose"
  else
    log=$(echo "$output" | sed "s/%a/$element/; s/%%/%/g")
    SLURM_ARRAY_TASK_ID=$element sh "$word" >>"$log" 2>&1
  fi
  element=$((element + 1))
done
echo 17
)";

class SlurmExecutor : public test::Program {
 protected:
  void SetUp() override {
    test::write_tiny_campaign(folder_.path(), kCampaign);
    program("sbatch", kSbatch);
    program("squeue", "#!/bin/sh\nexit 0\n");
    program("scontrol", "#!/bin/sh\necho 'MaxArraySize            = 3'\n");
  }
  void program(const std::string& name, const std::string& text) {
    write("bin/" + name, text);
    fs::permissions(folder_ / ("bin/" + name), fs::perms::owner_all);
  }
  test::Outcome all(const std::string& out, const std::string& executor) const {
    return test::run_shell(
        fmt::format("cd '{0}' && export FAKE='{0}' PATH='{0}/bin':$PATH KINTSUGI_WORD=\"it's\" && '{1}' "
                    "reduce all --campaign "
                    "campaign.yaml --out {2} --set campaign.executor='{3}'",
                    folder_.path().string(), KINTSUGI_BINARY, out, executor));
  }
};

TEST_F(SlurmExecutor, GivesTheLocalBytesThoughJobsAreLost) {
  ASSERT_EQ(all("a", "{name: local, workers: 2}").status, 0);
  write("lose", "2\n");
  const test::Outcome outcome =
      all("b",
          "{name: slurm, poll_seconds: 0.1, partition: big one, account: me, time_limit: \"1:30\", "
          "memory_gb: 1.5, cpus_per_task: 2, workers: 5, extra: [--qos=short]}");
  ASSERT_EQ(outcome.status, 0) << outcome.text;
  EXPECT_THAT(outcome.text,
              HasSubstr("pretrain: 1 task left the queue without a result and is submitted again"));
  EXPECT_THAT(outcome.text, HasSubstr("characterize: 3 jobs submitted to Slurm, array 17"));
  test::expect_same_campaigns(folder_ / "a", folder_ / "b");
  const std::string calls = file("calls");
  EXPECT_THAT(calls, HasSubstr("--parsable --qos=short --array=0-0%5 --requeue --job-name=kintsugi-"));
  EXPECT_THAT(calls,
              HasSubstr("--open-mode=append --cpus-per-task=2 --partition=big one --account=me --time=1:30 "
                        "--mem=1536M "));
  // Four points, three an array.
  EXPECT_THAT(calls, HasSubstr("slurm/characterize/2.sh"));
  EXPECT_THAT(calls, Not(HasSubstr("--array=0-3")));
  EXPECT_THAT(file("b/slurm/characterize/1.tasks"),
              testing::MatchesRegex("# job kintsugi-[0-9a-f]+ phase characterize\n"
                                    "rate_0.1_repeat_0\nrate_0.1_repeat_1\nrate_0.4_repeat_0\n"));
  EXPECT_THAT(file("b/slurm/plan/1.sh"), HasSubstr("\nexport KINTSUGI_WORD='it'\\''s'\n"));
}

TEST_F(SlurmExecutor, GroupsAreJobsToo) {
  write("lot.csv", test::lot_of_families());
  write("campaign.yaml", test::kGroupedCampaign);
  ASSERT_EQ(all("a", "{name: local, workers: 2}").status, 0);
  const test::Outcome outcome = all("b", "{name: slurm, poll_seconds: 0.1, tasks_per_job: 2}");
  ASSERT_EQ(outcome.status, 0) << outcome.text;
  test::expect_same_campaigns(folder_ / "a", folder_ / "b");
  EXPECT_THAT(file("b/slurm/group/1.tasks"), HasSubstr("\ngroup-0001 group-0002"));
  EXPECT_THAT(file("b/slurm/deliver/1.tasks"), HasSubstr("\nA1 A2\n"));
}

TEST_F(SlurmExecutor, SeveralTasksAJob) {
  const test::Outcome outcome =
      all("b", "{name: slurm, poll_seconds: 0.1, tasks_per_job: 3, max_array_size: 1}");
  ASSERT_EQ(outcome.status, 0) << outcome.text;
  EXPECT_THAT(file("b/slurm/characterize/1.tasks"),
              HasSubstr("\nrate_0.1_repeat_0 rate_0.1_repeat_1 rate_0.4_repeat_0\n"));
  EXPECT_THAT(file("b/slurm/characterize/2.tasks"), HasSubstr("\nrate_0.4_repeat_1\n"));
}

// The first job is lost, and the queue says of it what is given, for eight looks.
constexpr const char* kSqueue = R"sh(#!/bin/sh
looks=$(cat "$FAKE/looks" 2>/dev/null || echo 0)
echo $((looks + 1)) >"$FAKE/looks"
[ "$looks" -ge 8 ] && exit 0
for word; do
  case $word in
  --name=*) echo "${word#--name=}|17|0|$(cat "$FAKE/state")" ;;
  esac
done
)sh";

TEST_F(SlurmExecutor, TellsOnceWhyNothingRuns) {
  program("squeue", kSqueue);
  write("lose", "1\n");
  write("state", "PENDING|Nodes required for job are DOWN\n");
  const test::Outcome outcome = all("b", "{name: slurm, poll_seconds: 0.1}");
  ASSERT_EQ(outcome.status, 0) << outcome.text;
  const std::string told =
      "pretrain: none of its jobs runs; Slurm's reason: Nodes required for job are DOWN; waiting\n";
  const std::size_t at = outcome.text.find(told);
  ASSERT_NE(at, std::string::npos) << outcome.text;
  EXPECT_EQ(outcome.text.find(told, at + 1), std::string::npos) << outcome.text;
}

TEST_F(SlurmExecutor, SaysNothingOfAQueueThatWaitsForOthers) {
  program("squeue", kSqueue);
  write("lose", "1\n");
  write("state", "PENDING|Priority\n");
  const test::Outcome outcome = all("b", "{name: slurm, poll_seconds: 0.1}");
  ASSERT_EQ(outcome.status, 0) << outcome.text;
  EXPECT_THAT(outcome.text, Not(HasSubstr("none of its jobs runs")));
}

// A job that was cancelled while Slurm held it keeps the reason.
TEST_F(SlurmExecutor, TakesAHeldJobOutOnce) {
  program("squeue", kSqueue);
  program("scancel",
          "#!/bin/sh\necho \"$*\" >>\"$FAKE/cancelled\"\n"
          "echo 'CANCELLED|launch failed requeued held' >\"$FAKE/state\"\n");
  write("lose", "1\n");
  write("state", "PENDING|launch failed requeued held\n");
  const test::Outcome outcome = all("b", "{name: slurm, poll_seconds: 0.1}");
  ASSERT_EQ(outcome.status, 0) << outcome.text;
  EXPECT_EQ(file("cancelled"), "--quiet 17_0\n");
  EXPECT_THAT(outcome.text,
              HasSubstr("pretrain: 1 task left the queue without a result and is submitted again"));
}

TEST_F(SlurmExecutor, SaysWhyAndGoesOnLater) {
  write("refuse", "sbatch: error: no such account\n");
  const test::Outcome refused = all("b", "{name: slurm, poll_seconds: 0.1}");
  EXPECT_EQ(refused.status, 2);
  EXPECT_THAT(refused.text,
              HasSubstr("sbatch refused the jobs of phase 'pretrain':\n  sbatch: error: no such "
                        "account\n"));
  fs::remove(folder_ / "refuse");

  // Lost for ever: three attempts, and no log to show.
  write("lose", "1000\n");
  const test::Outcome lost = all("b", "{name: slurm, poll_seconds: 0.1}");
  EXPECT_EQ(lost.status, 2);
  EXPECT_THAT(lost.text,
              HasSubstr("ended without a result 3 times; it left no log; does every node see this"));
  write("lose", "0\n");

  // On a processor of another kind: the job's own words.
  program("sh", "#!/bin/sh\nDNNL_MAX_CPU_ISA=SSE41 exec /bin/sh \"$@\"\n");
  const test::Outcome other = all("b", "{name: slurm, poll_seconds: 0.1}");
  EXPECT_EQ(other.status, 2);
  EXPECT_THAT(other.text, HasSubstr("pretrain/6_0.log ends with\n"));
  EXPECT_THAT(other.text, HasSubstr("  instruction_set: "));
  fs::remove(folder_ / "bin/sh");

  const test::Outcome mended = all("b", "{name: slurm, poll_seconds: 0.1}");
  EXPECT_EQ(mended.status, 0) << mended.text;
}

}  // namespace
}  // namespace kintsugi
