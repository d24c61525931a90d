#include "memory/bus_master.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace kintsugi::memory {
namespace {

// TLM-2.0 counts lengths in unsigned int; blocks keep transactions well below that.
constexpr std::uint64_t kBlockBytes = std::uint64_t{1} << 20;

}  // namespace

BusMaster::BusMaster(const char* socket_name) : socket(socket_name) {
  socket.register_invalidate_direct_mem_ptr(this, &BusMaster::invalidate);
  origin_.initiator = socket.name();
}

tlm::tlm_response_status BusMaster::transport(tlm::tlm_command command, std::uint64_t address,
                                              std::byte* data, unsigned int length) {
  tlm::tlm_generic_payload transaction;
  transaction.set_command(command);
  transaction.set_address(address);
  transaction.set_data_ptr(reinterpret_cast<unsigned char*>(data));
  transaction.set_data_length(length);
  transaction.set_streaming_width(length);
  transaction.set_response_status(tlm::TLM_INCOMPLETE_RESPONSE);
  origin_.refusal.clear();
  const OriginScope scope(transaction, origin_);
  socket->b_transport(transaction, delay_);
  const tlm::tlm_response_status status = transaction.get_response_status();
  if (status != tlm::TLM_OK_RESPONSE) last_refusal_ = describe_refusal(transaction, origin_);
  return status;
}

tlm::tlm_response_status BusMaster::move(tlm::tlm_command command, std::uint64_t address, std::byte* data,
                                         std::uint64_t length) {
  if (address + length < address) {
    last_refusal_ =
        fmt::format("{} of {} bytes at {:#x} by {} runs past the last address of the bus",
                    command == tlm::TLM_READ_COMMAND ? "read" : "write", length, address, origin_.initiator);
    return tlm::TLM_ADDRESS_ERROR_RESPONSE;
  }
  for (std::uint64_t done = 0; done < length;) {
    const std::uint64_t block = std::min(kBlockBytes, length - done);
    const auto status = transport(command, address + done, data + done, static_cast<unsigned int>(block));
    if (status != tlm::TLM_OK_RESPONSE) return status;
    done += block;
  }
  return tlm::TLM_OK_RESPONSE;
}

tlm::tlm_response_status BusMaster::read(std::uint64_t address, std::span<std::byte> data) {
  if (data.empty()) return tlm::TLM_OK_RESPONSE;
  if (const std::byte* memory = direct(address, data.size())) {
    std::memcpy(data.data(), memory, data.size());
    return tlm::TLM_OK_RESPONSE;
  }
  return move(tlm::TLM_READ_COMMAND, address, data.data(), data.size());
}

tlm::tlm_response_status BusMaster::write(std::uint64_t address, std::span<const std::byte> data) {
  if (data.empty()) return tlm::TLM_OK_RESPONSE;
  if (std::byte* memory = direct(address, data.size())) {
    std::memcpy(memory, data.data(), data.size());
    return tlm::TLM_OK_RESPONSE;
  }
  // A generic payload has one pointer for both directions; a write never changes what it points at.
  return move(tlm::TLM_WRITE_COMMAND, address, const_cast<std::byte*>(data.data()), data.size());
}

tlm::tlm_response_status BusMaster::read_register(std::uint64_t address, std::uint64_t& value) {
  return transport(tlm::TLM_READ_COMMAND, address, reinterpret_cast<std::byte*>(&value), sizeof(value));
}

tlm::tlm_response_status BusMaster::write_register(std::uint64_t address, std::uint64_t value) {
  return transport(tlm::TLM_WRITE_COMMAND, address, reinterpret_cast<std::byte*>(&value), sizeof(value));
}

bool BusMaster::debug_read(std::uint64_t address, std::span<std::byte> data) {
  return debug(tlm::TLM_READ_COMMAND, address, data.data(), data.size());
}

bool BusMaster::debug_write(std::uint64_t address, std::span<const std::byte> data) {
  return debug(tlm::TLM_WRITE_COMMAND, address, const_cast<std::byte*>(data.data()), data.size());
}

bool BusMaster::debug(tlm::tlm_command command, std::uint64_t address, std::byte* data,
                      std::uint64_t length) {
  if (address + length < address) return false;
  for (std::uint64_t done = 0; done < length;) {
    const auto block = static_cast<unsigned int>(std::min(kBlockBytes, length - done));
    tlm::tlm_generic_payload transaction;
    transaction.set_command(command);
    transaction.set_address(address + done);
    transaction.set_data_ptr(reinterpret_cast<unsigned char*>(data + done));
    transaction.set_data_length(block);
    transaction.set_streaming_width(block);
    if (socket->transport_dbg(transaction) != block) return false;
    done += block;
  }
  return true;
}

std::byte* BusMaster::direct(std::uint64_t address, std::uint64_t length) {
  const auto covers = [&](const tlm::tlm_dmi& region) {
    return address >= region.get_start_address() && address <= region.get_end_address() &&
           length <= region.get_end_address() - address + 1;
  };
  if (length == 0) return nullptr;
  if (!dmi_ || !covers(*dmi_)) {
    tlm::tlm_generic_payload transaction;
    transaction.set_command(tlm::TLM_WRITE_COMMAND);
    transaction.set_address(address);
    tlm::tlm_dmi region;
    if (!socket->get_direct_mem_ptr(transaction, region) || !region.is_read_write_allowed()) return nullptr;
    dmi_ = region;
    if (!covers(*dmi_)) return nullptr;
  }
  return reinterpret_cast<std::byte*>(dmi_->get_dmi_ptr()) + (address - dmi_->get_start_address());
}

bool BusMaster::reaches(std::uint64_t address, std::uint64_t length) {
  if (length == 0 || address + (length - 1) < address) return false;
  for (const std::uint64_t at : {address, address + (length - 1)}) {
    unsigned char byte = 0;
    tlm::tlm_generic_payload transaction;
    transaction.set_command(tlm::TLM_READ_COMMAND);
    transaction.set_address(at);
    transaction.set_data_ptr(&byte);
    transaction.set_data_length(1);
    transaction.set_streaming_width(1);
    if (socket->transport_dbg(transaction) != 1) return false;
  }
  return true;
}

void BusMaster::synchronise() {
  if (delay_ == sc_core::SC_ZERO_TIME) return;
  const sc_core::sc_time due = delay_;
  delay_ = sc_core::SC_ZERO_TIME;
  sc_core::wait(due);
}

void BusMaster::invalidate(sc_dt::uint64, sc_dt::uint64) {
  dmi_.reset();
}

}  // namespace kintsugi::memory
