#include "sim/campaign_inputs.h"

#include <fmt/format.h>
#include <glob.h>

#include <algorithm>
#include <set>

#include "common/sha256.h"
#include "common/text.h"
#include "faults/fault_map_io.h"
#include "faults/sampler.h"
#include "faults/wafer.h"
#include "sim/image_sets.h"
#include "training/reduce/calibration.h"
#include "training/reduce/chip_bench.h"
#include "training/repair/batch_norm_recalibration.h"
#include "training/trainer.h"
#include "workloads/pruning_mask.h"

namespace kintsugi::sim {
namespace {

using common::InputError;

// Chips of the lot are numbered from 0; maps of the characterisation, and chips to calibrate on, from here.
constexpr std::uint64_t kCharacterizationMaps = std::uint64_t{1} << 32;
constexpr std::uint64_t kCalibrationMaps = std::uint64_t{1} << 40;

std::string percent(double share) {
  return common::format_number(100 * share) + " %";
}

std::vector<std::filesystem::path> glob_files(const std::string& pattern) {
  glob_t found{};
  const int status = ::glob(pattern.c_str(), 0, nullptr, &found);  // sorted by name
  std::vector<std::filesystem::path> files;
  if (status == 0)
    for (std::size_t i = 0; i < found.gl_pathc; ++i) files.emplace_back(found.gl_pathv[i]);
  ::globfree(&found);
  return files;
}

// Chips number `first` and on of the population.
std::vector<faults::FaultMap> sample_chips(const configs::SampleChips& config,
                                           const configs::ChipConfig& chip, std::uint64_t seed,
                                           std::uint64_t first, int count) {
  std::vector<faults::FaultMap> maps;
  for (int i = 0; i < count; ++i)
    maps.push_back(
        faults::sample(faults::chip_of_lot(config, chip.array, seed, first + static_cast<std::uint64_t>(i))));
  return maps;
}

faults::Lot pack(const std::vector<faults::FaultMap>& maps, const configs::ChipConfig& chip) {
  faults::Lot lot(chip.array.rows, chip.array.cols);
  for (const faults::FaultMap& map : maps) lot.add(map);
  return lot;
}

faults::Lot read_maps(const configs::CampaignConfig& config, const std::string& pattern,
                      const configs::ChipConfig& chip) {
  const auto files = glob_files(pattern);
  if (files.empty())
    throw InputError({config.file.string()},
                     fmt::format("no fault map matches '{}'; a relative pattern counts from the campaign "
                                 "file's folder",
                                 pattern));
  faults::Lot maps(chip.array.rows, chip.array.cols);
  std::string problems;
  for (const auto& file : files) {
    try {
      maps.add(faults::read_fault_map(
          file, faults::ArrayGeometry{chip.array.rows, chip.array.cols, chip.array.accumulator_bits}));
    } catch (const InputError& error) {
      problems += (problems.empty() ? "" : "\n") + std::string(error.what());
    }
  }
  if (!problems.empty()) throw InputError(problems);
  return maps;
}

faults::Lot load_chips(const configs::CampaignConfig& config, const configs::ChipConfig& chip,
                       std::uint64_t seed) {
  if (const auto* sample = std::get_if<configs::SampleChips>(&config.chips))
    return pack(sample_chips(*sample, chip, seed, 0, sample->count), chip);
  if (const auto* files = std::get_if<configs::FaultMapFiles>(&config.chips))
    return read_maps(config, files->pattern, chip);
  faults::LotFormat format;
  format.rows = chip.array.rows;
  format.cols = chip.array.cols;
  format.accumulator_bits = chip.array.accumulator_bits;
  return {std::get<configs::LotFile>(config.chips).path, format};
}

// Chips of the lot itself, chosen at random and by whole wafers, in the lot's order.
std::vector<faults::FaultMap> choose_chips(const faults::Lot& lot, int count, std::uint64_t seed,
                                           const std::filesystem::path& file) {
  std::vector<std::string> wafers;
  for (const faults::FaultMap& map : lot) wafers.push_back(faults::wafer_of(map));
  const std::vector<std::size_t> chosen =
      training::reduce::choose_calibration(wafers, static_cast<std::size_t>(count), seed);
  if (chosen.size() >= lot.size())
    throw InputError(
        {file.string()},
        fmt::format(
            "'calibrate.chips' is {}, and the lot has {} chips{}; calibrate on fewer, so "
            "that some are left to check the guarantee on",
            count, lot.size(),
            std::any_of(wafers.begin(), wafers.end(), [](const std::string& wafer) { return !wafer.empty(); })
                ? ", of which whole wafers calibrate"
                : ""));
  std::vector<faults::FaultMap> maps;
  for (const std::size_t i : chosen) maps.push_back(lot[i]);
  return maps;
}

// A chip's id names its folder.
void check_ids(const faults::Lot& chips) {
  std::set<std::string> seen;
  std::string problems;
  const auto problem = [&](const std::string& text) { problems += (problems.empty() ? "" : "\n") + text; };
  for (std::size_t i = 0; i < chips.size(); ++i) {
    const std::string& id = chips.id(i);
    const bool safe =
        !id.empty() && id[0] != '.' &&
        id.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") ==
            std::string::npos;
    if (!safe)
      problem(fmt::format(
          "chip id '{}' cannot name a folder; use letters, digits, '_', '-' and '.' (not first)", id));
    else if (!seen.insert(id).second)
      problem(fmt::format("two fault maps are of chip '{}'; give every chip an id of its own", id));
  }
  if (!problems.empty()) throw InputError(problems);
}

void check_config(const configs::CampaignConfig& config, const configs::ChipConfig& chip) {
  std::string problems;
  const auto problem = [&](const std::string& file, const std::string& text) {
    problems += fmt::format("{}{}: error: {}", problems.empty() ? "" : "\n", file, text);
  };
  if (config.calibration_chips) {
    const training::reduce::Guarantee guarantee{config.policy.coverage, config.policy.confidence};
    const std::int64_t least = training::reduce::least_calibration(guarantee);
    if (*config.calibration_chips < least)
      problem(
          config.file.string(),
          fmt::format(
              "'calibrate.chips' is {}, and a guarantee for {} of the chips with confidence {} needs at "
              "least {}; raise it, or lower 'policy.coverage' or 'policy.confidence'",
              *config.calibration_chips, percent(guarantee.coverage), percent(guarantee.confidence), least));
  }
  if (chip.timing)
    problem(chip.file.string(),
            "this chip has a 'timing' section, and Reduce plans for permanent faults only; remove it from "
            "the chip "
            "description ('kintsugi overclock' retrains for timing errors)");
  if (chip.array.bypass == configs::Bypass::none)
    problem(chip.file.string(),
            "this chip has 'bypass: none', and Reduce retrains around bypassed PEs; write 'bypass: fap'");
  for (const auto& [key, map] :
       {std::pair{"fault_map", chip.fault_map}, std::pair{"bypass_map", chip.bypass_map}})
    if (map)
      problem(chip.file.string(),
              fmt::format(
                  "a campaign takes its fault maps from 'chips', so '{}: {}' would go unused; remove it from "
                  "the chip description",
                  key, map->string()));
  if (!problems.empty()) throw InputError(problems);
}

}  // namespace

CampaignInputs load_campaign(const std::filesystem::path& file, const configs::Overrides& overrides,
                             std::uint64_t seed, const std::filesystem::path& data_dir) {
  CampaignInputs inputs;
  inputs.seed = seed;
  inputs.config = configs::read_campaign(file, overrides);
  const configs::CampaignConfig& config = inputs.config;
  inputs.chip = configs::read_chip(config.chip, overrides);
  check_config(config, inputs.chip);
  inputs.network_config = configs::read_network(config.network, overrides);
  inputs.network = workloads::build_network(inputs.network_config);
  if (config.repair.batch_norm && !training::repair::has_batch_norm(inputs.network))
    throw InputError(
        {config.file.string()},
        fmt::format("'repair.batch_norm' recalibrates batch-norm, and the network '{}' has none; "
                    "remove it",
                    inputs.network.name));
  inputs.chips = load_chips(config, inputs.chip, seed);
  check_ids(inputs.chips);
  inputs.chip_sha256.reserve(inputs.chips.size());
  for (const faults::FaultMap& map : inputs.chips) {
    compile_for(inputs, map);  // refuses what cannot be run
    inputs.chip_sha256.push_back(common::sha256(faults::fault_map_yaml(map)));
  }
  if (config.calibration_chips) {
    const auto* sample = std::get_if<configs::SampleChips>(&config.chips);
    inputs.calibrates_on_lot = sample == nullptr;
    inputs.calibration =
        sample != nullptr
            ? sample_chips(*sample, inputs.chip, seed, kCalibrationMaps, *config.calibration_chips)
            : choose_chips(inputs.chips, *config.calibration_chips, seed, config.file);
    for (std::size_t i = 0; sample != nullptr && i < inputs.calibration.size(); ++i)
      inputs.calibration[i].chip = fmt::format("calibration-{:04}", i + 1);
  }

  ImageSets sets = load_image_sets({config.file,
                                    config.dataset,
                                    config.decision_images,
                                    config.split_seed,
                                    {config.pretrain.sgd.batch, config.retrain.batch}},
                                   inputs.network, data_dir);
  inputs.training = std::move(sets.training);
  inputs.held_out = std::move(sets.held_out);
  inputs.test = std::move(sets.test);
  inputs.test_is_cut = sets.test_is_cut;
  inputs.decision = config.leak_as_published ? inputs.test : inputs.held_out;
  return inputs;
}

faults::FaultMap characterization_map(const CampaignInputs& inputs, std::size_t rate_index, int repeat) {
  const std::uint64_t index =
      kCharacterizationMaps + (std::uint64_t{rate_index} << 16) + static_cast<std::uint64_t>(repeat);
  configs::SampleChips population;
  if (inputs.config.characterize.maps == configs::CharacterizationMaps::like_chips) {
    population = std::get<configs::SampleChips>(inputs.config.chips);
    population.faults.reset();
  }
  population.fault_rate = inputs.config.characterize.fault_rates[rate_index];
  faults::SampleSpec spec = faults::chip_of_lot(population, inputs.chip.array, inputs.seed, index);
  spec.chip = "characterize";
  return faults::sample(spec);
}

training::reduce::ChipFacts facts_of_map(const CampaignInputs& inputs, const faults::FaultMap& map,
                                         const faults::ArrayFaults& faults) {
  training::reduce::ChipFacts facts;
  facts.id = map.chip;
  facts.faulty_pes = map.faulty_pes();
  facts.fault_rate = map.fault_rate();
  facts.assumed_maskable = faults.assumed_maskable;
  facts.live_faults = training::reduce::live_faulty_pes(faults);
  for (const workloads::Stage& stage : inputs.network.stages)
    facts.mapped_fault_rate.emplace_back(stage.name,
                                         workloads::mapped_fault_rate(stage, faults, inputs.chip));
  return facts;
}

faults::ArrayFaults compile_for(const CampaignInputs& inputs, const faults::FaultMap& map) {
  return faults::compile(map, faults::BypassSource::fault_map, nullptr, inputs.chip.array.rows,
                         inputs.chip.array.cols, inputs.chip.array.accumulator_bits);
}

}  // namespace kintsugi::sim
