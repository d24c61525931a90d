#include "faults/import_build.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include "common/text.h"
#include "faults/import_delays.h"
#include "faults/import_ports.h"

namespace kintsugi::faults {
namespace {

constexpr int kMostGateInputs = 4;
// Truth tables of one input.
constexpr std::uint16_t kBuffer = 0b10, kInverter = 0b01;

// An output of a launching flip-flop that gates read.
struct LaunchCopy {
  int flip_flop = 0;
  int output = 0;
};

class Builder {
 public:
  Builder(const VerilogModule& module, const NetGraph& graph, const SdfFile& sdf, const LibertyFile& library,
          const ImportFileNames& files, ImportProblems& problems)
      : module_(module),
        graph_(graph),
        sdf_(sdf),
        files_(files),
        problems_(problems),
        delays_(sdf, library, files, problems) {}

  TimedNetlist build(const ImportPorts& ports) {
    const PeNets nets = find_ports(module_, ports, files_.verilog, problems_);
    check_instances();
    if (!problems_.empty()) return {};  // what follows would only repeat it
    find_launches(nets);
    find_captures(nets);
    check_clock(nets.clock, ports.clock);
    for (std::size_t bit = 0; bit < captures_.size(); ++bit)
      if (captures_[bit] >= 0) visit(flip_flop(captures_[bit]).data);
    check_launches(nets, ports);
    if (!problems_.empty()) return {};
    return assemble(nets);
  }

 private:
  void error(TextPlace where, const std::string& message) { problems_.error(files_.verilog, where, message); }
  const GraphFlipFlop& flip_flop(int i) const { return graph_.flip_flops()[static_cast<std::size_t>(i)]; }
  const GraphGate& gate(int i) const { return graph_.gates()[static_cast<std::size_t>(i)]; }
  const std::string& name(int net) const { return module_.net_names[static_cast<std::size_t>(net)]; }

  // The SDF file must be that of this netlist.
  void check_instances() {
    std::map<std::string, const VerilogCell*> cells;
    for (const VerilogCell& cell : module_.cells)
      if (!cells.try_emplace(cell.name, &cell).second)
        error(cell.where, fmt::format("two cells are named '{}'", cell.name));
    constexpr int kShown = 3;  // of a file of another netlist nearly all are strangers
    int strangers = 0;
    for (const auto& [instance, cell] : sdf_.cells) {
      if (instance.empty()) continue;
      const auto found = cells.find(instance);
      const bool same_type = found != cells.end() && (cell.type.empty() || cell.type == found->second->type);
      if (same_type || ++strangers > kShown) continue;
      const std::string here = found == cells.end()
                                   ? fmt::format("there is no cell '{}' in module '{}' of {}", instance,
                                                 module_.name, files_.verilog)
                                   : fmt::format("cell '{}' is of type {} here, and of type {} in {}",
                                                 instance, cell.type, found->second->type, files_.verilog);
      problems_.error(files_.sdf, cell.where, here + "; the delays must be those of this netlist");
    }
    if (strangers > kShown)
      problems_.error(files_.sdf, {}, fmt::format("{} cells in all are not those of the netlist", strangers));
  }

  static constexpr std::pair<Operand, const char*> kOperands[] = {
      {Operand::activation, "activation"}, {Operand::weight, "weight"}, {Operand::psum, "psum"}};
  static const std::vector<int>& nets_of(const PeNets& nets, Operand operand) {
    return operand == Operand::activation ? nets.activation
           : operand == Operand::weight   ? nets.weight
                                          : nets.psum;
  }

  void find_launches(const PeNets& nets) {
    std::map<int, std::pair<Operand, int>> bit_of;
    for (const auto& [operand, unused] : kOperands)
      for (std::size_t bit = 0; bit < nets_of(nets, operand).size(); ++bit)
        bit_of[nets_of(nets, operand)[bit]] = {operand, static_cast<int>(bit)};
    for (int i = 0; i < static_cast<int>(graph_.flip_flops().size()); ++i)
      if (const auto bit = bit_of.find(graph_.origin(flip_flop(i).data)); bit != bit_of.end()) {
        launched_[i] = bit->second;
        copies_[bit->second];
      }
  }

