// The gates of one processing element with their delays, as a timing file (configs/pes/*.pe) holds them.
//
// Times are in picoseconds. Net 0 is constant 0 and net 1 constant 1. Gates stand in topological order.
//
// A timing file is text, one item a line, words separated by blanks, # to the end of the line a comment:
//   pe_timing 1                                          version of the format, first
//   name, process, voltage_v, temperature_c, operand_bits, accumulator_bits, nets     once each, before:
//   provenance TEXT                                      any number of lines
//   launch OPERAND BIT NET RISE FALL                     OPERAND: activation, weight or psum
//   gate OUTPUT TRUTH {INPUT RISE FALL}…                 TRUTH: hexadecimal, as below
//   capture BIT NET RISE FALL
//   end                                                  last, so that a cut file is noticed
// It may be compressed by gzip.
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

// What an edge of a gate's input can do to its output: nothing, an edge of the same direction only, of the
// opposite one only, or either.
enum class PinSense : std::uint8_t { none, same, opposite, both };
PinSense pin_sense(const TimedGate& gate, std::size_t pin);

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

// Reads and checks: every bit launched and captured once, every net driven once and before it is used, delays
// present and not negative, and the function. Throws common::InputError naming file, line and column.
TimedNetlist read_timed_netlist(const std::filesystem::path& file);
// Written whole or not at all; read back it is the same.
void write_timed_netlist(const TimedNetlist& netlist, const std::filesystem::path& file);

// The bits of psum_out that differ from psum + activation · weight on any of a few thousand vectors (corners
// and random ones); empty if the netlist is a PE's. Needs a netlist whose nets and order are right.
std::vector<int> wrong_bits(const TimedNetlist& netlist);

// Static timing: the least period at which every bit is captured settled, setup included.
double slowest_path_ps(const TimedNetlist& netlist);

}  // namespace kintsugi::faults
