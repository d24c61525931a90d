#include "memory/reserved_memory.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace kintsugi::memory {

ReservedMemory::ReservedMemory(std::uint64_t bytes) : size_(bytes) {
  // NORESERVE: a device may be larger than the machine that simulates it, as long as little of it is used.
  void* block =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (block == MAP_FAILED) {
    throw std::runtime_error(
        fmt::format("cannot reserve {} bytes of device memory: {}", bytes, std::strerror(errno)));
  }
  data_ = static_cast<std::byte*>(block);
}

ReservedMemory::~ReservedMemory() {
  munmap(data_, size_);
}

}  // namespace kintsugi::memory
