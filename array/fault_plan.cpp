#include "array/fault_plan.h"

#include <algorithm>

namespace kintsugi::array {

using pe::Site;

FaultPlan make_fault_plan(const faults::ArrayFaults& faults) {
  FaultPlan plan;
  plan.rows = faults.rows;
  plan.cols = faults.cols;
  const std::size_t pes = static_cast<std::size_t>(faults.rows) * faults.cols;
  plan.keep.assign(pes, 0xff);
  plan.set.assign(pes, 0);
  plan.flip.assign(pes, 0);
  plan.breaks.resize(faults.cols);
  plan.activations.resize(faults.cols);
  plan.altered_rows.resize(faults.cols);

  for (std::size_t i = 0; i < pes; ++i)
    if (faults.bypass[i] != 0) {
      plan.keep[i] = 0;
      plan.weights_altered = true;
    }
  for (const faults::FaultyPe& faulty : faults.faulty) {
    const bool bypass = faults.bypassed(faulty.row, faulty.col);
    const pe::PeHooks& hooks = faulty.hooks;
    const pe::Hook& weight = hooks[Site::weight_register];
    if (!bypass && !weight.identity()) {
      const std::size_t i = static_cast<std::size_t>(faulty.row) * faults.cols + faulty.col;
      plan.keep[i] = static_cast<std::uint8_t>(weight.keep);
      plan.set[i] = static_cast<std::uint8_t>(weight.set);
      plan.flip[i] = static_cast<std::uint8_t>(weight.flip);
      plan.weights_altered = true;
    }
    const bool product_acts = !bypass && !hooks[Site::multiplier].identity();
    const bool sum_acts = !bypass && !hooks[Site::adder].identity();
    const bool register_acts = !hooks[Site::psum_register].identity();
    if (product_acts || sum_acts || register_acts) {
      const bool alone = product_acts + sum_acts + register_acts == 1 && (bypass || weight.identity());
      const Acting acting = !alone         ? Acting::other
                            : product_acts ? Acting::multiplier
                            : sum_acts     ? Acting::adder
                                           : Acting::other;
      plan.breaks[faulty.col].push_back({faulty.row, bypass, acting, hooks});
    }
    if (!hooks[Site::activation_register].identity())
      plan.activations[faulty.col].push_back({faulty.row, hooks[Site::activation_register]});
  }

  std::vector<std::uint8_t> altered(faults.rows, 0);
  for (int c = 0; c < faults.cols; ++c) {
    for (int r = 0; r < faults.rows; ++r)
      if (altered[r] != 0) plan.altered_rows[c].push_back(r);
    for (const ActivationFault& fault : plan.activations[c]) altered[fault.row] = 1;
    std::ranges::sort(plan.breaks[c], {}, &ChainBreak::row);
    if (!plan.breaks[c].empty() || !plan.activations[c].empty()) plan.linear = false;
  }
  return plan;
}

}  // namespace kintsugi::array
