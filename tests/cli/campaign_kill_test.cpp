// A campaign that is killed at random moments (the coordinator, a worker, all of its processes) ends with the
// bytes of one that never was.
//
// KINTSUGI_KILLS=300 kills more often, KINTSUGI_KILL_SEED=7 at other moments.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>

#include "common/random.h"
#include "tests/cli/tiny_groups.h"
#include "tests/cli/tiny_reduce.h"

namespace kintsugi {
namespace {

using Clock = std::chrono::steady_clock;

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
  const char* const text = std::getenv(variable);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

std::vector<pid_t> children_of(pid_t process) {
  std::ifstream file(fmt::format("/proc/{0}/task/{0}/children", process));
  std::vector<pid_t> children;
  for (pid_t child; file >> child;) children.push_back(child);
  return children;
}

class CampaignKill : public test::TinyReduce {
 protected:
  // Kills one thing of a running campaign; false if there is nothing to kill any more.
  bool kill_one(const std::string& whom, pid_t coordinator, common::RandomStream& random) {
    const std::vector<pid_t> workers = children_of(coordinator);
    if (whom == "worker") {
      if (workers.empty()) return false;
      return ::kill(workers[random.below(workers.size())], SIGKILL) == 0;
    }
    if (whom == "all")
      for (const pid_t worker : workers) ::kill(worker, SIGKILL);
    return ::kill(coordinator, SIGKILL) == 0;
  }
  void kill_often(std::uint64_t kills);
};

void CampaignKill::kill_often(std::uint64_t kills) {
  const std::uint64_t seed = number_from("KINTSUGI_KILL_SEED", 1);
  std::cout << fmt::format("{} kills, seed {}\n", kills, seed);
  const auto began = Clock::now();
  ASSERT_EQ(reduce_all("undisturbed", "--checkpoint-seconds 0.003").status, 0);
  const double whole = std::chrono::duration<double>(Clock::now() - began).count();

  common::RandomStream random(seed, "kills");
  std::uint64_t killed = 0, with_checkpoint = 0, campaigns = 0;
  while (killed < kills) {
    const std::string out = fmt::format("killed_{}", campaigns++);
    // Several times in one campaign, as far as it comes; then it may end.
    for (bool ended = false; !ended;) {
      const bool last = killed >= kills || random.below(8) == 0;
      const bool begun = std::filesystem::exists(folder_ / (out + "/command.yaml"));
      const std::vector<std::string> how{
          "--workers", "2", "--threads", "1", "--quiet", "--checkpoint-seconds", "0.003"};
      std::vector<std::string> words{"reduce", "all", "--campaign", "campaign.yaml", "--out", out};
      if (begun) words = {"campaign", "resume", out};
      words.insert(words.end(), how.begin(), how.end());
      const auto start_time = Clock::now();
      const pid_t coordinator = start(words);
      if (!last) {
        const std::string whom = std::vector<std::string>{"coordinator", "worker", "all"}[random.below(3)];
        const double moment = random.uniform(0, whole);
        wait_for([&] { return std::chrono::duration<double>(Clock::now() - start_time).count() > moment; },
                 coordinator);
        if (!files_now(out, ".checkpoint").empty()) ++with_checkpoint;
        killed += kill_one(whom, coordinator, random) ? 1 : 0;
      }
      const int status = end_of(coordinator);
      ended = status == 0;
      if (status > 0) FAIL() << "status " << status << ", seed " << seed << ":\n" << text("log");
    }
    test::expect_same_campaigns(folder_ / "undisturbed", folder_ / out);
    if (HasFailure()) FAIL() << "after " << killed << " kills, seed " << seed << "\n" << text("log");
    std::filesystem::remove_all(folder_ / out);
  }
  std::cout << fmt::format("{} kills in {} campaigns, {} of them while there was a checkpoint\n", killed,
                           campaigns, with_checkpoint);
}

TEST_F(CampaignKill, EndsWithTheSameBytesWheneverAndWhateverIsKilled) {
  kill_often(number_from("KINTSUGI_KILLS", 30));
}

TEST_F(CampaignKill, EndsWithTheSameBytesIfChipsShareNetworks) {
  write("lot.csv", test::lot_of_families());
  write("campaign.yaml", std::string(test::kGroupedCampaign));
  kill_often(number_from("KINTSUGI_KILLS", 12));
  EXPECT_THAT(text("undisturbed/plan.yaml"), testing::HasSubstr("id: group-0002"));
}

}  // namespace
}  // namespace kintsugi
