#include "faults/netlist_program.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

namespace kintsugi::faults {

namespace {

constexpr int kNoStep = std::numeric_limits<int>::max() / 4;

// How long before the first step that anyone looks at a net is followed. What it was at the start then counts
// for little, the more so as it starts as its gate's inputs would have it.
constexpr double kMemoryPs = 150;

// What a net does: `old` before `begin`, values[t − begin] from there, `settled` after.
struct Waveform {
  Literal old, settled;
  int begin = 0;
  std::vector<Literal> values;

  Literal at(int t) const {
    if (t < begin) return old;
    const auto i = static_cast<std::size_t>(t - begin);
    return i < values.size() ? values[i] : settled;
  }
};

// ANDs over stretches of steps, sharing what stretches of one length have in common.
class Windows {
 public:
  Windows(LogicGraph& graph, int begin, std::vector<Literal> values)
      : graph_(graph), begin_(begin), levels_{std::move(values)} {}

  Literal all(int first, int last) {
    const int length = last - first + 1;
    std::size_t level = 0;
    while ((2 << level) <= length) ++level;
    const int half = 1 << level;
    return graph_.both(doubled(level, first), doubled(level, last - half + 1));
  }

 private:
  // The AND of 2^level steps.
  Literal doubled(std::size_t level, int first) {
    const auto i = static_cast<std::size_t>(first - begin_);
    if (level == 0) return levels_[0][i];
    while (levels_.size() <= level) levels_.emplace_back(levels_[0].size(), kUnknown);
    if (levels_[level][i] == kUnknown) {
      const Literal a = doubled(level - 1, first), b = doubled(level - 1, first + (1 << (level - 1)));
      levels_[level][i] = graph_.both(a, b);
    }
    return levels_[level][i];
  }

  static constexpr Literal kUnknown{~std::uint32_t{0}};
  LogicGraph& graph_;
  int begin_;
  std::vector<std::vector<Literal>> levels_;
};

class Compiler {
 public:
  Compiler(const TimeGrid& grid, double period_ps)
      : grid_(grid),
        period_ps_(period_ps),
        memory_(static_cast<int>(std::ceil(kMemoryPs / grid.step_ps))),
        waves_(grid.window.size()),
        need_first_(grid.window.size(), kNoStep),
        need_last_(grid.window.size(), -kNoStep) {}

  Program run() {
    for (const CaptureBit& capture : grid_.captures) need_capture(capture);
    for (auto gate = grid_.gates.rbegin(); gate != grid_.gates.rend(); ++gate) need_inputs(*gate);
    wave(0) = {LogicGraph::kFalse, LogicGraph::kFalse, 0, {}};
    wave(1) = {LogicGraph::kTrue, LogicGraph::kTrue, 0, {}};
    for (const GridLaunch& launch : grid_.launches) trace_launch(launch);
    for (const GridGate& gate : grid_.gates) trace_gate(gate);
    for (const CaptureBit& capture : grid_.captures)
      if (at_risk(capture)) compare(capture);
    Program program = map_to_operations(graph_, outputs_);
    find_late_inputs(program);
    return program;
  }

 private:
  static std::size_t index(int net) { return static_cast<std::size_t>(net); }
  Waveform& wave(int net) { return waves_[index(net)]; }
  const EdgeWindow& window(int net) const { return grid_.window[index(net)]; }
  int first(int net) const { return std::min(window(net).first.rise, window(net).first.fall); }
  int last(int net) const { return std::max(window(net).last.rise, window(net).last.fall); }
  bool needed(int net) const { return need_first_[index(net)] <= need_last_[index(net)]; }
  // The steps at which a net is followed.
  int trace_begin(int net) const { return std::max(first(net), need_first_[index(net)] - memory_); }
  int trace_end(int net) const { return std::min(last(net), need_last_[index(net)]); }

  bool at_risk(const CaptureBit& capture) const {
    const EdgeSteps at = grid_.sample(capture, period_ps_);
    return window(capture.net).last.rise > at.rise || window(capture.net).last.fall > at.fall;
  }

  void need(int net, int from, int to) {
    need_first_[index(net)] = std::min(need_first_[index(net)], from);
    need_last_[index(net)] = std::max(need_last_[index(net)], to);
  }
  void need_capture(const CaptureBit& capture) {
    if (!at_risk(capture)) return;
    const EdgeSteps at = grid_.sample(capture, period_ps_);
    need(capture.net, std::min(at.rise, at.fall), std::max(at.rise, at.fall));
  }
  void need_inputs(const GridGate& gate) {
    const int net = gate.output;
    if (!needed(net) || trace_begin(net) > trace_end(net)) return;
    const int from = std::max(first(net), need_first_[index(net)]), to = trace_end(net);
    const int back = std::max(gate.slowest_rise.steps, gate.slowest_fall.steps);
    for (const GridPin& pin : gate.pins) need(pin.net, from - back, to);
  }

  void trace_launch(const GridLaunch& launch) {
    const Literal old = graph_.input(), now = graph_.input();
    outputs_.inputs.push_back({{launch.operand, true, launch.bit, 0}, old});
    outputs_.inputs.push_back({{launch.operand, false, launch.bit, 0}, now});
    Waveform& out = wave(launch.net);
    out = {old, now, std::min(launch.at.rise, launch.at.fall), {}};
    const int settled = std::max(launch.at.rise, launch.at.fall);
    const Literal between = launch.at.rise < launch.at.fall ? graph_.either(old, now) : graph_.both(old, now);
    out.values.assign(index(settled - out.begin), between);
  }

