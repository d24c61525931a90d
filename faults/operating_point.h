// What a supply voltage and a temperature do to the delay of a gate: the alpha-power law (Sakurai and Newton,
// JSSC 25(2), 1990) in the form of VARIUS (Sarangi et al., IEEE TSM 21(1), 2008, equation 1).
#pragma once

namespace kintsugi::faults {

struct OperatingPoint {
  double frequency_mhz = 0;
  double voltage_v = 0;  // 0 where the chip's timing knows no voltage
  double temperature_c = 0;
  friend bool operator==(const OperatingPoint&, const OperatingPoint&) = default;
};

// delay ∝ L·V / (μ(T)·(V − Vth)^alpha), μ ∝ T^−1.5 with T in kelvin. Vth does not depend on the temperature
// here.
struct AlphaPowerLaw {
  double nominal_v = 0;
  double nominal_c = 25;
  double threshold_v = 0;  // below nominal_v
  double alpha = 1.3;

  // Delay of a gate with the given Vth (volts) and L (relative) at a point, over that of a gate with
  // `threshold_v` and L = 1 at the nominal point. `voltage_v` must be above `vth`; temperatures above
  // absolute zero.
  double relative_delay(double voltage_v, double temperature_c, double vth, double length) const;
};

}  // namespace kintsugi::faults
