// The real program, run in a temporary folder.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "common/files.h"
#include "tests/support/temporary_folder.h"

namespace kintsugi::test {

class Program : public ::testing::Test {
 protected:
  void write(const std::string& name, const std::string& text) {
    common::write_file_atomic(folder_ / name, text);
  }
  std::string file(const std::string& name) const { return common::read_file(folder_ / name); }
  bool exists(const std::string& name) const { return std::filesystem::exists(folder_ / name); }
  // Its exit status; output is in the files stdout and stderr.
  int run(const std::string& words) {
    const std::string command = fmt::format("cd '{}' && '{}' {} >stdout 2>stderr </dev/null",
                                            folder_.path().string(), KINTSUGI_BINARY, words);
    const int status = std::system(command.c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  TemporaryFolder folder_;
};

}  // namespace kintsugi::test
