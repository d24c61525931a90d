// The DMA engine against sources and memories whose cycles are worked out by hand.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <deque>
#include <fstream>
#include <functional>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include "memory/buffer_target_sc.h"
#include "memory/dma_engine_sc.h"
#include "memory/memory_target.h"
#include "memory/router.h"
#include "tests/support/foreign_dram.h"
#include "tests/support/in_child.h"
#include "tests/support/tlm_initiator.h"

namespace kintsugi {
namespace {

using memory::Run;
using memory::Transfer;
using memory::TransferKind;
using test::begin_systemc;
using test::in_child;

constexpr std::uint64_t kCycle = 1'000'000;  // 1 ns
constexpr std::uint64_t kFifo = 0x10000;

// One byte per cycle, bursts of 16, 10 cycles of latency.
memory::MemoryTiming slow_dram(double bandwidth_gb_s = 1) {
  memory::MemoryTiming timing{.dram = {}, .clock_mhz = 1000, .cycle = kCycle};
  timing.dram.bandwidth_gb_s = bandwidth_gb_s;
  timing.dram.latency_ns = 10;
  timing.dram.burst_bytes = 16;
  return timing;
}

Transfer transfer(TransferKind kind, std::int64_t request, std::vector<Run> runs) {
  std::int64_t bytes = 0;
  for (const Run& run : runs) bytes += run.bytes;
  return {kind, request, std::move(runs), bytes};
}

// Hands out transfers in order, each from a cycle on, and writes down what happens: "issue 1@0".
class Script : public memory::TransferSource {
 public:
  explicit Script(std::string& log) : log_(log) {}
  void add(std::int64_t ready, Transfer next) { waiting_.push_back({ready, std::move(next)}); }

  std::optional<Transfer> next(std::int64_t cycle) override {
    if (waiting_.empty() || waiting_.front().first > cycle) return std::nullopt;
    Transfer given = std::move(waiting_.front().second);
    waiting_.pop_front();
    log_ += fmt::format("issue {}@{}\n", given.request, cycle);
    return given;
  }
  void complete(const Transfer& done, std::int64_t cycle) override {
    EXPECT_EQ(sc_core::sc_time_stamp().value(), static_cast<std::uint64_t>(cycle) * kCycle);
    EXPECT_GE(cycle, last_complete_);
    last_complete_ = cycle;
    log_ += fmt::format("complete {}@{}\n", done.request, cycle);
    if (on_complete) on_complete(done, cycle);
  }
  std::function<void(const Transfer&, std::int64_t)> on_complete;

 private:
  std::string& log_;
  std::deque<std::pair<std::int64_t, Transfer>> waiting_;
  std::int64_t last_complete_ = 0;
};

// DMA engine between a DRAM and two buffers on the chip, and a debugger on either side.
template <class Dram>
struct Bench {
  template <class... DramArguments>
  Bench(int outstanding, DramArguments&&... arguments)
      : dram("dram", 4096, std::forward<DramArguments>(arguments)...), dma("dma", outstanding, kCycle) {
    dma.dram.bind(dram_bus.from_initiators);
    outside.socket.bind(dram_bus.from_initiators);
    dram_bus.map(0, 4096, dram.socket);
    dma.chip.bind(chip_bus.from_initiators);
    inside.socket.bind(chip_bus.from_initiators);
    chip_bus.map(0, buffer.bytes(), buffer.socket);
    chip_bus.map(kFifo, fifo.bytes(), fifo.socket);
    sc_core::sc_start(sc_core::SC_ZERO_TIME);
    for (int i = 0; i < 4096; ++i) {
      auto byte = static_cast<unsigned char>(i * 37 + i / 256);
      EXPECT_EQ(outside.debug(tlm::TLM_WRITE_COMMAND, static_cast<std::uint64_t>(i), &byte, 1), 1u);
      content.push_back(static_cast<char>(byte));
    }
  }
  std::string look(test::Initiator& at, std::uint64_t address, unsigned int length) {
    std::string bytes(length, '\0');
    EXPECT_EQ(at.debug(tlm::TLM_READ_COMMAND, address, bytes.data(), length), length);
    return bytes;
  }
  // Pokes the engine at this instant, from a process.
  void poke_at(std::uint64_t femtoseconds) {
    sc_core::sc_spawn([this, femtoseconds] {
      sc_core::wait(sc_core::sc_time::from_value(femtoseconds) - sc_core::sc_time_stamp());
      dma.poke();
    });
  }
  // Lets the simulation run until just before, or into, an instant.
  void run_until(std::uint64_t femtoseconds) {
    sc_core::sc_start(sc_core::sc_time::from_value(femtoseconds) - sc_core::sc_time_stamp());
  }

