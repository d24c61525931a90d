// A buffer at cache-line addresses that only grows: working memory of vector kernels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace kintsugi::array {

template <class T>
class AlignedBuffer {
 public:
  // At least `count` elements; contents are not kept when it grows.
  T* ensure(std::size_t count) {
    const std::size_t lines = (count * sizeof(T) + sizeof(Line) - 1) / sizeof(Line);
    if (lines > lines_.size()) {
      lines_.clear();
      lines_.resize(lines);
    }
    return data();
  }
  T* data() { return reinterpret_cast<T*>(lines_.data()); }
  const T* data() const { return reinterpret_cast<const T*>(lines_.data()); }
  std::size_t bytes() const { return lines_.size() * sizeof(Line); }

 private:
  struct alignas(64) Line {
    std::byte bytes[64];
  };
  std::vector<Line> lines_;
};

}  // namespace kintsugi::array
