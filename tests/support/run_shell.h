// A shell command as a user would type it, for tests of programs and scripts from the outside.
#pragma once

#include <stdio.h>
#include <sys/wait.h>

#include <string>

namespace kintsugi::test {

struct Outcome {
  int status = -1;   // exit status; −1 if a signal ended it
  std::string text;  // standard output and standard error, as they came
};

inline Outcome run_shell(const std::string& command) {
  Outcome outcome;
  FILE* pipe = ::popen(("{ " + command + "\n} 2>&1").c_str(), "r");
  if (pipe == nullptr) return outcome;
  char buffer[4096];
  for (std::size_t n; (n = ::fread(buffer, 1, sizeof buffer, pipe)) > 0;) outcome.text.append(buffer, n);
  const int status = ::pclose(pipe);
  outcome.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return outcome;
}

}  // namespace kintsugi::test
