// Runs executions in child processes, several at a time: one process can elaborate one SystemC platform, and
// a crash in one case must not take the others with it.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "sim/execution.h"
#include "sim/regress_record.h"

namespace kintsugi::sim {

// Exactly one of the three is set.
struct RegressOutcome {
  std::optional<RegressRecord> record;
  std::string bad_input;  // what the InputError said
  std::string failure;    // crashed, or threw something else
};

// One outcome per request, in their order; at most `parallel` children at once, each with one thread. The
// calling process must not have started threads. `finished` is told how many are done.
std::vector<RegressOutcome> run_in_children(const std::vector<ExecutionRequest>& requests, int parallel,
                                            const std::function<void(std::int64_t)>& finished);

}  // namespace kintsugi::sim
