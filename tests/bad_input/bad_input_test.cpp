// Every folder under cases/ is one test: the words in `cmd` are given to the real program, which must refuse
// them with exit status 2 and the message in `expected.txt`, to the letter.
//
// To add a case, add a folder named <group>_<what> with `cmd` and the bad files, run this test with
// KINTSUGI_UPDATE_GOLDEN=1, and read the new expected.txt aloud: it must say what to do next. `cmd` runs in
// the case's folder; ../../shared holds good files. @OUT@ stands for a folder that does not exist yet.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "common/files.h"

namespace {

namespace fs = std::filesystem;

const fs::path kCases = fs::path(KINTSUGI_SOURCE_DIR) / "tests/bad_input/cases";

std::vector<std::string> case_names() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(kCases))
    if (entry.is_directory()) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

std::string replace_all(std::string text, const std::string& from, const std::string& to) {
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
  return text;
}

// The words of `cmd`; its lines are joined.
std::string read_words(const fs::path& folder) {
  return replace_all(kintsugi::common::read_file(folder / "cmd"), "\n", " ");
}

class BadInput : public testing::TestWithParam<std::string> {};

TEST_P(BadInput, IsRefusedWithItsMessage) {
  const fs::path folder = kCases / GetParam();
  const fs::path scratch =
      fs::temp_directory_path() / fmt::format("kintsugi_bad_{}_{}", GetParam(), ::getpid());
  fs::create_directories(scratch);
  const fs::path out = scratch / "out";

  std::string words = read_words(folder);
  words = replace_all(words, "@OUT@", out.string());
  // No data set of this machine may leak into a message.
  const std::string command =
      fmt::format("cd '{}' && env -u KINTSUGI_DATA '{}' {} 2>'{}' >/dev/null </dev/null", folder.string(),
                  KINTSUGI_BINARY, words, (scratch / "stderr").string());
  const int status = std::system(command.c_str());
  const std::string message =
      replace_all(kintsugi::common::read_file(scratch / "stderr"), out.string(), "@OUT@");
  ASSERT_TRUE(WIFEXITED(status)) << message;
  EXPECT_EQ(WEXITSTATUS(status), 2) << message;

  // A refused command leaves no result behind.
  if (fs::exists(out)) {
    for (const auto& entry : fs::recursive_directory_iterator(out))
      EXPECT_FALSE(entry.is_regular_file()) << "left behind: " << entry.path();
  }
  fs::remove_all(scratch);

  const fs::path golden = folder / "expected.txt";
  if (std::getenv("KINTSUGI_UPDATE_GOLDEN")) kintsugi::common::write_file_atomic(golden, message);
  ASSERT_TRUE(fs::exists(golden)) << "run with KINTSUGI_UPDATE_GOLDEN=1 to record:\n" << message;
  EXPECT_EQ(message, kintsugi::common::read_file(golden));
}

INSTANTIATE_TEST_SUITE_P(Cases, BadInput, testing::ValuesIn(case_names()),
                         [](const auto& one) { return one.param; });

TEST(BadInputSuite, CoversEveryKindOfInput) {
  std::map<std::string, int> groups;
  for (const std::string& name : case_names()) ++groups[name.substr(0, name.find('_'))];
  int total = 0;
  for (const auto& [group, count] : groups) total += count;
  EXPECT_GE(total, 60);
  for (const char* group : {"chip", "map", "network", "workload", "campaign", "suite", "data", "tensor",
                            "weights", "command", "import"})
    EXPECT_GE(groups[group], 3) << group;
}

}  // namespace
