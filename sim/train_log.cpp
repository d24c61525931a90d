#include "sim/train_log.h"

#include <fmt/format.h>

#include <sstream>

#include "common/diagnostics.h"
#include "common/files.h"
#include "common/text.h"

namespace kintsugi::sim {
namespace {

const std::string kHeader = "step,epoch,loss,learning_rate,decision_accuracy";

}  // namespace

void TrainLog::add(std::int64_t step, double epoch, double loss, double learning_rate,
                   std::optional<double> accuracy) {
  lines_.push_back(fmt::format("{},{},{},{},{}", step, common::format_number(epoch),
                               common::format_number(loss), common::format_number(learning_rate),
                               accuracy ? common::format_number(*accuracy) : std::string()));
}

void TrainLog::continue_from(const std::filesystem::path& file, std::int64_t steps) {
  std::istringstream text(common::read_file(file));
  std::string line;
  bool good = std::getline(text, line) && line == kHeader;
  lines_.clear();
  for (std::int64_t step = 1; good && step <= steps; ++step) {
    good = std::getline(text, line) && line.starts_with(std::to_string(step) + ",");
    lines_.push_back(line);
  }
  if (!good) {
    throw common::InputError({file.string(), 0, 0},
                             fmt::format("not the log of the first {} steps, which the checkpoint beside it "
                                         "continues; remove both to start anew",
                                         steps));
  }
}

void TrainLog::write(const std::filesystem::path& file) const {
  std::string text = kHeader + "\n";
  for (const std::string& line : lines_) text += line + "\n";
  common::write_file_atomic(file, text);
}

}  // namespace kintsugi::sim
