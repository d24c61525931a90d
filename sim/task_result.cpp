#include "sim/task_result.h"

#include <fmt/format.h>

#include <array>

#include "common/sha256.h"

namespace kintsugi::sim {
namespace {

constexpr std::array kDelivered{"weights.safetensors", "deployed.safetensors"};

}  // namespace

std::string first_line(const std::string& text, const std::string& campaign) {
  return fmt::format("# campaign {} content {}\n", campaign, common::sha256(text).substr(0, 16));
}

void write_result(const std::filesystem::path& file, const std::string& text, const std::string& campaign) {
  common::write_file_atomic(file, first_line(text, campaign) + text);
}

std::string deliveries(const std::filesystem::path& chip) {
  std::string text;
  for (const char* const name : kDelivered)
    text += fmt::format("# {} {}\n", name, common::sha256_file(chip / name));
  return text;
}

bool has_delivered(const std::filesystem::path& chip, const std::filesystem::path& result,
                   const std::string& before) {
  std::error_code code;
  for (const char* const name : kDelivered)
    if (!std::filesystem::exists(chip / name, code)) return false;
  if (common::read_file(result).ends_with(before + deliveries(chip))) return true;
  spdlog::warn(
      "{}: the weights in this folder are damaged or not those of this campaign; they are made again",
      chip.string());
  return false;
}

}  // namespace kintsugi::sim
