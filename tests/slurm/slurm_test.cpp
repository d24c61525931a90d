// The Slurm executor against a real Slurm: a private cluster of four nodes on this machine
// (private_cluster.sh). Whatever happens to nodes, controller and coordinator, a campaign ends with the local
// executor's bytes.
//
// Skipped unless Slurm is installed. With KINTSUGI_TEST_SLURM=1 it is installed first (Debian, root,
// network).
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <thread>

#include "common/files.h"
#include "tests/support/run_shell.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_campaign.h"

namespace kintsugi {
namespace {

namespace fs = std::filesystem;
using test::Outcome;
using test::run_shell;
using testing::HasSubstr;

// Long enough a task (about a second) that something can happen to it.
constexpr const char* kCampaign = R"(campaign:
  chip: chip.yaml
  network: network.yaml
  dataset: {images: x.npy, labels: y.npy, decision_images: 250}
  pretrain: {epochs: 4, batch: 32}
  retrain: {batch: 32, learning_rate: 0.02}
  constraint: {accuracy_drop: 0.02}
  characterize: {fault_rates: [0.05, 0.2, 0.4], repeats: 2, max_steps: 30000, evaluate_every_steps: 5000}
  chips: {sample: {count: 5, fault_rate: {uniform: [0.02, 0.6]}}}
  compare: {fixed_steps: [5000, 10000]}
)";

bool until(const std::function<bool()>& what, double seconds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  while (std::chrono::steady_clock::now() < end) {
    if (what()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  return false;
}

// Empty if Slurm can be run here; otherwise why it cannot.
std::string no_slurm() {
  if (::geteuid() != 0) return "needs root: the cluster's daemons run as this user, and munge wants root";
  const auto there = [] { return run_shell("command -v slurmctld slurmd munged sbatch").status == 0; };
  if (there()) return "";
  const char* wanted = std::getenv("KINTSUGI_TEST_SLURM");
  if (wanted == nullptr || std::string(wanted) != "1")
    return "Slurm is not installed; with KINTSUGI_TEST_SLURM=1 this test installs it (Debian packages "
           "slurm-wlm, "
           "munge, slurm-wlm-basic-plugins)";
  // Tests run side by side; one of them installs.
  const Outcome install = run_shell(
      "flock /tmp/.kintsugi-installs-slurm sh -c 'command -v slurmctld || { apt-get update -qq && "
      "DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "
      "-o DPkg::Lock::Timeout=120 slurm-wlm munge slurm-wlm-basic-plugins; }'");
  if (install.status == 0 && there()) return "";
  return "Slurm could not be installed:\n" + install.text;
}

class Slurm : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = no_slurm(); !reason.empty()) GTEST_SKIP() << reason;
    test::write_tiny_campaign(folder_.path(), kCampaign);
    const Outcome start = cluster("start 4");
    ASSERT_EQ(start.status, 0) << start.text;
    ::setenv("SLURM_CONF", (folder_ / "cluster/slurm.conf").c_str(), 1);
    started_ = true;
  }
  void TearDown() override {
    if (coordinator_ > 0) {
      ::kill(coordinator_, SIGKILL);
      ::waitpid(coordinator_, nullptr, 0);
    }
    if (started_) cluster("stop");
  }

  Outcome cluster(const std::string& words) const {
    return run_shell(fmt::format("'{}/tests/slurm/private_cluster.sh' '{}' {}", KINTSUGI_SOURCE_DIR,
                                 (folder_ / "cluster").string(), words));
  }

  std::string command(const std::string& out, const std::string& more = {}) const {
    return fmt::format("cd '{}' && exec '{}' reduce all --campaign campaign.yaml --out {} {}",
                       folder_.path().string(), KINTSUGI_BINARY, out, more);
  }
  static std::string on_slurm(const std::string& more = {}) {
    return "--set campaign.executor='{name: slurm, poll_seconds: 0.5" + (more.empty() ? "" : ", " + more) +
           "}'";
  }
  void run_locally() {
    const Outcome local = run_shell(command("local", "--workers 2"));
    ASSERT_EQ(local.status, 0) << local.text;
  }

