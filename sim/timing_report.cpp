#include "sim/timing_report.h"

#include <fmt/format.h>

#include "common/sha256.h"
#include "common/text.h"

namespace kintsugi::sim {
namespace {

using common::format_number;
using common::format_percent;
using common::yaml_quoted;
using common::yaml_scalar;
using faults::OperatingPoint;

double share(std::int64_t pes, const configs::ChipConfig& chip) {
  return static_cast<double>(pes) / (static_cast<double>(chip.array.rows) * chip.array.cols);
}

std::string point_text(const OperatingPoint& point) {
  std::string text = fmt::format("{} MHz", format_number(point.frequency_mhz));
  if (point.voltage_v > 0)
    text += fmt::format(", {} V, {} C", format_number(point.voltage_v), format_number(point.temperature_c));
  return text;
}

const char* mitigation_of(const configs::ChipConfig& chip) {
  return chip.timing->mitigation == configs::TimingMitigation::te_drop ? "te_drop" : "none";
}

struct Rate {
  const char* what;
  double rate;
};
std::vector<Rate> rates_of(const configs::RandomTiming& random) {
  return {{"activations", random.activation_rate},
          {"weights", random.weight_rate},
          {"psums", random.psum_rate},
          {"outputs", random.output_rate}};
}

}  // namespace

std::string timing_text(const configs::ChipConfig& chip, const faults::ChipSpeed& speed,
                        const OperatingPoint& point) {
  if (const auto* random = std::get_if<configs::RandomTiming>(&chip.timing->model)) {
    std::string rates;
    for (const Rate& rate : rates_of(*random))
      if (rate.rate > 0)
        rates += fmt::format("{}{} {}", rates.empty() ? "" : ", ", rate.what, format_number(rate.rate));
    return fmt::format(
        "timing: random bit errors, whatever the clock; probability per bit: {}\n"
        "  {}, nominally {} MHz\n",
        rates.empty() ? "none" : rates, point_text(point), format_number(speed.nominal().frequency_mhz));
  }
  std::string text = fmt::format("timing: {}{}{}\n", speed.delays_from(), speed.process().empty() ? "" : ", ",
                                 speed.process());
  text += speed.guard_band()
              ? fmt::format("  guard band {} at the nominal {}; Tmin of a typical PE scaled to {:.1f} ps\n",
                            format_percent(*speed.guard_band()), point_text(speed.nominal()), speed.tmin_ps())
              : fmt::format(
                    "  no guard band: Tmin of a typical PE is the netlist's own, {:.1f} ps; nominally {}\n",
                    speed.tmin_ps(), point_text(speed.nominal()));
  text += fmt::format(
      "  at {}: T/Tmin {:.3f} of a typical PE, {:.3f} of the slowest; the first fails above {:.1f} MHz\n",
      point_text(point), speed.relative_period(point), speed.slowest_relative_period(point),
      speed.first_failure_mhz(point.voltage_v, point.temperature_c));
  const std::int64_t at_risk = speed.at_risk(point);
  text += fmt::format("  PEs at risk: {} of {} ({}); mitigation: {}\n", at_risk,
                      static_cast<std::int64_t>(chip.array.rows) * chip.array.cols,
                      format_percent(share(at_risk, chip)), mitigation_of(chip));
  return text + fmt::format("  {}\n", kOnlyPesFail);
}

std::string timing_yaml(const configs::ChipConfig& chip, const faults::ChipSpeed& speed,
                        const OperatingPoint& point, const std::string& indent) {
  std::string text;
  const auto line = [&](const char* key, const std::string& value) {
    text += fmt::format("{}{}: {}\n", indent, key, value);
  };
  line("nominal_clock_mhz", format_number(speed.nominal().frequency_mhz));
  line("frequency_mhz", format_number(point.frequency_mhz));
  if (const auto* random = std::get_if<configs::RandomTiming>(&chip.timing->model)) {
    line("delays", "random bit errors");
    for (const Rate& rate : rates_of(*random))
      line(fmt::format("{}_bit_error_rate", rate.what).c_str(), format_number(rate.rate));
    return text;
  }
  if (point.voltage_v > 0) line("voltage_v", format_number(point.voltage_v));
  line("temperature_c", format_number(point.temperature_c));
  line("delays", yaml_scalar(speed.delays_from()));
  if (!speed.process().empty()) line("process", yaml_scalar(speed.process()));
  line("guard_band", speed.guard_band() ? format_number(*speed.guard_band()) : "null");
  line("tmin_ps", format_number(speed.tmin_ps()));
  line("relative_period", format_number(speed.relative_period(point)));
  line("slowest_relative_period", format_number(speed.slowest_relative_period(point)));
  line("first_failure_mhz", format_number(speed.first_failure_mhz(point.voltage_v, point.temperature_c)));
  line("pes_at_risk", fmt::format("{}", speed.at_risk(point)));
  line("mitigation", mitigation_of(chip));
  line("assumed", yaml_quoted(kOnlyPesFail));
  return text;
}

std::string timing_digest(const configs::ChipConfig& chip, const faults::ChipSpeed& speed,
                          const OperatingPoint& point) {
  const configs::TimingConfig& timing = *chip.timing;
  std::string all = fmt::format("seed {}\nmitigation {}\n", timing.seed, mitigation_of(chip));
  if (const auto* random = std::get_if<configs::RandomTiming>(&timing.model)) {
    for (const Rate& rate : rates_of(*random))
      all += fmt::format("{} {}\n", rate.what, format_number(rate.rate));
    return common::sha256(all);
  }
  if (const auto* netlist = std::get_if<configs::NetlistTiming>(&timing.model))
    all += fmt::format("netlist {} {}\n", common::sha256_file(netlist->netlist),
                       format_number(netlist->step_ps));
  if (const auto* table = std::get_if<configs::TableTiming>(&timing.model))
    all += fmt::format("table {}\n", common::sha256_file(table->table));
  all +=
      fmt::format("clock {} tmin {}\n", format_number(point.frequency_mhz), format_number(speed.tmin_ps()));
  for (const double factor : speed.delay_factors(point.voltage_v, point.temperature_c))
    all += format_number(factor) + "\n";
  return common::sha256(all);
}

}  // namespace kintsugi::sim
