#include "sim/overclock_inputs.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>
#include <variant>

#include "common/diagnostics.h"
#include "common/text.h"
#include "faults/chip_speed.h"
#include "faults/fault_map_io.h"
#include "sim/image_sets.h"

namespace kintsugi::sim {
namespace {

using common::format_number;
using common::InputError;
using configs::SweepKind;

const char* unit_of(SweepKind kind) {
  switch (kind) {
    case SweepKind::frequency:
      return "MHz";
    case SweepKind::voltage:
      return "V";
    case SweepKind::bit_error_rate:
      return "BER";
  }
  return "";
}

void check_chip(const configs::OverclockConfig& config, const configs::ChipConfig& chip) {
  std::string problems;
  const auto problem = [&](const std::filesystem::path& file, const std::string& text) {
    problems += fmt::format("{}{}: error: {}", problems.empty() ? "" : "\n", file.string(), text);
  };
  const bool random = config.sweep.kind == SweepKind::bit_error_rate;
  if (random && chip.timing)
    problem(config.chip,
            "a sweep of 'bit_error_rates' brings its own errors, but this chip has a 'timing' section; "
            "remove it, "
            "or sweep 'frequencies_mhz' or 'voltages_v'");
  if (!random && !chip.timing)
    problem(
        config.chip,
        "a sweep of frequencies or voltages needs a chip with a 'timing' section, which says how its PEs err "
        "(docs/chip-file.md); add it, or sweep 'bit_error_rates'");
  if (!random && chip.timing && std::holds_alternative<configs::RandomTiming>(chip.timing->model))
    problem(
        config.chip,
        "this chip's errors are random at the same rates everywhere; write 'model: netlist' or 'table', or "
        "sweep 'bit_error_rates' on a chip without a 'timing' section");
  if (!random && chip.timing && !config.other_chips.empty() &&
      !std::holds_alternative<configs::SampledVariation>(chip.timing->variation))
    problem(
        config.file,
        "'compare.chip_seeds' samples other chips' variation, but this chip's is not sampled; remove it, or "
        "give the chip a sampled 'variation' (docs/chip-file.md)");
  if (!problems.empty()) throw InputError(problems);
}

faults::ArrayFaults load_faults(const configs::ChipConfig& chip) {
  const configs::ArrayConfig& array = chip.array;
  if (!chip.fault_map && !chip.bypass_map) return faults::fault_free(array.rows, array.cols);
  const faults::ArrayGeometry geometry{array.rows, array.cols, array.accumulator_bits};
  std::optional<faults::FaultMap> map, bypass;
  if (chip.fault_map) map = faults::read_fault_map(*chip.fault_map, geometry);
  if (chip.bypass_map) bypass = faults::read_fault_map(*chip.bypass_map, geometry);
  if (!map) {
    map.emplace();
    map->rows = array.rows;
    map->cols = array.cols;
  }
  const auto source = array.bypass == configs::Bypass::none ? faults::BypassSource::none
                      : bypass                              ? faults::BypassSource::bypass_map
                                                            : faults::BypassSource::fault_map;
  return faults::compile(*map, source, bypass ? &*bypass : nullptr, array.rows, array.cols,
                         array.accumulator_bits);
}

faults::OperatingPoint operating_point(const configs::OperatingSweep& sweep, double value,
                                       const faults::ChipSpeed& speed) {
  faults::OperatingPoint point = speed.configured();
  (sweep.kind == SweepKind::frequency ? point.frequency_mhz : point.voltage_v) = value;
  return point;
}

OverclockPoint make_point(const OverclockInputs& inputs, double value, const faults::ChipSpeed* speed) {
  const configs::OperatingSweep& sweep = inputs.config.sweep;
  OverclockPoint point;
  point.value = value;
  const std::string number = format_number(value), unit = unit_of(sweep.kind);
  point.label = sweep.kind == SweepKind::bit_error_rate ? number : number + " " + unit;
  point.name = number + (sweep.kind == SweepKind::frequency ? "_mhz"
                         : sweep.kind == SweepKind::voltage ? "_v"
                                                            : "_ber");
  point.chip = inputs.chip;
  if (speed == nullptr) return point;
  if (sweep.kind == SweepKind::frequency) point.chip = configs::at_frequency(inputs.chip, value);
  const faults::OperatingPoint at = operating_point(sweep, value, *speed);
  if (at.voltage_v > 0) point.voltage_v = at.voltage_v;
  point.relative_period = speed->relative_period(at);
  point.slowest_relative_period = speed->slowest_relative_period(at);
  point.pes_at_risk = speed->at_risk(at);
  return point;
}

// The first ones, if the file says how many.
workloads::ImageSet chosen(const workloads::ImageSet& images, std::optional<std::int64_t> count,
                           const std::string& key, const std::filesystem::path& file) {
  if (!count) return images;
  if (*count > images.size())
    throw InputError({file.string()},
                     fmt::format("'evaluation.{}' is {}, but there are {} such images; lower it", key, *count,
                                 images.size()));
  return images.first(*count);
}

}  // namespace

std::size_t OverclockInputs::stage(const std::string& name) const {
  for (std::size_t s = 0; s < network.stages.size(); ++s)
    if (network.stages[s].name == name) return s;
  throw std::out_of_range("no layer " + name);
}

OverclockInputs load_overclock(const std::filesystem::path& file, const configs::Overrides& overrides,
                               std::uint64_t seed, const std::filesystem::path& data_dir) {
  OverclockInputs inputs;
  inputs.seed = seed;
  inputs.config = configs::read_overclock(file, overrides);
  const configs::OverclockConfig& config = inputs.config;
  inputs.chip = configs::read_chip(config.chip, overrides);
  for (const configs::Override& one : overrides)
    if (one.key.starts_with("chip."))
      inputs.chip_settings += (inputs.chip_settings.empty() ? "" : " ") + one.key + "=" + one.value;
  check_chip(config, inputs.chip);
  inputs.network_config = configs::read_network(config.network, overrides);
  inputs.network = workloads::build_network(inputs.network_config);
  inputs.faults = load_faults(inputs.chip);

  std::optional<faults::ChipSpeed> speed;
  if (config.sweep.kind == SweepKind::bit_error_rate) {
    inputs.delays_from = "random bit errors";
  } else {
    speed.emplace(inputs.chip);
    inputs.delays_from = speed->delays_from();
    if (speed->nominal().voltage_v > 0) inputs.nominal_voltage_v = speed->nominal().voltage_v;
  }
  for (const double value : config.sweep.values)
    inputs.points.push_back(make_point(inputs, value, speed ? &*speed : nullptr));
  for (std::size_t p = 0; p < inputs.points.size(); ++p) timing_at(inputs, p);  // refuses what cannot be run

  ImageSets sets = load_image_sets({config.file,
                                    config.dataset,
                                    config.decision_images,
                                    config.split_seed,
                                    {config.pretrain.sgd.batch, config.retrain.batch}},
                                   inputs.network, data_dir);
  inputs.training = std::move(sets.training);
  inputs.held_out = std::move(sets.held_out);
  inputs.test_is_cut = sets.test_is_cut;
  inputs.decision =
      chosen(inputs.held_out, config.evaluation_decision_images, "decision_images", config.file);
  inputs.test = chosen(sets.test, config.evaluation_test_images, "test_images", config.file);
  return inputs;
}

std::shared_ptr<const faults::ChipTiming> timing_at(const OverclockInputs& inputs, std::size_t index,
                                                    std::optional<std::uint64_t> other_chip) {
  const OverclockPoint& point = inputs.points.at(index);
  const configs::OperatingSweep& sweep = inputs.config.sweep;
  if (sweep.kind != SweepKind::bit_error_rate) {
    configs::ChipConfig chip = inputs.chip;
    if (other_chip) std::get<configs::SampledVariation>(chip.timing->variation).seed = *other_chip;
    const faults::ChipSpeed speed(chip);
    return speed.at(operating_point(sweep, point.value, speed));
  }
  auto timing = std::make_shared<faults::ChipTiming>();
  timing->rows = inputs.chip.array.rows;
  timing->cols = inputs.chip.array.cols;
  timing->seed = other_chip.value_or(inputs.seed);
  switch (sweep.target) {
    case configs::ErrorTarget::activations:
      timing->random.activation_rate = point.value;
      break;
    case configs::ErrorTarget::weights:
      timing->random.weight_rate = point.value;
      break;
    case configs::ErrorTarget::psums:
      timing->random.psum_rate = point.value;
      break;
    case configs::ErrorTarget::outputs:
      timing->random.output_rate = point.value;
      break;
  }
  return timing;
}

}  // namespace kintsugi::sim
