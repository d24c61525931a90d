// An initiator without manners for protocol tests, and the refusals that targets reported.
#pragma once

#include <gtest/gtest.h>
#include <tlm.h>
#include <tlm_utils/simple_initiator_socket.h>

#include <cstdint>
#include <string>
#include <systemc>
#include <vector>

#include "memory/origin.h"

namespace kintsugi::test {

// Sends exactly what a test asks for.
class Initiator : public sc_core::sc_module {
 public:
  tlm_utils::simple_initiator_socket<Initiator, 64> socket{"socket"};
  explicit Initiator(sc_core::sc_module_name name) : sc_core::sc_module(name) {}

  tlm::tlm_response_status send(tlm::tlm_command command, std::uint64_t address, void* data,
                                unsigned int length, unsigned int streaming_width = 0,
                                unsigned char* enables = nullptr, unsigned int enables_length = 0) {
    sc_core::sc_time delay;
    const auto status =
        send_after(delay, command, address, data, length, streaming_width, enables, enables_length);
    EXPECT_EQ(delay, sc_core::SC_ZERO_TIME);
    return status;
  }
  // `delay` goes out as it is and comes back as the target annotates it.
  tlm::tlm_response_status send_after(sc_core::sc_time& delay, tlm::tlm_command command,
                                      std::uint64_t address, void* data, unsigned int length,
                                      unsigned int streaming_width = 0, unsigned char* enables = nullptr,
                                      unsigned int enables_length = 0) {
    tlm::tlm_generic_payload transaction;
    fill(transaction, command, address, data, length);
    if (streaming_width != 0) transaction.set_streaming_width(streaming_width);
    transaction.set_byte_enable_ptr(enables);
    transaction.set_byte_enable_length(enables_length);
    transaction.set_response_status(tlm::TLM_INCOMPLETE_RESPONSE);
    memory::Origin origin;
    origin.initiator = name();
    if (anonymous) {
      socket->b_transport(transaction, delay);
    } else {
      const memory::OriginScope scope(transaction, origin);
      socket->b_transport(transaction, delay);
    }
    // What a target may change are address, DMI hint and response; the address must come back as it was.
    EXPECT_EQ(transaction.get_address(), address);
    EXPECT_EQ(transaction.get_command(), command);
    EXPECT_EQ(transaction.get_data_ptr(), data);
    EXPECT_EQ(transaction.get_data_length(), length);
    EXPECT_EQ(transaction.get_streaming_width(), streaming_width != 0 ? streaming_width : length);
    EXPECT_EQ(transaction.get_byte_enable_ptr(), enables);
    EXPECT_EQ(transaction.get_byte_enable_length(), enables_length);
    EXPECT_NE(transaction.get_response_status(), tlm::TLM_INCOMPLETE_RESPONSE);
    EXPECT_EQ(origin.base, 0u);
    dmi_hint = transaction.is_dmi_allowed();
    refusal = origin.refusal;
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
  bool anonymous = false;  // sends no Origin
  bool dmi_hint = false;   // of the last transaction
  std::string refusal;     // of the last transaction

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

// The last refusal that a target reported to SystemC; empty if none was since the last call.
inline std::string& last_reported_refusal() {
  static std::string text;
  return text;
}

// To be called first in a child: a warning of the kernel is a mistake of ours, and refusals are collected.
inline void begin_systemc() {
  sc_core::sc_report_handler::set_actions(sc_core::SC_WARNING, sc_core::SC_THROW);
  sc_core::sc_report_handler::set_verbosity_level(sc_core::SC_HIGH);
  sc_core::sc_report_handler::set_handler(
      [](const sc_core::sc_report& report, const sc_core::sc_actions& actions) {
        if (std::string(report.get_msg_type()) == memory::kRefusedReport) {
          last_reported_refusal() = report.get_msg();
        } else {
          sc_core::sc_report_handler::default_handler(report, actions);
        }
      });
  sc_core::sc_set_time_resolution(1, sc_core::SC_FS);
}

}  // namespace kintsugi::test
