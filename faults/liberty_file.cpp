#include "faults/liberty_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "common/text.h"
#include "faults/liberty_tree.h"

namespace kintsugi::faults {
namespace {

std::optional<LibertyText> text_of(const LibertyGroup& group, std::string_view attribute) {
  const LibertyAttribute* found = group.find(attribute);
  if (found == nullptr || found->values.empty()) return std::nullopt;
  return LibertyText{found->values[0], found->value_where};
}

// "1ns" -> 1000, "10ps" -> 10.
std::optional<double> unit_ps(const std::string& unit) {
  const std::size_t letters = unit.find_first_not_of("0123456789.");
  if (letters == std::string::npos) return std::nullopt;
  const auto number = common::parse_real(unit.substr(0, letters));
  const std::string name = unit.substr(letters);
  const double ps = name == "ps" ? 1 : name == "ns" ? 1e3 : name == "us" ? 1e6 : name == "fs" ? 1e-3 : 0;
  if (!number || *number <= 0 || ps == 0) return std::nullopt;
  return *number * ps;
}

class Reader {
 public:
  Reader(const std::string& file, ImportProblems& problems, LibertyFile& result)
      : file_(file), problems_(problems), result_(result) {}

  void read(const LibertyGroup& library) {
    if (!library.arguments.empty()) result_.name = library.arguments[0];
    result_.operating_conditions = library.value("default_operating_conditions");
    result_.voltage_v = common::parse_real(library.value("nom_voltage"));
    result_.temperature_c = common::parse_real(library.value("nom_temperature"));
    if (const LibertyAttribute* unit = library.find("time_unit")) {
      const auto ps = unit_ps(library.value("time_unit"));
      if (!ps)
        problems_.error(
            file_, unit->value_where,
            fmt::format("'{}' is no unit of time; one is 1ns, 1ps or 10ps", library.value("time_unit")));
      time_ps_ = ps.value_or(time_ps_);
    }
    for (const LibertyGroup& group : library.groups)
      if (group.name == "cell" && !group.arguments.empty()) read_cell(group);
  }

 private:
  void read_cell(const LibertyGroup& group) {
    LibertyCell& cell = result_.cells[group.arguments[0]];
    cell.name = group.arguments[0];
    cell.where = group.where;
    for (const LibertyGroup& inner : group.groups) {
      if (inner.name == "pin") {
        for (const std::string& name : inner.arguments) read_pin(inner, name, cell);
      } else if (inner.name == "ff") {
        LibertyFlipFlop flip_flop;
        if (!inner.arguments.empty()) flip_flop.state = inner.arguments[0];
        if (inner.arguments.size() > 1) flip_flop.inverted_state = inner.arguments[1];
        flip_flop.next_state = text_of(inner, "next_state").value_or(LibertyText{"", inner.where});
        flip_flop.clocked_on = text_of(inner, "clocked_on").value_or(LibertyText{"", inner.where});
        flip_flop.clear = text_of(inner, "clear");
        flip_flop.preset = text_of(inner, "preset");
        cell.flip_flop = flip_flop;
      } else if (inner.name == "latch" || inner.name == "statetable" || inner.name == "ff_bank" ||
                 inner.name == "latch_bank" || inner.name == "bus" || inner.name == "bundle") {
        cell.not_understood = inner.name;
      }
    }
  }

  void read_pin(const LibertyGroup& group, const std::string& name, LibertyCell& cell) {
    LibertyPin pin;
    pin.name = name;
    pin.direction = group.value("direction");
    pin.function = text_of(group, "function");
    pin.three_state = text_of(group, "three_state");
    for (const LibertyGroup& timing : group.groups) {
      if (timing.name != "timing") continue;
      const std::string type = timing.value("timing_type");
      if (type != "setup_rising" && type != "setup_falling") continue;
      const auto rise = first_value(timing, "rise_constraint");
      const auto fall = first_value(timing, "fall_constraint");
      if (!rise && !fall) continue;
      const EdgeTimes times = {*(rise ? rise : fall) * time_ps_, *(fall ? fall : rise) * time_ps_};
      pin.setup =
          pin.setup ? EdgeTimes{std::max(pin.setup->rise, times.rise), std::max(pin.setup->fall, times.fall)}
                    : times;
    }
    cell.pins.push_back(std::move(pin));
  }

  // The table's value at its first indices.
  static std::optional<double> first_value(const LibertyGroup& timing, std::string_view table) {
    for (const LibertyGroup& group : timing.groups) {
      if (group.name != table) continue;
      const std::string row = group.value("values");
      const std::size_t begin = row.find_first_not_of(" \t");
      if (begin == std::string::npos) return std::nullopt;
      const std::size_t end = row.find_first_of(", \t", begin);
      return common::parse_real(row.substr(begin, end == std::string::npos ? end : end - begin));
    }
    return std::nullopt;
  }

  const std::string& file_;
  ImportProblems& problems_;
  LibertyFile& result_;
  double time_ps_ = 1000;  // of a library that does not say: 1 ns
};

}  // namespace

const LibertyPin* LibertyCell::pin(std::string_view wanted) const {
  const auto at = std::find_if(pins.begin(), pins.end(), [&](const auto& pin) { return pin.name == wanted; });
  return at == pins.end() ? nullptr : &*at;
}

LibertyFile parse_liberty(const std::string& file, std::string_view text, ImportProblems& problems) {
  LibertyFile result;
  Reader(file, problems, result).read(parse_liberty_tree(file, text, problems));
  return result;
}

}  // namespace kintsugi::faults
