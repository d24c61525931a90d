#include "memory/tlm_storage.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "memory/origin.h"

namespace kintsugi::memory {
namespace {

// Copies under a byte-enable mask, which repeats if it is shorter than the data.
void copy_enabled(unsigned char* to, const unsigned char* from, unsigned int length,
                  const unsigned char* enables, unsigned int enables_length) {
  for (unsigned int i = 0; i < length; ++i) {
    if (enables[i % enables_length] == TLM_BYTE_ENABLED) to[i] = from[i];
  }
}

}  // namespace

TlmStorage::TlmStorage(std::string target, std::string what, std::uint64_t bytes, unsigned int word_bytes,
                       bool grant_dmi)
    : target_(std::move(target)),
      what_(std::move(what)),
      storage_(bytes),
      word_bytes_(word_bytes),
      grant_dmi_(grant_dmi) {
  if (word_bytes == 0) throw std::invalid_argument(fmt::format("{}: words of 0 bytes", target_));
}

bool TlmStorage::accepts(tlm::tlm_generic_payload& transaction) const {
  const std::uint64_t address = transaction.get_address();
  const unsigned int length = transaction.get_data_length();
  const unsigned int width = transaction.get_streaming_width();
  if (!storage_.holds(address, length)) {
    refuse(transaction, tlm::TLM_ADDRESS_ERROR_RESPONSE, target_,
           fmt::format("is outside the {} bytes of {}", storage_.size(), what_));
  } else if (length == 0) {
    refuse(transaction, tlm::TLM_BURST_ERROR_RESPONSE, target_, "moves nothing; allowed are 1 byte and more");
  } else if (width < length) {
    refuse(transaction, tlm::TLM_BURST_ERROR_RESPONSE, target_,
           fmt::format("has a streaming width of {}; allowed is the length and more", width));
  } else if (transaction.get_byte_enable_ptr() != nullptr && transaction.get_byte_enable_length() == 0) {
    refuse(transaction, tlm::TLM_BYTE_ENABLE_ERROR_RESPONSE, target_,
           "has byte enables of length 0; allowed are 1 and more");
  } else if (address % word_bytes_ != 0) {
    refuse(transaction, tlm::TLM_ADDRESS_ERROR_RESPONSE, target_,
           fmt::format("is not aligned; allowed are addresses that are multiples of {}", word_bytes_));
  } else if (length % word_bytes_ != 0) {
    refuse(transaction, tlm::TLM_BURST_ERROR_RESPONSE, target_,
           fmt::format("is not aligned; allowed are lengths that are multiples of {}", word_bytes_));
  } else {
    return true;
  }
  return false;
}

void TlmStorage::serve(tlm::tlm_generic_payload& transaction) {
  const unsigned int length = transaction.get_data_length();
  const unsigned char* enables = transaction.get_byte_enable_ptr();
  const unsigned int enables_length = transaction.get_byte_enable_length();
  unsigned char* stored = reinterpret_cast<unsigned char*>(storage_.data()) + transaction.get_address();
  unsigned char* data = transaction.get_data_ptr();
  if (!transaction.is_read() && !transaction.is_write()) {
    // TLM_IGNORE_COMMAND: nothing to move.
  } else {
    unsigned char* to = transaction.is_read() ? data : stored;
    const unsigned char* from = transaction.is_read() ? stored : data;
    if (enables != nullptr) {
      copy_enabled(to, from, length, enables, enables_length);
    } else {
      std::memcpy(to, from, length);
    }
  }
  transaction.set_dmi_allowed(grant_dmi_);
  transaction.set_response_status(tlm::TLM_OK_RESPONSE);
}

unsigned int TlmStorage::debug(tlm::tlm_generic_payload& transaction) {
  const std::uint64_t address = transaction.get_address();
  if (address >= storage_.size()) return 0;
  const auto length = static_cast<unsigned int>(
      std::min<std::uint64_t>(transaction.get_data_length(), storage_.size() - address));
  std::byte* stored = storage_.data() + address;
  if (transaction.is_read()) {
    std::memcpy(transaction.get_data_ptr(), stored, length);
  } else if (transaction.is_write()) {
    std::memcpy(stored, transaction.get_data_ptr(), length);
  }
  return length;
}

bool TlmStorage::grant(const tlm::tlm_generic_payload& transaction, tlm::tlm_dmi& dmi) {
  dmi.set_start_address(0);
  dmi.set_end_address(storage_.size() - 1);
  if (!grant_dmi_ || transaction.get_address() >= storage_.size()) {
    dmi.allow_none();
    return false;
  }
  dmi.set_dmi_ptr(reinterpret_cast<unsigned char*>(storage_.data()));
  dmi.set_read_latency(sc_core::SC_ZERO_TIME);
  dmi.set_write_latency(sc_core::SC_ZERO_TIME);
  dmi.allow_read_write();
  return true;
}

}  // namespace kintsugi::memory
