// Memory, buffers, router and bus master as any TLM-2.0 partner meets them: what they do, and what they
// refuse. The array's registers: tlm_protocol_test.cpp.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "memory/buffer_target_sc.h"
#include "memory/bus_master.h"
#include "memory/memory_target.h"
#include "memory/router.h"
#include "tests/support/in_child.h"
#include "tests/support/tlm_initiator.h"

namespace kintsugi {
namespace {

using test::begin_systemc;
using test::in_child;
using test::Initiator;

constexpr std::uint64_t kCycle = 1'000'000;  // 1 ns

// One byte per cycle and 5 cycles of latency.
memory::MemoryTiming byte_per_cycle() {
  memory::MemoryTiming timing{.dram = {}, .clock_mhz = 1000, .cycle = kCycle};
  timing.dram.bandwidth_gb_s = 1;
  timing.dram.latency_ns = 5;
  timing.dram.burst_bytes = 16;
  return timing;
}

// Where a storage target lies on the bus, and what it promises.
struct Window {
  std::string name, what;
  std::uint64_t base = 0, bytes = 0;
  unsigned int word = 1;
  bool timed = false;
};

// Everything that targets which hold bytes have in common. `cpu` reaches `window` through a router.
class StorageProtocol {
 public:
  StorageProtocol(Initiator& cpu, const Window& window) : cpu_(cpu), window_(window) {}

  void check() {
    SCOPED_TRACE(window_.name);
    moves_bytes();
    honours_byte_enables();
    refuses();
    lets_debuggers_look();
    grants_direct_access();
  }

 private:
  tlm::tlm_response_status send(tlm::tlm_command command, std::uint64_t offset, void* data,
                                unsigned int length, unsigned int streaming_width = 0,
                                unsigned char* enables = nullptr, unsigned int enables_length = 0) {
    sc_core::sc_time delay;
    const auto status = cpu_.send_after(delay, command, window_.base + offset, data, length, streaming_width,
                                        enables, enables_length);
    const bool served = status == tlm::TLM_OK_RESPONSE && command != tlm::TLM_IGNORE_COMMAND;
    EXPECT_EQ(delay > sc_core::SC_ZERO_TIME, window_.timed && served);
    if (delay > sc_core::SC_ZERO_TIME) sc_core::sc_start(delay);
    return status;
  }
  std::uint64_t word_at(std::uint64_t offset) {
    std::uint64_t value = 0;
    EXPECT_EQ(send(tlm::TLM_READ_COMMAND, offset, &value, 8), tlm::TLM_OK_RESPONSE);
    return value;
  }
  // Expects a refusal, its text in the extension and in a report, and no change.
  void refused(tlm::tlm_response_status expected, const std::string& sentence, tlm::tlm_command command,
               std::uint64_t offset, unsigned int length, unsigned int streaming_width = 0,
               unsigned char* enables = nullptr) {
    std::array<unsigned char, 64> data;
    data.fill(0xA5);
    test::last_reported_refusal().clear();
    EXPECT_EQ(send(command, offset, data.data(), length, streaming_width, enables), expected) << sentence;
    EXPECT_EQ(cpu_.refusal,
              fmt::format(
                  "{}: {} of {} by cpu {}", window_.name, command == tlm::TLM_READ_COMMAND ? "read" : "write",
                  fmt::format("{} byte{} at {:#x}", length, length == 1 ? "" : "s", window_.base + offset),
                  sentence));
    EXPECT_EQ(test::last_reported_refusal(), cpu_.refusal);
    EXPECT_FALSE(cpu_.dmi_hint);
    EXPECT_EQ(data[0], 0xA5);
    EXPECT_EQ(word_at(8), 0xFF22FF44FF66FF88u) << "a refused access must change nothing";
    EXPECT_EQ(word_at(window_.bytes - 8), kLast);
  }

