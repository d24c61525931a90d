// Who sends a transaction, and what its target said when it refused: an extension of the generic payload, and
// the one way in which targets refuse.
//
// Carrying an Origin is a courtesy: transactions without one are served alike, and refused by response alone.
#pragma once

#include <tlm.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <systemc>

namespace kintsugi::memory {

struct Origin : tlm::tlm_extension<Origin> {
  std::string initiator;   // its hierarchical name
  std::uint64_t base = 0;  // what routers have taken off the initiator's address on the way
  std::string refusal;     // filled in by the target that refuses

  tlm::tlm_extension_base* clone() const override;
  void copy_from(const tlm::tlm_extension_base& other) override;
};

// Lends an Origin to a payload for as long as it lives; it must end before the payload and the Origin do.
class OriginScope {
 public:
  OriginScope(tlm::tlm_generic_payload& transaction, Origin& origin) : transaction_(transaction) {
    transaction_.set_extension(&origin);
  }
  ~OriginScope() { transaction_.clear_extension<Origin>(); }
  OriginScope(const OriginScope&) = delete;
  OriginScope& operator=(const OriginScope&) = delete;

 private:
  tlm::tlm_generic_payload& transaction_;
};

// The message type under which refusals are reported: SC_INFO at verbosity SC_HIGH, which SystemC drops
// unless told otherwise (sc_report_handler::set_verbosity_level).
inline constexpr char kRefusedReport[] = "/kintsugi/memory/refused";

// Answers `transaction` with the error `status`. `reason` continues the sentence "platform.memory: write of
// 64 bytes at 0x1000 by platform.host.bus …" and says what is allowed. The text goes into the Origin, if
// there is one, and into a report.
void refuse(tlm::tlm_generic_payload& transaction, tlm::tlm_response_status status, std::string_view target,
            std::string_view reason);

// What an initiator tells its user about a response that is not TLM_OK_RESPONSE: the target's own words, or
// what can be said without them.
std::string describe_refusal(const tlm::tlm_generic_payload& transaction, const Origin& origin);

}  // namespace kintsugi::memory
