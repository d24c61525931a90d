// A training run's state as one file: parameters, momentum, the number of steps done, and which run it is.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include "training/trainer.h"

namespace kintsugi::training {

struct RunState {
  std::int64_t steps = 0;
  workloads::Parameters parameters;
  workloads::Parameters momentum;
};

std::string parameters_digest(const workloads::Parameters& parameters);

// A digest of everything that a run's bytes follow from, so that a checkpoint is only ever continued by the
// run that wrote it. (Which faults are loaded in the accelerator it cannot be asked; options.tag stands for
// them.)
// `start_digest`: parameters_digest of the start parameters.
std::string run_identity(const workloads::Network& network, const std::string& start_digest,
                         const workloads::ImageSet& images, const TrainerOptions& options,
                         const workloads::Masks& masks, const std::optional<ChipInTheLoop>& chip);

// A .safetensors file with tensors "parameter/<name>" and "momentum/<name>". `notes` go into its metadata,
// beside "format", "run" and "steps".
void write_checkpoint(const std::filesystem::path& file, const RunState& state, const std::string& identity,
                      const std::map<std::string, std::string>& notes = {});

// Throws common::InputError for a damaged file, one that is no checkpoint, and one of another run.
// `expected` gives the names and shapes that must be there.
RunState read_checkpoint(const std::filesystem::path& file, const std::string& identity,
                         const RunState& expected);

}  // namespace kintsugi::training
