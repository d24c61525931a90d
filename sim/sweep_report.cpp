// What a sweep found, as a file and for a terminal.
#include <fmt/format.h>

#include <algorithm>

#include "common/csv.h"
#include "common/text.h"
#include "sim/sweep.h"
#include "sim/text_table.h"

namespace kintsugi::sim {
namespace {

using common::format_number;
using common::format_percent;

constexpr std::size_t kWidth = 100;

std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

// The shortest tail of each key that tells it from the others: "rows" of "chip.array.rows".
std::vector<std::string> short_names(const std::vector<std::string>& keys) {
  std::vector<std::string> names;
  for (const std::string& key : keys) {
    std::size_t begin = key.size();
    for (;;) {
      const std::size_t dot = begin == 0 ? std::string::npos : key.rfind('.', begin - 1);
      begin = dot == std::string::npos ? 0 : dot;
      const std::string tail = key.substr(begin);
      const auto same = std::count_if(keys.begin(), keys.end(), [&](const std::string& other) {
        return other == tail || other.ends_with(tail.starts_with('.') ? tail : "." + tail);
      });
      if (begin == 0 || same <= 1) break;
    }
    names.push_back(key.substr(begin == 0 ? 0 : begin + 1));
  }
  return names;
}

// At most `width` characters: of a path the end says most, so the beginning goes.
std::string shortened(const std::string& text, std::size_t width) {
  return text.size() <= width ? text : ".." + text.substr(text.size() - (width - 2));
}

std::string duration(double us) {
  if (us < 1e3) return fmt::format("{:.3f} us", us);
  if (us < 1e6) return fmt::format("{:.3f} ms", us / 1e3);
  return fmt::format("{:.3f} s", us / 1e6);
}

std::string energy_text(double uj) {
  if (uj < 1e3) return fmt::format("{:.3f} uJ", uj);
  if (uj < 1e6) return fmt::format("{:.3f} mJ", uj / 1e3);
  return fmt::format("{:.3f} J", uj / 1e6);
}

struct Shown {
  bool stalls = false, accuracy = false, faults = false, energy = false, timing = false, time = true;
  std::vector<std::size_t> widths;  // at most, of each setting's column
};

// "nominal_fault_rate" over several lines.
std::string header_of(const std::string& name, std::size_t width) {
  std::string header;
  std::size_t begin = 0, used = 0;
  while (begin < name.size()) {
    const std::size_t end = std::min(name.find('_', begin), name.size() - 1) + 1;
    if (used > 0 && used + (end - begin) > width) {
      header += '\n';
      used = 0;
    }
    header += shortened(name.substr(begin, end - begin), width);
    used += end - begin;
    begin = end;
  }
  return header;
}

std::string render(const Sweep& sweep, const Shown& shown, bool colours, std::size_t rows) {
  TextTable table;
  const std::vector<std::string> names = short_names(sweep.columns);
  for (std::size_t i = 0; i < names.size(); ++i) table.column(header_of(names[i], shown.widths[i]));
  table.column("cycles");
  if (shown.stalls) table.column("stalls");
  table.column("utilisation");
  if (shown.time) table.column("time");
  if (shown.energy) table.column("energy");
  if (shown.timing) table.column("late\nwords");
  if (shown.accuracy) table.column("accuracy");
  if (shown.faults) {
    table.column("faulty\nPEs");
    table.column("mapped\nfaults");
  }
  for (std::size_t i = 0; i < std::min(rows, sweep.points.size()); ++i) {
    const SweepPoint& point = sweep.points[i];
    std::vector<TableCell> cells;
    for (std::size_t v = 0; v < point.values.size(); ++v)
      cells.push_back({shortened(point.values[v], shown.widths[v])});
    if (!point.result) {
      cells.push_back({"failed", Tone::bad});
      table.row(std::move(cells));
      continue;
    }
    const SweepResult& result = *point.result;
    cells.push_back({fmt::format("{}", result.cycles)});
    if (shown.stalls) cells.push_back({fmt::format("{}", result.stall_cycles)});
    cells.push_back({format_percent(result.utilization)});
    if (shown.time) cells.push_back({duration(result.time_us)});
    if (shown.energy) cells.push_back({result.energy_uj ? energy_text(*result.energy_uj) : ""});
    if (shown.timing) cells.push_back({result.timing ? fmt::format("{}", result.timing->late_words) : ""});
    if (shown.accuracy) cells.push_back({result.accuracy ? format_percent(*result.accuracy) : ""});
    if (shown.faults) {
      cells.push_back({format_percent(result.fault_rate)});
      cells.push_back({format_percent(result.mapped_fault_rate)});
    }
    table.row(std::move(cells));
  }
  return table.render(colours);
}

// Characters of the widest line without colours.
std::size_t width_of(const std::string& text) {
  std::size_t widest = 0, width = 0;
  for (const char c : text) {
    if (c == '\n')
      width = 0;
    else if ((static_cast<unsigned char>(c) & 0xC0) != 0x80)
      widest = std::max(widest, ++width);
  }
  return widest;
}

}  // namespace

std::string sweep_csv(const Sweep& sweep) {
  const bool timing = std::ranges::any_of(
      sweep.points, [](const SweepPoint& point) { return point.result && point.result->timing; });
  std::string text;
  for (const std::string& column : sweep.columns) text += common::csv_cell(column) + ",";
  text +=
      "cycles,stall_cycles,macs,utilization,time_us,accuracy,fault_rate,mapped_fault_rate,"
      "stall_weights_cycles,stall_activations_cycles,stall_accumulators_cycles,stall_output_cycles,"
      "dram_read_bytes,dram_write_bytes,tops,energy_uj,";
  text += timing ? "late_words,dropped_products,flipped_bits,error\n" : "error\n";
  for (const SweepPoint& point : sweep.points) {
    for (const std::string& value : point.values) text += common::csv_cell(value) + ",";
    if (!point.result) {
      text += std::string(timing ? 19 : 16, ',') + common::csv_cell(first_line(point.problem)) + "\n";
      continue;
    }
    const SweepResult& result = *point.result;
    text += fmt::format("{},{},{},{},{},{},{},{},", result.cycles, result.stall_cycles, result.macs,
                        format_number(result.utilization), format_number(result.time_us),
                        result.accuracy ? format_number(*result.accuracy) : "",
                        format_number(result.fault_rate), format_number(result.mapped_fault_rate));
    const auto bytes = [](const std::optional<std::int64_t>& value) {
      return value ? fmt::format("{}", *value) : "";
    };
    text += fmt::format("{},{},{},{},{},{},{},{},", result.stall_weights, result.stall_activations,
                        result.stall_accumulators, result.stall_output, bytes(result.dram_read_bytes),
                        bytes(result.dram_write_bytes), format_number(result.tops),
                        result.energy_uj ? format_number(*result.energy_uj) : "");
    if (timing && result.timing)
      text += fmt::format("{},{},{},", result.timing->late_words, result.timing->dropped_products,
                          result.timing->flipped_bits);
    else if (timing)
      text += ",,,";
    text += "\n";
  }
  return text;
}

std::string sweep_table(const Sweep& sweep, bool colours, std::size_t most_rows) {
  Shown shown;
  for (const SweepPoint& point : sweep.points) {
    if (!point.result) continue;
    shown.stalls |= point.result->stall_cycles > 0;
    shown.energy |= point.result->energy_uj.has_value();
    shown.timing |= point.result->timing.has_value();
    shown.accuracy |= point.result->accuracy.has_value();
    shown.faults |= point.result->fault_rate > 0 || point.result->mapped_fault_rate > 0;
  }
  for (std::size_t i = 0; i < sweep.columns.size(); ++i) {
    std::size_t width = 12;
    for (const SweepPoint& point : sweep.points) width = std::max(width, point.values[i].size());
    shown.widths.push_back(width);
  }
  // First the widest settings are abbreviated, then columns are left to the file.
  while (width_of(render(sweep, shown, false, most_rows)) > kWidth) {
    const auto widest = std::max_element(shown.widths.begin(), shown.widths.end());
    const std::size_t width = widest == shown.widths.end() ? 0 : *widest;
    if (width > 12)
      --*widest;
    else if (shown.time)
      shown.time = false;
    else if (shown.energy)
      shown.energy = false;
    else if (shown.stalls)
      shown.stalls = false;
    else if (width > 4)
      --*widest;
    else
      break;
  }
  std::string text = render(sweep, shown, colours, most_rows);
  if (sweep.points.size() > most_rows)
    text += fmt::format("and {} more points\n", sweep.points.size() - most_rows);
  return text;
}

}  // namespace kintsugi::sim
