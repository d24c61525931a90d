// How fast one chip is: the delay of every PE at a supply voltage and a temperature, and from that which PEs
// may be late at a clock. at() turns an operating point into what an engine loads.
//
// A PE's delay is that of the netlist times a factor of its own. By the alpha-power law (Sakurai and Newton,
// JSSC 1990) the factor is L·V / (μ(T)·(V − Vth)^alpha) relative to a PE without variation at the nominal
// point, with μ ∝ T^−1.5 in kelvin and each PE's own Vth and L (VARIUS; Sarangi et al., IEEE TSM 2008).
// docs/timing-errors.md, "Operating point and variation", gives the parameters and their sources.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "configs/chip.h"
#include "faults/chip_timing.h"
#include "faults/operating_point.h"

namespace kintsugi::faults {

// A PE with its delay factor at some point.
struct PeDelay {
  int row = 0;
  int col = 0;
  double factor = 1;
};

// Immutable; cheap to copy.
class ChipSpeed {
 public:
  // Reads the netlist or the table, samples the variation or reads the delay map. A chip without a timing
  // section is one that never errs. Throws common::InputError.
  explicit ChipSpeed(const configs::ChipConfig& chip);

  // The point at which the chip runs, and the one that its delays hold for: the nominal clock, voltage and
  // temperature.
  const OperatingPoint& configured() const;
  const OperatingPoint& nominal() const;

  // What errs there: PEs at risk with their bins, model, mitigation, random errors. Effective periods T / k
  // are rounded down to bins (kBinWidth), so a bin errs at least as much as its PEs. Throws
  // common::InputError if the supply is not above every PE's threshold, or if the slowest PE would have less
  // of its Tmin than any model can say something about (kLeastPeriod).
  std::shared_ptr<const ChipTiming> at(const OperatingPoint& point) const;

  // Whether PEs have delays: false for a chip that never errs, and for random errors, which do not depend on
  // the point. What follows throws std::logic_error if not.
  bool has_delays() const;

  // Clock period / Tmin, of a PE without variation (factor 1) and of the slowest PE, at the point's voltage
  // and temperature. PEs whose own is 1 or more are never late.
  double relative_period(const OperatingPoint& point) const;
  double slowest_relative_period(const OperatingPoint& point) const;
  // Tmin of a PE without variation, as scaled to this chip, at the nominal voltage and temperature.
  double tmin_ps() const;
  // Delay relative to a PE without variation at the nominal voltage and temperature; ageing included.
  double delay_factor(int row, int col, double voltage_v, double temperature_c) const;
  // Of all PEs, row by row.
  std::vector<double> delay_factors(double voltage_v, double temperature_c) const;
  // The same at the nominal point, ageing left out: what a delay map holds.
  std::vector<double> fresh_factors() const;
  // The slowest first, at most `most`; ties by (row, col).
  std::vector<PeDelay> slowest(double voltage_v, double temperature_c, std::size_t most) const;
  // The least clock above which some PE may be late.
  double first_failure_mhz(double voltage_v, double temperature_c) const;
  // PEs that may be late.
  std::int64_t at_risk(const OperatingPoint& point) const;

  // For reports: "netlist pe_ripple" or "table lot7.csv", and the netlist's process (empty for tables). The
  // guard band between the nominal clock and the fitted PE; none if delays are the netlist's own.
  const std::string& delays_from() const;
  const std::string& process() const;
  std::optional<double> guard_band() const;

  // In units of Tmin. The width is kBinWidth, or the least multiple of it that needs at most kMostBins bins.
  static constexpr double kBinWidth = 0.005;
  static constexpr int kMostBins = 40;
  static constexpr double kLeastPeriod = 0.4;

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

}  // namespace kintsugi::faults
