#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <set>

#include "common/csv.h"
#include "common/diagnostics.h"
#include "faults/lot_io.h"
#include "faults/wafer.h"

namespace kintsugi::faults {

std::string lot_csv(const std::vector<FaultMap>& maps) {
  std::set<std::string> ids;
  bool escapes = false;
  std::vector<std::string> wafers;
  for (const FaultMap& map : maps) {
    if (!ids.insert(map.chip).second)
      throw common::InputError(
          fmt::format("two fault maps of the lot are both named '{}'; a lot's chips have ids of "
                      "their own",
                      map.chip));
    for (const Fault& fault : map.faults) escapes = escapes || fault.escape;
    wafers.push_back(wafer_of(map));
  }
  const bool known =
      std::any_of(wafers.begin(), wafers.end(), [](const std::string& wafer) { return !wafer.empty(); });
  std::string out =
      fmt::format("chip,{}row,col,site,bit,stuck_at{}\n", known ? "wafer," : "", escapes ? ",escape" : "");
  const char* end = escapes ? ",\n" : "\n";
  for (std::size_t i = 0; i < maps.size(); ++i) {
    const FaultMap& map = maps[i];
    std::string chip = common::csv_cell(map.chip);
    if (known) chip.append(",").append(common::csv_cell(wafers[i]));
    if (map.faults.empty()) out += chip + ",,,,," + end;
    for (const Fault& fault : map.faults) {
      fmt::format_to(std::back_inserter(out), "{},{},{},", chip, fault.row, fault.col);
      if (fault.stuck)
        fmt::format_to(std::back_inserter(out), "{},{},{}", to_string(fault.stuck->site), fault.stuck->bit,
                       fault.stuck->value);
      else
        out += ",,";
      out += fault.escape ? ",true\n" : end;
    }
  }
  return out;
}

}  // namespace kintsugi::faults
