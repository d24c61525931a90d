#include "array/closed_form_array.h"

#include <algorithm>

#include "array/schedule.h"

namespace kintsugi::array {

ClosedFormArray::ClosedFormArray(const configs::ArrayConfig& array)
    : rows_(array.rows), cols_(array.cols), double_buffer_(array.weight_double_buffer) {}

void ClosedFormArray::begin(const LayerPlan& plan, TileSupply& supply, std::int64_t cycle) {
  plan_ = &plan;
  supply_ = &supply;
  loading_ = weights_ready_ = feeding_ = false;
  loads_begun_ = streams_begun_ = streams_out_ = 0;
  out_.clear();
  counts_ = {};
  counted_ = nullptr;
  since_ = cycle;
}

void ClosedFormArray::finish(std::int64_t cycle) {
  if (loading_ && load_end_ == cycle) {
    loading_ = false;
    weights_ready_ = true;
    supply_->load_ended(loads_begun_ - 1, cycle);
  }
  if (feeding_ && fed_ == cycle) {
    feeding_ = false;
    supply_->stream_fed(streams_begun_ - 1, cycle);
  }
  while (!out_.empty() && out_.front() == cycle) {
    out_.pop_front();
    supply_->stream_out(streams_out_++);
  }
}

void ClosedFormArray::decide(std::int64_t cycle) {
  if (counted_ != nullptr) *counted_ += cycle - since_;
  since_ = cycle;
  if (!feeding_ && weights_ready_ && supply_->stream_wait(streams_begun_, cycle) == TileGate::Wait::none) {
    const std::int64_t m = plan_->m_of(plan_->block_of(streams_begun_)).count;
    supply_->stream_begun(streams_begun_, cycle);
    feeding_ = true;
    weights_ready_ = false;
    fed_ = cycle + m;
    out_.push_back(cycle + stream_cycles(m, rows_, cols_));
    ++streams_begun_;
  }
  if (!loading_ && !weights_ready_ && loads_begun_ < plan_->tiles() &&
      (double_buffer_ || streams_out_ == loads_begun_) && supply_->weights_present(loads_begun_)) {
    supply_->load_begun(loads_begun_, cycle);
    loading_ = true;
    load_end_ = cycle + rows_;
    ++loads_begun_;
  }
  counted_ = &state(cycle);
}

std::int64_t& ClosedFormArray::state(std::int64_t cycle) {
  if (feeding_) return counts_.active;
  if (loading_) return counts_.weight_shift;
  if (streams_begun_ == plan_->tiles()) return done() ? counts_.stall_output : counts_.pipeline;
  if (!weights_ready_)
    return double_buffer_ || streams_out_ == loads_begun_ ? counts_.stall_weights : counts_.pipeline;
  return supply_->stream_wait(streams_begun_, cycle) == TileGate::Wait::activations
             ? counts_.stall_activations
             : counts_.stall_accumulators;
}

std::optional<std::int64_t> ClosedFormArray::next_cycle(std::int64_t cycle) const {
  std::optional<std::int64_t> next;
  const auto consider = [&](std::int64_t at) {
    if (at > cycle && (!next || at < *next)) next = at;
  };
  if (loading_) consider(load_end_);
  if (feeding_) consider(fed_);
  if (!out_.empty()) consider(out_.front());
  if (weights_ready_)
    if (const auto from = supply_->activations_from(streams_begun_)) consider(*from);
  return next;
}

}  // namespace kintsugi::array
