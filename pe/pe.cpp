#include "pe/pe.h"

namespace kintsugi::pe {

std::ostream& operator<<(std::ostream& out, const ActivationToken& token) {
  return out << int{token.value} << (token.valid ? token.first ? " first" : " valid" : " idle");
}

std::ostream& operator<<(std::ostream& out, const PsumToken& token) {
  return out << token.value << (token.valid ? token.first ? " first" : " valid" : " idle");
}

std::ostream& operator<<(std::ostream& out, const WeightToken& token) {
  out << int{token.value};
  return token.valid ? out << " for row " << token.row : out << " idle";
}

void sc_trace(sc_core::sc_trace_file* file, const ActivationToken& token, const std::string& name) {
  sc_core::sc_trace(file, token.value, name + ".value", 8);
  sc_core::sc_trace(file, token.valid, name + ".valid");
  sc_core::sc_trace(file, token.first, name + ".first");
}

void sc_trace(sc_core::sc_trace_file* file, const PsumToken& token, const std::string& name) {
  sc_core::sc_trace(file, token.value, name + ".value", 32);
  sc_core::sc_trace(file, token.valid, name + ".valid");
  sc_core::sc_trace(file, token.first, name + ".first");
}

void sc_trace(sc_core::sc_trace_file* file, const WeightToken& token, const std::string& name) {
  sc_core::sc_trace(file, token.value, name + ".value", 8);
  sc_core::sc_trace(file, token.valid, name + ".valid");
  sc_core::sc_trace(file, token.row, name + ".row", 16);
}

Pe::Pe(sc_core::sc_module_name name, int row, int accumulator_bits, bool weight_double_buffer)
    : sc_core::sc_module(name),
      row_(static_cast<std::int16_t>(row)),
      accumulator_bits_(static_cast<std::int8_t>(accumulator_bits)),
      double_buffer_(weight_double_buffer) {
  SC_METHOD(on_clock);
  sensitive << clock.pos();
  dont_initialize();
}

void Pe::end_of_elaboration() {
  activation_ = act_in.operator->();
  next_activation_ = act_out.operator->();
  psum_ = psum_in.operator->();
  next_psum_ = psum_out.operator->();
  weight_ = weight_in.operator->();
  next_weight_ = weight_out.operator->();
}

void Pe::set_faults(const PeHooks& hooks, bool bypass) {
  hooks_ = hooks;
  bypass_ = bypass;
  sound_ = hooks.identity() && !bypass;
}

void Pe::begin_job(CycleErrors* errors, const PeInputs& reset) {
  errors_ = errors;
  before_ = reset;
  stream_ = position_ = -1;
}

// What a gated cycle computes goes the way of its token like everything else, and no clocked cycle reads it:
// all that a PE reads was made of the same token.
PeOutputs Pe::erring_cycle(const ActivationToken& activation, const PsumToken& psum, bool& late) {
  if (activation.valid && activation.first) {
    ++stream_;
    position_ = -1;
  }
  Upset upset;
  if (activation.clocked > 0) {
    ++position_;
    const auto weight = static_cast<std::int8_t>(hooks_[Site::weight_register].apply(active_, kOperandBits));
    const PeInputs now = {activation.value, weight, psum.value};
    upset = errors_->upset(before_, now, stream_, position_, activation.valid, psum.late && !bypass_, late);
    before_ = now;
  }
  return evaluate(hooks_, bypass_, active_, activation.value, psum.value, accumulator_bits_, upset);
}

void Pe::on_clock() {
  const ActivationToken& activation = activation_->read();
  // Before the shadow register latches: a switch in the same cycle takes its old value.
  if (double_buffer_ && activation.valid && activation.first) active_ = shadow_;
  const std::int32_t psum_in_value = psum_->read().value;
  PeOutputs out;
  bool late = false;
  if (errors_ != nullptr)
    out = erring_cycle(activation, psum_->read(), late);
  else if (sound_)
    out = {clean_psum(active_, activation.value, psum_in_value, accumulator_bits_), activation.value};
  else
    out = evaluate(hooks_, bypass_, active_, activation.value, psum_in_value, accumulator_bits_);
  next_psum_->write({out.psum, activation.valid, activation.first, late});
  const auto clocked = static_cast<std::int16_t>(activation.clocked > 0 ? activation.clocked - 1 : 0);
  next_activation_->write(
      {static_cast<std::int8_t>(out.activation), activation.valid, activation.first, clocked});

  // Most of the time the pipe is idle, and its register keeps what it holds.
  const WeightToken& weight = weight_->read();
  if (!(weight == written_weight_)) {
    written_weight_ = weight;
    next_weight_->write(weight);
  }
  if (weight.valid && weight.row == row_) (double_buffer_ ? shadow_ : active_) = weight.value;
}

}  // namespace kintsugi::pe