  void moves_bytes() {
    EXPECT_EQ(word_at(0), 0u) << "storage starts zeroed";
    std::uint64_t value = 0x1122334455667788;
    EXPECT_EQ(send(tlm::TLM_WRITE_COMMAND, 8, &value, 8), tlm::TLM_OK_RESPONSE);
    EXPECT_TRUE(cpu_.dmi_hint);
    std::uint32_t half = 0;
    EXPECT_EQ(send(tlm::TLM_READ_COMMAND, 12, &half, 4), tlm::TLM_OK_RESPONSE);
    EXPECT_EQ(half, 0x11223344u);
    EXPECT_EQ(send(tlm::TLM_READ_COMMAND, 12, &half, 4, 64), tlm::TLM_OK_RESPONSE)
        << "a streaming width above the length is no streaming";
    value = kLast;
    EXPECT_EQ(send(tlm::TLM_WRITE_COMMAND, window_.bytes - 8, &value, 8), tlm::TLM_OK_RESPONSE);
    EXPECT_EQ(send(tlm::TLM_IGNORE_COMMAND, 0, &value, 8), tlm::TLM_OK_RESPONSE);
    EXPECT_EQ(word_at(0), 0u);
    EXPECT_EQ(value, kLast);
  }

  // A short mask repeats; disabled bytes stay.
  void honours_byte_enables() {
    std::array<unsigned char, 2> odd = {TLM_BYTE_DISABLED, TLM_BYTE_ENABLED};
    std::uint64_t ones = ~std::uint64_t{0}, partial = 0;
    EXPECT_EQ(send(tlm::TLM_WRITE_COMMAND, 8, &ones, 8, 8, odd.data(), 2), tlm::TLM_OK_RESPONSE);
    EXPECT_EQ(word_at(8), 0xFF22FF44FF66FF88u);
    EXPECT_EQ(send(tlm::TLM_READ_COMMAND, 8, &partial, 8, 8, odd.data(), 2), tlm::TLM_OK_RESPONSE);
    EXPECT_EQ(partial, 0xFF00FF00FF00FF00u);
  }

  void refuses() {
    const std::string outside = fmt::format("is outside the {} bytes of {}", window_.bytes, window_.what);
    constexpr auto kRead = tlm::TLM_READ_COMMAND, kWrite = tlm::TLM_WRITE_COMMAND;
    // The last byte belongs to it, the next does not. The router's ranges are larger than the targets.
    refused(tlm::TLM_ADDRESS_ERROR_RESPONSE, outside, kWrite, window_.bytes, 1);
    refused(tlm::TLM_ADDRESS_ERROR_RESPONSE, outside, kWrite, window_.bytes - 4, 8);
    refused(tlm::TLM_ADDRESS_ERROR_RESPONSE, outside, kRead, window_.bytes - 56, 64);
    refused(tlm::TLM_BURST_ERROR_RESPONSE, "has a streaming width of 4; allowed is the length and more",
            kWrite, 8, 8, 4);
    refused(tlm::TLM_BURST_ERROR_RESPONSE, "moves nothing; allowed are 1 byte and more", kRead, 8, 0);
    unsigned char enable = TLM_BYTE_ENABLED;
    refused(tlm::TLM_BYTE_ENABLE_ERROR_RESPONSE, "has byte enables of length 0; allowed are 1 and more",
            kWrite, 8, 8, 8, &enable);
    if (window_.word == 1) {
      std::uint32_t odd = 0;
      EXPECT_EQ(send(kRead, 9, &odd, 3), tlm::TLM_OK_RESPONSE);
      return;
    }
    refused(tlm::TLM_ADDRESS_ERROR_RESPONSE, "is not aligned; allowed are addresses that are multiples of 4",
            kWrite, 10, 4);
    refused(tlm::TLM_BURST_ERROR_RESPONSE, "is not aligned; allowed are lengths that are multiples of 4",
            kWrite, 8, 6);
    refused(tlm::TLM_BURST_ERROR_RESPONSE, "is not aligned; allowed are lengths that are multiples of 4",
            kRead, 8, 1);
  }

