// `kintsugi timing show`: how fast a chip is, and which of its PEs fail first.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iostream>
#include <set>

#include "common/diagnostics.h"
#include "common/files.h"
#include "common/text.h"
#include "faults/chip_speed.h"
#include "faults/delay_map.h"
#include "sim/operating_options.h"
#include "sim/text_table.h"
#include "sim/timing_command.h"
#include "sim/timing_report.h"

namespace kintsugi::sim {
namespace {

namespace po = boost::program_options;
using common::format_number;
using common::format_percent;
using faults::ChipSpeed;
using faults::OperatingPoint;

constexpr int kRows = 12;  // of the table, about

constexpr const char* kCommand = "kintsugi timing show";

int whole_number(const OptionParser& parser, const std::string& name, int high, int fallback) {
  if (!parser.has(name)) return fallback;
  const auto value = common::parse_integer(parser.text(name));
  if (!value || *value < 0 || *value > high)
    throw common::InputError(
        fmt::format("{}: error: --{} must be an integer from 0 to {}, but is '{}'\n"
                    "'{} --help' lists all options",
                    kCommand, name, high, parser.text(name), kCommand));
  return static_cast<int>(*value);
}

// 1, 2 or 5 times a power of ten, at least `least`.
double round_step(double least) {
  double step = std::pow(10.0, std::floor(std::log10(least)));
  for (const double factor : {1.0, 2.0, 5.0, 10.0})
    if (factor * step >= least) return factor * step;
  return 10 * step;
}

// Round clocks from the last at which nothing can fail to the first at which everything can, the nominal
// clock and the one asked about.
std::vector<double> clocks(const ChipSpeed& speed, const OperatingPoint& point) {
  const double first = speed.first_failure_mhz(point.voltage_v, point.temperature_c);
  const std::vector<double> factors = speed.delay_factors(point.voltage_v, point.temperature_c);
  const auto [fastest, slowest] = std::ranges::minmax(factors);
  const double all = first * slowest / fastest;
  std::set<double> chosen = {speed.nominal().frequency_mhz, point.frequency_mhz};
  const double step = round_step(std::max((all - first) / kRows, first / 100));
  for (double n = std::floor(first / step); n * step < all + step; ++n)
    if (n > 0) chosen.insert(n * step);
  return {chosen.begin(), chosen.end()};
}

struct Line {
  OperatingPoint point;
  double relative_period, slowest_relative_period;
  std::int64_t at_risk;
};

std::vector<Line> lines_of(const ChipSpeed& speed, const OperatingPoint& point) {
  std::vector<Line> lines;
  for (const double clock : clocks(speed, point)) {
    OperatingPoint at = point;
    at.frequency_mhz = clock;
    lines.push_back({at, speed.relative_period(at), speed.slowest_relative_period(at), speed.at_risk(at)});
  }
  return lines;
}

std::string risk_table(const std::vector<Line>& lines, double pes) {
  TextTable table;
  for (const char* header :
       {"clock\nMHz", "T/Tmin\ntypical PE", "T/Tmin\nslowest PE", "PEs\nat risk", "share"})
    table.column(header);
  for (const Line& line : lines)
    table.row({{format_number(line.point.frequency_mhz)},
               {fmt::format("{:.3f}", line.relative_period)},
               {fmt::format("{:.3f}", line.slowest_relative_period)},
               {fmt::format("{}", line.at_risk)},
               {format_percent(static_cast<double>(line.at_risk) / pes)}});
  return table.render(false);
}

std::string risk_csv(const std::vector<Line>& lines) {
  std::string text = "frequency_mhz,relative_period,slowest_relative_period,pes_at_risk\n";
  for (const Line& line : lines)
    text += fmt::format("{},{},{},{}\n", format_number(line.point.frequency_mhz),
                        format_number(line.relative_period), format_number(line.slowest_relative_period),
                        line.at_risk);
  return text;
}

std::string slowest_table(const std::vector<faults::PeDelay>& slowest, const ChipSpeed& speed,
                          const OperatingPoint& point) {
  TextTable table;
  for (const char* header : {"row", "col", "delay\nfactor", "fails above\nMHz"}) table.column(header);
  const double first = speed.first_failure_mhz(point.voltage_v, point.temperature_c);
  for (const faults::PeDelay& pe : slowest)
    table.row({{fmt::format("{}", pe.row)},
               {fmt::format("{}", pe.col)},
               {fmt::format("{:.4f}", pe.factor)},
               {fmt::format("{:.1f}", first * slowest.front().factor / pe.factor)}});
  return table.render(false);
}

std::string slowest_csv(const std::vector<faults::PeDelay>& slowest) {
  std::string text = "row,col,factor\n";
  for (const faults::PeDelay& pe : slowest)
    text += fmt::format("{},{},{}\n", pe.row, pe.col, format_number(pe.factor));
  return text;
}

}  // namespace

int timing_show(const std::vector<std::string>& arguments) {
  OptionParser parser(
      "kintsugi timing show --chip FILE [options]",
      "Prints how fast a chip's PEs are at an operating point: T/Tmin, the clock above which the first PE "
      "can\n"
      "fail, PEs at risk by clock, the slowest PEs, and a picture of the delays. With --out, also writes\n"
      "timing.yaml, at_risk.csv and slowest.csv.",
      "kintsugi timing show --chip configs/chips/tpu256_overclock.yaml --frequency-mhz 900");
  const auto text = [](const char* name) { return po::value<std::string>()->value_name(name); };
  parser.own().add_options()("chip", text("FILE")->required(), "chip description with a 'timing' section");
  add_operating_options(parser);
  parser.own().add_options()("write-delay-map", text("FILE"),
                             "write every PE's delay factor at the nominal voltage and temperature, without "
                             "ageing (CSV), as 'variation: {delay_map: FILE}' reads it")(
      "width", text("N"), "width of the picture in characters (default 64; 0 leaves it out)")(
      "list", text("N"), "how many of the slowest PEs are listed (default 10)");
  for (const char* unused : {"seed", "threads", "data-dir"}) parser.without(unused);
  parser.reads({"chip"});
  if (!parser.parse(arguments)) return kExitDone;
  const int width = whole_number(parser, "width", 1024, 64);
  const auto most = static_cast<std::size_t>(whole_number(parser, "list", 1 << 20, 10));
  configs::ChipConfig chip = configs::read_chip(parser.text("chip"), parser.common().set);
  if (!chip.timing)
    throw common::InputError({chip.file.string()},
                             fmt::format("the chip '{}' has no 'timing' section, so its PEs are never late; "
                                         "docs/chip-file.md says how to write one",
                                         chip.name));
  chip = at_chosen_point(std::move(chip), chosen_point(parser, kCommand), kCommand);
  const ChipSpeed speed(chip);
  const OperatingPoint& point = speed.configured();
  std::string report = fmt::format("chip {}, {}x{}\n{}", chip.name, chip.array.rows, chip.array.cols,
                                   timing_text(chip, speed, point));
  const std::filesystem::path& out = parser.common().out;
  if (!out.empty())
    common::write_file_atomic(out / "timing.yaml", fmt::format("timing:\n  version: 1\n  chip: {}\n{}",
                                                               common::yaml_scalar(chip.name),
                                                               timing_yaml(chip, speed, point, "  ")));
  if (!speed.has_delays()) {
    if (parser.has("write-delay-map"))
      throw common::InputError({chip.file.string()}, "random errors have no delays to write");
    std::cout << report;
    return kExitDone;
  }
  const std::vector<Line> lines = lines_of(speed, point);
  const auto slowest = speed.slowest(point.voltage_v, point.temperature_c, most);
  const auto factors = speed.delay_factors(point.voltage_v, point.temperature_c);
  report += fmt::format("\n{}", risk_table(lines, static_cast<double>(factors.size())));
  if (most > 0) report += fmt::format("\nslowest PEs\n{}", slowest_table(slowest, speed, point));
  if (width > 0)
    report += fmt::format("\n{}", faults::delay_picture(factors, chip.array.rows, chip.array.cols, width));
  std::cout << report;
  if (!out.empty()) {
    common::write_file_atomic(out / "at_risk.csv", risk_csv(lines));
    common::write_file_atomic(out / "slowest.csv", slowest_csv(slowest));
  }
  if (parser.has("write-delay-map"))
    common::write_file_atomic(parser.text("write-delay-map"),
                              faults::delay_map_csv(speed.fresh_factors(), chip.array.rows, chip.array.cols));
  return kExitDone;
}

}  // namespace kintsugi::sim