  Dram dram;
  memory::DmaEngine dma;
  memory::Router dram_bus{"dram_bus"}, chip_bus{"chip_bus"};
  memory::BufferTarget buffer{"unified_buffer", "the unified buffer", 1024};
  memory::BufferTarget fifo{"weight_fifo", "the weight FIFO", 256};
  test::Initiator outside{"outside"}, inside{"inside"};
  std::string content;  // of DRAM, at first
};

TEST(DmaEngine, MovesBytesInOrderAtTheHandWorkedCycles) {
  in_child([] {
    begin_systemc();
    Bench<memory::MemoryTarget> bench(2, false, slow_dram());
    std::string log;
    Script script(log);
    script.add(0, transfer(TransferKind::weights, 1, {{32, kFifo, 16}, {128, kFifo + 100, 16}}));
    script.add(0, transfer(TransferKind::activations, 2, {{512, 64, 16}}));
    script.add(0, transfer(TransferKind::weights, 3, {{1024, kFifo + 200, 3}}));
    script.add(0, transfer(TransferKind::outputs, 4, {{2048, 60, 10}, {2080, 70, 6}}));
    bench.dma.attach(&script);
    bench.dma.poke();

    // 1 is on the bus for cycles 0 … 32, arrives at 42; 2 until 48, at 58. Two may be in flight: 3 is issued
    // when 1 completes, finds the bus busy until 48, pays a whole burst until 64, arrives at 74. 4 is issued
    // when 2 completes, in two bursts until 96, at 106.
    bench.run_until(42 * kCycle - 1);
    EXPECT_EQ(log, "issue 1@0\nissue 2@0\n");
    EXPECT_EQ(bench.look(bench.inside, kFifo, 16), std::string(16, '\0')) << "not there yet";
    EXPECT_EQ(bench.dma.in_flight(), 2);
    bench.run_until(42 * kCycle + kCycle / 4 + 1);
    EXPECT_EQ(log, "issue 1@0\nissue 2@0\ncomplete 1@42\nissue 3@42\n");
    EXPECT_EQ(bench.look(bench.inside, kFifo, 16), bench.content.substr(32, 16));
    EXPECT_EQ(bench.look(bench.inside, kFifo + 100, 16), bench.content.substr(128, 16));
    sc_core::sc_start();
    EXPECT_EQ(log,
              "issue 1@0\nissue 2@0\ncomplete 1@42\nissue 3@42\ncomplete 2@58\nissue 4@58\ncomplete 3@74\n"
              "complete 4@106\n");
    EXPECT_EQ(bench.look(bench.inside, 64, 16), bench.content.substr(512, 16));
    EXPECT_EQ(bench.look(bench.inside, kFifo + 200, 4), bench.content.substr(1024, 3) + '\0');
    const std::string written = bench.look(bench.inside, 60, 16);
    EXPECT_EQ(written, std::string(4, '\0') + bench.content.substr(512, 12)) << "of the buffer";
    EXPECT_EQ(bench.look(bench.outside, 2048, 10), written.substr(0, 10));
    EXPECT_EQ(bench.look(bench.outside, 2080, 6), written.substr(10));
    EXPECT_EQ(bench.look(bench.outside, 2058, 22), bench.content.substr(2058, 22)) << "what lies between";
    EXPECT_EQ(bench.dram.transactions(), 6u) << "one per run";
    EXPECT_EQ(bench.dram.bus_bytes(), 96);
    EXPECT_EQ(bench.dma.in_flight(), 0);
    EXPECT_FALSE(bench.dma.failure());
    return std::string();
  });
}

TEST(DmaEngine, KeepsToItsLimit) {
  in_child([] {
    begin_systemc();
    EXPECT_THROW(memory::DmaEngine("none", 0, kCycle), std::invalid_argument);
    EXPECT_THROW(memory::DmaEngine("fast", 1, 3), std::invalid_argument);
    Bench<memory::MemoryTarget> bench(3, true, slow_dram());
    std::string log;
    Script script(log);
    for (int i = 1; i <= 5; ++i) script.add(0, transfer(TransferKind::weights, i, {{0, kFifo, 16}}));
    bench.dma.attach(&script);
    bench.dma.poke();
    sc_core::sc_start();
    // The bus is free at 16, 32, 48; the fourth is issued when the first arrives at 26, and follows on:
    // 64, 80.
    EXPECT_EQ(log,
              "issue 1@0\nissue 2@0\nissue 3@0\ncomplete 1@26\nissue 4@26\ncomplete 2@42\nissue 5@42\n"
              "complete 3@58\ncomplete 4@74\ncomplete 5@90\n");
    return std::string();
  });
}

TEST(DmaEngine, TellsOfOneCyclesCompletionsInTheOrderOfIssue) {
  in_child([] {
    begin_systemc();
    Bench<memory::MemoryTarget> bench(8, true, slow_dram(256));  // a burst takes a 16th of a cycle
    std::string log;
    Script script(log);
    for (int i = 1; i <= 8; ++i) {
      script.add(i <= 5 ? 0 : 1, transfer(TransferKind::weights, i, {{16u * i, kFifo + 16u * i, 16}}));
    }
    bench.dma.attach(&script);
    bench.dma.poke();
    bench.poke_at(kCycle);
    sc_core::sc_start();
    EXPECT_EQ(log,
              "issue 1@0\nissue 2@0\nissue 3@0\nissue 4@0\nissue 5@0\nissue 6@1\nissue 7@1\nissue 8@1\n"
              "complete 1@11\ncomplete 2@11\ncomplete 3@11\ncomplete 4@11\ncomplete 5@11\n"
              "complete 6@12\ncomplete 7@12\ncomplete 8@12\n");
    return std::string();
  });
}

TEST(DmaEngine, SeesWhatBecomesReadyAsACycleBegins) {
  in_child([] {
    begin_systemc();
    Bench<memory::MemoryTarget> bench(8, true, slow_dram());
    std::string log;
    Script script(log);
    bench.dma.attach(&script);
    const auto add = [&](std::int64_t request) {
      script.add(0, transfer(TransferKind::weights, request, {{0, kFifo, 16}}));
    };
    sc_core::sc_spawn([&] {
      bench.dma.poke();  // nothing is ready yet, but in the same instant, some deltas later, something is
      for (int i = 0; i < 5; ++i) sc_core::wait(sc_core::SC_ZERO_TIME);
      add(1);
      sc_core::wait(sc_core::sc_time::from_value(kCycle / 4));  // the quarter itself is not too late
      sc_core::wait(sc_core::SC_ZERO_TIME);
      add(2);
      bench.dma.poke();
      sc_core::wait(sc_core::sc_time::from_value(1));  // later is
      add(3);
      bench.dma.poke();
      sc_core::wait(sc_core::sc_time::from_value(5 * kCycle));
      add(4);  // not poked: a completion makes the engine ask
    });
    sc_core::sc_start();
    EXPECT_EQ(log,
              "issue 1@0\nissue 2@0\nissue 3@1\ncomplete 1@26\nissue 4@26\ncomplete 2@42\ncomplete 3@58\n"
              "complete 4@74\n");
    return std::string();
  });
}

TEST(DmaEngine, WorksWithADramThatWaits) {
  in_child([] {
    begin_systemc();
    Bench<ForeignDram> bench(2);
    std::string log;
    Script script(log);
    script.add(0, transfer(TransferKind::weights, 1, {{32, kFifo, 16}, {128, kFifo + 100, 16}}));
    script.add(0, transfer(TransferKind::activations, 2, {{512, 64, 16}}));
    script.add(0, transfer(TransferKind::outputs, 3, {{2048, 64, 16}}));
    bench.dma.attach(&script);
    bench.dma.poke();
    sc_core::sc_start();
    // All in ns, one access takes 21 of them: the first run of 1 from 0.25 to 21.25, then 2, which came in
    // the same instant, to 42.25 and so complete at 43; then the second run of 1 to 63.25, at 64. 3 is issued
    // at 43.25 and served to 84.25, at 85.
    EXPECT_EQ(log, "issue 1@0\nissue 2@0\ncomplete 2@43\nissue 3@43\ncomplete 1@64\ncomplete 3@85\n");
    EXPECT_EQ(bench.look(bench.inside, kFifo, 16), bench.content.substr(32, 16));
    EXPECT_EQ(bench.look(bench.inside, kFifo + 100, 16), bench.content.substr(128, 16));
    EXPECT_EQ(bench.look(bench.outside, 2048, 16), bench.content.substr(512, 16));
    return std::string();
  });
}

// Annotates delays that fit no cycle and no order: the higher the address, the sooner.
struct OddDram : sc_core::sc_module {
  tlm_utils::simple_target_socket<OddDram, 64> socket{"socket"};
  OddDram(sc_core::sc_module_name name, std::size_t) : sc_core::sc_module(name) {
    socket.register_b_transport(this, &OddDram::b_transport);
    socket.register_transport_dbg(this, &OddDram::transport_dbg);
  }
  void b_transport(tlm::tlm_generic_payload& transaction, sc_core::sc_time& delay) {
    delay += sc_core::sc_time::from_value(10'500'000 - 1000 * transaction.get_address());
    transaction.set_response_status(tlm::TLM_OK_RESPONSE);
  }
  unsigned int transport_dbg(tlm::tlm_generic_payload& transaction) { return transaction.get_data_length(); }
};

TEST(DmaEngine, TakesTheLatestRunAndRoundsUpToACycle) {
  in_child([] {
    begin_systemc();
    Bench<OddDram> bench(3);
    std::string log;
    Script script(log);
    script.add(0, transfer(TransferKind::weights, 1, {{0, kFifo, 1}, {4000, kFifo, 1}}));
    script.add(0, transfer(TransferKind::weights, 2, {{3750, kFifo, 1}}));
    script.add(0, transfer(TransferKind::weights, 3, {{3751, kFifo, 1}}));
    bench.dma.attach(&script);
    bench.dma.poke();
    sc_core::sc_start();
    // From 0.25: 1 takes the later of 10.5 and 6.5, to 10.75; 2 takes 6.75, to 7.0, 3 6.749, to 6.999.
    EXPECT_EQ(log, "issue 1@0\nissue 2@0\nissue 3@0\ncomplete 2@7\ncomplete 3@7\ncomplete 1@11\n");
    return std::string();
  });
}

TEST(DmaEngine, StopsAtATransferThatATargetRefuses) {
  in_child([]() -> std::string {
    begin_systemc();
    Bench<memory::MemoryTarget> bench(2, true, slow_dram());
    std::string log;
    Script script(log), other(log);
    int told = 0;
    script.add(0, transfer(TransferKind::weights, 1, {{0, kFifo, 16}}));
    script.add(0, transfer(TransferKind::activations, 2, {{4000, 0, 16}, {4090, 16, 16}}));
    script.add(0, transfer(TransferKind::weights, 3, {{0, kFifo, 16}}));
    bench.dma.attach(&script, [&] { ++told; });
    bench.dma.poke();
    sc_core::sc_start();
    EXPECT_EQ(log, "issue 1@0\nissue 2@0\n") << "then nothing is issued, and no completion told";
    EXPECT_EQ(told, 1);
    EXPECT_EQ(bench.dma.failure(),
              "DMA transfer of activations (request 2) failed: dram_bus: read of 16 bytes at 0xffa by dma "
              "runs past "
              "the end of 0x0 … 0xfff, which is one target's");
    EXPECT_EQ(bench.dma.in_flight(), 0);

    // On the chip's side: a read that arrives where there is nothing; a write that has nothing to fetch.
    log.clear();
    other.add(0, transfer(TransferKind::weights, 4, {{0, kFifo + 250, 16}}));
    bench.dma.attach(&other, [&] { ++told; });
    EXPECT_FALSE(bench.dma.failure()) << "forgotten";
    bench.dma.poke();
    sc_core::sc_start();
    if (!bench.dma.failure()) throw std::logic_error("no failure");
    EXPECT_NE(bench.dma.failure()->find("write of 16 bytes at 0x100fa by dma"), std::string::npos)
        << *bench.dma.failure();
    EXPECT_EQ(told, 2);
    other.add(0, transfer(TransferKind::outputs, 5, {{0, 0x500, 16}}));
    bench.dma.attach(&other);
    bench.dma.poke();
    sc_core::sc_start();
    if (!bench.dma.failure()) throw std::logic_error("no failure");
    EXPECT_NE(
        bench.dma.failure()->find("outputs (request 5) failed: chip_bus: read of 16 bytes at 0x500 by dma"),
        std::string::npos)
        << *bench.dma.failure();

    // And it is fit for work again. Two transfers that race: a read of what is being written.
    log.clear();
    other.add(0, transfer(TransferKind::weights, 6, {{0, kFifo, 16}}));
    bench.dma.attach(&other);
    bench.dma.poke();
    sc_core::sc_start();
    EXPECT_FALSE(bench.dma.failure());
    EXPECT_NE(log.find("complete 6@"), std::string::npos);
    other.add(0, transfer(TransferKind::outputs, 7, {{256, 0, 16}}));
    other.add(0, transfer(TransferKind::weights, 8, {{264, kFifo, 16}}));
    bench.dma.poke();
    sc_core::sc_start();
    if (!bench.dma.failure()) throw std::logic_error("no failure");
    EXPECT_NE(bench.dma.failure()->find("dram: read of 16 bytes at 0x108 by dma arrives in cycle"),
              std::string::npos)
        << *bench.dma.failure();
    EXPECT_NE(bench.dma.failure()->find("overlaps a write of 16 bytes at 0x100 that is in flight"),
              std::string::npos);
    return std::string();
  });
}

std::string read_file(const std::string& path) {
  std::ifstream file(std::string(KINTSUGI_SOURCE_DIR) + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(MemoryModels, ThePageShowsTheDramThatTheseTestsRun) {
  const std::string source = read_file("/tests/support/foreign_dram.h");
  const std::size_t begin = source.find("class ForeignDram");
  ASSERT_NE(begin, std::string::npos);
  EXPECT_NE(read_file("/docs/memory-models.md").find("```cpp\n" + source.substr(begin) + "```\n"),
            std::string::npos);
}

}  // namespace
}  // namespace kintsugi
