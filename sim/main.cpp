// The `kintsugi` program: finds the command, runs it, and turns what it throws into an exit status.
#include <fmt/format.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <exception>
#include <iostream>
#include <new>
#include <string>
#include <system_error>
#include <vector>

#include "common/diagnostics.h"
#include "common/text.h"
#include "sim/options.h"

// The SystemC library asks for this symbol because it may bring its own main(); ours is below.
extern "C" int sc_main(int, char*[]);
int sc_main(int, char*[]) {
  return 0;
}

namespace {

using namespace kintsugi;

struct Command {
  const char* name;
  const char* summary;
  int (*run)(const std::vector<std::string>&);
};

constexpr Command kCommands[] = {
    {"run", "run a workload on a chip: outputs, cycles per layer, accuracy", sim::run_command},
    {"network", "show a network's layers: shapes, parameters, MACs, neurons, tiles on a chip",
     sim::network_command},
    {"fault-map", "sample, import, show, check, convert, compare fault maps; pruning masks",
     sim::fault_map_command},
    {"train", "train a network, in float or through the simulated chip", sim::train_command},
    {"reduce", "plan how much retraining each faulty chip of a lot needs, and retrain", sim::reduce_command},
    {"overclock", "compare trainings of a network for a chip that errs, over a sweep of operating points",
     sim::overclock_command},
    {"campaign", "show, resume and stop what reduce and overclock have begun", sim::campaign_command},
    {"regress", "run a suite of cases against recorded results", sim::regress_command},
    {"timing", "timing errors of overclocked PEs: a PE's own gates as a timing file", sim::timing_command},
    {"sweep", "run a workload over a grid of settings: array sizes, fault rates, workloads",
     sim::sweep_command},
};

std::string help() {
  std::string text =
      "Kintsugi " KINTSUGI_VERSION
      ": simulates a systolic-array accelerator with broken parts, and mends networks around them.\n\n"
      "Usage: kintsugi <command> [options]\n\nCommands:\n";
  for (const Command& command : kCommands) text += fmt::format("  {:<11}{}\n", command.name, command.summary);
  text +=
      "\n'kintsugi <command> --help' explains a command. Exit status: 0 done, 1 the answer is no, 2 wrong "
      "input,\n"
      "3 internal error.\n";
  return text;
}

int dispatch(const std::vector<std::string>& words) {
  if (words.empty()) {
    std::cerr << "kintsugi: error: no command was given\n\n" << help();
    return sim::kExitBadInput;
  }
  if (words[0] == "--help" || words[0] == "-h" || words[0] == "help") {
    std::cout << help();
    return sim::kExitDone;
  }
  if (words[0] == "--version") {
    std::cout << "kintsugi " KINTSUGI_VERSION "\n";
    return sim::kExitDone;
  }
  std::vector<std::string> names;
  for (const Command& command : kCommands) {
    if (words[0] == command.name) return command.run({words.begin() + 1, words.end()});
    names.push_back(command.name);
  }
  const auto near = common::nearest(words[0], names);
  throw common::InputError(
      fmt::format("kintsugi: error: there is no command '{}'{} the commands are {}\n"
                  "'kintsugi --help' says what each does",
                  words[0], near ? fmt::format("; did you mean '{}'?", *near) : ";", common::join(names)));
}

int guarded(const std::vector<std::string>& words) {
  try {
    return dispatch(words);
  } catch (const common::InputError& problem) {
    std::cout.flush();
    std::cerr << problem.what() << "\n";
    return sim::kExitBadInput;
  } catch (const std::bad_alloc&) {
    std::cerr
        << "kintsugi: error: there is not enough memory for this; use a smaller batch, array or data set\n";
  } catch (const std::system_error& problem) {
    if (problem.code() == std::errc::broken_pipe) return sim::kExitDone;
    std::cerr << "kintsugi: internal error: " << problem.what()
              << "; please report it with the command line\n";
  } catch (const std::exception& problem) {
    std::cerr << "kintsugi: internal error: " << problem.what()
              << "; please report it with the command line\n";
  }
  return sim::kExitInternal;
}

}  // namespace

int main(int argc, char* argv[]) {
  // `kintsugi ... | head` ends the reader first: writing then fails instead of killing the process.
  std::signal(SIGPIPE, SIG_IGN);
  spdlog::set_default_logger(spdlog::stderr_logger_mt("kintsugi"));
  spdlog::set_pattern("%l: %v");
  spdlog::set_level(spdlog::level::warn);
  int status = guarded({argv + 1, argv + argc});
  errno = 0;
  std::cout.flush();
  if ((!std::cout || std::fflush(stdout) != 0) && errno != EPIPE && errno != 0) {
    std::cerr << "kintsugi: error: cannot write to standard output: "
              << std::generic_category().message(errno) << "\n";
    if (status == sim::kExitDone) status = sim::kExitBadInput;
  }
  return status;
}