  // A coordinator on its own, whose words go to the file `coordinator.txt`.
  void start_coordinator(const std::string& out) {
    const std::string line = command(out, on_slurm() + " >>coordinator.txt 2>&1");
    coordinator_ = ::fork();
    ASSERT_GE(coordinator_, 0);
    if (coordinator_ == 0) {
      ::execl("/bin/sh", "sh", "-c", line.c_str(), nullptr);
      std::_Exit(127);
    }
  }
  // Its exit code. One that does not come to an end is killed, and the queue and nodes are shown.
  int finish_coordinator() {
    int status = 0;
    if (!until([&] { return ::waitpid(coordinator_, &status, WNOHANG) == coordinator_; }, 120)) {
      ADD_FAILURE() << "the coordinator does not end:\n"
                    << said() << run_shell("squeue -r; sinfo -N -o '%N %T %E'").text;
      kill_coordinator();
      return -1;
    }
    coordinator_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  void kill_coordinator() {
    ::kill(coordinator_, SIGKILL);
    ::waitpid(coordinator_, nullptr, 0);
    coordinator_ = -1;
  }
  std::string said() const { return common::read_file(folder_ / "coordinator.txt"); }

  // Nodes on which a job of the phase runs.
  std::string busy_nodes(const std::string& out, const std::string& phase) const {
    return run_shell(
               fmt::format(
                   "name=$(sed -n '1s/^# job \\([^ ]*\\) .*/\\1/p' '{}/slurm/{}/1.tasks' 2>/dev/null) && "
                   "[ -n \"$name\" ] && squeue -h -t RUNNING --name=\"$name\" -r -o %N",
                   (folder_ / out).string(), phase))
        .text;
  }
  std::size_t submissions(const std::string& out) const {
    std::size_t count = 0;
    for (const auto& entry : fs::recursive_directory_iterator(folder_ / out / "slurm"))
      count += entry.path().extension() == ".tasks" ? 1 : 0;
    return count;
  }
  void expect_local_bytes(const std::string& out) {
    run_locally();
    test::expect_same_campaigns(folder_ / "local", folder_ / out);
  }

  test::TemporaryFolder folder_;
  bool started_ = false;
  pid_t coordinator_ = -1;
};

TEST_F(Slurm, GivesTheLocalBytesInChunksAndThroughAnyName) {
  const std::string out = "\"it's 100%a \\$HOME\"";
  const Outcome outcome = run_shell(
      "export SBATCH_EXPORT=NONE KINTSUGI_SOMETHING=\"two 'words'\"\n" +
      command(out,
              on_slurm("max_array_size: 3, tasks_per_job: 2, workers: 2, memory_gb: 0.5, time_limit: 5")));
  ASSERT_EQ(outcome.status, 0) << outcome.text;
  const fs::path slurm = folder_ / "it's 100%a $HOME" / "slurm";
  // Six tasks, two a job: one array of three; five chips: three jobs.
  EXPECT_TRUE(fs::exists(slurm / "characterize/1_2.log"));
  EXPECT_FALSE(fs::exists(slurm / "characterize/2.tasks"));
  EXPECT_THAT(common::read_file(slurm / "characterize/1.sh"),
              HasSubstr("export KINTSUGI_SOMETHING='two '\\''words'\\'''\n"));
  fs::rename(folder_ / "it's 100%a $HOME", folder_ / "slurm");
  expect_local_bytes("slurm");
}

TEST_F(Slurm, CutsArraysToTheClustersLimit) {
  const Outcome outcome =
      run_shell(fmt::format("cd '{}' && exec '{}' reduce characterize --campaign campaign.yaml --out out {}",
                            folder_.path().string(), KINTSUGI_BINARY, on_slurm("max_array_size: 4")));
  ASSERT_EQ(outcome.status, 0) << outcome.text;
  EXPECT_THAT(common::read_file(folder_ / "out/slurm/characterize/2.tasks"),
              HasSubstr("\nrate_0.4_repeat_0\nrate_0.4_repeat_1\n"));
}

TEST_F(Slurm, ALostNodeChangesNothing) {
  start_coordinator("out");
  std::string busy;
  ASSERT_TRUE(until([&] { return !(busy = busy_nodes("out", "characterize")).empty(); }, 60)) << said();
  const std::string node = busy.substr(1, busy.find('\n') - 1);
  ASSERT_EQ(cluster("lose " + node).status, 0);
  ASSERT_EQ(finish_coordinator(), 0) << said();
  EXPECT_THAT(run_shell("sinfo -h -N -o '%N %T'").text, HasSubstr("n" + node + " down"));
  expect_local_bytes("out");
}

TEST_F(Slurm, AControllersCrashChangesNothing) {
  start_coordinator("out");
  ASSERT_TRUE(until([&] { return !busy_nodes("out", "characterize").empty(); }, 60)) << said();
  ASSERT_EQ(cluster("crash").status, 0);
  ASSERT_TRUE(until([&] { return said().find("squeue does not answer") != std::string::npos; }, 30))
      << said();
  ASSERT_EQ(cluster("restart").status, 0);
  ASSERT_EQ(finish_coordinator(), 0) << said();
  expect_local_bytes("out");
}

TEST_F(Slurm, JobsThatTheControllerForgotAreSubmittedAgain) {
  start_coordinator("out");
  ASSERT_TRUE(until([&] { return !busy_nodes("out", "characterize").empty(); }, 60)) << said();
  ASSERT_EQ(cluster("crash").status, 0);
  ASSERT_EQ(cluster("forget").status, 0);
  ASSERT_EQ(cluster("restart").status, 0);
  ASSERT_EQ(finish_coordinator(), 0) << said();
  EXPECT_TRUE(fs::exists(folder_ / "out/slurm/characterize/2.tasks")) << said();
  expect_local_bytes("out");
}

TEST_F(Slurm, AKilledCoordinatorsJobsAreNotSubmittedTwice) {
  start_coordinator("out");
  ASSERT_TRUE(until([&] { return !busy_nodes("out", "characterize").empty(); }, 60)) << said();
  kill_coordinator();
  start_coordinator("out");
  ASSERT_EQ(finish_coordinator(), 0) << said();
  EXPECT_THAT(said(), HasSubstr("of an earlier run"));
  // One array a phase: pretrain, baseline_decision, characterize, plan, baseline_test, retrain.
  EXPECT_EQ(submissions("out"), 6u) << said();
  expect_local_bytes("out");
}

TEST_F(Slurm, CancelEndsTheJobsAndResumeGoesOn) {
  start_coordinator("out");
  ASSERT_TRUE(until([&] { return !busy_nodes("out", "characterize").empty(); }, 60)) << said();
  const std::string campaign =
      fmt::format("cd '{}' && '{}' campaign", folder_.path().string(), KINTSUGI_BINARY);
  const Outcome cancelled = run_shell(campaign + " cancel out");
  EXPECT_EQ(cancelled.status, 0) << cancelled.text;
  EXPECT_THAT(cancelled.text, HasSubstr(", and ended 1 array of Slurm jobs;"));
  EXPECT_NE(finish_coordinator(), 0);
  ASSERT_TRUE(until([&] { return run_shell("squeue -h").text.empty(); }, 30)) << run_shell("squeue").text;
  const Outcome resumed = run_shell(campaign + " resume out");
  ASSERT_EQ(resumed.status, 0) << resumed.text;
  EXPECT_THAT(resumed.text, HasSubstr("submitted to Slurm"));
  expect_local_bytes("out");
}

TEST_F(Slurm, TheCoordinatorMayBeAJobAndLoseItsNode) {
  common::write_file_atomic(folder_ / "coordinator.sh", "#!/bin/sh\n" + command("out", on_slurm()) + "\n");
  const Outcome submitted =
      run_shell(fmt::format("cd '{0}' && sbatch --parsable --requeue --nodelist=n3 --open-mode=append "
                            "--output=coordinator.txt coordinator.sh",
                            folder_.path().string()));
  ASSERT_EQ(submitted.status, 0) << submitted.text;
  ASSERT_TRUE(until([&] { return !busy_nodes("out", "characterize").empty(); }, 60));
  ASSERT_EQ(cluster("lose 3").status, 0);
  ASSERT_EQ(cluster("revive 3").status, 0);
  ASSERT_TRUE(until([&] { return fs::exists(folder_ / "out/compare.csv"); }, 90)) << said();
  ASSERT_TRUE(until([&] { return run_shell("squeue -h").text.empty(); }, 30));
  EXPECT_THAT(said(), HasSubstr("tasks were done before"));
  expect_local_bytes("out");
}

TEST_F(Slurm, RefusalsAndFailuresAreShown) {
  const Outcome refused = run_shell(command("out", on_slurm("partition: nonesuch")));
  EXPECT_EQ(refused.status, 2);
  EXPECT_THAT(refused.text, HasSubstr("sbatch refused the jobs of phase 'pretrain':\n  sbatch: error: "));
  EXPECT_THAT(refused.text, HasSubstr("invalid partition specified"));

  // What a job says before it fails is what the user sees.
  const Outcome failed =
      run_shell(command("out", on_slurm("extra: [\"--export=ALL,DNNL_MAX_CPU_ISA=SSE41\"]")));
  EXPECT_EQ(failed.status, 2);
  EXPECT_THAT(failed.text, HasSubstr("ended without a result 3 times"));
  EXPECT_THAT(failed.text, HasSubstr("this folder holds a campaign made from other inputs"));

  const Outcome none = run_shell("export PATH=/nowhere\n" + command("out", on_slurm()));
  EXPECT_EQ(none.status, 2);
  EXPECT_THAT(none.text,
              HasSubstr("on this machine (No such file or directory), and the campaign's executor is Slurm"));
}

}  // namespace
}  // namespace kintsugi
