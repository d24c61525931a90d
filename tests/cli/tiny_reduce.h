// A Reduce campaign that takes a second: what tests of interrupted campaigns share.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "common/files.h"
#include "tests/support/run_shell.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_campaign.h"

namespace kintsugi::test {

class TinyReduce : public testing::Test {
 protected:
  void SetUp() override {
    write_tiny_campaign(folder_.path(), R"(campaign:
  chip: chip.yaml
  network: network.yaml
  dataset: {images: x.npy, labels: y.npy, decision_images: 250}
  pretrain: {epochs: 4, batch: 32}
  retrain: {batch: 32, learning_rate: 0.02}
  constraint: {accuracy_drop: 0.02}
  characterize: {fault_rates: [0.05, 0.2, 0.4], repeats: 2, max_steps: 200, evaluate_every_steps: 40}
  chips: {sample: {count: 6, fault_rate: {uniform: [0.02, 0.6]}}}
  compare: {fixed_steps: [40, 200]}
)");
  }
  void write(const std::string& name, const std::string& text) const {
    common::write_file_atomic(folder_ / name, text);
  }
  std::string text(const std::string& name) const { return common::read_file(folder_ / name); }

  // `before`: shell words in front of the program ("env A=b").
  Outcome run(const std::string& arguments, const std::string& before = "") const {
    return run_shell("cd '" + folder_.path().string() + "' && " + before + " '" KINTSUGI_BINARY "' " +
                     arguments);
  }
  // A whole campaign in `out`, two workers, nothing on the terminal.
  Outcome reduce_all(const std::string& out, const std::string& more = "") const {
    return run("reduce all --campaign campaign.yaml --out " + out + " --workers 2 --threads 1 --quiet " +
               more);
  }

  // The program in the background, its output in the file `log`. Returns its process.
  pid_t start(std::vector<std::string> words, const std::string& log = "log") const {
    const pid_t child = fork();
    if (child != 0) return child;
    const int out = ::open((folder_ / log).c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
    ::dup2(out, 1);
    ::dup2(out, 2);
    if (::chdir(folder_.path().c_str()) != 0) _exit(9);
    words.insert(words.begin(), "kintsugi");
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    ::execv(KINTSUGI_BINARY, argv.data());
    _exit(9);
  }
  // Until `ready` or the process's end; true if it was ready.
  static bool wait_for(const std::function<bool()>& ready, pid_t process) {
    for (;;) {
      if (ready()) return true;
      siginfo_t info{};
      if (::waitid(P_PID, static_cast<id_t>(process), &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
          info.si_pid == process)
        return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  static int end_of(pid_t process) {
    int status = 0;
    ::waitpid(process, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  // Files of this extension, while other processes write there.
  std::vector<std::filesystem::path> files_now(const std::string& out, const std::string& extension) const {
    std::vector<std::filesystem::path> found;
    std::error_code code;
    for (std::filesystem::recursive_directory_iterator it(folder_ / out, code), end; !code && it != end;
         it.increment(code))
      if (it->path().extension() == extension && !it->path().filename().string().starts_with('.'))
        found.push_back(it->path());
    return found;
  }

  TemporaryFolder folder_;
};

}  // namespace kintsugi::test
