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

// summary.yaml: chip, workload, faults and what was assumed of them, cycles, time at the chip's clock,
// utilisation, accuracies.
std::string run_summary(const RunFiles& files, const ExecutionRequest& request,
                        const ExecutionResult& result);

// The same for people, with one line per layer.
std::string run_table(const ExecutionRequest& request, const ExecutionResult& result, bool colours);

// What the waveform shows, and what it leaves out.
std::string waveform_text(const ExecutionRequest& request, const ExecutionResult& result);

}  // namespace kintsugi::sim
