// Memory, router and array target as any TLM-2.0 initiator meets them: what they do, and what they refuse.
#include <gtest/gtest.h>
#include <tlm.h>
#include <tlm_utils/simple_initiator_socket.h>

#include <array>
#include <cstring>
#include <systemc>
#include <vector>

#include "array/array_target_sc.h"
#include "memory/memory_target.h"
#include "memory/router.h"
#include "tests/support/in_child.h"

namespace kintsugi {
namespace {

using array::offset_of;
using array::Register;
using test::in_child;

// An initiator without manners: sends exactly what a test asks for.
class Initiator : public sc_core::sc_module {
 public:
  tlm_utils::simple_initiator_socket<Initiator, 64> socket{"socket"};
  explicit Initiator(sc_core::sc_module_name name) : sc_core::sc_module(name) {}

  tlm::tlm_response_status send(tlm::tlm_command command, std::uint64_t address, void* data,
                                unsigned int length, unsigned int streaming_width = 0,
                                unsigned char* enables = nullptr, unsigned int enables_length = 0) {
    tlm::tlm_generic_payload transaction;
    fill(transaction, command, address, data, length);
    if (streaming_width != 0) transaction.set_streaming_width(streaming_width);
    transaction.set_byte_enable_ptr(enables);
    transaction.set_byte_enable_length(enables_length);
    sc_core::sc_time delay;
    socket->b_transport(transaction, delay);
    EXPECT_EQ(delay, sc_core::SC_ZERO_TIME);
    EXPECT_EQ(transaction.get_address(), address) << "the address must come back as it was";
    dmi_hint = transaction.is_dmi_allowed();
    return transaction.get_response_status();
  }
  template <class T>
  tlm::tlm_response_status write(std::uint64_t address, T value) {
    return send(tlm::TLM_WRITE_COMMAND, address, &value, sizeof value);
  }
  template <class T>
  T read(std::uint64_t address) {
    T value{};
    EXPECT_EQ(send(tlm::TLM_READ_COMMAND, address, &value, sizeof value), tlm::TLM_OK_RESPONSE);
    return value;
  }
  unsigned int debug(tlm::tlm_command command, std::uint64_t address, void* data, unsigned int length) {
    tlm::tlm_generic_payload transaction;
    fill(transaction, command, address, data, length);
    return socket->transport_dbg(transaction);
  }
  bool ask_dmi(std::uint64_t address, tlm::tlm_dmi& dmi) {
    tlm::tlm_generic_payload transaction;
    fill(transaction, tlm::TLM_READ_COMMAND, address, nullptr, 0);
    return socket->get_direct_mem_ptr(transaction, dmi);
  }
  bool dmi_hint = false;