  // Debug accesses move what there is, in no time.
  void lets_debuggers_look() {
    const sc_core::sc_time before = sc_core::sc_time_stamp();
    std::array<unsigned char, 16> bytes{};
    EXPECT_EQ(cpu_.debug(tlm::TLM_READ_COMMAND, window_.base + window_.bytes - 8, bytes.data(), 16), 8u);
    std::uint64_t value = 0;
    std::memcpy(&value, bytes.data(), 8);
    EXPECT_EQ(value, kLast);
    EXPECT_EQ(cpu_.debug(tlm::TLM_WRITE_COMMAND, window_.base + 17, bytes.data() + 7, 1), 1u)
        << "words do not bind debuggers";
    EXPECT_EQ(sc_core::sc_time_stamp(), before);
    EXPECT_EQ(word_at(16), (kLast >> 56) << 8);
    EXPECT_EQ(cpu_.debug(tlm::TLM_IGNORE_COMMAND, window_.base + 16, bytes.data(), 8), 8u);
    EXPECT_EQ(cpu_.debug(tlm::TLM_READ_COMMAND, window_.base + window_.bytes, bytes.data(), 1), 0u);
  }

  void grants_direct_access() {
    tlm::tlm_dmi dmi;
    ASSERT_TRUE(cpu_.ask_dmi(window_.base + 100, dmi));
    EXPECT_EQ(dmi.get_start_address(), window_.base);
    EXPECT_EQ(dmi.get_end_address(), window_.base + window_.bytes - 1);
    EXPECT_TRUE(dmi.is_read_write_allowed());
    EXPECT_EQ(dmi.get_dmi_ptr()[window_.bytes - 1], kLast >> 56);
    EXPECT_EQ(dmi.get_read_latency(), sc_core::SC_ZERO_TIME);
    EXPECT_FALSE(cpu_.ask_dmi(window_.base + window_.bytes, dmi));
  }

