#include "tests/support/gate_simulator.h"

#include <algorithm>
#include <cmath>
#include <functional>

namespace kintsugi::test {

GateSimulator::GateSimulator(const faults::TimedNetlist& netlist)
    : netlist_(netlist),
      readers_(static_cast<std::size_t>(netlist.nets)),
      value_(readers_.size(), 0),
      pending_(readers_.size(), 0),
      pending_event_(readers_.size()),
      changes_(readers_.size()) {
  value_[1] = 1;
  for (std::size_t g = 0; g < netlist.gates.size(); ++g)
    for (std::size_t pin = 0; pin < netlist.gates[g].inputs.size(); ++pin)
      readers_[static_cast<std::size_t>(netlist.gates[g].inputs[pin])].push_back({g, pin});
}

bool GateSimulator::launched(const faults::LaunchBit& launch, const OperandStream& stream,
                             std::size_t i) const {
  const int word = launch.operand == faults::Operand::activation ? stream.activation[i]
                   : launch.operand == faults::Operand::weight   ? stream.weight[i]
                                                                 : stream.psum[i];
  return (word >> launch.bit & 1) != 0;
}

bool GateSimulator::output(const faults::TimedGate& gate) const {
  int spelled = 0;
  for (std::size_t pin = 0; pin < gate.inputs.size(); ++pin)
    if (value_[static_cast<std::size_t>(gate.inputs[pin])] != 0) spelled |= 1 << pin;
  return (gate.truth >> spelled & 1) != 0;
}

void GateSimulator::settle(const OperandStream& stream, std::size_t i) {
  for (const auto& launch : netlist_.launches)
    value_[static_cast<std::size_t>(launch.net)] = launched(launch, stream, i);
  for (const auto& gate : netlist_.gates) value_[static_cast<std::size_t>(gate.output)] = output(gate);
}

// The driver of a net wants it to have this value from `time` on.
void GateSimulator::drive(int net, bool value, long time) {
  const auto n = static_cast<std::size_t>(net);
  if (pending_[n] != 0) {
    if (pending_event_[n].value != value) {  // too short a pulse
      pending_[n] = 0;
      return;
    }
    if (pending_event_[n].time <= time) return;
  } else if ((value_[n] != 0) == value) {
    return;
  }
  pending_event_[n] = {time, ++number_, net, value};
  pending_[n] = number_;
  queue_.push_back(pending_event_[n]);
  std::push_heap(queue_.begin(), queue_.end(), std::greater<>());
}

void GateSimulator::change_inputs(const OperandStream& stream, std::size_t i) {
  for (auto& changes : changes_) changes.clear();
  for (const auto& launch : netlist_.launches) {
    const bool now = launched(launch, stream, i);
    drive(launch.net, now, std::lround(now ? launch.clock_to_net.rise : launch.clock_to_net.fall));
  }
  while (!queue_.empty()) {
    std::pop_heap(queue_.begin(), queue_.end(), std::greater<>());
    const Event event = queue_.back();
    queue_.pop_back();
    const auto n = static_cast<std::size_t>(event.net);
    if (pending_[n] != event.number) continue;  // taken back
    pending_[n] = 0;
    value_[n] = event.value;
    changes_[n].push_back({event.time, event.value});
    for (const Pin& reader : readers_[n]) {
      const faults::TimedGate& gate = netlist_.gates[reader.gate];
      const bool wanted = output(gate);
      const faults::EdgeTimes& delay = gate.delays[reader.pin];
      drive(gate.output, wanted, event.time + std::lround(wanted ? delay.rise : delay.fall));
    }
  }
}

std::vector<std::vector<std::uint32_t>> GateSimulator::errors(const OperandStream& stream,
                                                              const std::vector<double>& periods_ps) {
  std::vector<std::vector<std::uint32_t>> out(periods_ps.size(),
                                              std::vector<std::uint32_t>(stream.size() - 1, 0));
  settle(stream, 0);
  for (std::size_t i = 1; i < stream.size(); ++i) {
    change_inputs(stream, i);
    for (const auto& capture : netlist_.captures) {
      const auto& changes = changes_[static_cast<std::size_t>(capture.net)];
      const bool settled = value_[static_cast<std::size_t>(capture.net)] != 0;
      for (std::size_t p = 0; p < periods_ps.size(); ++p) {
        // Before its first change a net has the other value than after it.
        bool captured = changes.empty() ? settled : !changes.front().value;
        for (const Change& change : changes) {
          const double setup = change.value ? capture.setup.rise : capture.setup.fall;
          if (static_cast<double>(change.time) <= periods_ps[p] - setup - 1) captured = change.value;
        }
        if (captured != settled) out[p][i - 1] |= std::uint32_t{1} << capture.bit;
      }
    }
  }
  return out;
}

}  // namespace kintsugi::test