 private:
  static void fill(tlm::tlm_generic_payload& transaction, tlm::tlm_command command, std::uint64_t address,
                   void* data, unsigned int length) {
    transaction.set_command(command);
    transaction.set_address(address);
    transaction.set_data_ptr(static_cast<unsigned char*>(data));
    transaction.set_data_length(length);
    transaction.set_streaming_width(length);
  }
};

void begin_systemc() {
  // A warning of the kernel is a mistake of ours.
  sc_core::sc_report_handler::set_actions(sc_core::SC_WARNING, sc_core::SC_THROW);
  sc_core::sc_set_time_resolution(1, sc_core::SC_FS);
}

TEST(MemoryTarget, FollowsTheProtocol) {
  in_child([] {
    begin_systemc();
    Initiator cpu("cpu");
    memory::MemoryTarget memory("memory", 256);
    cpu.socket.bind(memory.socket);
    sc_core::sc_start(sc_core::SC_ZERO_TIME);

    EXPECT_EQ(cpu.read<std::uint64_t>(0), 0u) << "memory starts zeroed";
    EXPECT_EQ(cpu.write<std::uint64_t>(8, 0x1122334455667788), tlm::TLM_OK_RESPONSE);
    EXPECT_TRUE(cpu.dmi_hint);
    EXPECT_EQ(cpu.read<std::uint32_t>(12), 0x11223344u);

    // Byte enables: a short mask repeats; disabled bytes stay.
    std::array<unsigned char, 2> odd = {TLM_BYTE_DISABLED, TLM_BYTE_ENABLED};
    std::uint64_t ones = ~std::uint64_t{0};
    EXPECT_EQ(cpu.send(tlm::TLM_WRITE_COMMAND, 8, &ones, 8, 8, odd.data(), 2), tlm::TLM_OK_RESPONSE);
    EXPECT_EQ(cpu.read<std::uint64_t>(8), 0xFF22FF44FF66FF88u);
    std::uint64_t partial = 0;
    EXPECT_EQ(cpu.send(tlm::TLM_READ_COMMAND, 8, &partial, 8, 8, odd.data(), 2), tlm::TLM_OK_RESPONSE);
    EXPECT_EQ(partial, 0xFF00FF00FF00FF00u);
    EXPECT_EQ(cpu.send(tlm::TLM_WRITE_COMMAND, 8, &ones, 8, 8, odd.data(), 0),
              tlm::TLM_BYTE_ENABLE_ERROR_RESPONSE);

    // The last byte belongs to it, the next does not.
    EXPECT_EQ(cpu.write<std::uint8_t>(255, 7), tlm::TLM_OK_RESPONSE);
    EXPECT_EQ(cpu.write<std::uint8_t>(256, 7), tlm::TLM_ADDRESS_ERROR_RESPONSE);
    EXPECT_EQ(cpu.write<std::uint64_t>(249, 7), tlm::TLM_ADDRESS_ERROR_RESPONSE);
    EXPECT_EQ(cpu.write<std::uint64_t>(~std::uint64_t{0}, 7), tlm::TLM_ADDRESS_ERROR_RESPONSE);
    EXPECT_EQ(cpu.read<std::uint8_t>(255), 7) << "a refused write must change nothing";

    EXPECT_EQ(cpu.send(tlm::TLM_READ_COMMAND, 0, &ones, 8, 4), tlm::TLM_BURST_ERROR_RESPONSE);
    EXPECT_EQ(cpu.send(tlm::TLM_IGNORE_COMMAND, 8, &ones, 8), tlm::TLM_OK_RESPONSE);
    EXPECT_EQ(cpu.read<std::uint64_t>(8), 0xFF22FF44FF66FF88u);

    // Debug accesses move what there is.
    std::array<unsigned char, 16> bytes{};
    EXPECT_EQ(cpu.debug(tlm::TLM_READ_COMMAND, 248, bytes.data(), 16), 8u);
    EXPECT_EQ(bytes[7], 7);
    EXPECT_EQ(cpu.debug(tlm::TLM_WRITE_COMMAND, 0, bytes.data(), 8), 8u);
    EXPECT_EQ(cpu.read<std::uint8_t>(7), 7);
    EXPECT_EQ(cpu.debug(tlm::TLM_READ_COMMAND, 256, bytes.data(), 1), 0u);

    tlm::tlm_dmi dmi;
    EXPECT_TRUE(cpu.ask_dmi(100, dmi));
    EXPECT_EQ(dmi.get_start_address(), 0u);
    EXPECT_EQ(dmi.get_end_address(), 255u);
    EXPECT_TRUE(dmi.is_read_write_allowed());
    EXPECT_EQ(dmi.get_dmi_ptr()[255], 7);
    EXPECT_FALSE(cpu.ask_dmi(256, dmi));
    return std::string();
  });
}

TEST(Router, TranslatesAddressesAndDirectRegions) {
  in_child([] {
    begin_systemc();
    Initiator cpu("cpu");
    memory::Router bus("bus");
    memory::MemoryTarget low("low", 64), high("high", 64), shy("shy", 64, false);
    cpu.socket.bind(bus.from_initiators);
    bus.map(0, 64, low.socket);
    bus.map(1 << 20, 32, high.socket);
    bus.map(1 << 21, 64, shy.socket);
    EXPECT_THROW(bus.map(63, 4, low.socket), std::invalid_argument);
    EXPECT_THROW(bus.map((1 << 20) - 2, 4, low.socket), std::invalid_argument);
    sc_core::sc_start(sc_core::SC_ZERO_TIME);

    EXPECT_EQ(cpu.write<std::uint8_t>(5, 1), tlm::TLM_OK_RESPONSE);
    EXPECT_EQ(cpu.write<std::uint8_t>((1 << 20) + 5, 2), tlm::TLM_OK_RESPONSE);
    EXPECT_EQ(cpu.read<std::uint8_t>(5), 1);
    EXPECT_EQ(cpu.read<std::uint8_t>((1 << 20) + 5), 2);
    EXPECT_EQ(cpu.write<std::uint8_t>(64, 3), tlm::TLM_ADDRESS_ERROR_RESPONSE) << "a hole";
    EXPECT_EQ(cpu.write<std::uint64_t>((1 << 20) + 28, 3), tlm::TLM_ADDRESS_ERROR_RESPONSE)
        << "past its range, though the target is larger";

    tlm::tlm_dmi dmi;
    EXPECT_TRUE(cpu.ask_dmi((1 << 20) + 9, dmi));
    EXPECT_EQ(dmi.get_start_address(), 1u << 20);
    EXPECT_EQ(dmi.get_end_address(), (1u << 20) + 31);
    EXPECT_EQ(dmi.get_dmi_ptr()[5], 2);
    EXPECT_FALSE(cpu.ask_dmi(1 << 21, dmi));
    EXPECT_FALSE(cpu.ask_dmi(64, dmi));
    unsigned char byte = 0;
    EXPECT_EQ(cpu.debug(tlm::TLM_READ_COMMAND, (1 << 20) + 5, &byte, 1), 1u);
    EXPECT_EQ(byte, 2);
    EXPECT_EQ(cpu.debug(tlm::TLM_READ_COMMAND, 64, &byte, 1), 0u);
    return std::string();
  });
}

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
    EXPECT_EQ(bench.get(Register::stall_cycles), 0u);
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
