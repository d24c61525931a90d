// command.yaml of a campaign's folder: with which command the campaign was begun last, so that
// `kintsugi campaign` can go on with it, here or on another machine, without being told again.
//
// It says where the inputs are; whether they still are what they were is the manifest's business.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "configs/yaml_reader.h"
#include "sim/options.h"

namespace kintsugi::sim {

enum class CampaignKind { reduce, overclock };

struct CampaignRecord {
  CampaignKind kind = CampaignKind::reduce;
  std::string step;                      // of `kintsugi reduce`; empty for an overclocking campaign
  std::filesystem::path campaign;        // as given
  std::filesystem::path working_folder;  // absolute: what the other paths count from
  std::filesystem::path data_dir;        // absolute or empty
  std::uint64_t seed = 1;
  configs::Overrides set;

  std::string command() const;  // "reduce all"
  // Names of the phases that the command goes through, in order.
  std::vector<std::string> phases() const;
};

// Of a command line's options.
CampaignRecord record_of(CampaignKind kind, const std::string& step, const std::string& campaign,
                         const CommonOptions& options);

void write_record(const std::filesystem::path& folder, const CampaignRecord& record);
// Throws common::InputError if the folder holds no campaign, or one without a readable record.
CampaignRecord read_record(const std::filesystem::path& folder);

}  // namespace kintsugi::sim
