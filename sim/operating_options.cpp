#include "sim/operating_options.h"

#include <fmt/format.h>

#include <optional>

#include "common/diagnostics.h"
#include "common/text.h"

namespace kintsugi::sim {
namespace {

namespace po = boost::program_options;

struct OperatingOption {
  const char* name;
  const char* about;
  double low, high;
  std::optional<double> configs::OperatingPointConfig::*place;
};

// Ranges as in the chip file.
constexpr OperatingOption kOptions[] = {
    {"frequency-mhz", "clock the chip at this, instead of what its file says (needs 'timing' there)", 0.001,
     100000, &configs::OperatingPointConfig::frequency_mhz},
    {"voltage-v", "its supply", 0.01, 10, &configs::OperatingPointConfig::voltage_v},
    {"temperature-c", "its temperature", -200, 300, &configs::OperatingPointConfig::temperature_c}};

[[noreturn]] void fail(const std::string& command, const std::string& message) {
  throw common::InputError(
      fmt::format("{}: error: {}\n'{} --help' lists all options", command, message, command));
}

}  // namespace

void add_operating_options(OptionParser& parser) {
  for (const OperatingOption& option : kOptions)
    parser.own().add_options()(option.name, po::value<std::string>()->value_name("X"), option.about);
}

configs::OperatingPointConfig chosen_point(const OptionParser& parser, const std::string& command) {
  configs::OperatingPointConfig point;
  for (const OperatingOption& option : kOptions) {
    if (!parser.has(option.name)) continue;
    const std::string text = parser.text(option.name);
    const auto value = common::parse_real(text);
    if (!value || *value < option.low || *value > option.high)
      fail(command, fmt::format("--{} must be a number from {} to {}, but is '{}'", option.name, option.low,
                                option.high, text));
    point.*option.place = *value;
  }
  return point;
}

configs::ChipConfig at_chosen_point(configs::ChipConfig chip, const configs::OperatingPointConfig& point,
                                    const std::string& command) {
  for (const OperatingOption& option : kOptions) {
    if (!(point.*option.place)) continue;
    if (!chip.timing)
      fail(command,
           fmt::format("--{}: the chip '{}' has no 'timing' section, so nothing is known of it at another "
                       "operating point; add one, or use configs/chips/tpu256_overclock.yaml",
                       option.name, chip.name));
    const bool random = std::holds_alternative<configs::RandomTiming>(chip.timing->model);
    if (random && option.place != &configs::OperatingPointConfig::frequency_mhz)
      fail(command, fmt::format("--{}: the chip '{}' has random errors, which do not depend on it",
                                option.name, chip.name));
  }
  return configs::at_point(std::move(chip), point);
}

}  // namespace kintsugi::sim
