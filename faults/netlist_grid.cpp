#include "faults/netlist_grid.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace kintsugi::faults {

namespace {

constexpr double kNever = -1e300, kAlways = 1e300;
constexpr int kNoStep = std::numeric_limits<int>::max() / 4;

enum class Edge { rise, fall };
constexpr Edge kEdges[] = {Edge::rise, Edge::fall};

constexpr Edge other(Edge edge) {
  return edge == Edge::rise ? Edge::fall : Edge::rise;
}
template <class Pair>
auto& of(Pair& pair, Edge edge) {
  return edge == Edge::rise ? pair.rise : pair.fall;
}

// Calls f with each edge of the input that can cause this edge of the output.
template <class F>
void for_causes(PinSense sense, Edge edge, F f) {
  if (sense == PinSense::same || sense == PinSense::both) f(edge);
  if (sense == PinSense::opposite || sense == PinSense::both) f(other(edge));
}

// The phase of the input's edge that causes this edge of the output; the mean where either may.
double cause_phase(PinSense sense, Edge edge, const EdgeTimes& phase) {
  double sum = 0;
  int causes = 0;
  for_causes(sense, edge, [&](Edge cause) {
    sum += of(phase, cause);
    ++causes;
  });
  return sum / causes;
}

class Quantiser {
 public:
  Quantiser(const TimedNetlist& netlist, double step_ps)
      : netlist_(netlist), critical_(slowest_path_ps(netlist)) {
    const auto nets = static_cast<std::size_t>(netlist.nets);
    grid_.step_ps = step_ps;
    grid_.captures = netlist.captures;
    grid_.phase.resize(nets);
    grid_.window.assign(nets, {{kNoStep, kNoStep}, {-kNoStep, -kNoStep}});
    arrival_.assign(nets, {kNever, kNever});
    required_.assign(nets, {kAlways, kAlways});
  }

  TimeGrid run() {
    find_slack();
    for (const LaunchBit& launch : netlist_.launches) place_launch(launch);
    for (const TimedGate& gate : netlist_.gates) place_gate(gate);
    return std::move(grid_);
  }

 private:
  static std::size_t at(int net) { return static_cast<std::size_t>(net); }
  PinSense sense(const TimedGate& gate, std::size_t pin) const {
    return gate.inputs[pin] < 2 ? PinSense::none : pin_sense(gate, pin);
  }

  void find_slack() {
    for (const LaunchBit& launch : netlist_.launches) arrival_[at(launch.net)] = launch.clock_to_net;
    for (const TimedGate& gate : netlist_.gates)
      for (std::size_t pin = 0; pin < gate.inputs.size(); ++pin)
        for (const Edge edge : kEdges)
          for_causes(sense(gate, pin), edge, [&](Edge cause) {
            double& out = of(arrival_[at(gate.output)], edge);
            out = std::max(out, of(arrival_[at(gate.inputs[pin])], cause) + of(gate.delays[pin], edge));
          });
    for (const CaptureBit& capture : netlist_.captures)
      for (const Edge edge : kEdges) {
        double& required = of(required_[at(capture.net)], edge);
        required = std::min(required, critical_ - of(capture.setup, edge));
      }
    for (auto gate = netlist_.gates.rbegin(); gate != netlist_.gates.rend(); ++gate)
      for (std::size_t pin = 0; pin < gate->inputs.size(); ++pin)
        for (const Edge edge : kEdges)
          for_causes(sense(*gate, pin), edge, [&](Edge cause) {
            double& in = of(required_[at(gate->inputs[pin])], cause);
            in = std::min(in, of(required_[at(gate->output)], edge) - of(gate->delays[pin], edge));
          });
  }

  void place_launch(const LaunchBit& launch) {
    GridLaunch placed{launch.operand, launch.bit, launch.net, {}};
    for (const Edge edge : kEdges) {
      const double time = of(launch.clock_to_net, edge);
      const double steps = std::round(time / grid_.step_ps);
      of(placed.at, edge) = static_cast<int>(steps);
      of(grid_.phase[at(launch.net)], edge) = time - steps * grid_.step_ps;
      of(grid_.window[at(launch.net)].first, edge) = of(placed.at, edge);
      of(grid_.window[at(launch.net)].last, edge) = of(placed.at, edge);
    }
    grid_.launches.push_back(placed);
  }

  // Where an edge of the output comes from one pin: its time after the step of the cause, and how much the
  // arc counts.
  struct Arc {
    std::size_t pin = 0;
    double time = 0;
    double weight = 0;
  };

