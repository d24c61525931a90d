// The gates of one processing element with their delays, as a timing file (configs/pes/*.pe) holds them.
//
// Times are in picoseconds. Net 0 is constant 0 and net 1 constant 1. Gates stand in topological order.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace kintsugi::faults {

// For the output's rising and falling edge.
struct EdgeTimes {
  double rise = 0;
  double fall = 0;
  friend bool operator==(const EdgeTimes&, const EdgeTimes&) = default;
};

struct TimedGate {
  // Bit v is the output for inputs that spell v, input 0 the lowest bit.
  std::uint16_t truth = 0;
  int output = 0;
  std::vector<int> inputs;        // 1 … 4 nets
  std::vector<EdgeTimes> delays;  // from each input to the output, by the output's edge
  friend bool operator==(const TimedGate&, const TimedGate&) = default;
};

enum class Operand : std::uint8_t { activation, weight, psum };

// A flip-flop that holds one bit of what the PE computes with.
struct LaunchBit {
  Operand operand = Operand::activation;
  int bit = 0;
  int net = 0;             // its output
  EdgeTimes clock_to_net;  // after the clock's edge
  friend bool operator==(const LaunchBit&, const LaunchBit&) = default;
};

// A flip-flop of the psum register.
struct CaptureBit {
  int bit = 0;
  int net = 0;      // its data input
  EdgeTimes setup;  // before the clock's edge, by the data's edge
  friend bool operator==(const CaptureBit&, const CaptureBit&) = default;
};

// psum_out = (psum + activation · weight) mod 2^accumulator_bits once everything has settled: read_ and
// import check that on vectors.
struct TimedNetlist {
  std::string name;
  std::string process;     // "OSU 0.18 um, typical, 1.8 V, 25 C"
  std::string provenance;  // free text: how it was made
  double voltage_v = 0;    // what the delays hold for
  double temperature_c = 0;
  int operand_bits = 8;
  int accumulator_bits = 32;
  int nets = 2;
  std::vector<LaunchBit> launches;  // operand_bits of activation and of weight, accumulator_bits of psum
  std::vector<TimedGate> gates;
  std::vector<CaptureBit> captures;  // by bit
  friend bool operator==(const TimedNetlist&, const TimedNetlist&) = default;
};

// Throws common::InputError naming file, line and column.
TimedNetlist read_timed_netlist(const std::filesystem::path& file);
// Written whole or not at all; read back it is the same.
void write_timed_netlist(const TimedNetlist& netlist, const std::filesystem::path& file);

// Static timing: the least period at which every bit is captured settled, setup included.
double slowest_path_ps(const TimedNetlist& netlist);

}  // namespace kintsugi::faults
