// The local executor: workers that die are replaced, once; errors arrive as what they were.
#include "sim/task_executor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>

#include "common/diagnostics.h"
#include "common/files.h"
#include "tests/support/temporary_folder.h"

namespace kintsugi::sim {
namespace {

using testing::HasSubstr;

class TaskExecutor : public testing::Test {
 protected:
  std::vector<Task> tasks(int n) const {
    std::vector<Task> all;
    for (int i = 0; i < n; ++i) all.push_back({"number " + std::to_string(i), 3});
    return all;
  }
  void mark(std::size_t task) const {
    std::ofstream(folder_ / ("task" + std::to_string(task)), std::ios::app) << ::getpid() << "\n";
  }
  std::vector<std::string> marks(std::size_t task) const {
    std::ifstream file(folder_ / ("task" + std::to_string(task)));
    std::vector<std::string> lines;
    for (std::string line; std::getline(file, line);) lines.push_back(line);
    return lines;
  }
  static ExecutorOptions quiet(int workers) {
    return {workers, "test", "steps", common::ProgressOutput::none};
  }

  test::TemporaryFolder folder_;
};

TEST_F(TaskExecutor, DoesEveryTaskOnceInItsWorkers) {
  for (const int workers : {1, 2, 5}) {
    test::TemporaryFolder fresh;
    run_tasks(
        tasks(7),
        [&] {
          return [&](std::size_t task, const std::function<void(std::int64_t)>& progress) {
            progress(1);
            std::ofstream(fresh / std::to_string(task), std::ios::app) << ::getpid() << "\n";
          };
        },
        quiet(workers));
    std::set<std::string> pids;
    for (int i = 0; i < 7; ++i) {
      const std::string pid = common::read_file(fresh / std::to_string(i));
      EXPECT_EQ(std::count(pid.begin(), pid.end(), '\n'), 1) << i;
      pids.insert(pid);
    }
    EXPECT_FALSE(pids.contains(std::to_string(::getpid()) + "\n"));
    EXPECT_LE(pids.size(), static_cast<std::size_t>(workers));
  }
}

TEST_F(TaskExecutor, TriesATaskAgainWhoseWorkerDied) {
  testing::internal::CaptureStderr();
  run_tasks(
      tasks(4),
      [&] {
        return [&](std::size_t task, const std::function<void(std::int64_t)>& progress) {
          progress(2);
          mark(task);
          if (task == 2 && marks(2).size() == 1) ::kill(::getpid(), SIGKILL);
        };
      },
      quiet(2));
  EXPECT_THAT(
      testing::internal::GetCapturedStderr(),
      HasSubstr("was killed by signal 9 (Killed) during task 'number 2'; trying that task once more"));
  EXPECT_EQ(marks(2).size(), 2u);
  for (const std::size_t task : {0, 1, 3}) EXPECT_EQ(marks(task).size(), 1u) << task;
}

TEST_F(TaskExecutor, GivesUpWhenItDiesAgain) {
  testing::internal::CaptureStderr();
  try {
    run_tasks(
        tasks(3),
        [&] {
          return [&](std::size_t task, const std::function<void(std::int64_t)>&) {
            mark(task);
            if (task == 1) ::kill(::getpid(), SIGKILL);
          };
        },
        quiet(1));
    FAIL() << "went on";
  } catch (const std::runtime_error& error) {
    EXPECT_THAT(
        error.what(),
        HasSubstr("task 'number 1': its worker process was killed by signal 9 (Killed) in 2 attempts"));
  }
  testing::internal::GetCapturedStderr();
  EXPECT_EQ(marks(1).size(), 2u);
}

TEST_F(TaskExecutor, PassesErrorsOn) {
  const auto failing = [&](const std::function<void()>& fail) {
    run_tasks(
        tasks(3),
        [&] {
          return [&](std::size_t task, const std::function<void(std::int64_t)>&) {
            mark(task);
            if (task == 1) fail();
          };
        },
        quiet(1));
  };
  EXPECT_THROW(failing([] { throw common::InputError("bad input"); }), common::InputError);
  EXPECT_EQ(marks(1).size(), 1u);  // an error is an answer: no second attempt
  try {
    failing([] { throw std::logic_error("a slip"); });
    FAIL() << "went on";
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "number 1: a slip");
  }
  EXPECT_TRUE(marks(2).empty());
}

TEST_F(TaskExecutor, NothingToDoStartsNothing) {
  run_tasks(
      {}, []() -> RunTask { throw std::logic_error("started"); }, quiet(2));
}

}  // namespace
}  // namespace kintsugi::sim
