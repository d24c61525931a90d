// The pixels of a set of images: bytes that do not change, held in memory or mapped from a file, and shared
// by copies and parts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

namespace kintsugi::workloads {

class Pixels {
 public:
  Pixels() = default;
  Pixels(std::vector<std::uint8_t> bytes);  // implicit: a set is made from what was decoded

  // `size` bytes of a file from `offset` on, read as they are touched. The file must have them, and must not
  // shrink while they are used. Throws common::InputError if the system refuses.
  static Pixels map(const std::filesystem::path& file, std::uint64_t offset, std::size_t size);

  const std::uint8_t* data() const { return bytes_.data(); }
  std::size_t size() const { return bytes_.size(); }
  auto begin() const { return bytes_.begin(); }
  auto end() const { return bytes_.end(); }
  std::uint8_t operator[](std::size_t i) const { return bytes_[i]; }

  // Bytes offset … offset + size − 1, without a copy.
  Pixels part(std::size_t offset, std::size_t size) const;

 private:
  std::shared_ptr<const void> owner_;
  std::span<const std::uint8_t> bytes_;
};

}  // namespace kintsugi::workloads
