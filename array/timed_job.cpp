#include "array/timed_job.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <tuple>
#include <utility>

#include "array/content_hash.h"

namespace kintsugi::array {

namespace {

std::uint64_t mix(std::uint64_t x) {  // the finaliser of SplitMix64
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return x ^ x >> 31;
}

std::uint64_t key_of(std::uint64_t seed, const LayerJob& job) {
  std::uint64_t key = mix(seed);
  const auto add = [&key](const Fingerprint& print) {
    key = mix(key ^ print.low);
    key = mix(key ^ print.high);
  };
  add(fingerprint(job.activations, static_cast<std::size_t>(job.shape.activation_bytes())));
  add(fingerprint(job.weights, static_cast<std::size_t>(job.shape.weight_bytes())));
  return key;
}

void need_rate(double rate, const char* of) {
  if (!(rate >= 0 && rate <= 1))
    throw std::invalid_argument(
        fmt::format("timing errors: a bit error rate of {} ({}) is outside 0 … 1", rate, of));
}

}  // namespace

void check_timing(const faults::ChipTiming& timing, const configs::ArrayConfig& array) {
  if (timing.rows != array.rows || timing.cols != array.cols)
    throw std::invalid_argument(fmt::format("timing errors of a {}x{} array loaded into one of {}x{}",
                                            timing.rows, timing.cols, array.rows, array.cols));
  need_rate(timing.random.activation_rate, "activations");
  need_rate(timing.random.weight_rate, "weights");
  need_rate(timing.random.psum_rate, "psums");
  need_rate(timing.random.output_rate, "outputs");
  if (timing.at_risk.empty()) return;
  if (!timing.model)
    throw std::invalid_argument("timing errors: PEs are at risk, but there is no model of how they err");
  if (timing.model->accumulator_bits() != array.accumulator_bits)
    throw std::invalid_argument(
        fmt::format("timing errors: the model is of a PE with {} accumulator bits, the array has {}",
                    timing.model->accumulator_bits(), array.accumulator_bits));
  const faults::RiskyPe* before = nullptr;
  for (const faults::RiskyPe& pe : timing.at_risk) {
    if (pe.row < 0 || pe.row >= array.rows || pe.col < 0 || pe.col >= array.cols)
      throw std::invalid_argument(fmt::format("timing errors: there is no PE ({}, {})", pe.row, pe.col));
    if (before != nullptr && std::tie(before->row, before->col) >= std::tie(pe.row, pe.col))
      throw std::invalid_argument(
          fmt::format("timing errors: PE ({}, {}) is named twice or out of order", pe.row, pe.col));
    before = &pe;
  }
}

TimedJob::TimedJob(std::shared_ptr<const faults::ChipTiming> timing, const configs::ArrayConfig& array,
                   const LayerJob& job, const Tiling& tiling)
    : late_words(timing->at_risk.size(), 0),
      timing_(std::move(timing)),
      array_(array),
      job_(job),
      tiling_(tiling),
      key_(key_of(timing_->seed, job)) {
  const LayerShape& s = job.shape;
  flip_operand({job.activations, static_cast<std::size_t>(s.activation_bytes())},
               timing_->random.activation_rate, "activation_errors", activations_);
  flip_operand({job.weights, static_cast<std::size_t>(s.weight_bytes())}, timing_->random.weight_rate,
               "weight_errors", weights_);
  if (!activations_.empty()) job_.activations = activations_.data();
  if (!weights_.empty()) job_.weights = weights_.data();
  if (timing_->random.output_rate > 0)
    output_flips_ = faults::flipped_values(timing_->random.output_rate, s.outputs(), 32,
                                           common::RandomStream(key_, "output_errors"));
  counts.flipped_bits += faults::flipped_bits(output_flips_);
  feed_ = TileFeed(job_, tiling_);
}

void TimedJob::flip_operand(std::span<const std::int8_t> values, double rate, const char* purpose,
                            std::vector<std::int8_t>& copy) {
  if (!(rate > 0)) return;
  const std::vector<faults::FlippedValue> flips =
      faults::flipped_values(rate, std::ssize(values), pe::kOperandBits, common::RandomStream(key_, purpose));
  if (flips.empty()) return;
  copy.assign(values.begin(), values.end());
  for (const faults::FlippedValue& flip : flips)
    copy[static_cast<std::size_t>(flip.index)] ^= static_cast<std::int8_t>(flip.mask);
  counts.flipped_bits += faults::flipped_bits(flips);
}

TimedJob::PsumFlips::PsumFlips(const TimedJob& job, std::int64_t tile)
    : rows_(job.array_.rows),
      accumulator_bits_(job.array_.accumulator_bits),
      columns_(job.feed_.tile(tile).n.count),
      flipped_(job.timing_->random.psum_rate,
               common::RandomStream(job.key_, "psum_errors", static_cast<std::uint64_t>(tile))) {}

void TimedJob::PsumFlips::take(std::int64_t end, std::vector<PsumFlip>& out, std::int64_t& bits) {
  const std::int64_t row_bits = columns_ * accumulator_bits_, position_bits = rows_ * row_bits;
  // Those of one register come one after the other.
  std::int64_t register_before = -1;
  for (; flipped_.next() < end * position_bits; flipped_.advance(), ++bits) {
    const std::int64_t at = flipped_.next();
    if (at / accumulator_bits_ != register_before)
      out.push_back({at / position_bits, static_cast<int>(at % position_bits / row_bits),
                     static_cast<int>(at % row_bits / accumulator_bits_), 0});
    register_before = at / accumulator_bits_;
    out.back().mask |= std::uint32_t{1} << at % accumulator_bits_;
  }
}

TimingCounts TimedJob::counted() const {
  TimingCounts all = counts;
  all.late_words += std::accumulate(late_words.begin(), late_words.end(), std::int64_t{0});
  return all;
}

void TimedJob::flip_outputs(const Range& m, const Range& columns) {
  const std::int64_t row = job_.shape.out_c;
  auto flip = std::ranges::lower_bound(output_flips_, m.begin * row, {}, &faults::FlippedValue::index);
  for (; flip != output_flips_.end() && flip->index < (m.begin + m.count) * row; ++flip) {
    const std::int64_t column = flip->index % row - columns.begin;
    if (column < 0 || column >= columns.count) continue;
    std::int32_t& value = job_.accumulators[flip->index];
    value = static_cast<std::int32_t>(static_cast<std::uint32_t>(value) ^ flip->mask);
  }
}

}  // namespace kintsugi::array
