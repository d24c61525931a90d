#include "workloads/residual_add.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "common/diagnostics.h"

namespace kintsugi::workloads {

array::ResidualAdd choose_residual_add(double scale_a, double scale_b, double scale_out,
                                       const std::string& where) {
  const double factor_a = scale_a / scale_out, factor_b = scale_b / scale_out;
  const double larger = std::max(factor_a, factor_b);
  int exponent = 0;
  std::frexp(larger, &exponent);
  int shift = 31 - exponent;
  if (std::round(std::ldexp(larger, shift)) >= 0x1p31) --shift;
  shift = std::min(shift, 62);
  if (!std::isfinite(larger) || !(std::min(factor_a, factor_b) >= 0) || shift < 1)
    throw common::InputError(fmt::format(
        "{}: operands with scales {:g} and {:g} cannot be added at a scale of {:g}; the shift would "
        "leave its range 1 … 62. Calibrate on images that reach this layer's activations",
        where, scale_a, scale_b, scale_out));
  array::ResidualAdd record;
  record.shift = shift;
  record.multiplier_a = static_cast<std::int32_t>(std::nearbyint(std::ldexp(factor_a, shift)));
  record.multiplier_b = static_cast<std::int32_t>(std::nearbyint(std::ldexp(factor_b, shift)));
  record.offset = std::int64_t{1} << (shift - 1);
  return record;
}

}  // namespace kintsugi::workloads
