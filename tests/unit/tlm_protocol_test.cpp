// The array's registers as any TLM-2.0 initiator meets them: what they do, and what they refuse. Memory,
// buffers and the bus: memory_protocol_test.cpp.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "array/array_target_sc.h"
#include "memory/memory_target.h"
#include "memory/router.h"
#include "tests/support/in_child.h"
#include "tests/support/tlm_initiator.h"

namespace kintsugi {
namespace {

using array::offset_of;
using array::Register;
using test::begin_systemc;
using test::in_child;
using test::Initiator;

constexpr std::uint64_t kRegisters = 1 << 30;

struct Bench {
  explicit Bench(configs::Bypass bypass) {
    chip.array.rows = 4;
    chip.array.cols = 3;
    chip.array.bypass = bypass;
    array = std::make_unique<array::ArrayTarget>("array", chip, configs::Fidelity::functional);
    cpu.socket.bind(bus.from_initiators);
    array->dma.socket.bind(bus.from_initiators);
    bus.map(0, memory.bytes(), memory.socket);
    bus.map(kRegisters, array::kArrayTargetBytes, array->registers);
    array->interrupt.bind(interrupt);
    sc_core::sc_start(sc_core::SC_ZERO_TIME);
  }
  std::uint64_t at(Register which) { return kRegisters + offset_of(which); }
  tlm::tlm_response_status set(Register which, std::uint64_t value) { return cpu.write(at(which), value); }
  std::uint64_t get(Register which) { return cpu.read<std::uint64_t>(at(which)); }

