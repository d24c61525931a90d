// log.csv of a training run: one line a step, kept in memory and written with every checkpoint.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace kintsugi::sim {

class TrainLog {
 public:
  // Columns: step, epoch (steps / steps per epoch), loss (the mini-batch's mean), learning_rate,
  // decision_accuracy (where it was measured).
  void add(std::int64_t step, double epoch, double loss, double learning_rate,
           std::optional<double> accuracy);

  // Takes the lines of steps 1 … `steps` of an earlier, interrupted run. Throws common::InputError if the
  // file does not have them.
  void continue_from(const std::filesystem::path& file, std::int64_t steps);

  void write(const std::filesystem::path& file) const;

 private:
  std::vector<std::string> lines_;
};

}  // namespace kintsugi::sim
