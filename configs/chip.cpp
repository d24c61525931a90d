#include "configs/chip.h"

#include <fmt/format.h>

#include <stdexcept>

#include "configs/memory_reader.h"
#include "configs/timing_reader.h"

namespace kintsugi::configs {
namespace {

ArrayConfig read_array(Section array) {
  ArrayConfig config;
  constexpr int kLargest = 1024;
  config.rows = static_cast<int>(array.integer("rows", 1, kLargest));
  config.cols = static_cast<int>(array.integer("cols", 1, kLargest));
  const std::string dataflow = array.text("dataflow", "weight_stationary");
  if (dataflow != "weight_stationary")
    array.error("dataflow",
                fmt::format("the dataflow '{}' is not simulated; write weight_stationary, the only one "
                            "there is yet",
                            dataflow));
  config.operand_bits = static_cast<int>(array.integer("operand_bits", 8, 8, config.operand_bits));
  config.accumulator_bits =
      static_cast<int>(array.integer("accumulator_bits", 16, 32, config.accumulator_bits));
  config.weight_double_buffer = array.boolean("weight_double_buffer", config.weight_double_buffer);
  config.bypass =
      array.choice<Bypass>("bypass", {{"fap", Bypass::fap}, {"none", Bypass::none}}, config.bypass);
  return config;
}

}  // namespace

ChipConfig read_chip(const std::filesystem::path& file, const Overrides& overrides) {
  YamlFile yaml(file, "chip", overrides);
  Section chip = yaml.root();
  ChipConfig config;
  config.file = file;
  config.name = chip.text("name", file.stem().string());
  config.array = read_array(chip.section("array"));
  config.clock_mhz = chip.real("clock_mhz", 0.001, 100000, config.clock_mhz);
  if (auto mapping = chip.optional_section("mapping"))
    config.convolution = mapping->choice<ConvolutionMapping>(
        "convolution", {{"im2col", ConvolutionMapping::im2col}, {"channel", ConvolutionMapping::channel}},
        config.convolution);
  config.memory = read_memory(chip, config.array);
  config.energy = read_energy(chip, config.array);
  config.timing = read_timing(chip, config.clock_mhz);
  if (config.timing)
    config.clock_mhz = config.timing->operating_point.frequency_mhz.value_or(config.clock_mhz);
  config.fault_map = chip.optional_path("fault_map");
  config.bypass_map = chip.optional_path("bypass_map");
  if (config.bypass_map && config.array.bypass == Bypass::none)
    chip.error("bypass_map",
               "this chip has no bypass ('array: {bypass: none}'), so a bypass map has nothing to "
               "set; remove 'bypass_map' or write 'bypass: fap'");
  yaml.finish();
  return config;
}

ChipConfig at_frequency(ChipConfig chip, double frequency_mhz) {
  OperatingPointConfig point;
  point.frequency_mhz = frequency_mhz;
  return at_point(std::move(chip), point);
}

ChipConfig at_point(ChipConfig chip, const OperatingPointConfig& point) {
  if (!chip.timing && (point.voltage_v || point.temperature_c))
    throw std::invalid_argument("a chip without timing has no voltage and no temperature");
  if (point.frequency_mhz) chip.clock_mhz = *point.frequency_mhz;
  if (!chip.timing) return chip;
  OperatingPointConfig& own = chip.timing->operating_point;
  if (point.frequency_mhz) own.frequency_mhz = point.frequency_mhz;
  if (point.voltage_v) own.voltage_v = point.voltage_v;
  if (point.temperature_c) own.temperature_c = point.temperature_c;
  return chip;
}

}  // namespace kintsugi::configs
