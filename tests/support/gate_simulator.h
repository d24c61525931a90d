// An event-driven simulator of a timed netlist: inertial, per pin and edge, in steps of 1 ps. Slow and plain:
// the witness of the netlist model. Shares no code with it.
#pragma once

#include <cstdint>
#include <vector>

#include "faults/timed_netlist.h"

namespace kintsugi::test {

// A PE's inputs, cycle after cycle.
struct OperandStream {
  std::vector<std::int8_t> activation, weight;
  std::vector<std::int32_t> psum;
  std::size_t size() const { return psum.size(); }
};

class GateSimulator {
 public:
  explicit GateSimulator(const faults::TimedNetlist& netlist);

  // errors[p][i]: what differs between the word captured at periods_ps[p] and the settled one when the inputs
  // change from stream position i, everything settled, to i + 1.
  std::vector<std::vector<std::uint32_t>> errors(const OperandStream& stream,
                                                 const std::vector<double>& periods_ps);

 private:
  struct Pin {
    std::size_t gate = 0, pin = 0;
  };
  struct Event {
    long time = 0;
    std::uint64_t number = 0;  // of scheduling, so that events at one time have an order
    int net = 0;
    bool value = false;
    bool operator>(const Event& other) const {
      return time != other.time ? time > other.time : number > other.number;
    }
  };
  struct Change {
    long time = 0;
    bool value = false;
  };

  bool launched(const faults::LaunchBit& launch, const OperandStream& stream, std::size_t i) const;
  bool output(const faults::TimedGate& gate) const;
  void settle(const OperandStream& stream, std::size_t i);
  void drive(int net, bool value, long time);
  void change_inputs(const OperandStream& stream, std::size_t i);

  const faults::TimedNetlist& netlist_;
  std::vector<std::vector<Pin>> readers_;  // of each net
  std::vector<char> value_;                // of each net
  std::vector<std::uint64_t> pending_;     // number of the event that a net waits for, 0: none
  std::vector<Event> pending_event_;
  std::vector<Event> queue_;  // a heap
  std::uint64_t number_ = 0;
  std::vector<std::vector<Change>> changes_;  // of each net in this cycle
};

}  // namespace kintsugi::test
