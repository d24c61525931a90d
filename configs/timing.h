// The timing section of a chip description: how its PEs err when the clock is too fast for them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <variant>

namespace kintsugi::configs {

// Which PE fits the nominal clock with the guard band: nominal period = Tmin · (1 + guard_band). `slowest`:
// the chip is sold at a clock that all of its PEs keep. `typical`: a PE without variation keeps it, so that
// slower ones may be late at the nominal clock.
enum class FittedPe { slowest, typical };

// The PE's own gates. `netlist`: a timing file; a shipped one's name is resolved when the chip is read.
struct NetlistTiming {
  std::filesystem::path netlist;
  double step_ps = 50;        // grid of time, on the netlist's own scale
  bool tmin_at_clock = true;  // scale all delays so that `fitted` fits; false: the netlist's own picoseconds
  double guard_band = 0.1;
  FittedPe fitted = FittedPe::slowest;
};
// Error probabilities by bit, period and operand class, from a CSV. Periods are relative to Tmin.
struct TableTiming {
  std::filesystem::path table;
  double guard_band = 0.1;
  FittedPe fitted = FittedPe::slowest;
};
// Random bit errors per value and bit.
struct RandomTiming {
  double activation_rate = 0, weight_rate = 0, psum_rate = 0, output_rate = 0;
};

// Alpha-power law and its parameters, and the point that the delays hold for.
struct VoltageScaling {
  std::optional<double> nominal_v;    // absent: the netlist's; a table has none
  std::optional<double> nominal_c;    // absent: the netlist's; 25 for a table
  std::optional<double> threshold_v;  // absent: a quarter of nominal_v
  double alpha = 1.3;
};

// VARIUS: delay factor per PE from systematic and random variation of Vth and L_eff.
struct SampledVariation {
  std::uint64_t seed = 1;
  double vth_sigma = 0.09;         // σ/μ of the threshold voltage
  double systematic_share = 0.5;   // of its variance
  double correlation_range = 0.5;  // φ, in widths of the chip
  double leff_sigma_ratio = 0.5;   // σ/μ of L_eff, relative to that of Vth
};
// Measured delay factors at the nominal voltage and temperature, a CSV of row,col,factor.
struct MeasuredVariation {
  std::filesystem::path delay_map;
};
using VariationConfig = std::variant<std::monostate, SampledVariation, MeasuredVariation>;

struct OperatingPointConfig {
  std::optional<double> frequency_mhz;  // absent: the chip's nominal clock
  std::optional<double> voltage_v;      // absent: nominal
  std::optional<double> temperature_c;  // absent: nominal
};

enum class TimingMitigation { none, te_drop };

struct TimingConfig {
  double nominal_clock_mhz = 0;  // the chip file's clock_mhz
  std::variant<NetlistTiming, TableTiming, RandomTiming> model;
  TimingMitigation mitigation = TimingMitigation::none;
  VoltageScaling scaling;
  VariationConfig variation;
  double ageing_factor = 1;  // further factor on every delay
  OperatingPointConfig operating_point;
  std::uint64_t seed = 1;  // of models that draw random numbers
};

}  // namespace kintsugi::configs