  std::vector<Arc> arcs(const TimedGate& gate, const GridGate& placed, Edge edge) const {
    std::vector<Arc> found;
    for (std::size_t pin = 0; pin < placed.pins.size(); ++pin) {
      const GridPin& in = placed.pins[pin];
      if (in.sense == PinSense::none) continue;
      double arrival = kNever;
      for_causes(in.sense, edge,
                 [&](Edge cause) { arrival = std::max(arrival, of(arrival_[at(in.net)], cause)); });
      const double delay = of(gate.delays[pin], edge);
      const double slack = of(required_[at(gate.output)], edge) - arrival - delay;
      const double phase = cause_phase(in.sense, edge, grid_.phase[at(in.net)]);
      found.push_back({pin, phase + delay, std::exp(-slack / (0.05 * critical_)) + 1e-4});
    }
    return found;
  }

  int steps(double time, double phase) const {
    return std::max(0, static_cast<int>(std::round((time - phase) / grid_.step_ps)));
  }

  // The phase at which the arcs' times lie nearest to whole steps.
  double best_phase(const std::vector<Arc>& arcs) const {
    constexpr int kCandidates = 64;
    double best = 0, least = kAlways;
    for (int i = 0; i < kCandidates; ++i) {
      const double phase = ((i + 0.5) / kCandidates - 0.5) * grid_.step_ps;
      double cost = 0;
      for (const Arc& arc : arcs) {
        const double miss = arc.time - phase - steps(arc.time, phase) * grid_.step_ps;
        cost += arc.weight * miss * miss;
      }
      if (cost < least) least = cost, best = phase;
    }
    return best;
  }

  void place_gate(const TimedGate& gate) {
    GridGate placed;
    placed.truth = gate.truth;
    placed.output = gate.output;
    for (std::size_t pin = 0; pin < gate.inputs.size(); ++pin)
      placed.pins.push_back({gate.inputs[pin], sense(gate, pin), {}, {}});
    for (const Edge edge : kEdges) {
      const std::vector<Arc> from = arcs(gate, placed, edge);
      if (from.empty()) continue;
      const double phase = best_phase(from);
      of(grid_.phase[at(gate.output)], edge) = phase;
      // A pulse that begins with this edge ends with the other, by any pin.
      double end = 0;
      for (const Arc& arc : from)
        end +=
            cause_phase(placed.pins[arc.pin].sense, other(edge), grid_.phase[at(placed.pins[arc.pin].net)]);
      end /= static_cast<double>(from.size());
      GridArc& slowest = edge == Edge::rise ? placed.slowest_rise : placed.slowest_fall;
      double slowest_weight = -1;
      for (const Arc& arc : from) {
        GridPin& pin = placed.pins[arc.pin];
        GridArc& on_grid = of(pin, edge);
        on_grid.steps = steps(arc.time, phase);
        if (on_grid.steps > 0)
          on_grid.tie =
              std::clamp(static_cast<int>(std::ceil((arc.time - end) / grid_.step_ps)) - on_grid.steps, 0, 1);
        if (on_grid.steps > slowest.steps || slowest_weight < 0 ||
            (on_grid.steps == slowest.steps && arc.weight > slowest_weight)) {
          slowest = on_grid;
          slowest_weight = arc.weight;
        }
        EdgeWindow& window = grid_.window[at(gate.output)];
        for_causes(pin.sense, edge, [&](Edge cause) {
          const EdgeWindow& in = grid_.window[at(pin.net)];
          of(window.first, edge) = std::min(of(window.first, edge), of(in.first, cause) + on_grid.steps);
          of(window.last, edge) = std::max(of(window.last, edge), of(in.last, cause) + on_grid.steps);
        });
      }
    }
    grid_.gates.push_back(std::move(placed));
  }

  const TimedNetlist& netlist_;
  double critical_;
  TimeGrid grid_;
  std::vector<EdgeTimes> arrival_, required_;  // ps, by net
};

}  // namespace

EdgeSteps TimeGrid::sample(const CaptureBit& capture, double period_ps) const {
  const EdgeTimes& phase_of_net = phase[static_cast<std::size_t>(capture.net)];
  const auto step = [&](double setup, double offset) {
    return static_cast<int>(std::floor((period_ps - setup - 1 - offset) / step_ps));
  };
  return {step(capture.setup.rise, phase_of_net.rise), step(capture.setup.fall, phase_of_net.fall)};
}

TimeGrid quantise(const TimedNetlist& netlist, double step_ps) {
  return Quantiser(netlist, step_ps).run();
}

}  // namespace kintsugi::faults
