// One processing element as a SystemC module: pe/datapath.h between registers.
//
// Activations come from the left and go on to the right, partial sums come from above and go on below, one
// PE a cycle. Weights fall through a pipe of registers of their own, one row a cycle, and a PE takes the
// weight that carries its row's number. With double buffering it takes it into a shadow register and brings
// it into use with the activation marked `first`; otherwise straight into the register in use.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>
#include <systemc>

#include "pe/datapath.h"

namespace kintsugi::pe {

struct ActivationToken {
  std::int8_t value = 0;
  bool valid = false;
  bool first = false;  // begins a stream
  // In jobs with timing errors: for how many columns from here on this cycle is clocked, as a position of a
  // stream or as an idle cycle; in the others the PE's clock is gated.
  std::int16_t clocked = 0;
  friend bool operator==(const ActivationToken&, const ActivationToken&) = default;
};

struct PsumToken {
  std::int32_t value = 0;
  bool valid = false;
  bool first = false;
  bool late = false;  // TE-Drop: the PE above was late, and this one gives its product up
  friend bool operator==(const PsumToken&, const PsumToken&) = default;
};

struct WeightToken {
  std::int8_t value = 0;
  bool valid = false;
  std::int16_t row = 0;  // which row shall take it
  friend bool operator==(const WeightToken&, const WeightToken&) = default;
};

std::ostream& operator<<(std::ostream& out, const ActivationToken& token);
std::ostream& operator<<(std::ostream& out, const PsumToken& token);
std::ostream& operator<<(std::ostream& out, const WeightToken& token);
void sc_trace(sc_core::sc_trace_file* file, const ActivationToken& token, const std::string& name);
void sc_trace(sc_core::sc_trace_file* file, const PsumToken& token, const std::string& name);
void sc_trace(sc_core::sc_trace_file* file, const WeightToken& token, const std::string& name);

// What goes wrong in the clocked cycles of one PE.
class CycleErrors {
 public:
  virtual ~CycleErrors() = default;
  // `before`: of the clocked cycle before. `stream` counts the streams of the job from 0, `position` the
  // clocked cycles since the stream's first. `drop`: the product is given up. `late`, set: the PE was late
  // and noticed, and what is returned has no error of timing.
  virtual Upset upset(const PeInputs& before, const PeInputs& now, std::int64_t stream, std::int64_t position,
                      bool in_stream, bool drop, bool& late) = 0;
};

class Pe : public sc_core::sc_module {
 public:
  sc_core::sc_in<bool> clock{"clock"};
  sc_core::sc_in<ActivationToken> act_in{"act_in"};
  sc_core::sc_out<ActivationToken> act_out{"act_out"};
  sc_core::sc_in<PsumToken> psum_in{"psum_in"};
  sc_core::sc_out<PsumToken> psum_out{"psum_out"};
  sc_core::sc_in<WeightToken> weight_in{"weight_in"};
  sc_core::sc_out<WeightToken> weight_out{"weight_out"};

  SC_HAS_PROCESS(Pe);
  // accumulator_bits 16 … 32. Starts sound and not bypassed.
  Pe(sc_core::sc_module_name name, int row, int accumulator_bits, bool weight_double_buffer);

  void set_faults(const PeHooks& hooks, bool bypass);

  // At the start of a job: with errors (they must stay valid until its end), and what PEs compute with after
  // a reset; null: without.
  void begin_job(CycleErrors* errors, const PeInputs& reset);

  // The weight in use, for waveforms.
  std::int8_t weight() const { return active_; }

 private:
  void on_clock();
  PeOutputs erring_cycle(const ActivationToken& activation, const PsumToken& psum, bool& late);

  void end_of_elaboration() override;

  // What a cycle needs, side by side: a large array of PEs waits for memory, and the ports are spread over
  // many cache lines. Hence also what the ports are bound to, known once they are.
  const sc_core::sc_signal_in_if<ActivationToken>* activation_ = nullptr;
  sc_core::sc_signal_inout_if<ActivationToken>* next_activation_ = nullptr;
  const sc_core::sc_signal_in_if<PsumToken>* psum_ = nullptr;
  sc_core::sc_signal_inout_if<PsumToken>* next_psum_ = nullptr;
  const sc_core::sc_signal_in_if<WeightToken>* weight_ = nullptr;
  sc_core::sc_signal_inout_if<WeightToken>* next_weight_ = nullptr;
  WeightToken written_weight_;  // to the pipe's next register
  std::int8_t active_ = 0;
  std::int8_t shadow_ = 0;
  std::int16_t row_;
  std::int8_t accumulator_bits_;
  bool double_buffer_;
  bool sound_ = true;  // no hooks, no bypass
  bool bypass_ = false;
  PeHooks hooks_;
  CycleErrors* errors_ = nullptr;
  PeInputs before_;
  std::int64_t stream_ = -1, position_ = -1;
};

}  // namespace kintsugi::pe
