#include "array/cycle_timing.h"

#include <algorithm>

#include "array/reset_state.h"

namespace kintsugi::array {

CycleTiming::CycleTiming(TimedJob& job, const TileFeed& feed, const faults::ArrayFaults& faults,
                         int accumulator_bits)
    : job_(job), feed_(feed), faults_(faults), accumulator_bits_(accumulator_bits) {
  tokens_.resize(static_cast<std::size_t>(faults.rows) + faults.cols);
  const std::vector<pe::PeInputs> reset = inputs_after_reset(faults, accumulator_bits);
  const std::vector<faults::RiskyPe>& at_risk = job.timing().at_risk;
  for (std::size_t i = 0; i < at_risk.size(); ++i) {
    const faults::RiskyPe& at = at_risk[i];
    if (faults.bypassed(at.row, at.col)) continue;
    risky_.push_back({at.row, at.col, i, at.bin, reset[static_cast<std::size_t>(pe(at.row, at.col))]});
  }
  std::ranges::stable_sort(risky_, {}, &Risky::bin);
}

void CycleTiming::enter(const EdgeToken& token) {
  ++cycle_;
  tokens_[static_cast<std::size_t>(cycle_ % std::ssize(tokens_))] = token;
  if (!job_.flips_psums() || !token.in_stream || token.position != 0) return;
  // A stream runs without a gap once it has begun.
  std::vector<PsumFlip> drawn;
  TimedJob::PsumFlips(job_, token.stream)
      .take(feed_.tile(token.stream).m.count, drawn, job_.counts.flipped_bits);
  for (const PsumFlip& flip : drawn)
    flips_[cycle_ + flip.position + flip.row + flip.col][pe(flip.row, flip.col)] = flip.mask;
}

const std::vector<CycleTiming::Written>& CycleTiming::note(const Inputs& inputs) {
  static constexpr pe::PeHooks kSound;
  upsets_.clear();
  late_.clear();
  for (const int at : dropping_) {
    if (faults_.bypass[static_cast<std::size_t>(at)] != 0) continue;
    upsets_[at].drop = true;
    ++job_.counts.dropped_products;
  }
  evaluate_bins(inputs);
  if (!flips_.empty() && flips_.begin()->first == cycle_) {
    for (const auto& [at, mask] : flips_.begin()->second) upsets_[at].flip = mask;
    flips_.erase(flips_.begin());
  }
  dropping_ = late_;
  written_.clear();
  for (const auto& [at, upset] : upsets_) {
    const int row = at / faults_.cols, col = at % faults_.cols;
    const pe::PeInputs now = inputs.of(row, col);
    const auto faulty = std::ranges::lower_bound(faults_.faulty, at, {},
                                                 [&](const faults::FaultyPe& f) { return pe(f.row, f.col); });
    pe::PeHooks hooks =
        faulty != faults_.faulty.end() && pe(faulty->row, faulty->col) == at ? faulty->hooks : kSound;
    hooks[pe::Site::weight_register] = {};  // the weight has passed it
    const bool bypass = faults_.bypass[static_cast<std::size_t>(at)] != 0;
    written_.push_back(
        {row, col,
         pe::evaluate(hooks, bypass, now.weight, now.activation, now.psum, accumulator_bits_, upset).psum});
  }
  return written_;
}

void CycleTiming::evaluate_bins(const Inputs& inputs) {
  const bool te_drop = job_.timing().mitigation == faults::Mitigation::te_drop;
  for (std::size_t begin = 0, end = 0; begin < risky_.size(); begin = end) {
    lanes_.clear();
    batch_.clear();
    for (; end < risky_.size() && risky_[end].bin == risky_[begin].bin; ++end) {
      Risky& at = risky_[end];
      if (cycle_ < at.row + at.col) continue;
      const EdgeToken& token = met_by(at.row, at.col);
      if (at.col >= token.clocked) continue;
      const pe::PeInputs now = inputs.of(at.row, at.col);
      lanes_.push_back(end);
      batch_.activation_before.push_back(at.before.activation);
      batch_.activation.push_back(now.activation);
      batch_.weight_before.push_back(at.before.weight);
      batch_.weight.push_back(now.weight);
      batch_.psum_before.push_back(at.before.psum);
      batch_.psum.push_back(now.psum);
      batch_.keys.push_back(faults::cycle_key(token.stream, token.position, at.row, at.col));
      at.before = now;
    }
    if (lanes_.empty()) continue;
    errors_.resize(lanes_.size());
    job_.timing().model->evaluate(risky_[begin].bin, job_.key(), batch_.cycles(), errors_.data());
    for (std::size_t i = 0; i < lanes_.size(); ++i) {
      if (errors_[i] == 0) continue;
      const Risky& at = risky_[lanes_[i]];
      const int here = pe(at.row, at.col);
      if (const auto upset = upsets_.find(here); upset != upsets_.end() && upset->second.drop) continue;
      ++job_.late_words[at.risk];
      if (!te_drop)
        upsets_[here].timing_error = errors_[i];
      else if (at.row + 1 < faults_.rows)
        late_.push_back(pe(at.row + 1, at.col));
    }
  }
}

}  // namespace kintsugi::array
