#include "memory/origin.h"

#include <fmt/format.h>

namespace kintsugi::memory {
namespace {

// "write of 64 bytes at 0x1000 by platform.host.bus"
std::string describe(const tlm::tlm_generic_payload& transaction, const Origin* origin) {
  const char* command = transaction.is_read() ? "read" : transaction.is_write() ? "write" : "access";
  const unsigned int length = transaction.get_data_length();
  return fmt::format("{} of {} {} at {:#x} by {}", command, length, length == 1 ? "byte" : "bytes",
                     transaction.get_address() + (origin != nullptr ? origin->base : 0),
                     origin != nullptr ? origin->initiator : "an unnamed initiator");
}

}  // namespace

tlm::tlm_extension_base* Origin::clone() const {
  auto* copy = new Origin;  // TLM-2.0 deletes it with the payload it belongs to
  copy->copy_from(*this);
  return copy;
}

void Origin::copy_from(const tlm::tlm_extension_base& other) {
  const auto& from = static_cast<const Origin&>(other);
  initiator = from.initiator;
  base = from.base;
  refusal = from.refusal;
}

void refuse(tlm::tlm_generic_payload& transaction, tlm::tlm_response_status status, std::string_view target,
            std::string_view reason) {
  Origin* origin = transaction.get_extension<Origin>();
  const std::string text = fmt::format("{}: {} {}", target, describe(transaction, origin), reason);
  if (origin != nullptr) origin->refusal = text;
  transaction.set_response_status(status);
  SC_REPORT_INFO_VERB(kRefusedReport, text.c_str(), sc_core::SC_HIGH);
}

std::string describe_refusal(const tlm::tlm_generic_payload& transaction, const Origin& origin) {
  if (!origin.refusal.empty()) return origin.refusal;
  return fmt::format("{} was refused ({})", describe(transaction, &origin),
                     transaction.get_response_string());
}

}  // namespace kintsugi::memory
