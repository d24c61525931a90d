#include "faults/import_delays.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

namespace kintsugi::faults {
namespace {

double whole_ps(double ps) {
  return std::max(1.0, std::nearbyint(ps));
}

}  // namespace

const SdfCell* ImportDelays::find(const VerilogCell& cell) const {
  const auto found = sdf_.cells.find(cell.name);
  return found == sdf_.cells.end() ? nullptr : &found->second;
}

EdgeTimes ImportDelays::path(const VerilogCell& cell, const std::string& from, const std::string& to) {
  if (const SdfCell* found = find(cell))
    if (const auto at = found->paths.find({from, to}); at != found->paths.end()) return at->second;
  problems_.error(files_.verilog, cell.where,
                  fmt::format("{} gives no delay for '{}' ({}) from '{}' to '{}' (IOPATH)", files_.sdf,
                              cell.name, cell.type, from, to));
  return {};
}

EdgeTimes ImportDelays::wire(const VerilogCell& cell, const std::string& pin) const {
  const SdfCell* found = find(cell);
  if (found == nullptr) return {};
  const auto at = found->wires.find(pin);
  return at == found->wires.end() ? EdgeTimes{} : at->second;
}

double ImportDelays::clock_wire(const GraphFlipFlop& flip_flop) const {
  const EdgeTimes clock = wire(*flip_flop.cell, flip_flop.clock_pin);
  return flip_flop.falling ? clock.fall : clock.rise;
}

EdgeTimes ImportDelays::gate(const GraphGate& gate, std::size_t pin, PinSense sense) {
  const EdgeTimes inside = path(*gate.cell, gate.pins[pin], gate.output_pin);
  EdgeTimes before = wire(*gate.cell, gate.pins[pin]);  // by the input's edge
  if (sense == PinSense::opposite) std::swap(before.rise, before.fall);
  if (sense == PinSense::both) before.rise = before.fall = std::max(before.rise, before.fall);
  return {whole_ps(inside.rise + before.rise), whole_ps(inside.fall + before.fall)};
}

EdgeTimes ImportDelays::clock_to_output(const GraphFlipFlop& flip_flop, const std::string& pin) {
  const EdgeTimes inside = path(*flip_flop.cell, flip_flop.clock_pin, pin);
  const double clock = clock_wire(flip_flop);
  return {whole_ps(inside.rise + clock), whole_ps(inside.fall + clock)};
}

EdgeTimes ImportDelays::setup(const GraphFlipFlop& flip_flop) {
  const VerilogCell& cell = *flip_flop.cell;
  std::optional<EdgeTimes> times;
  if (const SdfCell* found = find(cell))
    if (const auto at = found->setups.find(flip_flop.data_pin); at != found->setups.end()) times = at->second;
  if (!times) times = library_.cells.at(cell.type).pin(flip_flop.data_pin)->setup;
  if (!times) {
    problems_.error(files_.verilog, cell.where,
                    fmt::format("neither {} nor {} gives a setup time for flip-flop '{}' ({})", files_.sdf,
                                files_.liberty, cell.name, cell.type));
    return {};
  }
  const EdgeTimes data = wire(cell, flip_flop.data_pin);
  // A late clock leaves more time.
  const double both = std::max(times->rise, times->fall) - clock_wire(flip_flop);
  return {std::nearbyint(both + data.rise), std::round(both + data.fall)};
}

}  // namespace kintsugi::faults
