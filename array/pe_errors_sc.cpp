#include "array/pe_errors_sc.h"

namespace kintsugi::array {

PeErrors::PeErrors(TimedJob& job, const TileFeed& feed, const faults::ArrayFaults& faults)
    : job_(job), cells_(faults.bypass.size()) {
  for (std::size_t i = 0; i < cells_.size(); ++i) {
    cells_[i].all = this;
    cells_[i].row = static_cast<int>(i) / faults.cols;
    cells_[i].col = static_cast<int>(i) % faults.cols;
  }
  const std::vector<faults::RiskyPe>& at_risk = job.timing().at_risk;
  for (std::size_t i = 0; i < at_risk.size(); ++i) {
    const faults::RiskyPe& pe = at_risk[i];
    if (faults.bypassed(pe.row, pe.col)) continue;
    Cell& cell = cells_[static_cast<std::size_t>(pe.row) * faults.cols + pe.col];
    cell.risk = static_cast<int>(i);
    cell.bin = pe.bin;
  }
  if (!job.flips_psums()) return;
  std::vector<PsumFlip> drawn;
  for (std::int64_t tile = 0; tile < feed.tiles(); ++tile) {
    drawn.clear();
    TimedJob::PsumFlips(job, tile).take(feed.tile(tile).m.count, drawn, job.counts.flipped_bits);
    for (const PsumFlip& flip : drawn) flips_[{tile, flip.position, flip.row, flip.col}] = flip.mask;
  }
}

pe::Upset PeErrors::Cell::upset(const pe::PeInputs& before, const pe::PeInputs& now, std::int64_t stream,
                                std::int64_t position, bool in_stream, bool drop, bool& late) {
  TimedJob& job = all->job_;
  pe::Upset upset;
  upset.drop = drop;
  if (drop) {
    ++job.counts.dropped_products;
  } else if (risk >= 0) {
    const std::uint64_t key = faults::cycle_key(stream, position, row, col);
    job.timing().model->evaluate(
        bin, job.key(),
        {1, &before.activation, &now.activation, &before.weight, &now.weight, &before.psum, &now.psum, &key},
        &upset.timing_error);
    if (upset.timing_error != 0) ++job.late_words[static_cast<std::size_t>(risk)];
    if (job.timing().mitigation == faults::Mitigation::te_drop && upset.timing_error != 0) {
      late = true;
      upset.timing_error = 0;
    }
  }
  if (in_stream && !all->flips_.empty()) {
    const auto flip = all->flips_.find({stream, position, row, col});
    if (flip != all->flips_.end()) upset.flip = flip->second;
  }
  return upset;
}

}  // namespace kintsugi::array
