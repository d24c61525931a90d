#include "faults/import_ports.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>

#include "common/text.h"

namespace kintsugi::faults {
namespace {

constexpr int kOperandBits = 8;
constexpr int kFewestSumBits = 16, kMostSumBits = 32;

// "a[3]" -> a, 3.
std::optional<std::pair<std::string, int>> split_bit(const std::string& name) {
  const std::size_t bracket = name.rfind('[');
  if (bracket == std::string::npos || bracket == 0 || name.back() != ']') return std::nullopt;
  const auto bit = common::parse_integer(name.substr(bracket + 1, name.size() - bracket - 2));
  if (!bit || *bit < 0 || *bit > 4096) return std::nullopt;
  return std::pair{name.substr(0, bracket), static_cast<int>(*bit)};
}

// A port, whole or put together from its bits.
struct Bus {
  std::map<int, int> nets;  // by bit
  PortDirection direction = PortDirection::none;
  TextPlace where;
  bool single = false;
};

std::map<std::string, Bus> buses_of(const VerilogModule& module, std::vector<std::string>& order) {
  std::map<std::string, Bus> buses;
  const auto bus = [&](const std::string& name, const VerilogPort& port) -> Bus& {
    const auto [at, added] = buses.try_emplace(name);
    if (added) {
      order.push_back(name);
      at->second.direction = port.direction;
      at->second.where = port.where;
    }
    return at->second;
  };
  for (const VerilogPort& port : module.ports) {
    const auto bit = port.vector ? std::nullopt : split_bit(port.name);
    if (bit && !port.nets.empty()) {
      bus(bit->first, port).nets[bit->second] = port.nets[0];
      continue;
    }
    Bus& whole = bus(port.name, port);
    whole.single = !port.vector;
    for (std::size_t i = 0; i < port.nets.size(); ++i) whole.nets[port.bits[i]] = port.nets[i];
  }
  return buses;
}

}  // namespace

std::string describe_ports(const VerilogModule& module) {
  std::vector<std::string> order, texts;
  const auto buses = buses_of(module, order);
  for (const std::string& name : order) {
    const Bus& bus = buses.at(name);
    if (bus.single || bus.nets.empty())
      texts.push_back(name);
    else
      texts.push_back(fmt::format("{}[{}:{}]", name, bus.nets.rbegin()->first, bus.nets.begin()->first));
  }
  return common::join(texts);
}

PeNets find_ports(const VerilogModule& module, const ImportPorts& ports, const std::string& file,
                  ImportProblems& problems) {
  std::vector<std::string> order;
  const auto buses = buses_of(module, order);
  const auto find = [&](const char* role, const std::string& name, PortDirection direction) {
    std::vector<int> nets;
    const auto at = buses.find(name);
    if (at == buses.end()) {
      problems.error(file, module.where,
                     fmt::format("module '{}' has no port '{}' ({}); its ports are {}; say which it is "
                                 "with --ports {}=NAME",
                                 module.name, name, role, describe_ports(module), role));
      return nets;
    }
    const Bus& bus = at->second;
    if (bus.direction != direction)
      problems.error(file, bus.where,
                     fmt::format("port '{}' ({}) is not an {}; choose another with --ports {}=NAME", name,
                                 role, direction == PortDirection::input ? "input" : "output", role));
    const int first = bus.nets.empty() ? 0 : bus.nets.begin()->first;
    for (const auto& [bit, net] : bus.nets) {
      if (bit != first + static_cast<int>(nets.size())) {
        problems.error(file, bus.where,
                       fmt::format("port '{}' has no bit {}", name, first + static_cast<int>(nets.size())));
        break;
      }
      nets.push_back(net);
    }
    return nets;
  };
  PeNets nets;
  nets.activation = find("activation", ports.activation, PortDirection::input);
  nets.weight = find("weight", ports.weight, PortDirection::input);
  nets.psum = find("psum", ports.psum, PortDirection::input);
  nets.out = find("out", ports.out, PortDirection::output);
  const std::vector<int> clock = find("clock", ports.clock, PortDirection::input);
  if (clock.size() == 1)
    nets.clock = clock[0];
  else if (!clock.empty())
    problems.error(file, buses.at(ports.clock).where,
                   fmt::format("the clock is one net, but port '{}' has {} bits", ports.clock, clock.size()));

  const auto check = [&](const std::string& name, const std::vector<int>& bits, int low, int high,
                         const std::string& allowed) {
    if (!bits.empty() && (static_cast<int>(bits.size()) < low || static_cast<int>(bits.size()) > high))
      problems.error(file, buses.at(name).where,
                     fmt::format("port '{}' has {} bits, but {}", name, bits.size(), allowed));
  };
  check(ports.activation, nets.activation, kOperandBits, kOperandBits, "a PE's operands have 8");
  check(ports.weight, nets.weight, kOperandBits, kOperandBits, "a PE's operands have 8");
  check(ports.out, nets.out, kFewestSumBits, kMostSumBits, "a PE's sum has 16 to 32");
  const int sum = static_cast<int>(nets.out.size());
  if (sum > 0)
    check(ports.psum, nets.psum, sum, sum,
          fmt::format("the sum '{}' has {}; they must be the same", ports.out, sum));
  return nets;
}

}  // namespace kintsugi::faults
