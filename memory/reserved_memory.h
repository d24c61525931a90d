// A large block of zeroed bytes whose pages cost nothing until they are touched: the storage behind a memory
// target. Pure C++.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kintsugi::memory {

class ReservedMemory {
 public:
  // Reserves `bytes` ≥ 1 of address space. Throws std::runtime_error if the system refuses.
  explicit ReservedMemory(std::uint64_t bytes);
  ~ReservedMemory();
  ReservedMemory(const ReservedMemory&) = delete;
  ReservedMemory& operator=(const ReservedMemory&) = delete;

  std::byte* data() { return data_; }
  std::uint64_t size() const { return size_; }
  // True if `length` bytes from `address` lie inside.
  bool holds(std::uint64_t address, std::uint64_t length) const {
    return address <= size_ && length <= size_ - address;
  }

 private:
  std::byte* data_ = nullptr;
  std::uint64_t size_ = 0;
};

}  // namespace kintsugi::memory
