// What `kintsugi run` says about a run: a table for the terminal, and summary.yaml for machines.
#pragma once

#include <filesystem>
#include <string>

#include "sim/execution.h"

namespace kintsugi::sim {

// Files as the user named them, for the summary.
struct RunFiles {
  std::filesystem::path chip;
  std::filesystem::path workload;
};

// summary.yaml: chip, workload, faults and what was assumed of them, the sums of layers.csv, time at the
// chip's clock, accuracies.
std::string run_summary(const RunFiles& files, const ExecutionRequest& request,
                        const ExecutionResult& result);

// The same for people, with one line per layer; a second table if there is a memory system. At most 120
// columns wide.
std::string run_table(const ExecutionRequest& request, const ExecutionResult& result, bool colours);

// What the waveform shows, and what it leaves out.
std::string waveform_text(const ExecutionRequest& request, const ExecutionResult& result);

}  // namespace kintsugi::sim
