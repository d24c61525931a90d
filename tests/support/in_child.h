// Runs a piece of a test in a child process, because SystemC can elaborate one platform per process. Call it
// before the test starts any thread.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <functional>
#include <string>

namespace kintsugi::test {

// The child inherits gtest: its EXPECT_… failures are printed by it, and fail the calling test. `body`
// returns a text that is handed to the parent (up to a pipe's worth; for comparing children).
inline std::string in_child(const std::function<std::string()>& body) {
  int ends[2];
  if (pipe(ends) != 0) {
    ADD_FAILURE() << "no pipe";
    return {};
  }
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child < 0) {
    ADD_FAILURE() << "no child process";
    return {};
  }
  if (child == 0) {
    close(ends[0]);
    int status = 0;
    try {
      const std::string text = body();
      for (std::size_t done = 0; done < text.size();) {
        const ssize_t written = write(ends[1], text.data() + done, text.size() - done);
        if (written <= 0) break;
        done += static_cast<std::size_t>(written);
      }
    } catch (const std::exception& e) {
      std::printf("exception in child: %s\n", e.what());
      status = 2;
    }
    if (::testing::Test::HasFailure()) status = 1;
    std::fflush(nullptr);
    _exit(status);
  }
  close(ends[1]);
  std::string text;
  char buffer[4096];
  for (ssize_t got = 0; (got = read(ends[0], buffer, sizeof buffer)) > 0;) {
    text.append(buffer, static_cast<std::size_t>(got));
  }
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "child ended with status " << status;
  return text;
}

}  // namespace kintsugi::test