  void find_captures(const PeNets& nets) {
    for (const int net : nets.out) {
      captures_.push_back(-1);
      const NetGraph::Driver& from = graph_.driver(graph_.origin(net));
      if (from.kind != NetGraph::DriverKind::flip_flop) {
        error(place_of(net),
              fmt::format("output '{}' does not come from a flip-flop; the PE's sum must", name(net)));
        continue;
      }
      if (flip_flop(from.index).outputs[static_cast<std::size_t>(from.output)].inverted)
        error(flip_flop(from.index).cell->where,
              fmt::format(
                  "output '{}' is the inverse of what flip-flop '{}' stores; the sum must be stored as it is",
                  name(net), flip_flop(from.index).cell->name));
      else
        captures_.back() = from.index;
      captured_.insert(from.index);
    }
  }

  // Of a port's net: the port.
  TextPlace place_of(int net) const {
    for (const VerilogPort& port : module_.ports)
      if (std::find(port.nets.begin(), port.nets.end(), net) != port.nets.end()) return port.where;
    return module_.where;
  }

  void check_clock(int clock, const std::string& port) {
    std::optional<bool> falling;
    for (int i = 0; i < static_cast<int>(graph_.flip_flops().size()); ++i) {
      if (!launched_.contains(i) && !captured_.contains(i)) continue;
      const GraphFlipFlop& one = flip_flop(i);
      if (graph_.source(one.clock) != clock)
        error(one.cell->where,
              fmt::format(
                  "flip-flop '{}' is clocked by net '{}', not by port '{}'; all must be clocked by that one "
                  "net, so leave out clock gates and clock buffers",
                  one.cell->name, name(graph_.source(one.clock)), port));
      if (falling && *falling != one.falling)
        error(one.cell->where, fmt::format("flip-flop '{}' acts on the clock's other edge", one.cell->name));
      if (!falling) falling = one.falling;
    }
  }

  void check_launches(const PeNets& nets, const ImportPorts& ports) {
    const auto port_of = [&](Operand operand) {
      return operand == Operand::activation ? ports.activation
             : operand == Operand::weight   ? ports.weight
                                            : ports.psum;
    };
    for (const auto& [operand, role] : kOperands)
      for (std::size_t bit = 0; bit < nets_of(nets, operand).size(); ++bit) {
        const auto found = copies_.find({operand, static_cast<int>(bit)});
        const int net = nets_of(nets, operand)[bit];
        if (found == copies_.end())
          error(place_of(net),
                fmt::format("bit {} of port '{}' ({}) is the data of no flip-flop; the PE's operands "
                            "must be registered",
                            bit, port_of(operand), role));
        else if (found->second.empty() && problems_.empty())
          error(place_of(net), fmt::format("no bit of the sum depends on bit {} of port '{}' ({})", bit,
                                           port_of(operand), role));
      }
  }

  // Depth first from a net towards the operands: gates in topological order, launches that are read.
  void visit(int first) {
    struct Step {
      int net;
      std::size_t input = 0;
    };
    std::vector<Step> path;
    const auto enter = [&](int net) {
      net = graph_.source(net);
      if (value_of_.contains(net)) return;
      const NetGraph::Driver& from = graph_.driver(net);
      if (net <= kNetOne) {
        value_of_[net] = net;
      } else if (from.kind == NetGraph::DriverKind::gate) {
        if (open_.contains(net)) {
          report_loop(path, net);
          return;
        }
        open_.insert(net);
        path.push_back({net});
      } else {
        value_of_[net] = -1;
        enter_leaf(net, from);
      }
    };
    enter(first);
    while (!path.empty()) {
      Step& step = path.back();
      const GraphGate& one = gate(graph_.driver(step.net).index);
      if (step.input < one.inputs.size()) {
        enter(one.inputs[step.input++]);
        continue;
      }
      finish(step.net, one);
      open_.erase(step.net);
      path.pop_back();
    }
  }

