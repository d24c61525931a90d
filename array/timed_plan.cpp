#include "array/timed_plan.h"

#include <algorithm>
#include <utility>

namespace kintsugi::array {

namespace {

// Flips of psums per column and stream position from which on it costs less to take the column as a whole.
constexpr double kDense = 0.01;

// START: everything has settled with zeros at the edges and in the weight registers.
void settle(TimedColumn& column, const FaultPlan& plan, int accumulator_bits) {
  std::int32_t psum = 0;
  auto pe = column.pes.begin();
  for (int r = 0; r < plan.rows; ++r) {
    const AlteredRow* altered = column.find_altered(r);
    const std::int8_t activation = altered != nullptr ? altered->apply(0) : std::int8_t{0};
    const std::int8_t weight = plan.effective_weight(r, column.col, 0);
    if (pe != column.pes.end() && pe->row == r) {
      pe->reset = {activation, weight, psum};
      psum = pe::evaluate(pe->hooks, pe->bypass, weight, activation, psum, accumulator_bits).psum;
      ++pe;
    } else {
      psum = pe::clean_psum(weight, activation, psum, accumulator_bits);
    }
  }
}

}  // namespace

const AlteredRow* TimedColumn::find_altered(int row) const {
  if (altered.empty()) return nullptr;
  const auto found = std::ranges::lower_bound(altered, row, {}, &AlteredRow::row);
  return found != altered.end() && found->row == row ? &*found : nullptr;
}

TimedPlan make_timed_plan(const faults::ArrayFaults& faults, const FaultPlan& plan,
                          const faults::ChipTiming& timing, int accumulator_bits) {
  const bool flips = timing.random.psum_rate > 0;
  const bool dense = timing.random.psum_rate * plan.rows * accumulator_bits > kDense;
  std::vector<std::vector<TimedPe>> risky(static_cast<std::size_t>(plan.cols));
  for (std::size_t i = 0; i < timing.at_risk.size(); ++i) {
    const faults::RiskyPe& at = timing.at_risk[i];
    if (faults.bypassed(at.row, at.col)) continue;
    TimedPe pe;
    pe.row = at.row;
    pe.risk = static_cast<int>(i);
    pe.bin = at.bin;
    risky[at.col].push_back(pe);
  }

  TimedPlan result;
  int swept = 0;
  std::vector<AlteredRow> seen(static_cast<std::size_t>(plan.rows));  // by the column at hand
  for (int r = 0; r < plan.rows; ++r) seen[r].row = r;
  for (int c = 0; c < plan.cols; ++c) {
    if (flips || !risky[c].empty()) {
      TimedColumn column;
      column.col = c;
      column.at_risk = static_cast<int>(risky[c].size());
      column.swept = dense || column.at_risk > 0;
      column.pes = std::move(risky[c]);
      for (const ChainBreak& broken : plan.breaks[c]) {
        const auto at = std::ranges::lower_bound(column.pes, broken.row, {}, &TimedPe::row);
        TimedPe& pe =
            at != column.pes.end() && at->row == broken.row ? *at : *column.pes.insert(at, TimedPe{});
        pe.row = broken.row;
        pe.bypass = broken.bypass;
        pe.hooked = true;
        pe.hooks = broken.hooks;
        pe.hooks[pe::Site::weight_register] = {};
      }
      for (const int r : plan.altered_rows[c]) column.altered.push_back(seen[r]);
      settle(column, plan, accumulator_bits);
      result.most_at_risk = std::max(result.most_at_risk, column.at_risk);
      if (column.swept) ++swept;
      result.columns.push_back(std::move(column));
    }
    for (const ActivationFault& fault : plan.activations[c]) {
      AlteredRow& row = seen[fault.row];
      const auto keep = static_cast<std::uint8_t>(fault.hook.keep & ~fault.hook.set);
      const auto flip = static_cast<std::uint8_t>(fault.hook.set ^ fault.hook.flip);
      row.keep = static_cast<std::uint8_t>(row.keep & keep);
      row.flip = static_cast<std::uint8_t>((row.flip & keep) ^ flip);
    }
  }
  result.all_swept = swept == plan.cols;
  return result;
}

}  // namespace kintsugi::array
