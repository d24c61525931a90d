#include "faults/import_graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "common/text.h"

namespace kintsugi::faults {
namespace {

constexpr std::size_t kMostFunctionPins = 6;

bool reads(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

std::uint64_t reduce_truth(std::uint64_t truth, const std::vector<int>& values, std::vector<int>& kept) {
  const auto size = static_cast<int>(values.size());
  const auto bit = [&](unsigned v) { return truth >> v & 1U; };
  // What v means with the constants in place.
  const auto fixed = [&](unsigned v) {
    for (int i = 0; i < size; ++i) {
      const unsigned one = 1U << static_cast<unsigned>(i);
      const int value = values[static_cast<std::size_t>(i)];
      if (value == 0) v &= ~one;
      if (value == 1) v |= one;
    }
    return v;
  };
  kept.clear();
  for (int i = 0; i < size; ++i) {
    bool matters = false;
    for (unsigned v = 0; v < 1U << static_cast<unsigned>(size); ++v)
      matters = matters || bit(fixed(v)) != bit(fixed(v ^ 1U << static_cast<unsigned>(i)));
    if (matters) kept.push_back(i);
  }
  std::uint64_t reduced = 0;
  for (unsigned v = 0; v < 1U << kept.size(); ++v) {
    unsigned spread = 0;
    for (std::size_t i = 0; i < kept.size(); ++i)
      if (v >> i & 1U) spread |= 1U << static_cast<unsigned>(kept[i]);
    reduced |= bit(fixed(spread)) << v;
  }
  return reduced;
}

// Fills a graph.
struct NetGraph::Binder {
  NetGraph& graph;
  const LibertyFile& library;
  const Files& files;
  ImportProblems& problems;
  std::vector<TextPlace> driven_at{};  // place of each net's driver
  std::vector<std::string> driven_by{};
  std::vector<TextPlace> read_at{};  // a cell that reads the net; line 0: none
  std::map<std::string, bool> reported_types{};
  bool incomplete = false;  // some cells could not be bound, so that their nets look undriven

  void error(TextPlace where, const std::string& message) { problems.error(files.verilog, where, message); }
  const std::string& name(int net) const { return graph.module_.net_names[static_cast<std::size_t>(net)]; }

  void drive(int net, DriverKind kind, int index, int output, TextPlace where, const std::string& by) {
    const auto at = static_cast<std::size_t>(net);
    if (net <= kNetOne) {
      error(where, fmt::format("{} drives a constant", by));
      return;
    }
    if (!driven_by[at].empty()) {
      error(where, fmt::format("net '{}' is driven twice: by {} and, at line {}, by {}", name(net), by,
                               driven_at[at].line, driven_by[at]));
      return;
    }
    driven_at[at] = where;
    driven_by[at] = by;
    graph.drivers_[at] = {kind, index, output};
  }

  void bind() {
    const std::size_t nets = graph.module_.net_names.size();
    driven_at.resize(nets);
    driven_by.resize(nets);
    read_at.resize(nets);
    graph.drivers_.resize(nets);
    graph.assigned_from_.assign(nets, -1);
    graph.drivers_[kNetZero].kind = graph.drivers_[kNetOne].kind = DriverKind::constant;
    for (const VerilogPort& port : graph.module_.ports)
      if (port.direction == PortDirection::input)
        for (const int net : port.nets)
          drive(net, DriverKind::input_port, 0, 0, port.where, fmt::format("input port '{}'", port.name));
    for (const VerilogAssign& assign : graph.module_.assigns) {
      drive(assign.left, DriverKind::none, 0, 0, assign.where, "an assignment");
      graph.assigned_from_[static_cast<std::size_t>(assign.left)] = assign.right;
    }
    find_assignment_loops();
    for (const VerilogCell& cell : graph.module_.cells) bind_cell(cell);
    for (std::size_t net = kNetOne + 1; net < nets; ++net)
      if (!incomplete && read_at[net].line > 0 && driven_by[net].empty())
        error(read_at[net],
              fmt::format("net '{}' is read here, but nothing drives it", name(static_cast<int>(net))));
  }

  void find_assignment_loops() {
    for (const VerilogAssign& assign : graph.module_.assigns) {
      int net = assign.right;
      for (std::size_t steps = 0; net >= 0 && net != assign.left && steps <= graph.module_.assigns.size();
           ++steps)
        net = graph.assigned_from_[static_cast<std::size_t>(net)];
      if (net != assign.left) continue;
      error(assign.where,
            fmt::format("net '{}' is assigned to itself, by way of other nets", name(assign.left)));
      graph.assigned_from_[static_cast<std::size_t>(assign.left)] = kNetZero;  // to go on
    }
  }

  void bind_cell(const VerilogCell& cell) {
    const auto known = library.cells.find(cell.type);
    if (known == library.cells.end()) {
      incomplete = true;
      // One message for each type: a wrong library would make thousands.
      if (!reported_types.try_emplace(cell.type, true).second) return;
      std::vector<std::string> names;
      for (const auto& [type, unused] : library.cells) names.push_back(type);
      const auto near = common::nearest(cell.type, names);
      error(cell.where,
            fmt::format("cell '{}' is of type '{}', which the library {} does not have{}; give the "
                        "library that the netlist was mapped to, and flatten modules",
                        cell.name, cell.type, files.liberty,
                        near ? fmt::format(" (did you mean '{}'?)", *near) : ""));
      return;
    }
    const LibertyCell& type = known->second;
    std::map<std::string, int> nets;
    bool pins_known = true;
    for (const VerilogConnection& connection : cell.connections) {
      if (type.pin(connection.pin) == nullptr) {
        // Power pins are no pins to Liberty.
        std::vector<std::string> names;
        for (const LibertyPin& pin : type.pins) names.push_back(pin.name);
        error(connection.where, fmt::format("'{}' has no pin '{}'; its pins are {}", cell.type,
                                            connection.pin, common::join(names)));
        pins_known = false;
      } else if (connection.net && !nets.try_emplace(connection.pin, *connection.net).second) {
        error(connection.where,
              fmt::format("pin '{}' of cell '{}' is connected twice", connection.pin, cell.name));
      }
    }
    incomplete = incomplete || !pins_known;
    if (!pins_known) return;
    for (const LibertyPin& pin : type.pins)
      if (pin.direction == "input" && nets.contains(pin.name)) {
        TextPlace& at = read_at[static_cast<std::size_t>(nets[pin.name])];
        if (at.line == 0) at = cell.where;
      }
    if (!type.not_understood.empty()) {
      incomplete = true;
      const bool latch = type.not_understood.starts_with("latch");
      error(cell.where,
            fmt::format(
                "cell '{}' ({}) {}", cell.name, cell.type,
                latch ? "is a latch; a PE's operands and sums must stand in flip-flops"
                      : fmt::format("is described by a '{}' of the library, which cannot be read; use other "
                                    "cells (dont_use in synthesis)",
                                    type.not_understood)));
    } else if (type.flip_flop) {
      bind_flip_flop(cell, type, nets);
    } else {
      bind_gates(cell, type, nets);
    }
  }

  void bind_gates(const VerilogCell& cell, const LibertyCell& type, const std::map<std::string, int>& nets) {
    for (const LibertyPin& pin : type.pins) {
      if (pin.direction != "output" || !nets.contains(pin.name)) continue;
      const std::string by = fmt::format("'{}' ({})", cell.name, cell.type);
      if (!pin.function || pin.three_state) {
        error(cell.where,
              fmt::format("output '{}' of {} {}; only gates whose output is a function of their inputs "
                          "can be used",
                          pin.name, by, pin.three_state ? "can float" : "has no function in the library"));
        drive(nets.at(pin.name), DriverKind::constant, 0, 0, cell.where, by);
        continue;
      }
      GraphGate gate;
      gate.cell = &cell;
      gate.output_pin = pin.name;
      gate.output = nets.at(pin.name);
      const std::vector<std::string> named = names_in(*pin.function);
      for (const LibertyPin& input : type.pins)
        if (reads(named, input.name)) gate.pins.push_back(input.name);
      if (gate.pins.size() > kMostFunctionPins) {
        error(cell.where,
              fmt::format("{} computes with {} inputs; at most 4 can be simulated, so synthesise without "
                          "this cell (dont_use)",
                          by, gate.pins.size()));
        drive(gate.output, DriverKind::constant, 0, 0, cell.where, by);
        continue;
      }
      bool complete = true;
      for (const std::string& input : gate.pins) {
        const auto net = nets.find(input);
        complete = complete && net != nets.end();
        if (net == nets.end())
          error(cell.where,
                fmt::format("pin '{}' of cell '{}' ({}) is open; connect it to a net or a constant", input,
                            cell.name, cell.type));
        else
          gate.inputs.push_back(net->second);
      }
      const auto truth = truth_table(*pin.function, gate.pins, files.liberty, problems);
      const int index = static_cast<int>(graph.gates_.size());
      if (complete && truth) {
        gate.truth = *truth;
        drive(gate.output, DriverKind::gate, index, 0, cell.where, by);
        graph.gates_.push_back(std::move(gate));
      } else {
        drive(gate.output, DriverKind::constant, 0, 0, cell.where, by);
      }
    }
  }

  // The value of a net that is tied, −1 of one that is not.
  int tied(const std::map<std::string, int>& nets, const std::string& pin) const {
    const auto net = nets.find(pin);
    if (net == nets.end()) return -1;
    const int source = graph.source(net->second);
    return source <= kNetOne ? source : -1;
  }

  // A function of a flip-flop's pins with tied ones in place; the pins that still matter.
  std::optional<std::pair<std::uint64_t, std::vector<std::string>>> with_ties(
      const LibertyText& function, const LibertyCell& type, const std::map<std::string, int>& nets) {
    std::vector<std::string> names = names_in(function);
    if (names.size() > kMostFunctionPins) names.resize(kMostFunctionPins);
    const auto truth = truth_table(function, names, files.liberty, problems);
    if (!truth) return std::nullopt;
    std::vector<int> values, kept;
    for (const std::string& pin : names) values.push_back(type.pin(pin) == nullptr ? -1 : tied(nets, pin));
    std::pair<std::uint64_t, std::vector<std::string>> result;
    result.first = reduce_truth(*truth, values, kept);
    for (const int i : kept) result.second.push_back(names[static_cast<std::size_t>(i)]);
    return result;
  }

  void bind_flip_flop(const VerilogCell& cell, const LibertyCell& type,
                      const std::map<std::string, int>& nets) {
    constexpr std::uint64_t kSame = 0b10, kInverse = 0b01;
    const LibertyFlipFlop& kind = *type.flip_flop;
    GraphFlipFlop flip_flop;
    flip_flop.cell = &cell;
    const std::string by = fmt::format("flip-flop '{}' ({})", cell.name, cell.type);
    bool good = true;
    const auto refuse = [&](const std::string& message) {
      error(cell.where, message);
      good = false;
    };
    for (const auto& [function, what] : {std::pair{kind.clear, "clear"}, std::pair{kind.preset, "preset"}}) {
      if (!function) continue;
      const auto value = with_ties(*function, type, nets);
      if (!value || !value->second.empty() || value->first != 0)
        refuse(fmt::format("{} can be {} asynchronously; tie that pin off, or synthesise without reset", by,
                           std::string(what) == "clear" ? "cleared" : "preset"));
    }
    const auto stored = with_ties(kind.next_state, type, nets);
    const auto clocked = with_ties(kind.clocked_on, type, nets);
    incomplete = incomplete || !stored || !clocked;
    if (!stored || !clocked) return;
    if (stored->second.size() != 1 || (stored->first != kSame && stored->first != kInverse) ||
        type.pin(stored->second[0]) == nullptr)
      refuse(fmt::format(
          "{} stores \"{}\", which is not one data pin; tie its enable and scan pins to constants, "
          "or synthesise without them",
          by, kind.next_state.text));
    if (clocked->second.size() != 1 || (clocked->first != kSame && clocked->first != kInverse))
      refuse(fmt::format("{} is clocked on \"{}\", which is not one pin", by, kind.clocked_on.text));
    if (good) {
      flip_flop.data_pin = stored->second[0];
      flip_flop.clock_pin = clocked->second[0];
      flip_flop.falling = clocked->first == kInverse;
      for (const std::string& pin : {flip_flop.data_pin, flip_flop.clock_pin})
        if (!nets.contains(pin)) refuse(fmt::format("pin '{}' of {} is open", pin, by));
    }
    const int index = static_cast<int>(graph.flip_flops_.size());
    for (const LibertyPin& pin : type.pins) {
      if (pin.direction != "output" || !nets.contains(pin.name) || !pin.function) continue;
      const auto truth =
          truth_table(*pin.function, {kind.state, kind.inverted_state}, files.liberty, problems);
      // Only the states 1 (state set) and 2 (inverted state set) occur.
      const std::uint64_t shown = truth ? *truth >> 1 & 0b11U : 0;
      if (shown != 0b01 && shown != 0b10)
        refuse(fmt::format("output '{}' of {} is not its state", pin.name, by));
      const bool inverted = (shown == 0b10) != (stored->first == kInverse);
      drive(nets.at(pin.name), good ? DriverKind::flip_flop : DriverKind::constant, index,
            static_cast<int>(flip_flop.outputs.size()), cell.where, by);
      flip_flop.outputs.push_back({pin.name, nets.at(pin.name), inverted});
    }
    if (!good) return;
    flip_flop.data = nets.at(flip_flop.data_pin);
    flip_flop.clock = nets.at(flip_flop.clock_pin);
    graph.flip_flops_.push_back(std::move(flip_flop));
  }
};

NetGraph::NetGraph(const VerilogModule& module, const LibertyFile& library, Files files,
                   ImportProblems& problems)
    : module_(module) {
  Binder{*this, library, files, problems}.bind();
}

int NetGraph::source(int net) const {
  while (assigned_from_[static_cast<std::size_t>(net)] >= 0)
    net = assigned_from_[static_cast<std::size_t>(net)];
  return net;
}

int NetGraph::origin(int net) const {
  constexpr std::uint64_t kBuffer = 0b10;
  net = source(net);
  for (std::size_t steps = 0; steps <= gates_.size(); ++steps) {
    const Driver& from = driver(net);
    if (from.kind != DriverKind::gate) return net;
    const GraphGate& gate = gates_[static_cast<std::size_t>(from.index)];
    if (gate.inputs.size() != 1 || gate.truth != kBuffer) return net;
    net = source(gate.inputs[0]);
  }
  return net;  // buffers in a ring
}

}  // namespace kintsugi::faults
