#include "faults/operating_point.h"

#include <cmath>

namespace kintsugi::faults {
namespace {

constexpr double kKelvin = 273.15;

}  // namespace

double AlphaPowerLaw::relative_delay(double voltage_v, double temperature_c, double vth,
                                     double length) const {
  const double supply = voltage_v / nominal_v;
  const double overdrive = (nominal_v - threshold_v) / (voltage_v - vth);
  const double temperature = (temperature_c + kKelvin) / (nominal_c + kKelvin);
  // One power, so that the nominal point gives exactly `length`.
  return length * supply * std::pow(overdrive, alpha) * std::pow(temperature, 1.5);
}

}  // namespace kintsugi::faults