  void enter_leaf(int net, const NetGraph::Driver& from) {
    if (from.kind == NetGraph::DriverKind::input_port) {
      error(place_of(net),
            fmt::format("input '{}' reaches the sum without a flip-flop; register it, or set it to a "
                        "constant before synthesis",
                        name(net)));
      return;
    }
    if (from.kind != NetGraph::DriverKind::flip_flop) {
      error(place_of(net), fmt::format("the sum depends on net '{}', which nothing drives", name(net)));
      return;
    }
    const auto launch = launched_.find(from.index);
    if (launch != launched_.end())
      copies_[launch->second].push_back({from.index, from.output});
    else
      error(
          flip_flop(from.index).cell->where,
          fmt::format(
              "flip-flop '{}' {}", flip_flop(from.index).cell->name,
              captured_.contains(from.index)
                  ? "holds a bit of the sum, and the sum depends on it: this PE accumulates in place, while "
                    "the array's PEs take the sum of the one above"
                  : "stands between the operands and the sum: the PE must compute in one clock cycle"));
  }

  template <class Path>
  void report_loop(const Path& path, int net) {
    std::vector<std::string> names;
    auto at = std::find_if(path.begin(), path.end(), [&](const auto& step) { return step.net == net; });
    const VerilogCell* cell = gate(graph_.driver(net).index).cell;
    constexpr std::size_t kShown = 12;
    const auto length = static_cast<std::size_t>(path.end() - at);
    for (; at != path.end() && names.size() < kShown; ++at)
      names.push_back("'" + gate(graph_.driver(at->net).index).cell->name + "'");
    error(cell->where,
          fmt::format("{} gates form a loop without a flip-flop: {}{}", length, common::join(names),
                      length > kShown ? fmt::format(" and {} more", length - kShown) : ""));
  }

  // All inputs of a gate are known: it is a constant, or a gate of the result.
  void finish(int net, const GraphGate& one) {
    std::vector<int> values, kept;
    for (const int input : one.inputs) {
      const auto value = value_of_.find(graph_.source(input));
      values.push_back(value == value_of_.end() ? -1 : value->second);
    }
    const std::uint64_t truth = reduce_truth(one.truth, values, kept);
    if (kept.empty()) {
      value_of_[net] = static_cast<int>(truth & 1U);
      return;
    }
    value_of_[net] = -1;
    if (kept.size() > kMostGateInputs) {
      error(one.cell->where,
            fmt::format(
                "'{}' ({}) computes with {} inputs; at most {} can be simulated, so synthesise without this "
                "cell (dont_use)",
                one.cell->name, one.cell->type, kept.size(), kMostGateInputs));
      return;
    }
    order_.push_back({net, truth, kept});
  }

  TimedNetlist assemble(const PeNets& nets) {
    TimedNetlist result;
    result.operand_bits = static_cast<int>(nets.activation.size());
    result.accumulator_bits = static_cast<int>(nets.out.size());
    std::map<int, int> number = {{kNetZero, 0}, {kNetOne, 1}};  // of the result's nets
    std::vector<TimedGate> splits;
    for (const auto& [bit, copies] : copies_) {
      LaunchBit launch{bit.first, bit.second, result.nets++, {}};
      launch_bit(copies, launch, number, splits);
      result.launches.push_back(launch);
    }
    for (TimedGate& split : splits) {
      number[split.output] = result.nets;
      split.output = result.nets++;
      result.gates.push_back(std::move(split));
    }
    for (const auto& [net, truth, kept] : order_) {
      const GraphGate& one = gate(graph_.driver(net).index);
      TimedGate timed;
      timed.truth = static_cast<std::uint16_t>(truth);
      for (std::size_t i = 0; i < kept.size(); ++i) {
        const auto pin = static_cast<std::size_t>(kept[i]);
        timed.inputs.push_back(number.at(net_in_result(one.inputs[pin])));
      }
      for (std::size_t i = 0; i < kept.size(); ++i)
        timed.delays.push_back(delays_.gate(one, static_cast<std::size_t>(kept[i]), pin_sense(timed, i)));
      timed.output = number[net] = result.nets++;
      result.gates.push_back(std::move(timed));
    }
    for (std::size_t bit = 0; bit < captures_.size(); ++bit) {
      const GraphFlipFlop& one = flip_flop(captures_[bit]);
      result.captures.push_back(
          {static_cast<int>(bit), number.at(net_in_result(one.data)), delays_.setup(one)});
    }
    return result;
  }

