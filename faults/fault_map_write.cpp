#include <fmt/format.h>

#include <iterator>

#include "common/files.h"
#include "common/text.h"
#include "faults/fault_map_io.h"
#include "faults/meta_text.h"

namespace kintsugi::faults {
std::string fault_map_yaml(const FaultMap& map) {
  if (!map.sorted()) {
    FaultMap sorted = map;
    sorted.sort();
    return fault_map_yaml(sorted);
  }
  std::string out = fmt::format("fault_map:\n  version: 1\n  chip: {}\n  rows: {}\n  cols: {}\n",
                                common::yaml_scalar(map.chip), map.rows, map.cols);
  out += meta_block(map.meta);
  if (map.faults.empty()) return out + "  faults: []\n";
  out += "  faults:\n";
  for (const Fault& fault : map.faults) {
    fmt::format_to(std::back_inserter(out), "    - {{row: {}, col: {}", fault.row, fault.col);
    if (fault.stuck)
      fmt::format_to(std::back_inserter(out), ", site: {}, bit: {}, stuck_at: {}",
                     to_string(fault.stuck->site), fault.stuck->bit, fault.stuck->value);
    if (fault.escape) out += ", escape: true";
    out += "}\n";
  }
  return out;
}

std::string fault_map_grid(const FaultMap& map) {
  const std::size_t width = 2 * static_cast<std::size_t>(map.cols);
  std::string out(width * static_cast<std::size_t>(map.rows), ',');
  for (std::size_t i = 0; i < out.size(); i += 2) out[i] = '0';
  for (std::size_t r = 1; r <= static_cast<std::size_t>(map.rows); ++r) out[r * width - 1] = '\n';
  for (const Fault& fault : map.faults)
    out[static_cast<std::size_t>(fault.row) * width + 2 * static_cast<std::size_t>(fault.col)] = '1';
  return out;
}

void write_fault_map(const std::filesystem::path& path, const FaultMap& map) {
  const bool packed = path.extension() == ".gz";
  const std::filesystem::path format = packed ? path.stem().extension() : path.extension();
  std::string text;
  if (format == ".yaml" || format == ".yml")
    text = fault_map_yaml(map);
  else if (format == ".csv")
    text = fault_map_grid(map);
  else
    throw common::InputError(
        {path.string()},
        "a fault map is written as *.yaml, *.yaml.gz or *.csv (a 0/1 grid); the name ends in "
        "none of these");
  common::write_file_atomic(path, packed ? common::gzip(text) : text);
}

}  // namespace kintsugi::faults