  configs::ChipConfig chip;
  Initiator cpu{"cpu"};
  memory::Router bus{"bus"};
  memory::MemoryTarget memory{"memory", 4096};
  std::unique_ptr<array::ArrayTarget> array;
  sc_core::sc_signal<bool> interrupt{"interrupt"};
};

TEST(ArrayTarget, RefusesWhatTheRegisterMapDoesNotAllow) {
  in_child([] {
    begin_systemc();
    Bench bench(configs::Bypass::fap);
    Initiator& cpu = bench.cpu;
    EXPECT_EQ(bench.get(Register::identity), array::kIdentity);
    EXPECT_EQ(bench.get(Register::rows), 4u);
    EXPECT_EQ(bench.get(Register::cols), 3u);

    // Halves of a register.
    EXPECT_EQ(bench.set(Register::output, 0x1111111122222222), tlm::TLM_OK_RESPONSE);
    EXPECT_EQ(cpu.write<std::uint32_t>(bench.at(Register::output) + 4, 0x33333333u), tlm::TLM_OK_RESPONSE);
    EXPECT_EQ(bench.get(Register::output), 0x3333333322222222u);
    EXPECT_EQ(cpu.read<std::uint32_t>(bench.at(Register::output) + 4), 0x33333333u);

    EXPECT_EQ(bench.set(Register::cycles, 1), tlm::TLM_COMMAND_ERROR_RESPONSE) << "read-only";
    std::uint64_t value = 1;
    EXPECT_EQ(cpu.send(tlm::TLM_READ_COMMAND, bench.at(Register::control), &value, 8),
              tlm::TLM_COMMAND_ERROR_RESPONSE)
        << "write-only";
    EXPECT_EQ(bench.set(Register::control, 3), tlm::TLM_GENERIC_ERROR_RESPONSE) << "two commands at once";
    EXPECT_EQ(bench.set(Register::flags, array::kRelu), tlm::TLM_GENERIC_ERROR_RESPONSE);
    EXPECT_EQ(cpu.write<std::uint64_t>(bench.at(Register::batch) + 4, 1), tlm::TLM_ADDRESS_ERROR_RESPONSE);
    EXPECT_EQ(cpu.write<std::uint32_t>(bench.at(Register::batch) + 2, 1), tlm::TLM_ADDRESS_ERROR_RESPONSE);
    EXPECT_EQ(cpu.write<std::uint16_t>(bench.at(Register::batch), 1), tlm::TLM_BURST_ERROR_RESPONSE);
    EXPECT_EQ(cpu.write<std::uint64_t>(bench.at(Register::count), 1), tlm::TLM_ADDRESS_ERROR_RESPONSE);
    EXPECT_EQ(cpu.send(tlm::TLM_WRITE_COMMAND, bench.at(Register::batch), &value, 8, 4),
              tlm::TLM_BURST_ERROR_RESPONSE);
    unsigned char enable = TLM_BYTE_ENABLED;
    EXPECT_EQ(cpu.send(tlm::TLM_WRITE_COMMAND, bench.at(Register::batch), &value, 8, 8, &enable, 1),
              tlm::TLM_BYTE_ENABLE_ERROR_RESPONSE);

    // Windows: 12 PEs make one word of bypass bits and 12 blocks of hooks.
    EXPECT_EQ(cpu.write<std::uint32_t>(kRegisters + array::kBypassWindow, 0x801u), tlm::TLM_OK_RESPONSE);
    EXPECT_EQ(cpu.read<std::uint32_t>(kRegisters + array::kBypassWindow), 0x801u);
    EXPECT_EQ(cpu.write<std::uint64_t>(kRegisters + array::kBypassWindow, 1),
              tlm::TLM_ADDRESS_ERROR_RESPONSE);
    const std::uint64_t last = kRegisters + array::kHooksWindow + 11 * array::kHooksStride;
    EXPECT_EQ(cpu.read<std::uint32_t>(last), ~std::uint32_t{0}) << "identity keeps every bit";
    EXPECT_EQ(cpu.write<std::uint32_t>(last + 4, 9u), tlm::TLM_OK_RESPONSE);
    EXPECT_EQ(cpu.read<std::uint32_t>(last + 4), 9u);
    EXPECT_EQ(cpu.write<std::uint32_t>(last + 60, 9u), tlm::TLM_ADDRESS_ERROR_RESPONSE) << "reserved";
    EXPECT_EQ(cpu.write<std::uint32_t>(last + 64, 9u), tlm::TLM_ADDRESS_ERROR_RESPONSE) << "PE 12 of 12";
    EXPECT_EQ(cpu.write<std::uint16_t>(last, 9), tlm::TLM_BURST_ERROR_RESPONSE);
    EXPECT_EQ(bench.set(Register::control, array::kClearFaults), tlm::TLM_OK_RESPONSE);
    EXPECT_EQ(cpu.read<std::uint32_t>(kRegisters + array::kBypassWindow), 0u);
    EXPECT_EQ(cpu.read<std::uint32_t>(last + 4), 0u);

    // Debug reads look; debug writes are not offered, nor is DMI.
    EXPECT_EQ(cpu.debug(tlm::TLM_READ_COMMAND, bench.at(Register::rows), &value, 8), 8u);
    EXPECT_EQ(value, 4u);
    EXPECT_EQ(cpu.debug(tlm::TLM_WRITE_COMMAND, bench.at(Register::batch), &value, 8), 0u);
    tlm::tlm_dmi dmi;
    EXPECT_FALSE(cpu.ask_dmi(kRegisters, dmi));
    return std::string();
  });
}

TEST(ArrayTarget, SaysWhatItRefuses) {
  in_child([] {
    begin_systemc();
    Bench bench(configs::Bypass::fap);
    Initiator& cpu = bench.cpu;
    const auto refusal = [&](const std::string& access, const std::string& reason) {
      EXPECT_EQ(cpu.refusal, "array: " + access + " by cpu " + reason);
      EXPECT_EQ(test::last_reported_refusal(), cpu.refusal);
    };
    cpu.write<std::uint32_t>(bench.at(Register::rows) + 2, 1);
    refusal("write of 4 bytes at 0x4000000a",
            "reaches no register and no window; allowed are addresses of the register map, aligned");
    cpu.write<std::uint16_t>(bench.at(Register::rows), 1);
    refusal("write of 2 bytes at 0x40000008",
            "has a wrong length; allowed are 8 and 4 bytes in registers, whole words of 4 in windows");
    cpu.write<std::uint64_t>(bench.at(Register::rows), 1);
    refusal("write of 8 bytes at 0x40000008",
            "goes the wrong way; allowed are reads of read-only and writes of write-only registers");
    cpu.write<std::uint64_t>(bench.at(Register::control), 3);
    refusal("write of 8 bytes at 0x40000018",
            "comes while a job runs, or its value is not one of the register's");
    std::uint64_t value = 0;
    unsigned char enable = TLM_BYTE_ENABLED;
    cpu.send(tlm::TLM_READ_COMMAND, bench.at(Register::rows), &value, 8, 8, &enable, 1);
    refusal("read of 8 bytes at 0x40000008", "has byte enables; allowed are accesses without");
    cpu.send(tlm::TLM_READ_COMMAND, bench.at(Register::rows), &value, 8, 4);
    refusal("read of 8 bytes at 0x40000008",
            "has a streaming width below its length; allowed is the length and more");
    EXPECT_EQ(bench.get(Register::rows), 4u);
    return std::string();
  });
}

TEST(ArrayTarget, HasNoBypassWindowWithoutMultiplexers) {
  in_child([] {
    begin_systemc();
    Bench bench(configs::Bypass::none);
    EXPECT_EQ(bench.cpu.write<std::uint32_t>(kRegisters + array::kBypassWindow, 0u),
              tlm::TLM_ADDRESS_ERROR_RESPONSE);
    return std::string();
  });
}

TEST(ArrayTarget, StartReturnsAtOnceAndTheInterruptStaysUntilAcknowledged) {
  in_child([] {
    begin_systemc();
    Bench bench(configs::Bypass::fap);
    const std::vector<signed char> activations = {1, 2, 3, 4};                      // 1×4
    const std::vector<signed char> weights = {1, 0, 0, 1, 1, 0, 1, 0, 1, 1, 0, 0};  // 4×3
    bench.cpu.send(tlm::TLM_WRITE_COMMAND, 0, const_cast<signed char*>(activations.data()), 4);
    bench.cpu.send(tlm::TLM_WRITE_COMMAND, 64, const_cast<signed char*>(weights.data()), 12);
    bench.set(Register::in_c, 4);
    bench.set(Register::out_c, 3);
    bench.set(Register::weights, 64);
    bench.set(Register::output, 128);
    EXPECT_EQ(bench.set(Register::control, array::kStart), tlm::TLM_OK_RESPONSE);
    EXPECT_EQ(bench.get(Register::status), array::kBusy);
    EXPECT_EQ(bench.set(Register::in_c, 2), tlm::TLM_GENERIC_ERROR_RESPONSE) << "busy";
    EXPECT_EQ(bench.set(Register::control, array::kStart), tlm::TLM_GENERIC_ERROR_RESPONSE) << "busy";

    // One tile, M = 1: R + M + R + C − 2 = 4 + 1 + 4 + 3 − 2 cycles of round(1e9/700) fs.
    const std::uint64_t cycle = 1428571;
    sc_core::sc_start(sc_core::sc_time::from_value(10 * cycle - 1));
    EXPECT_FALSE(bench.interrupt.read()) << "a femtosecond early";
    EXPECT_EQ(bench.get(Register::status), array::kBusy);
    sc_core::sc_start();
    EXPECT_TRUE(bench.interrupt.read());
    EXPECT_EQ(sc_core::sc_time_stamp().value(), 10 * cycle);
    EXPECT_EQ(bench.get(Register::status), array::kDone);
    EXPECT_EQ(bench.get(Register::error), 0u);
    EXPECT_EQ(bench.get(Register::cycles), 10u);
    EXPECT_EQ(bench.get(Register::cycles_weight_shift), 4u);
    EXPECT_EQ(bench.get(Register::cycles_active), 1u);
    EXPECT_EQ(bench.get(Register::cycles_pipeline), 5u);
    for (const Register stall : {Register::stall_weights, Register::stall_activations,
                                 Register::stall_accumulators, Register::stall_output}) {
      EXPECT_EQ(bench.get(stall), 0u) << "ideal memory";
    }
    EXPECT_EQ(bench.cpu.read<std::int32_t>(128), 1 + 2 + 3 + 4);
    EXPECT_EQ(bench.cpu.read<std::int32_t>(132), 2);
    EXPECT_EQ(bench.cpu.read<std::int32_t>(136), 3);

    bench.set(Register::control, array::kAcknowledge);
    sc_core::sc_start();
    EXPECT_FALSE(bench.interrupt.read());
    EXPECT_EQ(bench.get(Register::status), 0u);
    return std::string();
  });
}

TEST(ArrayTarget, ReportsJobsThatCannotRun) {
  in_child([] {
    begin_systemc();
    Bench bench(configs::Bypass::fap);
    const auto error_of_job = [&] {
      bench.set(Register::control, array::kStart);
      sc_core::sc_start();
      EXPECT_TRUE(bench.interrupt.read()) << "a failed job must not leave the host waiting";
      EXPECT_EQ(bench.get(Register::status), array::kDone | array::kFailed);
      const auto error = static_cast<array::JobError>(bench.get(Register::error));
      bench.set(Register::control, array::kAcknowledge);
      sc_core::sc_start();
      return error;
    };
    bench.set(Register::batch, 0);
    EXPECT_EQ(error_of_job(), array::JobError::bad_shape);
    bench.set(Register::batch, ~std::uint64_t{0});
    EXPECT_EQ(error_of_job(), array::JobError::bad_shape) << "negative";
    bench.set(Register::batch, std::uint64_t{1} << 39);
    EXPECT_EQ(error_of_job(), array::JobError::bad_shape) << "outputs of 2^41 bytes";
    bench.set(Register::batch, 1);
    bench.set(Register::kernel_h, 2);
    EXPECT_EQ(error_of_job(), array::JobError::bad_shape) << "kernel larger than its input";
    bench.set(Register::kernel_h, 1);
    bench.set(Register::groups, 2);
    EXPECT_EQ(error_of_job(), array::JobError::bad_shape) << "one channel in two groups";
    bench.set(Register::groups, 1);
    bench.set(Register::activations, 4096);
    EXPECT_EQ(error_of_job(), array::JobError::activations_unreadable);
    bench.set(Register::activations, 0);
    bench.set(Register::weights, 1 << 20);
    EXPECT_EQ(error_of_job(), array::JobError::weights_unreadable);
    bench.set(Register::weights, 0);
    bench.set(Register::output, 4093);
    EXPECT_EQ(error_of_job(), array::JobError::output_unwritable) << "the fourth byte is outside";
    bench.set(Register::output, 64);
    bench.set(Register::flags, array::kRequantize);
    bench.set(Register::requantization, 4088);
    EXPECT_EQ(error_of_job(), array::JobError::requantization_unreadable);
    bench.set(Register::requantization, 128);
    EXPECT_EQ(error_of_job(), array::JobError::bad_requantization) << "shift 0";
    return std::string();
  });
}

}  // namespace
}  // namespace kintsugi
