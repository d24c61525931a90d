// A task's result as a small text file: a first line says of which campaign it is and what the rest adds up
// to.
#pragma once

#include <spdlog/spdlog.h>

#include <filesystem>
#include <optional>
#include <string>
#include <system_error>

#include "common/files.h"

namespace kintsugi::sim {

// `campaign`: CampaignFolder::digest().
std::string first_line(const std::string& text, const std::string& campaign);
void write_result(const std::filesystem::path& file, const std::string& text, const std::string& campaign);

// What `parse` makes of a result; nothing, and a warning where there is something, if there is none of this
// campaign.
template <class Parse>
auto read_result(const std::filesystem::path& file, const std::string& campaign, const Parse& parse)
    -> decltype(parse(std::string())) {
  std::error_code code;
  if (!std::filesystem::exists(file, code)) return std::nullopt;
  const std::string whole = common::read_file(file);
  const std::size_t end = whole.find('\n');
  const std::string text = end == std::string::npos ? std::string() : whole.substr(end + 1);
  if (whole == first_line(text, campaign) + text)
    if (auto result = parse(text)) return result;
  const bool foreign = whole.starts_with("# campaign ") && !whole.starts_with("# campaign " + campaign);
  spdlog::warn("{}: {}; it is made again", file.string(),
               foreign ? "this is a result of another campaign" : "this result is damaged");
  return std::nullopt;
}

// Lines that say which weights a result goes with, of those in this chip's folder.
std::string deliveries(const std::filesystem::path& chip);
// True if the chip's weights are there and are those that its result, which ends with `before` and their
// lines, was written with. Otherwise says so.
bool has_delivered(const std::filesystem::path& chip, const std::filesystem::path& result,
                   const std::string& before = "");

}  // namespace kintsugi::sim