  // The gate's function of what its inputs are at a step.
  template <class Value>
  Literal apply(const GridGate& gate, Value value) {
    std::array<Literal, 4> in;
    for (std::size_t pin = 0; pin < gate.pins.size(); ++pin) in[pin] = value(wave(gate.pins[pin].net));
    return graph_.function(gate.truth, std::span(in).first(gate.pins.size()));
  }

  void trace_gate(const GridGate& gate) {
    Waveform& out = wave(gate.output);
    out.old = apply(gate, [](const Waveform& in) { return in.old; });
    out.settled = apply(gate, [](const Waveform& in) { return in.settled; });
    if (!needed(gate.output)) return;
    out.begin = trace_begin(gate.output);
    const int end = trace_end(gate.output);
    if (end < out.begin) {
      // Only one of the two is ever looked at; which one, begin says.
      if (need_last_[index(gate.output)] >= out.begin) return;
      out.begin = kNoStep;
      return;
    }
    const int slowest = std::max(gate.slowest_rise.steps, gate.slowest_fall.steps);
    const int from = out.begin - slowest;
    std::vector<Literal> on, off;
    for (int t = from; t <= end; ++t) {
      on.push_back(apply(gate, [t](const Waveform& in) { return in.at(t); }));
      off.push_back(~on.back());
    }
    Literal rise_before = LogicGraph::kFalse, fall_before = LogicGraph::kFalse, value = on.front();
    Windows high(graph_, from, std::move(on)), low(graph_, from, std::move(off));
    for (int t = out.begin; t <= end; ++t) {
      const Literal rise = edge(gate, high, t, &GridPin::rise, gate.slowest_rise);
      const Literal fall = edge(gate, low, t, &GridPin::fall, gate.slowest_fall);
      // With the same causes as a step ago nothing new can happen.
      if (t == out.begin || rise != rise_before || fall != fall_before)
        value = graph_.either(rise, graph_.both(~fall, value));
      rise_before = rise, fall_before = fall;
      out.values.push_back(value);
    }
  }

  // Whether the output takes the value of this edge at step t: because the function has had it for as long as
  // the slowest pin takes, or since a faster pin changed.
  Literal edge(const GridGate& gate, Windows& windows, int t, GridArc GridPin::*arc, const GridArc& slowest) {
    const auto stretch = [&](const GridArc& of) {
      return of.steps == 0 ? windows.all(t, t) : windows.all(t - of.steps, t - 1 + of.tie);
    };
    Literal out = stretch(slowest);
    for (const GridPin& pin : gate.pins) {
      const GridArc& own = pin.*arc;
      if (pin.sense == PinSense::none || own.steps >= slowest.steps) continue;
      const Waveform& in = wave(pin.net);
      const Literal changed = graph_.differ(in.at(t - own.steps), in.at(t - own.steps - 1));
      if (changed == LogicGraph::kFalse) continue;
      out = graph_.either(out, graph_.both(changed, stretch(own)));
    }
    return out;
  }

  void compare(const CaptureBit& capture) {
    const EdgeSteps at = grid_.sample(capture, period_ps_);
    const Waveform& data = wave(capture.net);
    const Literal rise = data.at(at.rise), fall = data.at(at.fall);
    const Literal captured = at.rise > at.fall   ? graph_.either(rise, fall)
                             : at.rise < at.fall ? graph_.both(rise, fall)
                                                 : rise;
    const Literal error = graph_.differ(captured, data.settled);
    if (error != LogicGraph::kFalse) outputs_.errors.push_back({capture.bit, error});
  }

  // Static timing backwards from the samples, edge by edge.
  void find_late_inputs(Program& program) const {
    std::vector<EdgeSteps> required(grid_.window.size(), {kNoStep, kNoStep});
    for (const CaptureBit& capture : grid_.captures) {
      const EdgeSteps at = grid_.sample(capture, period_ps_);
      EdgeSteps& data = required[index(capture.net)];
      data = {std::min(data.rise, at.rise), std::min(data.fall, at.fall)};
    }
    for (auto gate = grid_.gates.rbegin(); gate != grid_.gates.rend(); ++gate) {
      const EdgeSteps& out = required[index(gate->output)];
      for (const GridPin& pin : gate->pins) {
        const int rise = out.rise - pin.rise.steps, fall = out.fall - pin.fall.steps;
        EdgeSteps& in = required[index(pin.net)];
        if (pin.sense == PinSense::same || pin.sense == PinSense::both)
          in = {std::min(in.rise, rise), std::min(in.fall, fall)};
        if (pin.sense == PinSense::opposite || pin.sense == PinSense::both)
          in = {std::min(in.rise, fall), std::min(in.fall, rise)};
      }
    }
    for (const GridLaunch& launch : grid_.launches) {
      const EdgeSteps& by = required[index(launch.net)];
      if (launch.at.rise <= by.rise && launch.at.fall <= by.fall) continue;
      const auto bit = std::uint32_t{1} << launch.bit;
      if (launch.operand == Operand::psum)
        program.late_psum |= bit;
      else if (launch.operand == Operand::activation)
        program.late_activation = static_cast<std::uint8_t>(program.late_activation | bit);
      else
        program.late_weight = static_cast<std::uint8_t>(program.late_weight | bit);
    }
  }

  const TimeGrid& grid_;
  double period_ps_;
  int memory_;  // steps
  std::vector<Waveform> waves_;
  std::vector<int> need_first_, need_last_;  // steps at which somebody looks at a net
  LogicGraph graph_;
  LogicOutputs outputs_;
};

}  // namespace

Program compile_program(const TimeGrid& grid, double period_ps) {
  return Compiler(grid, period_ps).run();
}

}  // namespace kintsugi::faults
