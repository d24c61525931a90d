// A chip with a memory system in front of our DRAM, and of one from another house (docs/memory-models.md):
// the same results and, at every fidelity and with and without direct access to memory, the same cycles.
#include "tests/support/foreign_dram.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "array/array_target_sc.h"
#include "array/layer_plan.h"
#include "memory/buffer_target_sc.h"
#include "memory/memory_target.h"
#include "memory/router.h"
#include "tests/support/in_child.h"
#include "tests/support/tlm_initiator.h"

namespace kintsugi {
namespace {

using array::Register;
using configs::Fidelity;

constexpr std::uint64_t kRegisters = std::uint64_t{1} << 48;
constexpr std::uint64_t kWeights = 1024, kOutput = 2048;
constexpr std::uint64_t kCycle = 1'000'000;
constexpr int kM = 5, kK = 9, kN = 7;

configs::ChipConfig small_chip() {
  configs::ChipConfig chip;
  chip.array.rows = 4;
  chip.array.cols = 3;
  chip.clock_mhz = 1000;
  configs::MemoryConfig memory;
  memory.dram.bandwidth_gb_s = 3;
  memory.dram.latency_ns = 7;
  memory.dram.burst_bytes = 16;
  memory.dram.row_buffer = configs::RowBufferConfig{.banks = 2, .row_bytes = 128, .miss_ns = 9};
  memory.dma = {.outstanding = 2, .transfer_bytes = 64};
  memory.unified_buffer = {.bytes = 4096, .bytes_per_cycle = 16};
  memory.weight_fifo_tiles = 2;
  memory.accumulators.entries = 6;  // m-chunks of 3
  chip.memory = memory;
  return chip;
}

std::int8_t activation(int m, int k) {
  return static_cast<std::int8_t>((m * 31 + k * 17) % 251 - 125);
}

std::int8_t weight(int k, int n) {
  return static_cast<std::int8_t>((k * 43 + n * 29) % 241 - 120);
}

enum class Dram { foreign, ours, ours_without_dmi };

// Runs one product from DRAM to DRAM, twice, and returns how its cycles were spent.
std::string run(Dram kind, Fidelity fidelity) {
  return test::in_child([kind, fidelity] {
    test::begin_systemc();
    const configs::ChipConfig chip = small_chip();
    test::Initiator cpu("cpu");
    memory::Router bus("bus");
    std::unique_ptr<ForeignDram> foreign;
    std::unique_ptr<memory::MemoryTarget> ours;
    if (kind == Dram::foreign) {
      foreign = std::make_unique<ForeignDram>("dram", 4096);
    } else {
      ours = std::make_unique<memory::MemoryTarget>(
          "dram", 4096, kind == Dram::ours, memory::MemoryTiming{chip.memory->dram, chip.clock_mhz, kCycle});
    }
    memory::BufferTarget buffer("buffer", "the unified buffer", 4096),
        fifo("fifo", "the weight FIFO", 2 * 12);
    memory::BufferTarget accumulators("accumulators", "the accumulators", 6 * 3 * 4, 4);
    array::ArrayTarget array("array", chip, fidelity);
    sc_core::sc_signal<bool> interrupt("interrupt");
    cpu.socket.bind(bus.from_initiators);
    array.dma.socket.bind(bus.from_initiators);
    array.dma_engine()->dram.bind(bus.from_initiators);
    array.dma_engine()->chip.bind(bus.from_initiators);
    if (foreign) bus.map(0, 4096, foreign->socket);
    if (ours) bus.map(0, 4096, ours->socket);
    bus.map(array::kBufferBase, buffer.bytes(), buffer.socket);
    bus.map(array::kFifoBase, fifo.bytes(), fifo.socket);
    bus.map(array::kAccumulatorBase, accumulators.bytes(), accumulators.socket);
    bus.map(kRegisters, array::kArrayTargetBytes, array.registers);
    array.interrupt.bind(interrupt);
    sc_core::sc_start(sc_core::SC_ZERO_TIME);

    for (int m = 0; m < kM; ++m) {
      for (int k = 0; k < kK; ++k) {
        std::int8_t value = activation(m, k);
        cpu.debug(tlm::TLM_WRITE_COMMAND, static_cast<std::uint64_t>(m * kK + k), &value, 1);
      }
    }
    for (int k = 0; k < kK; ++k) {
      for (int n = 0; n < kN; ++n) {
        std::int8_t value = weight(k, n);
        cpu.debug(tlm::TLM_WRITE_COMMAND, kWeights + static_cast<std::uint64_t>(k * kN + n), &value, 1);
      }
    }
    const auto set = [&](Register which, std::uint64_t value) {
      EXPECT_EQ(cpu.write(kRegisters + offset_of(which), value), tlm::TLM_OK_RESPONSE);
    };
    const auto get = [&](Register which) { return cpu.read<std::uint64_t>(kRegisters + offset_of(which)); };
    set(Register::batch, kM);
    set(Register::in_c, kK);
    set(Register::out_c, kN);
    set(Register::weights, kWeights);
    set(Register::output, kOutput);
    std::string text;
    for (int job = 0; job < 2; ++job) {
      const std::uint64_t begin = sc_core::sc_time_stamp().value();
      set(Register::control, array::kStart);
      sc_core::sc_start();
      EXPECT_EQ(get(Register::status), array::kDone);
      // Every cycle was simulated, and is counted once. (A job begins with a cycle, and after the last one
      // the DMA engine looks once more.)
      const std::uint64_t first = (begin + kCycle - 1) / kCycle,
                          last = sc_core::sc_time_stamp().value() / kCycle;
      EXPECT_EQ(get(Register::cycles), last - first);
      std::uint64_t cycles = 0;
      for (const Register which :
           {Register::cycles_active, Register::cycles_weight_shift, Register::cycles_pipeline,
            Register::stall_weights, Register::stall_activations, Register::stall_accumulators,
            Register::stall_output}) {
        cycles += get(which);
        text += fmt::format("{} ", get(which));
      }
      EXPECT_EQ(cycles, get(Register::cycles));
      set(Register::control, array::kAcknowledge);
    }
    if (ours) text += fmt::format("{} bytes {} hits", ours->bus_bytes(), ours->row_hits());

    for (int m = 0; m < kM; ++m) {
      for (int n = 0; n < kN; ++n) {
        std::int32_t sum = 0, value = 0;
        for (int k = 0; k < kK; ++k) sum += activation(m, k) * weight(k, n);
        cpu.debug(tlm::TLM_READ_COMMAND, kOutput + static_cast<std::uint64_t>(m * kN + n) * 4, &value, 4);
        EXPECT_EQ(value, sum) << m << ", " << n;
      }
    }
    return text;
  });
}

TEST(ChipOnDram, FromAnotherHouseServesEveryFidelityAlike) {
  const std::string functional = run(Dram::foreign, Fidelity::functional);
  EXPECT_EQ(run(Dram::foreign, Fidelity::cycle), functional);
  EXPECT_EQ(run(Dram::foreign, Fidelity::pe), functional);
}

TEST(ChipOnDram, TakesTheSameTimeWithAndWithoutDirectAccess) {
  const std::string functional = run(Dram::ours, Fidelity::functional);
  EXPECT_EQ(run(Dram::ours_without_dmi, Fidelity::functional), functional);
  EXPECT_EQ(run(Dram::ours_without_dmi, Fidelity::cycle), functional);
  EXPECT_EQ(run(Dram::ours, Fidelity::pe), functional);
}

}  // namespace
}  // namespace kintsugi
