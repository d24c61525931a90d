#include "training/checkpointer.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <system_error>

#include "common/diagnostics.h"
#include "workloads/safetensors.h"

namespace kintsugi::training {

using Clock = std::chrono::steady_clock;

Checkpointer::Checkpointer(std::optional<CheckpointOptions> options)
    : options_(std::move(options)), last_(Clock::now()) {}

std::optional<std::string> Checkpointer::left_behind() const {
  std::error_code code;
  if (!options_ || !std::filesystem::exists(options_->file, code)) return std::nullopt;
  const auto ignored = [&](const std::string& why) {
    spdlog::warn("{}; this task is begun anew", why);
    return std::nullopt;
  };
  try {
    const workloads::SafeTensors file = workloads::read_safetensors(options_->file);
    const auto tag = file.metadata.find("tag"), text = file.metadata.find("text");
    if (tag == file.metadata.end() || text == file.metadata.end() || tag->second != options_->tag)
      return ignored(options_->file.string() + ": a checkpoint of something else");
    return text->second;
  } catch (const common::InputError& error) {
    return ignored(error.what());
  }
}

bool Checkpointer::resume(Trainer& trainer) const {
  std::error_code code;
  if (!options_ || !std::filesystem::exists(options_->file, code)) return false;
  try {
    trainer.load(options_->file);
    spdlog::info("{}: going on from step {}", options_->file.string(), trainer.steps_done());
    return true;
  } catch (const common::InputError&) {
    return false;
  }
}

void Checkpointer::step_done(const Trainer& trainer, const std::function<std::string()>& text) {
  if (!options_ || std::chrono::duration<double>(Clock::now() - last_).count() < options_->every_seconds)
    return;
  trainer.save(options_->file, {{"tag", options_->tag}, {"text", text()}});
  last_ = Clock::now();
}

void Checkpointer::remove() const {
  std::error_code code;
  if (options_) std::filesystem::remove(options_->file, code);
}

}  // namespace kintsugi::training
