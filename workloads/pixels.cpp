#include "workloads/pixels.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "common/diagnostics.h"

namespace kintsugi::workloads {

Pixels::Pixels(std::vector<std::uint8_t> bytes) {
  auto held = std::make_shared<const std::vector<std::uint8_t>>(std::move(bytes));
  bytes_ = *held;
  owner_ = std::move(held);
}

Pixels Pixels::map(const std::filesystem::path& file, std::uint64_t offset, std::size_t size) {
  Pixels pixels;
  if (size == 0) return pixels;
  const auto refuse = [&] {
    throw common::InputError({file.string()},
                             fmt::format("cannot map the file into memory: {}", std::strerror(errno)));
  };
  const int handle = open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (handle < 0) refuse();
  // From the file's beginning: a mapping starts at a page.
  const std::size_t length = static_cast<std::size_t>(offset) + size;
  void* at = mmap(nullptr, length, PROT_READ, MAP_PRIVATE, handle, 0);
  const int error = errno;
  close(handle);
  errno = error;
  if (at == MAP_FAILED) refuse();
  pixels.owner_ = std::shared_ptr<const void>(
      at, [length](const void* mapped) { munmap(const_cast<void*>(mapped), length); });
  pixels.bytes_ = {static_cast<const std::uint8_t*>(at) + offset, size};
  return pixels;
}

Pixels Pixels::part(std::size_t offset, std::size_t size) const {
  Pixels some;
  some.owner_ = owner_;
  some.bytes_ = bytes_.subspan(offset, size);
  return some;
}

}  // namespace kintsugi::workloads
