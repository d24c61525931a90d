// The initiator side of the bus: moves blocks of bytes by DMI where a target grants it, by transactions
// otherwise.
//
// A member of the module that owns the traffic; its socket becomes that module's. Calls come from an
// SC_THREAD. Delays that targets annotate are collected, and spent by synchronise().
#pragma once

#include <tlm.h>
#include <tlm_utils/simple_initiator_socket.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <systemc>

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
  void invalidate(sc_dt::uint64 start, sc_dt::uint64 end);

  std::optional<tlm::tlm_dmi> dmi_;  // the region granted last
  sc_core::sc_time delay_;
};

}  // namespace kintsugi::memory
