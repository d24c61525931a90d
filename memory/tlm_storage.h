// What memory and the buffers on the chip have in common as TLM-2.0 targets: bytes from address 0, which
// accesses to them are allowed, and how they are carried out.
//
// Honours byte enables. Refuses with the response that the standard names: an access outside or not aligned
// is an address error, a length that is zero or no multiple of the word, or a streaming width below the
// length, a burst error.
#pragma once

#include <tlm.h>

#include <cstdint>
#include <string>

#include "memory/reserved_memory.h"

namespace kintsugi::memory {

class TlmStorage {
 public:
  // `target` and `what` are for messages: the target's hierarchical name, and what it is ("memory").
  // Addresses and lengths of transactions must be multiples of `word_bytes` ≥ 1.
  TlmStorage(std::string target, std::string what, std::uint64_t bytes, unsigned int word_bytes,
             bool grant_dmi);

  // True if the access is allowed; if not, it has been refused (see memory/origin.h).
  bool accepts(tlm::tlm_generic_payload& transaction) const;
  // Moves the bytes of an accepted access and answers it.
  void serve(tlm::tlm_generic_payload& transaction);

  // Debug accesses move the bytes there are, aligned or not, and return how many.
  unsigned int debug(tlm::tlm_generic_payload& transaction);
  // Grants all of the storage, if DMI is granted at all.
  bool grant(const tlm::tlm_generic_payload& transaction, tlm::tlm_dmi& dmi);

  std::uint64_t bytes() const { return storage_.size(); }
  const std::string& target() const { return target_; }

 private:
  std::string target_;
  std::string what_;
  ReservedMemory storage_;
  unsigned int word_bytes_;
  bool grant_dmi_;
};

}  // namespace kintsugi::memory
