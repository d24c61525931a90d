// Checkpoints of a training run that is part of a longer task: the task's process may be killed at any
// moment, and the next one goes on from the file, to the same bytes.
//
// Beside the trainer's state the file holds a text of the task's own: what it has found out so far, and
// anything else it must not work out twice.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "training/trainer.h"

namespace kintsugi::training {

struct CheckpointOptions {
  std::filesystem::path file;
  double every_seconds = 60;  // 0: after every step
  // What the task's result depends on beside the training run itself; a file with another tag is not taken
  // up.
  std::string tag;
};

class Checkpointer {
 public:
  // Without options it does nothing.
  explicit Checkpointer(std::optional<CheckpointOptions> options = std::nullopt);

  // The task's text in the file that an earlier process left; nothing if there is none. A file that is
  // damaged or of something else is left out of account, with a warning: the work is then done from its
  // beginning.
  std::optional<std::string> left_behind() const;
  // Takes up the trainer's state. False, and the trainer as it was, if the file's state is of another run.
  bool resume(Trainer& trainer) const;

  // To be called after a step: saves if the time has come. `text` is asked for only then.
  void step_done(const Trainer& trainer, const std::function<std::string()>& text);
  // To be called when the task's result is written.
  void remove() const;

 private:
  std::optional<CheckpointOptions> options_;
  std::chrono::steady_clock::time_point last_;
};

}  // namespace kintsugi::training
