#include "array/reset_state.h"

#include <cstddef>

namespace kintsugi::array {

std::vector<pe::PeInputs> inputs_after_reset(const faults::ArrayFaults& faults, int accumulator_bits) {
  static constexpr pe::PeHooks kSound;
  std::vector<pe::PeInputs> inputs(faults.bypass.size());
  std::vector<std::int32_t> psums(static_cast<std::size_t>(faults.cols), 0);
  auto faulty = faults.faulty.begin();
  std::size_t at = 0;
  for (int r = 0; r < faults.rows; ++r) {
    std::int32_t activation = 0;
    for (int c = 0; c < faults.cols; ++c, ++at) {
      const bool listed = faulty != faults.faulty.end() && faulty->row == r && faulty->col == c;
      const pe::PeHooks& hooks = listed ? (faulty++)->hooks : kSound;
      const std::int32_t weight = hooks[pe::Site::weight_register].apply(0, pe::kOperandBits);
      inputs[at] = {static_cast<std::int8_t>(activation), static_cast<std::int8_t>(weight), psums[c]};
      const pe::PeOutputs out =
          pe::evaluate(hooks, faults.bypass[at] != 0, 0, activation, psums[c], accumulator_bits);
      psums[c] = out.psum;
      activation = out.activation;
    }
  }
  return inputs;
}

}  // namespace kintsugi::array
