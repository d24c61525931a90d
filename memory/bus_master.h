// The initiator side of the bus: moves blocks of bytes by DMI where a target grants it, by transactions
// otherwise.
//
// A member of the module that owns the traffic; its socket becomes that module's. Calls come from an
// SC_THREAD. Delays that targets annotate are collected, and spent by synchronise(). Transactions carry their
// Origin (memory/origin.h).
#pragma once

#include <tlm.h>
#include <tlm_utils/simple_initiator_socket.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <systemc>

#include "memory/origin.h"

namespace kintsugi::memory {

class BusMaster {
 public:
  tlm_utils::simple_initiator_socket<BusMaster, 64> socket;

  explicit BusMaster(const char* socket_name);

  // Any length, in blocks. The first response that is not TLM_OK_RESPONSE ends the transfer and is returned;
  // blocks before it have been moved.
  tlm::tlm_response_status read(std::uint64_t address, std::span<std::byte> data);
  tlm::tlm_response_status write(std::uint64_t address, std::span<const std::byte> data);

  // One 64-bit register.
  tlm::tlm_response_status read_register(std::uint64_t address, std::uint64_t& value);
  tlm::tlm_response_status write_register(std::uint64_t address, std::uint64_t value);

  // Why the last access that was refused was refused, for the user to read: target, initiator, command,
  // length, address, and what is allowed. Empty if none was.
  const std::string& last_refusal() const { return last_refusal_; }

  // By debug transactions: no time passes and nobody counts the traffic. False if not all bytes have a target
  // that lets them be read or written so; what could be moved has been.
  bool debug_read(std::uint64_t address, std::span<std::byte> data);
  bool debug_write(std::uint64_t address, std::span<const std::byte> data);

  // The bytes themselves, if DMI is granted for all of them; nullptr otherwise. Good until the next wait.
  std::byte* direct(std::uint64_t address, std::uint64_t length);

  // True if the first and the last byte of a non-empty range have a target (by debug reads, which take no
  // time).
  bool reaches(std::uint64_t address, std::uint64_t length);

  // Lets the simulation catch up with the delays collected so far.
  void synchronise();

 private:
  tlm::tlm_response_status transport(tlm::tlm_command command, std::uint64_t address, std::byte* data,
                                     unsigned int length);
  tlm::tlm_response_status move(tlm::tlm_command command, std::uint64_t address, std::byte* data,
                                std::uint64_t length);
  bool debug(tlm::tlm_command command, std::uint64_t address, std::byte* data, std::uint64_t length);
  void invalidate(sc_dt::uint64 start, sc_dt::uint64 end);

  std::optional<tlm::tlm_dmi> dmi_;  // the region granted last
  sc_core::sc_time delay_;
  Origin origin_;
  std::string last_refusal_;
};

}  // namespace kintsugi::memory
