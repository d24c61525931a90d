// A timed netlist on a grid of time: every delay a whole number of steps, chosen so that what the rounding
// loses on one gate is known to the next.
//
// Every net and edge has a phase: an event at step k happens at k · step + phase. docs/timing-errors.md
// explains the rounding and the tie rule.
#pragma once

#include <vector>

#include "faults/timed_netlist.h"

namespace kintsugi::faults {

struct EdgeSteps {
  int rise = 0;
  int fall = 0;
};

// How long an output's edge takes from one input. A pulse of exactly `steps` passes if `tie` is 0; with 1 it
// must last one step more.
struct GridArc {
  int steps = 0;
  int tie = 0;
};

struct GridPin {
  int net = 0;
  PinSense sense = PinSense::none;  // none: also for constant inputs, whose arcs mean nothing
  GridArc rise, fall;
};

struct GridGate {
  std::uint16_t truth = 0;
  int output = 0;
  std::vector<GridPin> pins;
  GridArc slowest_rise, slowest_fall;  // over the pins; among equals the one on the most critical path
};

struct GridLaunch {
  Operand operand = Operand::activation;
  int bit = 0;
  int net = 0;
  EdgeSteps at;
};

// A net's first and last step at which it can change in either direction (first > last: it never does).
struct EdgeWindow {
  EdgeSteps first, last;
};

struct TimeGrid {
  double step_ps = 0;
  std::vector<GridLaunch> launches;
  std::vector<GridGate> gates;       // topological order
  std::vector<CaptureBit> captures;  // by bit
  std::vector<EdgeTimes> phase;      // ps, by net
  std::vector<EdgeWindow> window;    // by net

  // The steps whose values a flip-flop takes at this period, for a rising and a falling edge of its data.
  EdgeSteps sample(const CaptureBit& capture, double period_ps) const;
};

// step_ps > 0.
TimeGrid quantise(const TimedNetlist& netlist, double step_ps);

}  // namespace kintsugi::faults