  // The net's source, or the constant that it always is.
  int net_in_result(int net) const {
    const int source = graph_.source(net);
    const int value = value_of_.at(source);
    return value < 0 ? source : value;
  }

  // Usually a bit stands in one flip-flop, which drives the gates. If it stands in several, or an inverting
  // output is used, one imaginary source launches a picosecond before the earliest of them, and buffers and
  // inverters make up each one's own delay. Until their nets have numbers, `output` is the graph's net.
  void launch_bit(const std::vector<LaunchCopy>& copies, LaunchBit& launch, std::map<int, int>& number,
                  std::vector<TimedGate>& splits) {
    const auto output = [&](const LaunchCopy& copy) -> const GraphFlipFlop::Output& {
      return flip_flop(copy.flip_flop).outputs[static_cast<std::size_t>(copy.output)];
    };
    if (copies.size() == 1 && !output(copies[0]).inverted) {
      launch.clock_to_net = delays_.clock_to_output(flip_flop(copies[0].flip_flop), output(copies[0]).pin);
      number[graph_.source(output(copies[0]).net)] = launch.net;
      return;
    }
    std::vector<EdgeTimes> by_input;  // by the edge of the bit itself
    for (const LaunchCopy& copy : copies) {
      EdgeTimes times = delays_.clock_to_output(flip_flop(copy.flip_flop), output(copy).pin);
      if (output(copy).inverted) std::swap(times.rise, times.fall);
      by_input.push_back(times);
    }
    launch.clock_to_net = by_input[0];
    for (const EdgeTimes& times : by_input) {
      launch.clock_to_net.rise = std::min(launch.clock_to_net.rise, times.rise);
      launch.clock_to_net.fall = std::min(launch.clock_to_net.fall, times.fall);
    }
    launch.clock_to_net.rise -= 1;
    launch.clock_to_net.fall -= 1;
    for (std::size_t i = 0; i < copies.size(); ++i) {
      TimedGate split;
      split.inputs = {launch.net};
      split.output = graph_.source(output(copies[i]).net);
      EdgeTimes delay{by_input[i].rise - launch.clock_to_net.rise,
                      by_input[i].fall - launch.clock_to_net.fall};
      if (output(copies[i]).inverted) std::swap(delay.rise, delay.fall);
      split.truth = output(copies[i]).inverted ? kInverter : kBuffer;
      split.delays = {delay};
      splits.push_back(std::move(split));
    }
  }

  const VerilogModule& module_;
  const NetGraph& graph_;
  const SdfFile& sdf_;
  const ImportFileNames& files_;
  ImportProblems& problems_;
  ImportDelays delays_;
  std::map<int, std::pair<Operand, int>> launched_;  // flip-flop -> the bit that it holds
  std::map<std::pair<Operand, int>, std::vector<LaunchCopy>> copies_;
  std::vector<int> captures_;  // flip-flops by bit of the sum, −1: none
  std::set<int> captured_;
  std::map<int, int> value_of_;  // net -> 0 or 1 if it never changes, −1 if it does
  std::set<int> open_;           // on the path that is being visited
  std::vector<std::tuple<int, std::uint64_t, std::vector<int>>> order_;  // net, truth, pins of its gate
};

}  // namespace

TimedNetlist build_timed_netlist(const VerilogModule& module, const NetGraph& graph, const SdfFile& sdf,
                                 const LibertyFile& library, const ImportPorts& ports,
                                 const ImportFileNames& files, ImportProblems& problems) {
  return Builder(module, graph, sdf, library, files, problems).build(ports);
}

}  // namespace kintsugi::faults