  static constexpr std::uint64_t kLast = 0x0706050403020100;
  Initiator& cpu_;
  const Window& window_;
};

TEST(StorageTargets, FollowTheProtocol) {
  in_child([] {
    begin_systemc();
    Initiator cpu("cpu");
    memory::Router bus("bus");
    cpu.socket.bind(bus.from_initiators);
    memory::MemoryTarget ideal("memory", 256);
    memory::MemoryTarget dram("dram", 320, true, byte_per_cycle());
    memory::BufferTarget buffer("unified_buffer", "the unified buffer", 512);
    memory::BufferTarget fifo("weight_fifo", "the weight FIFO", 4 * 48);
    memory::BufferTarget accumulators("accumulators", "the accumulators", 1024, 4);
    const std::vector<Window> windows = {
        {"memory", "memory", 0, 256},
        {"dram", "memory", 0x10000, 320, 1, true},
        {"unified_buffer", "the unified buffer", std::uint64_t{1} << 44, 512},
        {"weight_fifo", "the weight FIFO", 0x20000, 192},
        {"accumulators", "the accumulators", 0x30000, 1024, 4}};
    bus.map(windows[0].base, 2048, ideal.socket);
    bus.map(windows[1].base, 2048, dram.socket);
    bus.map(windows[2].base, 2048, buffer.socket);
    bus.map(windows[3].base, 2048, fifo.socket);
    bus.map(windows[4].base, 2048, accumulators.socket);
    sc_core::sc_start(sc_core::SC_ZERO_TIME);
    for (const Window& window : windows) StorageProtocol(cpu, window).check();
    EXPECT_GT(dram.bus_bytes(), 0);
    EXPECT_EQ(ideal.bus_bytes() + ideal.row_hits() + ideal.row_misses(), 0);

    // Without an Origin the same answers, and a message that says what there is to say.
    cpu.anonymous = true;
    EXPECT_EQ(cpu.write<std::uint64_t>(252, 1), tlm::TLM_ADDRESS_ERROR_RESPONSE);
    EXPECT_EQ(test::last_reported_refusal(),
              "memory: write of 8 bytes at 0xfc by an unnamed initiator is outside the 256 bytes of memory");
    return std::string();
  });
}

TEST(StorageTargets, RefuseDirectAccessAndSettingsThatMakeNoSense) {
  in_child([] {
    begin_systemc();
    Initiator a("a"), b("b");
    memory::MemoryTarget memory("memory", 64, false);
    memory::BufferTarget buffer("buffer", "the buffer", 64, 1, false);
    a.socket.bind(memory.socket);
    b.socket.bind(buffer.socket);
    EXPECT_THROW(memory::BufferTarget("none", "it", 64, 0), std::invalid_argument);
    memory::MemoryTiming stopped = byte_per_cycle();
    stopped.cycle = 0;
    EXPECT_THROW(memory::MemoryTarget("stopped", 64, true, stopped), std::invalid_argument);
    for (Initiator* cpu : {&a, &b}) {
      EXPECT_EQ(cpu->write<std::uint64_t>(0, 1), tlm::TLM_OK_RESPONSE);
      EXPECT_FALSE(cpu->dmi_hint);
      tlm::tlm_dmi dmi;
      EXPECT_FALSE(cpu->ask_dmi(0, dmi));
      EXPECT_TRUE(dmi.is_none_allowed());
    }
    return std::string();
  });
}

// A timed memory with a bus of its own; access() is one transaction and the delay it comes back with.
struct TimedBench {
  TimedBench() { cpu.socket.bind(memory.socket); }
  // Delays in femtoseconds; the response is in `status`.
  std::uint64_t access(tlm::tlm_command command, std::uint64_t address, unsigned int length,
                       std::uint64_t delay = 0) {
    std::vector<unsigned char> data(length);
    sc_core::sc_time time = sc_core::sc_time::from_value(delay);
    status = cpu.send_after(time, command, address, data.data(), length);
    return time.value();
  }
  std::uint64_t read(std::uint64_t address, unsigned int length, std::uint64_t delay = 0) {
    return access(tlm::TLM_READ_COMMAND, address, length, delay);
  }
  std::uint64_t write(std::uint64_t address, unsigned int length, std::uint64_t delay = 0) {
    return access(tlm::TLM_WRITE_COMMAND, address, length, delay);
  }
  Initiator cpu{"cpu"};
  memory::MemoryTarget memory{"memory", 4096, true, byte_per_cycle()};
  tlm::tlm_response_status status = tlm::TLM_INCOMPLETE_RESPONSE;
};

TEST(TimedMemory, AnnotatesTheWayToTheCycleOfCompletion) {
  in_child([] {
    begin_systemc();
    TimedBench bench;
    EXPECT_EQ(bench.read(0, 16), 21 * kCycle) << "16 cycles on the bus, 5 of latency";
    // In the same instant, but the initiator is 2.5 cycles ahead: it waits for the bus all the same.
    EXPECT_EQ(bench.write(16, 16, 2 * kCycle + kCycle / 2), 37 * kCycle);
    // 20.25 cycles ahead of the bus' 32.
    EXPECT_EQ(bench.read(32, 1, 52 * kCycle + kCycle / 4), (52 + 16 + 5) * kCycle);
    sc_core::sc_start(sc_core::sc_time::from_value(100 * kCycle + kCycle / 4));
    EXPECT_EQ(bench.read(0, 32), (100 + 32 + 5) * kCycle - (100 * kCycle + kCycle / 4))
        << "from a quarter of cycle 100 to the beginning of cycle 137";
    EXPECT_EQ(bench.memory.bus_bytes(), 16 + 16 + 16 + 32);
    EXPECT_EQ(bench.memory.transactions(), 4u);
    // What is refused takes no time, on the bus neither.
    EXPECT_EQ(bench.read(4096, 1, 7), 7u);
    EXPECT_EQ(bench.status, tlm::TLM_ADDRESS_ERROR_RESPONSE);
    EXPECT_EQ(bench.memory.bus_bytes(), 80);
    return std::string();
  });
}

TEST(TimedMemory, CountsRows) {
  in_child([] {
    begin_systemc();
    Initiator cpu("cpu");
    memory::MemoryTiming timing = byte_per_cycle();
    timing.dram.row_buffer = configs::RowBufferConfig{.banks = 2, .row_bytes = 64, .miss_ns = 30};
    memory::MemoryTarget memory("memory", 4096, true, timing);
    cpu.socket.bind(memory.socket);
    std::array<unsigned char, 64> data{};
    sc_core::sc_time delay;
    cpu.send_after(delay, tlm::TLM_READ_COMMAND, 32, data.data(), 64);
    EXPECT_EQ(delay.value(), (30 + 32 + 30 + 32 + 5) * kCycle);
    EXPECT_EQ(memory.row_misses(), 2);
    EXPECT_EQ(memory.row_hits(), 2);
    return std::string();
  });
}

TEST(TimedMemory, RefusesTransfersThatOverlapOneInFlight) {
  in_child([] {
    begin_systemc();
    TimedBench bench;
    const auto ok = tlm::TLM_OK_RESPONSE, refused = tlm::TLM_GENERIC_ERROR_RESPONSE;
    EXPECT_EQ(bench.write(64, 16), 21 * kCycle);  // in flight until cycle 21
    EXPECT_EQ(bench.read(72, 16), 0u) << "refused: no time";
    EXPECT_EQ(bench.status, refused);
    EXPECT_EQ(
        bench.cpu.refusal,
        "memory: read of 16 bytes at 0x48 by cpu arrives in cycle 0 and overlaps a write of 16 bytes at "
        "0x40 that is in flight; allowed from cycle 21 on");
    EXPECT_EQ(test::last_reported_refusal(), bench.cpu.refusal);
    bench.write(60, 5);
    EXPECT_EQ(bench.status, refused) << "two writes, one byte in common";
    // Neighbours are no overlap. The bus goes on at 16: reads until 37, 53 and (two bursts) 85 + …
    EXPECT_EQ(bench.read(80, 16), 37 * kCycle);
    EXPECT_EQ(bench.read(48, 16), 53 * kCycle);
    EXPECT_EQ(bench.read(84, 4), 69 * kCycle) << "two reads never race";
    bench.write(84, 4);
    EXPECT_EQ(bench.status, refused) << "a write into bytes that are being read";
    // Until cycle 20 the first write is in flight, from 21 on it is not.
    bench.read(64, 1, 21 * kCycle - 1);
    EXPECT_EQ(bench.status, refused);
    bench.read(64, 1, 21 * kCycle);
    EXPECT_EQ(bench.status, ok);
    // The same by the simulation's own time: the read of 80 … 95 ends at 37, that of 84 … 87 at 69.
    sc_core::sc_start(sc_core::sc_time::from_value(69 * kCycle - 1));
    bench.write(84, 4);
    EXPECT_EQ(bench.status, refused);
    bench.write(88, 4);
    EXPECT_EQ(bench.status, ok);
    sc_core::sc_start(sc_core::sc_time::from_value(1));
    bench.write(84, 4);
    EXPECT_EQ(bench.status, ok);
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
    EXPECT_EQ(
        cpu.refusal,
        "bus: write of 1 byte at 0x40 by cpu reaches no target; mapped are 0x0 … 0x3f, 0x100000 … 0x10001f, "
        "0x200000 … 0x20003f");
    EXPECT_EQ(cpu.write<std::uint64_t>((1 << 20) + 28, 3), tlm::TLM_ADDRESS_ERROR_RESPONSE)
        << "past its range, though the target is larger";
    EXPECT_EQ(
        cpu.refusal,
        "bus: write of 8 bytes at 0x10001c by cpu runs past the end of 0x100000 … 0x10001f, which is one "
        "target's");
    EXPECT_EQ(test::last_reported_refusal(), cpu.refusal);

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

// A module with traffic of its own.
struct Owner : sc_core::sc_module {
  memory::BusMaster bus{"bus"};
  explicit Owner(sc_core::sc_module_name name) : sc_core::sc_module(name) {}
};

// A target from another house, which refuses without a word.
struct Mute : sc_core::sc_module {
  tlm_utils::simple_target_socket<Mute, 64> socket{"socket"};
  explicit Mute(sc_core::sc_module_name name) : sc_core::sc_module(name) {
    socket.register_b_transport(this, &Mute::b_transport);
  }
  void b_transport(tlm::tlm_generic_payload& transaction, sc_core::sc_time&) {
    transaction.set_response_status(tlm::TLM_GENERIC_ERROR_RESPONSE);
  }
};

TEST(BusMaster, SaysWhyItWasRefused) {
  in_child([] {
    begin_systemc();
    Owner owner("host");
    memory::Router bus("interconnect");
    memory::MemoryTarget memory("memory", 256, false);
    Mute mute("mute");
    owner.bus.socket.bind(bus.from_initiators);
    bus.map(0x1000, 4096, memory.socket);
    bus.map(0x8000, 16, mute.socket);
    sc_core::sc_start(sc_core::SC_ZERO_TIME);

    std::array<std::byte, 64> data{};
    data[3] = std::byte{9};
    EXPECT_EQ(owner.bus.write(0x1000, data), tlm::TLM_OK_RESPONSE);
    EXPECT_EQ(owner.bus.last_refusal(), "");
    EXPECT_EQ(owner.bus.write(0x10f0, data), tlm::TLM_ADDRESS_ERROR_RESPONSE);
    EXPECT_EQ(owner.bus.last_refusal(),
              "memory: write of 64 bytes at 0x10f0 by host.bus is outside the 256 bytes of memory");
    std::uint64_t value = 0;
    EXPECT_EQ(owner.bus.read_register(0x8000, value), tlm::TLM_GENERIC_ERROR_RESPONSE);
    EXPECT_EQ(owner.bus.last_refusal(),
              "read of 8 bytes at 0x8000 by host.bus was refused (TLM_GENERIC_ERROR_RESPONSE)");
    EXPECT_EQ(owner.bus.read(~std::uint64_t{0} - 3, data), tlm::TLM_ADDRESS_ERROR_RESPONSE);
    EXPECT_EQ(owner.bus.last_refusal(),
              "read of 64 bytes at 0xfffffffffffffffc by host.bus runs past the last address of the bus");
    return std::string();
  });
}

TEST(BusMaster, DebugAccessesTakeNoTimeAndAreNotCounted) {
  in_child([] {
    begin_systemc();
    Owner owner("host");
    memory::MemoryTarget memory("memory", (std::uint64_t{3} << 20) + 5, false, byte_per_cycle());
    owner.bus.socket.bind(memory.socket);
    sc_core::sc_start(sc_core::SC_ZERO_TIME);
    std::vector<std::byte> data(memory.bytes()), back(memory.bytes());
    for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i * 2654435761u >> 24);
    EXPECT_TRUE(owner.bus.debug_write(0, data)) << "several blocks";
    EXPECT_TRUE(owner.bus.debug_read(0, back));
    EXPECT_EQ(back, data);
    EXPECT_FALSE(owner.bus.debug_read(1, back)) << "one byte is not there";
    EXPECT_FALSE(owner.bus.debug_write(~std::uint64_t{0}, data));
    EXPECT_EQ(memory.transactions(), 0u);
    EXPECT_EQ(memory.bus_bytes(), 0);
    return std::string();
  });
}

}  // namespace
}  // namespace kintsugi
