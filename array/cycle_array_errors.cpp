// The machine's cycles with timing errors.
#include "array/cycle_array.h"

namespace kintsugi::array {

// Whether a cycle in which nothing is fed is clocked: between two streams, while the array is at work.
bool CycleMachine::idle() const {
  if (streams_begun_ == 0 || streams_begun_ == feed_.tiles()) return false;
  if (double_buffer_) return since_fed_ < rows_ - feed_length_;
  return loading_ || columns_out_ < streams_begun_ * cols_;
}

void CycleMachine::enter_clocked() {
  EdgeToken token;
  if (feeding_ || idle()) {
    clocked_position_ = feeding_ ? feed_position_ : clocked_position_ + 1;
    token = {static_cast<int>(feed_.tile(streams_begun_ - 1).n.count), feeding_, streams_begun_ - 1,
             clocked_position_};
  }
  timing_->enter(token);
}

void CycleMachine::step_erring_pes() {
  enter_clocked();
  move_windows(1);
  enter_streams(1);
  // Between streams the edge feeds zeros.
  for (int r = 0; r < rows_ && r <= cycle_; ++r)
    if (entered_[(cycle_ - r) % std::ssize(entered_)] == 0) windows_[r * window_stride_ + window_] = 0;
  struct Here final : CycleTiming::Inputs {
    const CycleMachine* machine = nullptr;
    pe::PeInputs of(int r, int c) const override { return machine->inputs_of(r, c); }
  } here;
  here.machine = this;
  const std::vector<CycleTiming::Written>& written = timing_->note(here);
  for (int strip = 0; strip < strips_; ++strip) step_strip(strip, 1);
  latch_weights(0, rows_ - 1, 1);
  while (!loads_.empty() && cycle_ + 1 - loads_.front().begin - (rows_ - 1) >= cols_) loads_.pop_front();
  for (const CycleTiming::Written& psum : written) {
    psums_[psum_index(psum.row, psum.col)] = psum.psum;
    if (psum.row == rows_ - 1) results_[psum_place(psum.col)] = psum.psum;
  }
  ahead_ = ahead_length_ = 1;
}

// What PE (r, c) will compute with in the step at hand.
pe::PeInputs CycleMachine::inputs_of(int r, int c) const {
  const std::int64_t entry = cycle_ - r - c;
  const bool first = entry >= 0 && (entered_[entry % std::ssize(entered_)] & kFirst) != 0;
  const std::size_t at = place(r, c);
  pe::PeInputs inputs;
  inputs.activation = windows_[r * window_stride_ + window_ + c];
  inputs.weight = (double_buffer_ && first ? shadow_ : active_)[at];
  if (r > 0)
    inputs.psum =
        pe::sign_extend(static_cast<std::uint32_t>(psums_[psum_index(r - 1, c)]), accumulator_bits_);
  return inputs;
}

}  // namespace kintsugi::array
