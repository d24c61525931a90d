// The DMA engine: moves transfers between DRAM and the buffers on the chip, a limited number at a time.
//
// What to move is asked of a TransferSource; when it is done is what the DRAM says. Cycles are counted from
// the beginning of simulated time: cycle t begins at t · `cycle` femtoseconds. The engine decides a quarter
// of a cycle later, when all that happens as the cycle begins has happened, and issues all runs of a transfer
// at that instant, each as a transaction of its own. The latest of their annotated delays, rounded up to the
// beginning of a cycle, completes the transfer. Data read from DRAM reaches the chip at that moment; data
// written is taken from the chip when the transfer is issued. Buffers on the chip take no time.
//
// A DRAM that waits in b_transport instead of annotating delays, or completes transfers in another order, is
// served as well: every transfer in flight has a thread of its own.
#pragma once

#include <tlm.h>
#include <tlm_utils/simple_initiator_socket.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <optional>
#include <string>
#include <systemc>
#include <vector>

#include "memory/transfer.h"

namespace kintsugi::memory {

class DmaEngine : public sc_core::sc_module {
 public:
  tlm_utils::simple_initiator_socket<DmaEngine, 64> dram{"dram"};
  tlm_utils::simple_initiator_socket<DmaEngine, 64> chip{"chip"};

  SC_HAS_PROCESS(DmaEngine);
  // At most `outstanding` ≥ 1 transfers are in flight. `cycle` ≥ 4 fs; the simulation's time resolution must
  // be 1 fs. Throws std::invalid_argument.
  DmaEngine(sc_core::sc_module_name name, int outstanding, std::uint64_t cycle);

  // Asks `source` from now on (nullptr: nobody), and forgets an earlier failure. A source is told of the
  // completion of every transfer it gave, also after another one is attached, so it must live until then.
  // `on_failure` is called once if a transfer fails: from then on nothing is issued and no completion is
  // told.
  void attach(TransferSource* source, std::function<void()> on_failure = {});

  // Something may have become ready: the source is asked in this cycle, if its quarter is not over, or in the
  // next. Needed after every change that the engine did not cause by itself.
  void poke();

  int in_flight() const { return static_cast<int>(jobs_.size()); }
  // Why a transfer failed, for the user to read.
  const std::optional<std::string>& failure() const { return failure_; }

 private:
  struct Job {
    Transfer transfer;
    TransferSource* source = nullptr;  // none: it is no longer interested
    std::optional<std::int64_t> due;   // the cycle in which it completes, once known
  };
  using JobHandle = std::list<Job>::iterator;
  using Socket = tlm_utils::simple_initiator_socket<DmaEngine, 64>;

  void arbitrate();
  // A thread that serves transfers, with a buffer of its own.
  void work(std::vector<std::byte>& data);
  void serve(JobHandle job, std::vector<std::byte>& data);
  // Both return false if a target refused, after fail().
  // `end`: when the last of its runs is over.
  bool issue(const Transfer& transfer, std::vector<std::byte>& data, std::uint64_t& end);
  bool move_on_chip(const Transfer& transfer, std::vector<std::byte>& data);
  // One transaction; `delay` is what the target annotates.
  bool transport(Socket& socket, tlm::tlm_command command, std::uint64_t address, std::byte* data,
                 std::int64_t bytes, const Transfer& transfer, sc_core::sc_time& delay);
  void fail(std::string reason);
  // True if a transfer that was issued before `job` completes in the same cycle and has not been told of yet.
  bool must_let_pass(JobHandle job);

  std::size_t outstanding_;
  std::uint64_t cycle_;  // femtoseconds
  TransferSource* source_ = nullptr;
  std::function<void()> on_failure_;
  std::optional<std::string> failure_;
  std::list<Job> jobs_;          // in flight, in the order of issue
  std::deque<JobHandle> queue_;  // those that no thread has taken up yet
  // One a thread. Not on its stack, where leak checkers do not look when the simulation stops for good.
  std::vector<std::vector<std::byte>> buffers_;
  sc_core::sc_event arbitrate_{"arbitrate_event"};
  sc_core::sc_event work_{"work_event"};
};

}  // namespace kintsugi::memory
